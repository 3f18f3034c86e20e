//! DNS over TLS: who is believed to be the resolver, and what becomes of its connections.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod common;
mod fronts;

use std::sync::Arc;
use std::time::Duration;

use common::{RECORD, code, config, owner, secure};
use dance_core::answer::{LookupFailure, TlsaAnswer};
use dance_resolver::{
    ConfigError, Detail, DnsMode, Lookup, Resolver, ResolverConfig, Server, Servers, TlsFailure, TlsaSource as _,
};
use dance_testkit::{Authority, CertSpec, Fault, Front, Identity, SignedWorld, Zone};
use fronts::{Dot, pin, read_message, serve, write_message};
use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{Semaphore, mpsc, watch};

const NAME: &str = "dev1._device.example.test";

/// A world that is asked over TLS only, and the authority of its resolvers.
struct Lab {
    world: Arc<SignedWorld>,
    authority: Authority,
    files: TempDir,
}

impl Lab {
    async fn new() -> Self {
        let zone = Zone::new("example.test").tlsa(NAME, RECORD, 300).tlsa("*._wild.example.test", RECORD, 300);
        let late = Zone::new("late.test").tlsa("dev1.late.test", RECORD, 300).expired();
        let world = SignedWorld::builder().zone(Zone::new("test")).zone(zone).zone(late).start().await.unwrap();
        let authority = Authority::root("Resolvers").unwrap();
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("ca.pem"), authority.pem()).unwrap();
        Self { world: Arc::new(world), authority, files }
    }

    /// A resolver's certificate for `localhost` and 127.0.0.1.
    fn identity(&self) -> Identity {
        CertSpec::localhost_server().issued_by(&self.authority).unwrap()
    }

    fn config(&self, server: Server) -> ResolverConfig {
        ResolverConfig {
            servers: Servers::List(vec![server]),
            resolver_ca: Some(self.files.path().join("ca.pem")),
            ..config(&self.world)
        }
    }

    fn resolver(&self, server: Server) -> Resolver {
        Resolver::new(self.config(server)).unwrap()
    }

    /// One question for each look-up.
    fn believing(&self, server: Server) -> Resolver {
        self.world.set_front(Front::Validating);
        Resolver::new(ResolverConfig { mode: DnsMode::AdBit, ..self.config(server) }).unwrap()
    }

    async fn ask(&self, server: Server) -> Lookup {
        self.resolver(server).lookup(&owner(NAME)).await
    }
}

fn untrusted(lookup: &Lookup) -> TlsFailure {
    assert!(matches!(lookup.answer, TlsaAnswer::Indeterminate(LookupFailure::Unreachable)), "{lookup:?}");
    match lookup.trace.detail {
        Some(Detail::ResolverUntrusted { failure, .. }) => failure,
        ref other => panic!("expected a TLS failure, found {other:?}"),
    }
}

// SEC-04
#[tokio::test]
async fn a_resolver_is_known_by_its_name() {
    let lab = Lab::new().await;
    let dot = Dot::of(&lab.identity(), &lab.world).await;
    let lookup = lab.ask(dot.by_name("localhost")).await;
    assert_eq!(secure(&lookup).ttl, 300);
    assert_eq!(lookup.trace.queries, lab.world.queries().len());
    assert_eq!(code(&lab.ask(dot.by_name("127.0.0.1")).await), "S");
    let seen = dot.seen();
    assert_eq!(seen[0].server_name.as_deref(), Some("localhost"));
    assert_eq!(seen[0].protocol.as_deref(), Some(b"dot".as_slice()));
    assert_eq!(seen[1].server_name, None);

    lab.world.clear_log();
    for name in ["dns.example", "127.0.0.2"] {
        assert_eq!(untrusted(&lab.ask(dot.by_name(name)).await), TlsFailure::Name);
    }
    let own = CertSpec::localhost_server().self_signed().unwrap();
    let other = CertSpec::localhost_server().issued_by(&Authority::root("Others").unwrap()).unwrap();
    let past = CertSpec::localhost_server().expired().issued_by(&lab.authority).unwrap();
    let future = CertSpec::localhost_server().not_yet_valid().issued_by(&lab.authority).unwrap();
    let client = CertSpec::client("localhost").issued_by(&lab.authority).unwrap();
    for (identity, failure) in [
        (own, TlsFailure::Issuer),
        (other, TlsFailure::Issuer),
        (past, TlsFailure::Time),
        (future, TlsFailure::Time),
        (client, TlsFailure::Certificate),
    ] {
        let dot = Dot::of(&identity, &lab.world).await;
        assert_eq!(untrusted(&lab.ask(dot.by_name("localhost")).await), failure);
    }
    // Nobody was asked anything, in clear text neither.
    assert!(lab.world.queries().is_empty());
}

