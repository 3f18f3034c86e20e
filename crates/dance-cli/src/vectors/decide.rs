//! Sections about decisions: records against credentials, alias chains, policies.

use std::time::Duration;

use dance_core::answer::{
    ChainEnd, DenialKind, Link, LinkState, LinkTimes, LookupFailure, MAX_ALIAS_LINKS, TlsaAnswer,
};
use dance_core::clientid::{ExtensionTypes, Profile};
use dance_core::matching::{Conclusion, Credential, MatchOptions, match_rrset};
use dance_core::message::{CertificateType, Negotiated, read_client_certificate};
use dance_core::policy::{AllowList, OnLookupFailure, Policy, WildcardEndEntity};
use dance_core::tlsa::{CertUsage, MatchingType, Selector, TlsaRdata};
use dance_core::verdict::{Decision, LimitExceeded, Presented, Settings, Step, Verdict};
use dance_core::{SubjectPublicKeyInfoDer, UnixTime};
use dance_resolver::path_builder;
use serde_json::{Value, json};

use super::codec::{certificate_message, client_name, extension_block};
use super::{Fault, Vectors, octets, text};

pub(super) fn matching(vectors: &Vectors, case: &Value) -> Result<Value, Fault> {
    let records = case.get("rrset").and_then(Value::as_array).ok_or(Fault::Missing("rrset"))?;
    let records: Vec<_> = records
        .iter()
        .map(|record| octets(record, "rdata_wire_hex").map(|rdata| TlsaRdata::from_wire(&rdata)))
        .collect::<Result<_, _>>()?;
    if text(case, "dnssec")? != "secure" {
        // Records that do not validate are no records (RFC 6698 section 4.1).
        return Ok(json!({ "expected": { "verdict": "no_usable" } }));
    }
    let presented = case.get("presented").ok_or(Fault::Missing("presented"))?;
    let credential = match text(presented, "type")? {
        "x509" => Credential::X509(vectors.certificates(&presented["chain"])?),
        "raw_public_key" => {
            Credential::RawPublicKey(SubjectPublicKeyInfoDer::from(vectors.file(text(presented, "spki")?)?))
        }
        other => return Err(Fault::Unknown { member: "presented type", value: other.to_owned() }),
    };
    let options = MatchOptions {
        pkix_roots: vectors.certificates(&case["pkix_roots"])?,
        digest_agility: case.get("digest_agility").and_then(Value::as_bool).ok_or(Fault::Missing("digest_agility"))?,
        user_mode: false,
    };
    let (name, now) = (client_name(case)?, vectors.now(case)?);
    let (verdict, index, depth) =
        match match_rrset(&records, &credential, &name, &options, now, path_builder()).conclusion {
            Conclusion::Matched(matched) => ("authenticated", Some(matched.index), Some(matched.depth)),
            Conclusion::NameMismatch { index, depth } => ("name_mismatch", Some(index), Some(depth)),
            Conclusion::NoMatch => ("no_match", None, None),
            Conclusion::NoUsable => ("no_usable", None, None),
        };
    Ok(json!({ "expected": { "verdict": verdict, "matched_index": index, "depth": depth } }))
}

pub(super) fn user(vectors: &Vectors, case: &Value) -> Result<Value, Fault> {
    let records = case.get("rrset").and_then(Value::as_array).ok_or(Fault::Missing("rrset"))?;
    let records: Vec<TlsaRdata> = records
        .iter()
        .map(|record| record.as_str().and_then(|record| record.parse().ok()).ok_or(Fault::Missing("rrset")))
        .collect::<Result<_, _>>()?;
    let credential = Credential::X509(vectors.certificates(&case["chain"])?);
    let user_mode = case.get("user_mode").and_then(Value::as_bool).ok_or(Fault::Missing("user_mode"))?;
    let options = MatchOptions { user_mode, ..MatchOptions::default() };
    let (name, now) = (client_name(case)?, vectors.now(case)?);
    Ok(match match_rrset(&records, &credential, &name, &options, now, path_builder()).conclusion {
        Conclusion::Matched(matched) => {
            let reference = if user_mode { name.without_user_label() } else { None };
            json!({ "expected": {
                "verdict": "authenticated",
                "identity": matched.user,
                "reference_name": reference.as_ref().unwrap_or(&name).as_str(),
            }})
        }
        Conclusion::NameMismatch { .. } => json!({ "expected": { "verdict": "name_mismatch" } }),
        Conclusion::NoMatch => json!({ "expected": { "verdict": "no_match" } }),
        Conclusion::NoUsable => json!({ "expected": { "verdict": "no_usable" } }),
    })
}

