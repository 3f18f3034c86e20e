//! Section `decision`: both policies, every state of DNS, every outcome of matching.

use dance_core::clientid::{Profile, TlsVersion};
use dance_core::policy::{OnLookupFailure, Policy};
use dance_core::reason::Reason;
use dance_testkit::{Authority, CertSpec, Fault};
use dance_tls::Connector;

use crate::ground::{Dns, Ground, Row, Setting};
use crate::lab::{UNSIGNED, ZONE};
use crate::vectors::{self, DecisionCase, alert};
use crate::wire::{Credential, Wire, says};

/// Why a combination cannot be, or `None` if it is run.
fn not_live(case: &DecisionCase, wire: Wire, credential: Credential) -> Option<&'static str> {
    match (case.matching.as_deref(), case.ext.as_str(), wire.version, credential) {
        (Some("name_mismatch"), _, _, Credential::RawKey) => Some("a raw public key holds no name"),
        (_, "unsolicited", TlsVersion::Tls12, _) => Some("the client speaks first: it answers nothing"),
        _ => None,
    }
}

/// The reason that the case is about (requirements 4.2), by its own words.
fn reason(case: &DecisionCase, profile: Profile) -> Option<Reason> {
    Some(match (case.ext.as_str(), case.allow.as_deref(), case.dns.as_deref(), case.matching.as_deref()) {
        ("absent", None, None, None) => Reason::NoClientName,
        ("zero-length", None, None, None) => match profile {
            Profile::Current => Reason::EmptyClientName,
            Profile::Draft2022 => Reason::ExtensionUndecodable,
        },
        ("undecodable", None, None, None) => Reason::ExtensionUndecodable,
        ("invalid name", None, None, None) => Reason::InvalidClientName,
        ("unsolicited", None, None, None) => Reason::ExtensionUnsolicited,
        ("good", Some("no"), None, None) => Reason::NameNotAllowed,
        ("good", Some("yes"), Some("secure nxdomain" | "secure nodata"), None) => Reason::TlsaAbsent,
        ("good", Some("yes"), Some("insecure"), None) => Reason::DnssecInsecure,
        ("good", Some("yes"), Some("bogus"), None) => Reason::DnssecBogus,
        ("good", Some("yes"), Some("timeout"), None) => Reason::LookupTimeout,
        ("good", Some("yes"), Some("servfail"), None) => Reason::LookupServfail,
        ("good", Some("yes"), Some("indeterminate"), None) => Reason::DnssecIndeterminate,
        ("good", Some("yes"), Some("resource limit"), None) => Reason::LookupLimitTotal,
        ("good", Some("yes"), Some("secure"), Some("name_mismatch")) => Reason::SanMismatch,
        ("good", Some("yes"), Some("secure"), Some("no_match")) => Reason::NoMatch,
        ("good", Some("yes"), Some("secure"), Some("no_usable")) => Reason::NoUsableRecord,
        ("good", Some("yes"), Some("secure"), Some("authenticated")) => return None,
        _ => panic!("{case:?}"),
    })
}

/// How the case ends, by its own words.
fn expected(case: &DecisionCase, wire: Wire, name: &str) -> Row {
    let reason = reason(case, wire.profile);
    let row = match (case.expected.as_str(), reason) {
        ("AUTHENTICATED", None) => Row::authenticated(name),
        ("UNAUTHENTICATED", Some(reason)) => Row::anonymous("unauthenticated", reason),
        ("NOT-DANE", Some(reason)) => Row::anonymous("not-dane", reason),
        // A length octet of zero is a name of no length in one profile, and does not decode in the other (3.4 b).
        ("ABORT handshake_failure", Some(Reason::ExtensionUndecodable)) => {
            assert_eq!((case.ext.as_str(), wire.profile), ("zero-length", Profile::Draft2022));
            Row::refused(Reason::ExtensionUndecodable, alert("decode_error"))
        }
        (abort, Some(reason)) => Row::refused(reason, alert(abort.strip_prefix("ABORT ").unwrap())),
        (_, None) => panic!("{case:?}"),
    };
    match case.tlsa_queries_sent {
        0 => Row { asked: Vec::new(), ..row },
        1 => row.asked(name),
        _ => panic!("{case:?}"),
    }
}

fn setting(case: &DecisionCase, wire: Wire) -> Setting {
    let policy = if case.policy == "require" { Policy::Require } else { Policy::Optional };
    Setting {
        on_lookup_failure: match case.on_lookup_failure.as_deref() {
            Some("unauthenticated") => OnLookupFailure::Unauthenticated,
            Some("abort") | None => OnLookupFailure::Abort,
            Some(other) => panic!("{other}"),
        },
        dns: match case.dns.as_deref() {
            Some("indeterminate") => Dns::NoAnchor,
            Some("timeout") => Dns::Impatient,
            Some("resource limit") => Dns::Busy,
            _ => Dns::World,
        },
        ..Setting::new(wire, policy)
    }
}

/// Clients, and the zones in which they are what their cases say.
struct Scene {
    ground: Ground,
    fleet: Authority,
    zone: String,
    unsigned: String,
    faults: Vec<(String, Fault)>,
}

