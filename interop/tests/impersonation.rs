//! Collision and impersonation: what one organisation's authority says about another's names, in zones of both.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::{Arc, Mutex, Weak};

use dance_core::tlsa::{CertUsage, MatchingType, Selector};
use dance_interop::case::{Credential, Expected, Wire, check, naming, sending};
use dance_interop::dns::World;
use dance_interop::gateway::Gateway;
use dance_interop::organisation::{Authority, EE_KEY, Form, Issued, TA_CERT};
use dance_interop::process::shared;
use tempfile::TempDir;

/// The zones of organisations A and B, signed and served by different programs.
const A: &str = "example.com";
const B: &str = "example.net";

/// How A may describe its clients.
const FORMS: [Form; 6] = [
    TA_CERT,
    (CertUsage::DANE_TA, Selector::SPKI, MatchingType::SHA2_256),
    (CertUsage::DANE_TA, Selector::CERT, MatchingType::FULL),
    (CertUsage::DANE_TA, Selector::SPKI, MatchingType::FULL),
    EE_KEY,
    (CertUsage::DANE_EE, Selector::CERT, MatchingType::SHA2_256),
];

/// The forms whose clients several tests use; queries for the others can be counted.
const MUCH_USED: [Form; 2] = [TA_CERT, EE_KEY];

/// Settings that differ in what is on the wire.
const WIRES: [(&str, Wire); 3] = [
    ("profile = \"current\"", Wire::Tls13),
    ("profile = \"2022\"", Wire::Tls13),
    ("profile = \"2022\"\ntls12 = true", Wire::Tls12),
];

struct Lab {
    world: Arc<World>,
    directory: TempDir,
    /// A's authority.
    a: Authority,
    /// B's.
    b: Authority,
    /// Another of B's, which differs from A's in its key alone.
    look_alike: Authority,
    /// A's clients, by how they are described.
    clients: Vec<(Form, String, Issued)>,
    /// Each has both organisations' name, from A's and the look-alike authority.
    twins: [Issued; 2],
    /// One key for each of two services, and one for two names.
    smtp: Issued,
    https: Issued,
    both: Issued,
}

/// The name of a client of the organisation.
fn twin(zone: &str) -> String {
    format!("twin.{zone}")
}

const DEVICE: &str = "device1.svc.example.com";
const SMTP: &str = "_smtp-client.device1.svc.example.com";
const HTTPS: &str = "_https-client.device1.svc.example.com";

impl Lab {
    fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Lab>> = Mutex::new(Weak::new());
        shared(&SHARED, Self::start)
    }

    fn start() -> Self {
        let [a, b, look_alike] = ["Device CA", "Other CA", "Device CA"].map(Authority::new);
        let client = |form: Form| {
            let (usage, selector, matching_type) = form;
            let name = format!("d{}{}{}.clients.{A}", usage.0, selector.0, matching_type.0);
            let issued = a.issue(&[&name]);
            (form, name, issued)
        };
        let clients: Vec<_> = FORMS.into_iter().map(client).collect();
        let twins = [&a, &look_alike].map(|authority| authority.issue(&[&twin(A), &twin(B)]));
        let [smtp, https] = [SMTP, HTTPS].map(|name| a.issue(&[name]));
        let both = b.issue(&["one.example.net"]);

        let described = clients.iter().map(|(form, name, issued)| match form.0 {
            CertUsage::DANE_TA => format!("{name}. TLSA {}\n", a.record(*form)),
            _ => format!("{name}. TLSA {}\n", issued.record(*form)),
        });
        let of_a = [
            format!("{}. TLSA {}\n", twin(A), a.record(TA_CERT)),
            format!("{SMTP}. TLSA {}\n", smtp.record(EE_KEY)),
            format!("{HTTPS}. TLSA {}\n", https.record(EE_KEY)),
            format!("one.{A}. TLSA {}\n", both.record(EE_KEY)),
            format!("other.{A}. TLSA {}\n", smtp.record(EE_KEY)),
        ];
        let of_b = [
            format!("{}. TLSA {}\n", twin(B), look_alike.record(TA_CERT)),
            format!("own.{B}. TLSA {}\n", b.record(TA_CERT)),
            format!("one.{B}. TLSA {}\n", both.record(EE_KEY)),
        ];
        let zones = [(A, described.chain(of_a).collect()), (B, of_b.concat())];
        let directory = TempDir::new().unwrap();
        Self { world: Arc::new(World::start(&zones)), directory, a, b, look_alike, clients, twins, smtp, https, both }
    }

    fn gateway(&self, settings: &str) -> Gateway {
        Gateway::validating(&self.world, settings)
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What A's own client presents.
    fn own(&self, issued: &Issued) -> Credential {
        issued.with(self.path(), &[&self.a.certificate])
    }

    /// All that B can present for a name of A's, beginning with its own authority's word for it.
    fn poses(&self, name: &str) -> Vec<(&'static str, Credential)> {
        let path = self.path();
        let [a, b, look_alike] = [&self.a, &self.b, &self.look_alike].map(|authority| &authority.certificate);
        let by_b = self.b.issue(&[name]);
        let by_look_alike = self.look_alike.issue(&[name]);
        let look_alike_by_b = self.b.cross_sign("Device CA", &self.look_alike);
        let a_by_b = self.b.cross_sign("Device CA", &self.a);
        let member = &self.clients[0].2;
        let by_member = member.issue(&[name]);
        vec![
            ("B's authority", by_b.with(path, &[b])),
            ("A's authority as a stranger beside it", by_b.with(path, &[b, a])),
            ("A's authority in place of it", by_b.with(path, &[a])),
            ("an authority of the same name and key identifier", by_look_alike.with(path, &[look_alike])),
            ("that, and A's in place of it", by_look_alike.with(path, &[a])),
            ("that, before A's", by_look_alike.with(path, &[look_alike, a])),
            ("that, after A's", by_look_alike.with(path, &[a, look_alike])),
            ("that, signed by B's", by_look_alike.with(path, &[&look_alike_by_b, b, a])),
            ("A's key, signed by B's", by_b.with(path, &[&a_by_b, b])),
            ("A's key, signed by B's, over a look-alike's client", by_look_alike.with(path, &[&a_by_b, b])),
            ("a client of A's as an authority", by_member.with(path, &[&member.certificate, a])),
        ]
    }
}

