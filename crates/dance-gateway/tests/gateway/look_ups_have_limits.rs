use dance_core::reason::Reason;
use dance_gateway::Config;
use dance_gateway::config::Span;
use dance_gateway::config::{DnsConfig, LimitsConfig};
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use crate::http::Http1;
use crate::lab::{Held, Lab, SOON};

const MANY: usize = 1_000;
const NONE_REACHED: LimitsConfig =
    LimitsConfig { lookups_total: MANY, lookups_per_address: MANY, lookups_per_entry: MANY };

/// Has so many clients connect at a time, each with a name of its own and none with an answer from DNS yet. `served` of them are to
/// wait and be served in the end; the others are to be refused at once for `reason`.
async fn crowd(clients: usize, served: usize, limits: LimitsConfig, reason: Option<Reason>) {
    let lab = Lab::new().await;
    let (source, gate) = Held::new(lab.resolver());
    let patience = Span::secs(60);
    let dns = DnsConfig { timeout: patience, ..DnsConfig::default() };
    let waiting = Config { handshake_timeout: patience, handshakes_per_address: MANY, ..lab.config() };
    let gateway = lab.start_over(Config { limits, dns, ..waiting }, source);
    let names: Vec<_> = (0..clients).map(|number| format!("sensor{number}._device.example.com")).collect();
    let mut connected = Vec::new();
    for name in &names {
        let client = lab.certificate(name, &lab.enrol(name));
        connected.push(gateway.connect(&client).await);
        if connected.len() > served {
            let told = gateway.told(connected.len() - served).await;
            let last = told.last().unwrap();
            assert_eq!((last.code, last.reason, last.client_name.as_ref()), ("refused", reason, Some(name)));
        }
    }
    // Nobody has been let in, and nobody has been asked for.
    assert_eq!((lab.origin.connections(), lab.world.tlsa_queries().len()), (0, 0));
    let surplus = connected.split_off(served);
    assert_eq!(surplus.len(), clients - served);
    for mut tls in surplus {
        assert!(timeout(SOON, tls.read(&mut [0; 16])).await.unwrap().is_err());
        assert_eq!(tls.alert_received().unwrap().code(), 40);
    }
    gate.add_permits(clients);
    for (tls, name) in connected.into_iter().zip(&names) {
        assert_eq!(Http1::new(tls).get("/", &[]).await.status, 200);
        assert_eq!(lab.origin.seen().last().unwrap().values("dane-clientid"), [name]);
    }
    assert_eq!(lab.world.tlsa_queries().len(), served);

    // The limit is on what is in flight: a client that was refused may come again.
    if let Some(name) = names.get(served) {
        let again = lab.certificate(name, &lab.enrol(name));
        assert_eq!(Http1::new(gateway.connect(&again).await).get("/", &[]).await.status, 200);
    }
}

// SEC-01, SEC-02
#[tokio::test]
async fn that_are_not_reached_by_clients_which_all_wait() {
    crowd(100, 100, NONE_REACHED, None).await;
}

// SEC-01
#[tokio::test]
async fn in_total() {
    crowd(7, 5, LimitsConfig { lookups_total: 5, ..NONE_REACHED }, Some(Reason::LookupLimitTotal)).await;
}

// SEC-01
#[tokio::test]
async fn for_one_address() {
    let limits = LimitsConfig::default();
    crowd(11, 8, limits, Some(Reason::LookupLimitAddress)).await;
}

// SEC-01
#[tokio::test]
async fn for_one_entry_of_the_allow_list() {
    crowd(6, 4, LimitsConfig { lookups_per_entry: 4, ..NONE_REACHED }, Some(Reason::LookupLimitEntry)).await;
}