// SEC-04
#[tokio::test]
async fn a_resolver_is_known_by_its_key() {
    let lab = Lab::new().await;
    // Whatever else is in its certificate.
    let identity = CertSpec::client("anybody").expired().self_signed().unwrap();
    let dot = Dot::of(&identity, &lab.world).await;
    let (right, wrong) = (pin(&identity), pin(&lab.identity()));
    assert_eq!(code(&lab.ask(dot.by_pins(&[right])).await), "S");
    assert_eq!(code(&lab.ask(dot.by_pins(&[wrong, right])).await), "S");
    assert!(dot.seen().iter().all(|seen| seen.server_name.is_none()));

    lab.world.clear_log();
    assert_eq!(untrusted(&lab.ask(dot.by_pins(&[wrong])).await), TlsFailure::Pin);
    assert!(lab.world.queries().is_empty());
    let none = Resolver::new(lab.config(dot.by_pins(&[])));
    assert!(matches!(none, Err(ConfigError::NoPins { server }) if server == dot.addr));
}

// SEC-04, DNS-02
#[tokio::test]
async fn a_resolver_is_anybody_and_then_not_believed() {
    let lab = Lab::new().await;
    let dot = Dot::of(&CertSpec::client("anybody").expired().self_signed().unwrap(), &lab.world).await;
    assert_eq!(code(&lab.ask(dot.by_anyone()).await), "S");
    let remote = |server: &str| {
        let servers = Servers::List(vec![server.parse().unwrap()]);
        Resolver::new(ResolverConfig { servers, mode: DnsMode::AdBit, ..lab.config(dot.by_anyone()) })
    };
    let refused = remote("tls://192.0.2.53").unwrap_err();
    assert!(matches!(refused, ConfigError::AdBitOverNetwork { .. }), "{refused}");
    remote("tls://192.0.2.53#dns.example").unwrap();
    remote(&format!("tls://192.0.2.53#sha256:{}", "0".repeat(64))).unwrap();
}

// SEC-04
#[tokio::test]
async fn what_is_no_tls_is_told() {
    let lab = Lab::new().await;
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut plain = "tls://127.0.0.1#localhost".parse::<Server>().unwrap();
    plain.address = other.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = other.accept().await.unwrap();
            stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").await.unwrap();
        }
    });
    assert_eq!(untrusted(&lab.ask(plain).await), TlsFailure::Handshake);
    assert!(lab.world.queries().is_empty());
}