// TLSA-31, TLSA-06, TLSA-15, TLSA-26, SRV-12, SEC-11
#[test]
fn no_other_authority_speaks_for_a_name() {
    let lab = Lab::shared();
    for (settings, wire) in WIRES {
        let gateway = lab.gateway(settings);
        for (form, name, issued) in &lab.clients {
            let before = lab.world.queries(name);
            let mut cases = vec![(naming(&gateway, wire, &lab.own(issued), name), Expected::page(name))];
            for (what, credential) in lab.poses(name) {
                let mut options = naming(&gateway, wire, &credential, name);
                options["case"] = what.into();
                cases.push((options, Expected::refused("no-match")));
            }
            check(&gateway, &cases);
            if !MUCH_USED.contains(form) {
                // The answer is cached, never the verdict.
                assert_eq!(lab.world.queries(name) - before, 1, "{name}");
            }
        }
    }
}

// TLSA-31, SRV-15, SEC-13
#[test]
fn under_policy_optional_an_impersonator_is_nobody() {
    let lab = Lab::shared();
    let gateway = lab.gateway("policy = \"optional\"");
    for (_, name, issued) in lab.clients.iter().filter(|(form, ..)| MUCH_USED.contains(form)) {
        let mut cases = vec![(naming(&gateway, Wire::Tls13, &lab.own(issued), name), Expected::page(name))];
        let nobody = Expected::Nobody("unauthenticated", Some("no-match"));
        let poses = lab.poses(name).into_iter();
        cases.extend(poses.map(|(_, pose)| (naming(&gateway, Wire::Tls13, &pose, name), nobody.clone())));
        check(&gateway, &cases);
    }
}

// TLSA-31, TLSA-10, SRV-13
#[test]
fn a_client_speaks_for_its_own_name_within_its_organisation() {
    let lab = Lab::shared();
    for policy in ["require", "optional"] {
        let gateway = lab.gateway(&format!("policy = \"{policy}\""));
        let (_, name, issued) = &lab.clients[0];
        check(
            &gateway,
            &[
                (naming(&gateway, Wire::Tls13, &lab.own(issued), name), Expected::page(name)),
                (naming(&gateway, Wire::Tls13, &lab.own(issued), &twin(A)), Expected::refused("san-mismatch")),
            ],
        );
    }
}

// TLSA-31, SRV-09
#[test]
fn a_certificate_is_nothing_without_its_key() {
    let lab = Lab::shared();
    for (settings, wire) in WIRES {
        let gateway = lab.gateway(settings);
        let (_, name, issued) = &lab.clients[4];
        let posing = lab.b.issue(&[name]).posing(lab.path(), &[&issued.certificate, &lab.a.certificate]);
        check(
            &gateway,
            &[
                (naming(&gateway, wire, &posing, name), Expected::Failed("decrypt_error")),
                (naming(&gateway, wire, &lab.own(issued), name), Expected::page(name)),
            ],
        );
    }
}

// TLSA-31, TLSA-25
#[test]
fn two_organisations_with_the_same_names_do_not_mix() {
    let lab = Lab::shared();
    let [a, b] = [&lab.a, &lab.look_alike].map(|authority| &authority.certificate);
    for (settings, wire) in WIRES {
        let gateway = lab.gateway(settings);
        let [of_a, of_b] = &lab.twins;
        let mut cases = Vec::new();
        for (client, own, foreign, name, other) in [(of_a, a, b, twin(A), twin(B)), (of_b, b, a, twin(B), twin(A))] {
            // Whatever is sent beside its own authority.
            for issuers in [&[own][..], &[own, foreign], &[foreign, own]] {
                let credential = client.with(lab.path(), issuers);
                cases.push((naming(&gateway, wire, &credential, &name), Expected::page(&name)));
                cases.push((naming(&gateway, wire, &credential, &other), Expected::refused("no-match")));
            }
        }
        check(&gateway, &cases);
    }
}