pub(super) fn dns(vectors: &Vectors, case: &Value) -> Result<Value, Fault> {
    let now = vectors.now(case)?;
    let steps = case.get("steps").and_then(Value::as_array).ok_or(Fault::Missing("steps"))?;
    let answer = follow(now, steps)?;
    let (state, valid_until, wildcard) = match &answer {
        TlsaAnswer::Secure(secure) => ("secure", Some(secure.valid_until), secure.wildcard),
        TlsaAnswer::Denied(denial) => match denial.kind {
            DenialKind::Nxdomain => ("secure nxdomain", None, None),
            DenialKind::Nodata => ("secure nodata", None, None),
        },
        TlsaAnswer::Insecure => ("insecure", None, None),
        TlsaAnswer::Bogus => ("bogus", None, None),
        TlsaAnswer::Indeterminate(LookupFailure::Timeout) => ("timeout", None, None),
        TlsaAnswer::Indeterminate(LookupFailure::NoTrust) => ("indeterminate", None, None),
        TlsaAnswer::Indeterminate(
            LookupFailure::AliasLimit
            | LookupFailure::Malformed
            | LookupFailure::Refused
            | LookupFailure::Servfail
            | LookupFailure::Suspended
            | LookupFailure::TooCostly
            | LookupFailure::Unreachable,
        ) => ("servfail", None, None),
    };
    // Cases that are not about time name no TTL.
    let timed = steps.iter().filter(|step| step.get("rr").is_some()).all(|step| step.get("ttl").is_some());
    let seconds = valid_until.filter(|_| timed).map(|until| until.as_secs() - now.as_secs());
    Ok(json!({ "expected": state, "cache_seconds": seconds, "wildcard": wildcard.filter(|synthesised| *synthesised) }))
}

/// The answer that the steps of a look-up amount to.
fn follow(now: UnixTime, steps: &[Value]) -> Result<TlsaAnswer, Fault> {
    let mut aliases = Vec::new();
    for step in steps {
        if let Some(rcode) = step.get("rcode") {
            let rcode = match rcode.as_str() {
                Some("SERVFAIL") => 2,
                Some("REFUSED") => 5,
                _ => return Err(Fault::Unknown { member: "rcode", value: rcode.to_string() }),
            };
            return TlsaAnswer::from_rcode(rcode).ok_or(Fault::Missing("rcode"));
        }
        // Truncated: the next step is what TCP gave.
        if step.get("tc").is_some() {
            continue;
        }
        let link = Link { state: link_state(step)?, times: link_times(now, step) };
        let end = match text(step, "rr")? {
            "CNAME" | "DNAME" if step.get("loop").is_some() => {
                // Round and round until the limit.
                aliases.resize(MAX_ALIAS_LINKS + 1, link);
                continue;
            }
            "CNAME" | "DNAME" => {
                aliases.push(link);
                continue;
            }
            "TLSA" => ChainEnd::Records { records: Vec::new(), wildcard: Some(step.get("wildcard").is_some()) },
            "NXDOMAIN" => ChainEnd::Denied(DenialKind::Nxdomain),
            "NODATA" => ChainEnd::Denied(DenialKind::Nodata),
            other => return Err(Fault::Unknown { member: "rr", value: other.to_owned() }),
        };
        return Ok(TlsaAnswer::from_chain(now, &aliases, link, end));
    }
    Ok(match aliases.last() {
        Some(last) => TlsaAnswer::from_chain(now, &aliases, *last, ChainEnd::Denied(DenialKind::Nodata)),
        None => TlsaAnswer::Indeterminate(LookupFailure::Timeout),
    })
}

