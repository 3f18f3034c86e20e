//! What is counted.

use dance_auth_service::AuthService;
use dance_core::reason::Reason;
use dance_daemon::metrics::Recorder;
use dance_http::Refusal;
use dance_http::metrics::METRICS;
use http_body_util::Full;

use crate::lab::{Lab, NAME, Running};

const DOCS: &str = include_str!("../../../../docs/metrics.md");

// SEC-01: every outcome by its reason, and no word of a client's.
#[tokio::test]
async fn requests_are_counted_by_what_became_of_them() {
    let lab = Lab::new().await;
    let recorder = Recorder::default();
    let config = lab.config();
    let service = ::metrics::with_local_recorder(&recorder, || AuthService::bind(&config, lab.resolver()).unwrap());
    let service = Running::new(service);
    service.get(lab.good()).await.assert_welcome(NAME);
    service.get(lab.good()).await.assert_welcome(NAME);
    let unnamed = lab.request().body(Full::default()).unwrap();
    service.get(unnamed).await.assert_refused(401, "no name");
    let stranger = lab.request().header("dane-clientid-asserted", "a.attacker.net").body(Full::default()).unwrap();
    service.get(stranger).await.assert_refused(403, "stranger");
    let rendered = recorder.render();
    for (outcome, count) in [("authenticated", 2), ("no-client-name", 1), ("name-not-allowed", 1), ("names-differ", 0)]
    {
        let line = format!("dance_requests_total{{outcome=\"{outcome}\"}} {count}\n");
        assert!(rendered.contains(&line), "{line} not in {rendered}");
    }
    assert!(!rendered.contains("attacker") && !rendered.contains("device1"));

    let mut outcomes: Vec<&str> =
        Refusal::CODES.into_iter().chain(Reason::ALL.iter().map(|reason| reason.code())).collect();
    outcomes.push("authenticated");
    outcomes.sort_unstable();
    outcomes.dedup();
    let [requests] = METRICS else { panic!("{METRICS:?}") };
    let help = format!("# HELP {} {}\n", requests.name, requests.help);
    assert!(rendered.contains(&help), "{rendered}");
    let row = format!("| `{}` | counter | `outcome`: {} | {} |\n", requests.name, outcomes.join(", "), requests.help);
    assert!(DOCS.contains(&row), "docs/metrics.md must have this row:\n{row}");
    for outcome in outcomes {
        assert!(rendered.contains(&format!("dance_requests_total{{outcome=\"{outcome}\"}}")), "{outcome}");
    }
}