// SEC-07, NAM-08, SRV-07
#[test]
fn a_service_s_client_is_nobody_to_another_service() {
    let lab = Lab::shared();
    let [smtp, https] = [&lab.smtp, &lab.https].map(|issued| lab.own(issued));
    for (number, (settings, wire)) in WIRES.into_iter().enumerate() {
        let unseen = format!("_smtp-client.unseen{number}.svc.example.com");
        let to_https = lab.gateway(&format!("service-label = \"https-client\"\n{settings}"));
        check(
            &to_https,
            &[
                (naming(&to_https, wire, &smtp, SMTP), Expected::refused("wrong-service-label")),
                (naming(&to_https, wire, &smtp, &unseen), Expected::refused("wrong-service-label")),
                (naming(&to_https, wire, &smtp, HTTPS), Expected::refused("no-match")),
                (naming(&to_https, wire, &https, HTTPS), Expected::page(HTTPS)),
            ],
        );
        assert_eq!(lab.world.queries(&unseen), 0);
        // At its own service, and at one that guards nothing.
        for guard in ["service-label = \"smtp-client\"", ""] {
            let gateway = lab.gateway(&format!("{guard}\n{settings}"));
            check(
                &gateway,
                &[
                    (naming(&gateway, wire, &smtp, SMTP), Expected::page(SMTP)),
                    (naming(&gateway, wire, &smtp, &unseen), Expected::refused("tlsa-absent")),
                ],
            );
        }
        assert_eq!(lab.world.queries(&unseen), 2);
    }
}

// SEC-07, NAM-08
#[test]
fn by_the_rule_of_2022_a_service_s_client_is_looked_up_under_its_own_service() {
    let lab = Lab::shared();
    for (settings, wire) in WIRES.iter().filter(|(settings, _)| settings.contains("2022")) {
        let [smtp, https] = [&lab.smtp, &lab.https].map(|issued| lab.own(issued));
        let to_https = lab.gateway(&format!("service-label = \"https-client\"\n{settings}"));
        check(
            &to_https,
            &[
                (naming(&to_https, *wire, &smtp, DEVICE), Expected::refused("no-match")),
                (naming(&to_https, *wire, &https, DEVICE), Expected::page(DEVICE)),
            ],
        );
        let to_smtp = lab.gateway(&format!("service-label = \"smtp-client\"\n{settings}"));
        check(
            &to_smtp,
            &[
                (naming(&to_smtp, *wire, &smtp, DEVICE), Expected::page(DEVICE)),
                (naming(&to_smtp, *wire, &https, DEVICE), Expected::refused("no-match")),
            ],
        );
    }
}

// TLSA-31, NAM-07, DNS-11
#[test]
fn a_key_with_two_names_has_those_two() {
    let lab = Lab::shared();
    let both = lab.both.with(lab.path(), &[]);
    for (settings, wire) in WIRES {
        let gateway = lab.gateway(settings);
        let case = |name: &str, expected| (naming(&gateway, wire, &both, name), expected);
        let [one, other_one] = [A, B].map(|zone| format!("one.{zone}"));
        check(
            &gateway,
            &[
                case(&one, Expected::page(&one)),
                case(&other_one, Expected::page(&other_one)),
                case("other.example.com", Expected::refused("no-match")),
                case("two.example.com", Expected::refused("tlsa-absent")),
            ],
        );
    }
}

// TLSA-31, NAM-09, CID-07
#[test]
fn a_name_in_a_certificate_is_a_claim_like_any_other() {
    let lab = Lab::shared();
    let (_, name, issued) = &lab.clients[0];
    let own = "own.example.net";
    for (settings, wire) in WIRES.iter().filter(|(settings, _)| settings.contains("2022")) {
        let gateway = lab.gateway(settings);
        let empty = |credential: &Credential| sending(&gateway, *wire, credential, &[""]);
        let by_b = |names: &[&str]| lab.b.issue(names).with(lab.path(), &[&lab.b.certificate]);
        let mut cases = vec![
            (empty(&lab.own(issued)), Expected::page(name)),
            (empty(&by_b(&[own])), Expected::page(own)),
            (empty(&by_b(&[own, name])), Expected::refused("no-name-in-certificate")),
            (naming(&gateway, *wire, &by_b(&[own, name]), own), Expected::page(own)),
            (naming(&gateway, *wire, &by_b(&[own, name]), name), Expected::refused("no-match")),
        ];
        cases.extend(lab.poses(name).iter().map(|(_, pose)| (empty(pose), Expected::refused("no-match"))));
        check(&gateway, &cases);
    }
}