fn link_state(step: &Value) -> Result<LinkState, Fault> {
    if let Some(bit) = step.get("ad").and_then(Value::as_u64) {
        let transport = text(step, "transport")?;
        let trusted = !(transport.contains("plain") && transport.contains("remote"));
        return Ok(LinkState::from_ad(bit == 1, trusted));
    }
    match text(step, "state")? {
        "secure" => Ok(LinkState::Secure),
        "insecure" => Ok(LinkState::Insecure),
        "bogus" => Ok(LinkState::Bogus),
        "indeterminate" => Ok(LinkState::Indeterminate),
        other => Err(Fault::Unknown { member: "state", value: other.to_owned() }),
    }
}

fn link_times(now: UnixTime, step: &Value) -> LinkTimes {
    let seconds = |member| step.get(member).and_then(Value::as_u64);
    let original = seconds("original_ttl").and_then(|ttl| ttl.try_into().ok());
    LinkTimes {
        ttl: seconds("ttl").and_then(|ttl| ttl.try_into().ok()).unwrap_or_default(),
        original_ttl: original,
        signature_expiry: seconds("rrsig_left")
            .map(|left| UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs() + left))),
    }
}

/// The client of the `decision` section: certificates of the set, and a name that they hold.
const CHAIN: [&str; 3] = ["certs/leaf.pem", "certs/inter.pem", "certs/root.pem"];
const HELD_NAME: &str = "device1.example.com";
const OTHER_NAME: &str = "device2.example.com";

pub(super) fn decision(vectors: &Vectors, case: &Value) -> Result<Value, Fault> {
    let outcome = case.get("match").and_then(Value::as_str);
    let name = if outcome == Some("name_mismatch") { OTHER_NAME } else { HELD_NAME };
    let settings = settings(case)?;
    let presented = presented(vectors, text(case, "ext")?, name)?;
    let now = vectors.now(case)?;
    let (decision, queries) = match settings.start(&presented) {
        Step::Done(decision) => (decision, 0),
        Step::NeedTlsa(need) => {
            let dns = text(case, "dns")?;
            if dns == "resource limit" {
                (need.limit_exceeded(LimitExceeded::Total), 0)
            } else {
                let answer = answer(vectors, now, dns, outcome)?;
                (need.answer(&answer, now, path_builder()), 1)
            }
        }
    };
    Ok(json!({ "expected": label(&decision), "tlsa_queries_sent": queries }))
}

fn label(decision: &Decision) -> String {
    match &decision.verdict {
        Verdict::Authenticated(_) => "AUTHENTICATED".to_owned(),
        Verdict::Unauthenticated(_) => "UNAUTHENTICATED".to_owned(),
        Verdict::NotDane(_) => "NOT-DANE".to_owned(),
        Verdict::Abort(reason) => format!("ABORT {}", reason.alert()),
    }
}

fn settings(case: &Value) -> Result<Settings, Fault> {
    let unknown = |member, value: &str| Err(Fault::Unknown { member, value: value.to_owned() });
    let policy = match text(case, "policy")? {
        "require" => Policy::Require,
        "optional" => Policy::Optional,
        other => return unknown("policy", other),
    };
    let on_lookup_failure = match case.get("on_lookup_failure").and_then(Value::as_str) {
        None | Some("abort") => OnLookupFailure::Abort,
        Some("unauthenticated") => OnLookupFailure::Unauthenticated,
        Some(other) => return unknown("on_lookup_failure", other),
    };
    let pattern = match case.get("allow").and_then(Value::as_str) {
        None | Some("yes") => "*.example.com",
        Some("no") => "*.example.net",
        Some(other) => return unknown("allow", other),
    };
    Ok(Settings {
        profile: Profile::Current,
        policy,
        on_lookup_failure,
        allow_list: AllowList::parse([pattern]).map_err(|_| Fault::Missing("allow"))?,
        service_label: None,
        derive_without_signal: false,
        wildcard_ee: WildcardEndEntity::Accept,
        matching: MatchOptions::default(),
    })
}