// SEC-04
#[test]
fn certificates_are_where_they_should_be() {
    let with = |file: &std::path::Path, server: &str| {
        let servers = Servers::List(vec![server.parse().unwrap()]);
        Resolver::new(ResolverConfig { servers, resolver_ca: Some(file.to_owned()), ..ResolverConfig::default() })
    };
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("ca.pem");
    let name = "tls://192.0.2.53#dns.example";
    assert!(matches!(with(&file, name), Err(ConfigError::TlsRootsUnreadable { path: Some(path), .. }) if path == file));
    std::fs::write(&file, "").unwrap();
    assert!(matches!(with(&file, name), Err(ConfigError::TlsRootsEmpty { .. })));
    std::fs::write(&file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    assert!(matches!(with(&file, name), Err(ConfigError::TlsRootsUnreadable { .. })));
    // Needed for names only.
    with(&file, "tls://192.0.2.53").unwrap();
    std::fs::write(&file, Authority::root("Resolvers").unwrap().pem()).unwrap();
    with(&file, name).unwrap();
}

// DNS-01, DNS-02
#[tokio::test]
async fn the_ad_bit_over_tls() {
    let lab = Lab::new().await;
    let dot = Dot::of(&lab.identity(), &lab.world).await;
    let lookup = lab.believing(dot.by_name("localhost")).lookup(&owner(NAME)).await;
    assert_eq!(secure(&lookup).wildcard, None);
    let queries = lab.world.queries();
    assert_eq!(queries.len(), 1);
    assert!(queries[0].authentic_data && !queries[0].checking_disabled);
    let resolver = lab.believing(dot.by_name("localhost"));
    lab.world.set_front(Front::NonValidating);
    assert_eq!(code(&resolver.lookup(&owner(NAME)).await), "I");
    // SERVFAIL is Bogus if the extended error says so; without, it is asked what there is without checking.
    lab.world.set_front(Front::Validating);
    let bogus = resolver.lookup(&owner("dev1.late.test")).await;
    assert!(matches!(bogus.trace.detail, Some(Detail::ResolverSaysBogus { code: Some(_) })), "{bogus:?}");
    lab.world.clear_log();
    lab.world.add_server_fault(Fault::Servfail).unwrap();
    let down = resolver.lookup(&owner("down._wild.example.test")).await;
    assert!(matches!(down.answer, TlsaAnswer::Indeterminate(LookupFailure::Servfail)), "{down:?}");
    assert_eq!(lab.world.queries().iter().map(|query| query.checking_disabled).collect::<Vec<_>>(), [false, true]);
}

// SEC-04
#[tokio::test]
async fn two_hundred_questions_side_by_side_on_one_connection() {
    const COUNT: usize = 200;
    let lab = Lab::new().await;
    let world = Arc::clone(&lab.world);
    // Nothing is answered until all have come, and then the last question first.
    let dot = Dot::start(&lab.identity(), move |_, mut stream| {
        let world = Arc::clone(&world);
        async move {
            let mut answers = Vec::new();
            while answers.len() < COUNT {
                let Some(question) = read_message(&mut stream).await else { return };
                answers.push(world.answer(&question).unwrap());
            }
            for answer in answers.iter().rev() {
                write_message(&mut stream, answer).await;
            }
            serve(stream, world).await;
        }
    })
    .await;
    let resolver = lab.believing(dot.by_name("localhost"));
    let names: Vec<_> = (0..COUNT).map(|n| owner(&format!("dev{n}._wild.example.test"))).collect();
    let found = join_all(names.iter().map(|name| resolver.lookup(name))).await;
    assert!(found.iter().all(|lookup| code(lookup) == "S" && lookup.trace.queries == 1));
    assert_eq!(dot.seen().len(), 1);
    assert_eq!(code(&resolver.lookup(&owner(NAME)).await), "S");
    assert_eq!(dot.seen().len(), 1);
}

// SEC-04
#[tokio::test]
async fn a_connection_that_the_server_closed_is_made_anew() {
    let lab = Lab::new().await;
    let world = Arc::clone(&lab.world);
    let (closed, mut closings) = mpsc::unbounded_channel();
    // Each connection is good for one question.
    let dot = Dot::start(&lab.identity(), move |_, mut stream| {
        let (world, closed) = (Arc::clone(&world), closed.clone());
        async move {
            let Some(question) = read_message(&mut stream).await else { return };
            write_message(&mut stream, &world.answer(&question).unwrap()).await;
            let _ = stream.shutdown().await;
            drop(stream);
            closed.send(()).unwrap();
        }
    })
    .await;
    let resolver = lab.believing(dot.by_name("localhost"));
    for n in 0..5 {
        let lookup = resolver.lookup(&owner(&format!("dev{n}._wild.example.test"))).await;
        assert_eq!(code(&lookup), "S", "{lookup:?}");
        closings.recv().await.unwrap();
    }
    assert_eq!(dot.seen().len(), 5);
    // Several at once: those whose connection is closed before their turn are asked again.
    let names: Vec<_> = (0..3).map(|n| owner(&format!("more{n}._wild.example.test"))).collect();
    let found = join_all(names.iter().map(|name| resolver.lookup(name))).await;
    assert!(found.iter().all(|lookup| code(lookup) == "S"), "{found:?}");
}

// SEC-02
#[tokio::test]
async fn a_connection_without_questions_is_closed() {
    let lab = Lab::new().await;
    let world = Arc::clone(&lab.world);
    let (closed, mut closings) = mpsc::unbounded_channel();
    let dot = Dot::start(&lab.identity(), move |_, stream| {
        let (world, closed) = (Arc::clone(&world), closed.clone());
        async move {
            serve(stream, world).await;
            closed.send(()).unwrap();
        }
    })
    .await;
    let resolver = lab.believing(dot.by_name("localhost"));
    for number in 0..2 {
        let lookup = resolver.lookup(&owner(&format!("dev{number}._wild.example.test"))).await;
        assert_eq!((code(&lookup), dot.seen().len()), ("S", 1));
    }
    // The runtime's clock jumps whenever everybody waits for time.
    tokio::time::pause();
    closings.recv().await.unwrap();
    tokio::time::resume();
    assert_eq!(code(&resolver.lookup(&owner("dev2._wild.example.test")).await), "S");
    assert_eq!(dot.seen().len(), 2);
    // With the last who could ask, it goes too.
    drop(resolver);
    closings.recv().await.unwrap();
}

// DNS-10
#[tokio::test]
async fn a_server_that_closes_every_connection_is_told() {
    let lab = Lab::new().await;
    let dot = Dot::start(&lab.identity(), |_, mut stream| async move {
        read_message(&mut stream).await;
    })
    .await;
    let lookup = lab.ask(dot.by_name("localhost")).await;
    assert!(matches!(lookup.answer, TlsaAnswer::Indeterminate(LookupFailure::Unreachable)), "{lookup:?}");
    assert_eq!(dot.seen().len(), 1);
}

// DNS-10: neither silence nor single octets are a reason to keep to a connection.
#[tokio::test]
async fn a_connection_that_brings_nothing_is_left_for_a_new_one() {
    for drips in [false, true] {
        let lab = Lab::new().await;
        let world = Arc::clone(&lab.world);
        let dot = Dot::start(&lab.identity(), move |number, mut stream| {
            let world = Arc::clone(&world);
            async move {
                if number > 0 {
                    return serve(stream, world).await;
                }
                // A message of 65,535 octets that does not end.
                while drips && stream.write_all(&[0xff]).await.is_ok() && stream.flush().await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                std::future::pending().await
            }
        })
        .await;
        let lookup = lab.believing(dot.by_name("localhost")).lookup(&owner(NAME)).await;
        assert_eq!(code(&lookup), "S", "{lookup:?}");
        assert_eq!(dot.seen().len(), 2);
    }
}

// DNS-10
#[tokio::test]
async fn a_server_that_never_answers_is_left_in_time() {
    let lab = Lab::new().await;
    let dot = Dot::start(&lab.identity(), |_, stream| async move {
        let _open = stream;
        std::future::pending().await
    })
    .await;
    let config = ResolverConfig { timeout: Duration::from_millis(200), ..lab.config(dot.by_name("localhost")) };
    let lookup = Resolver::new(config).unwrap().lookup(&owner(NAME)).await;
    assert!(matches!(lookup.answer, TlsaAnswer::Indeterminate(LookupFailure::Timeout)), "{lookup:?}");
    // One that does not even begin to speak TLS, and after it one that does.
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mute = Server { address: mute.local_addr().unwrap(), transport: dot.by_name("localhost").transport };
    let good = Dot::of(&lab.identity(), &lab.world).await;
    let servers = Servers::List(vec![mute, good.by_name("localhost")]);
    let config = ResolverConfig { servers, ..lab.config(good.by_name("localhost")) };
    assert_eq!(code(&Resolver::new(config).unwrap().lookup(&owner(NAME)).await), "S");
}

// DNS-01
#[tokio::test]
async fn messages_that_answer_nothing_are_passed_over() {
    let lab = Lab::new().await;
    let world = Arc::clone(&lab.world);
    let dot = Dot::start(&lab.identity(), move |_, mut stream| {
        let world = Arc::clone(&world);
        async move {
            while let Some(question) = read_message(&mut stream).await {
                let answer = world.answer(&question).unwrap();
                let spoils: [fn(&mut Vec<u8>); 5] = [
                    |message| message[0] ^= 1,
                    |message| message[14] ^= 1,
                    |message| message[2] &= 0x7f,
                    |message| message.truncate(7),
                    |message| message.clear(),
                ];
                for spoil in spoils {
                    let mut other = answer.clone();
                    // SERVFAIL, so that it would be seen.
                    other[3] = (other[3] & 0xf0) | 2;
                    spoil(&mut other);
                    write_message(&mut stream, &other).await;
                }
                write_message(&mut stream, &answer).await;
            }
        }
    })
    .await;
    let lookup = lab.ask(dot.by_name("localhost")).await;
    assert_eq!((code(&lookup), lookup.trace.queries), ("S", lab.world.queries().len()));
}

// SEC-02: few slow names do not hold up the others, where a server stops reading a connection with too many of them.
#[tokio::test]
async fn slow_questions_do_not_fill_a_connection_up() {
    let lab = Lab::new().await;
    let world = Arc::clone(&lab.world);
    // At most ten questions under way on a connection, as real servers limit it; those for slow names have no end.
    let (slow_came, slow_count) = watch::channel(0);
    let dot = Dot::start(&lab.identity(), move |_, stream| {
        let (world, slow_came) = (Arc::clone(&world), slow_came.clone());
        async move {
            let places = Arc::new(Semaphore::new(10));
            let (mut reader, mut writer) = tokio::io::split(stream);
            loop {
                let place = Arc::clone(&places).acquire_owned().await.unwrap();
                let Some(question) = read_message(&mut reader).await else { return };
                if question.windows(5).any(|part| part.eq_ignore_ascii_case(b"_slow")) {
                    place.forget();
                    slow_came.send_modify(|count| *count += 1);
                } else {
                    write_message(&mut writer, &world.answer(&question).unwrap()).await;
                }
            }
        }
    })
    .await;
    let resolver = Arc::new(lab.believing(dot.by_name("localhost")));
    let slow = |from: usize| {
        let resolver = Arc::clone(&resolver);
        tokio::spawn(async move {
            let names: Vec<_> = (from..from + 9).map(|n| owner(&format!("dev{n}._slow.example.test"))).collect();
            join_all(names.iter().map(|name| resolver.lookup(name))).await
        })
    };
    slow(0);
    slow_count.clone().wait_for(|count| *count == 9).await.unwrap();
    // Until the slow ones are noticed, questions go over the same connection; then over another.
    let mut n = 0;
    while dot.seen().len() < 2 {
        let lookup = resolver.lookup(&owner(&format!("dev{n}._wild.example.test"))).await;
        assert_eq!(code(&lookup), "S");
        n += 1;
    }
}