impl Scene {
    /// The client of a case: its name, and how it talks. Only what the case says stands between it and authentication.
    fn client(
        &mut self,
        case: &DecisionCase,
        wire: Wire,
        credential: Credential,
        number: usize,
    ) -> (String, Connector) {
        let (allowed, dns) = (case.allow.as_deref() != Some("no"), case.dns.as_deref());
        let zone = if !allowed {
            "example.net"
        } else if dns == Some("insecure") {
            UNSIGNED
        } else {
            ZONE
        };
        let name = format!("row{number}._device.{zone}");
        let matching = case.matching.as_deref();
        let held =
            if matching == Some("name_mismatch") { format!("other{number}._device.{zone}") } else { name.clone() };
        let identity = CertSpec::client(&held).issued_by(&self.fleet).unwrap();

        let of_fleet = self.fleet.tlsa_201().unwrap().to_string();
        let right = match credential {
            Credential::X509 => of_fleet.clone(),
            Credential::RawKey => identity.tlsa_311().unwrap().to_string(),
        };
        let record = match (matching, credential) {
            (Some("no_match"), _) => CertSpec::client(&name).self_signed().unwrap().tlsa_311().unwrap().to_string(),
            // PKIX-TA without roots, DANE-TA without certificates.
            (Some("no_usable"), Credential::X509) => of_fleet.replacen('2', "0", 1),
            (Some("no_usable"), Credential::RawKey) => of_fleet,
            _ => right,
        };
        match dns {
            Some("secure nxdomain") => {}
            Some("secure nodata") => self.zone += &format!("{name}. IN TXT \"here\"\n"),
            Some("insecure") => self.unsigned += &format!("{name}. IN TLSA {record}\n"),
            _ if allowed => self.zone += &format!("{name}. IN TLSA {record}\n"),
            _ => {}
        }
        let fault = match dns {
            Some("bogus") => Some(Fault::TamperedRdata),
            Some("servfail") => Some(Fault::Servfail),
            Some("timeout") => Some(Fault::NeverAnswers),
            _ => None,
        };
        self.faults.extend(fault.map(|fault| (name.clone(), fault)));

        let named = (case.ext != "absent").then_some(name.as_str());
        let honest = self.ground.client(wire, credential, named, &identity);
        let with_length = |length: usize, name: &str| [&[length as u8], name.as_bytes()].concat();
        let client = match case.ext.as_str() {
            "absent" | "good" => honest,
            "zero-length" => says(&honest, wire, &[&[0]]),
            "undecodable" => says(&honest, wire, &[&with_length(name.len() + 1, &name)]),
            "invalid name" => says(&honest, wire, &[&with_length(name.len() + 1, &format!("{name}."))]),
            "unsolicited" => says(&honest, wire, &[&with_length(name.len(), &name)]),
            other => panic!("{other}"),
        };
        (name, client)
    }
}

// SRV-04, SRV-05, SRV-07, SRV-08, SRV-11, SRV-12, SRV-13, SRV-15, SRV-16, SEC-11, DNS-03, DNS-04, DNS-10, DNS-11, CID-17
#[tokio::test]
async fn in_profile_current_end_as_the_rows_say() {
    end_as_the_rows_say(Wire::CURRENT).await;
}

// SRV-04, SRV-05, SRV-07, SRV-08, SRV-11, SRV-12, SRV-13, SRV-15, SRV-16, SEC-11, DNS-03, DNS-04, DNS-10, DNS-11, CID-17
#[tokio::test]
async fn in_profile_2022_end_as_the_rows_say() {
    end_as_the_rows_say(Wire::DRAFT).await;
}

// SRV-04, SRV-05, SRV-07, SRV-08, SRV-11, SRV-12, SRV-13, SRV-15, SRV-16, SEC-11, DNS-03, DNS-04, DNS-10, DNS-11, CID-17
#[tokio::test]
async fn in_profile_2022_over_tls12_end_as_the_rows_say() {
    end_as_the_rows_say(Wire::DRAFT_TLS12).await;
}

async fn end_as_the_rows_say(wire: Wire) {
    let cases = [vectors::read().decision, vectors::more_decisions()].concat();
    assert_eq!(cases.len(), 41);
    let ground = Ground::new().await;
    let fleet = Authority::root("Fleet").unwrap();
    let mut scene = Scene { ground, fleet, zone: String::new(), unsigned: String::new(), faults: Vec::new() };
    let (mut rows, mut listed) = (Vec::new(), 0);
    for case in &cases {
        for credential in Credential::ALL {
            if not_live(case, wire, credential).is_some() {
                listed += 1;
                continue;
            }
            let (name, client) = scene.client(case, wire, credential, rows.len());
            rows.push((case, credential, name, client));
        }
    }
    let Scene { mut ground, zone, unsigned, faults, .. } = scene;
    ground.lab.world.add_text(ZONE, &format!("$TTL 300\n{zone}")).unwrap();
    ground.lab.world.add_text(UNSIGNED, &format!("$TTL 300\n{unsigned}")).unwrap();
    for (name, fault) in faults {
        ground.lab.world.add_fault(&name, fault).unwrap();
    }

    for (case, credential, name, client) in &rows {
        let expected = expected(case, wire, name);
        let about = format!("{}; {credential:?}", case.name);
        if case.ext == "unsolicited" {
            ground.check_without_dane(wire, client, &expected, &about).await;
        } else {
            ground.check(setting(case, wire), client, &expected, &about).await;
        }
    }
    assert_eq!(ground.finish() + listed, cases.len() * Credential::ALL.len());
}