/// Reads what a client with that fault in its extension sends.
fn presented(vectors: &Vectors, ext: &str, name: &str) -> Result<Presented, Fault> {
    let with_length = |name: &str| [&[name.len() as u8], name.as_bytes()].concat();
    let data = match ext {
        "absent" => None,
        "zero-length" => Some(vec![0]),
        "undecodable" => Some(Vec::new()),
        "invalid name" => Some(with_length(&format!("{name}."))),
        "good" | "unsolicited" => Some(with_length(name)),
        other => return Err(Fault::Unknown { member: "ext", value: other.to_owned() }),
    };
    let block = data.map(|data| extension_block(&[&data])).unwrap_or_default();
    let chain = CHAIN.iter().map(|path| vectors.certificate(path)).collect::<Result<Vec<_>, _>>()?;
    let entries: Vec<(&[u8], &[u8])> = chain
        .iter()
        .enumerate()
        .map(|(index, certificate)| (certificate.as_ref(), if index == 0 { block.as_slice() } else { &[] }))
        .collect();
    let negotiated = Negotiated {
        extension_types: &ExtensionTypes::DEFAULT,
        profile: Profile::Current,
        signal_sent: ext != "unsolicited",
        certificate_type: CertificateType::X509,
        context: &[],
    };
    read_client_certificate(&certificate_message(&entries), &negotiated).map_err(|_| Fault::Missing("ext"))
}

/// The answer to the look-up, and with it what the records say about the client.
fn answer(vectors: &Vectors, now: UnixTime, dns: &str, outcome: Option<&str>) -> Result<TlsaAnswer, Fault> {
    let link = |state| Link { state, times: LinkTimes { ttl: 300, original_ttl: None, signature_expiry: None } };
    let chain = |state, end| Ok(TlsaAnswer::from_chain(now, &[], link(state), end));
    let failure = |failure| Ok(TlsaAnswer::Indeterminate(failure));
    match dns {
        "secure" => {
            let of_root = |usage, matching_type| -> Result<_, Fault> {
                let root = vectors.certificate("certs/root.pem")?;
                TlsaRdata::for_certificate(usage, Selector::CERT, matching_type, &root)
                    .map_err(|_| Fault::Certificate("certs/root.pem".to_owned()))
            };
            let record = match outcome {
                Some("authenticated" | "name_mismatch") => of_root(CertUsage::DANE_TA, MatchingType::SHA2_256)?,
                // The root is not the end entity.
                Some("no_match") => of_root(CertUsage::DANE_EE, MatchingType::SHA2_256)?,
                Some("no_usable") => of_root(CertUsage::PKIX_TA, MatchingType::SHA2_256)?,
                other => {
                    return Err(Fault::Unknown { member: "match", value: other.unwrap_or_default().to_owned() });
                }
            };
            chain(LinkState::Secure, ChainEnd::Records { records: vec![record], wildcard: Some(false) })
        }
        "secure nxdomain" => chain(LinkState::Secure, ChainEnd::Denied(DenialKind::Nxdomain)),
        "secure nodata" => chain(LinkState::Secure, ChainEnd::Denied(DenialKind::Nodata)),
        "insecure" => chain(LinkState::Insecure, ChainEnd::Denied(DenialKind::Nodata)),
        "bogus" => chain(LinkState::Bogus, ChainEnd::Denied(DenialKind::Nodata)),
        "indeterminate" => chain(LinkState::Indeterminate, ChainEnd::Denied(DenialKind::Nodata)),
        "servfail" => failure(LookupFailure::Servfail),
        "timeout" => failure(LookupFailure::Timeout),
        other => Err(Fault::Unknown { member: "dns", value: other.to_owned() }),
    }
}
