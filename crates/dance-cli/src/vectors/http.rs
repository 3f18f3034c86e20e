//! Section `http`: the header fields between terminator and application, and requests behind a load balancer.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dance_core::CertificateDer;
use dance_core::answer::{ChainEnd, Link, LinkState, LinkTimes, TlsaAnswer};
use dance_core::clientid::{ClientForm, Profile};
use dance_core::matching::{Credential, MatchOptions};
use dance_core::name::{ClientName, OwnerName};
use dance_core::policy::{AllowList, OnLookupFailure, Policy, WildcardEndEntity};
use dance_core::tlsa::{CertUsage, MatchingType, Selector, TlsaRdata};
use dance_core::verdict::{ClientId, Presented, Settings, Step, Verdict, VerifiedClient};
use dance_http::forwarded::{CLIENT_CERT, CLIENT_CERT_CHAIN};
use dance_http::identity::{HeaderRules, IDENTITY, PeerHeaders};
use dance_http::{Checker, ForwardedBy, Peer, Rules, StatusRules};
use dance_resolver::{Limits, Lookup, TlsaSource, Trace, Verifier, path_builder};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::{Fault, Vectors, text};

/// The client, which has the record that it needs, and somebody else's certificate.
const CLIENT: &str = "certs/ee-p256.pem";
const OTHER: &str = "certs/ee-ed25519.pem";
/// What the client of a native connection calls itself.
const NATIVE: &str = "Sensor7._DEVICE.example.com";
const FORGED: HeaderValue = HeaderValue::from_static("forged.example.net");
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A member that this runner does not know could be one that changes what is expected.
fn only(case: &Value, known: &[&str]) -> Result<(), Fault> {
    match case.as_object().into_iter().flatten().find(|(member, _)| !known.contains(&member.as_str())) {
        Some((member, _)) => Err(Fault::Unknown { member: "member", value: member.clone() }),
        None => Ok(()),
    }
}

pub(super) fn client_cert(vectors: &Vectors, case: &Value) -> Result<Value, Fault> {
    only(case, &["name", "cert", "client_cert_value"])?;
    let headers = forwarded(&[vectors.certificate(text(case, "cert")?)?])?;
    Ok(json!({ "client_cert_value": one_line(&headers, &CLIENT_CERT) }))
}

pub(super) fn client_cert_chain(vectors: &Vectors, case: &Value) -> Result<Value, Fault> {
    only(case, &["chain", "value"])?;
    let mut certificates = vec![vectors.certificate(CLIENT)?];
    certificates.extend(vectors.certificates(&case["chain"])?);
    let headers = forwarded(&certificates)?;
    Ok(json!({ "value": one_line(&headers, &CLIENT_CERT_CHAIN) }))
}

/// What the terminator tells of a client that has shown these certificates. The application must read the same out of it.
fn forwarded(certificates: &[CertificateDer<'static>]) -> Result<HeaderMap, Fault> {
    let peer = PeerHeaders::with_certificates(LOOPBACK, certificates);
    let mut headers = HeaderMap::new();
    rules().rewrite_request(&mut headers, &peer.map_err(|_| Fault::Missing("certificate that fits into a header"))?);
    match ForwardedBy::rfc9440().read(&headers) {
        Ok(Some(read)) if read == certificates => Ok(headers),
        _ => Err(Fault::Missing("certificate that is read as it was forwarded")),
    }
}

pub(super) fn native_header(vectors: &Vectors, case: &Value) -> Result<Value, Fault> {
    only(case, &["name", "value"])?;
    let mut headers = HeaderMap::new();
    rules().rewrite_request(&mut headers, &native_client(vectors)?);
    // The case of a field's name means nothing.
    let name = text(case, "name")?;
    let name = if headers.contains_key(name) { name.to_owned() } else { IDENTITY.to_string() };
    Ok(json!({ "name": name, "value": one_line(&headers, &IDENTITY) }))
}

/// A case is the name of a field, and comes out as it is where the field does not.
pub(super) fn strip_inbound(_: &Vectors, case: &Value) -> Result<Value, Fault> {
    let field = case.as_str().and_then(|name| name.parse::<HeaderName>().ok()).ok_or(Fault::Missing("field name"))?;
    let mut headers = HeaderMap::from_iter([(field, FORGED)]);
    rules().strip(&mut headers);
    Ok(if headers.is_empty() { case.clone() } else { Value::Null })
}

pub(super) fn connection_nomination(vectors: &Vectors, case: &Value) -> Result<Value, Fault> {
    only(case, &["inbound", "expected"])?;
    let invalid = Fault::Missing("inbound, a line of Connection that names our field");
    let Some(("Connection", value)) = text(case, "inbound")?.split_once(": ") else { return Err(invalid) };
    if !value.split(", ").any(|field| field.eq_ignore_ascii_case(IDENTITY.as_str())) {
        return Err(invalid);
    }
    let value = HeaderValue::from_str(value).map_err(|_| invalid)?;
    let mut headers = HeaderMap::from_iter([(CONNECTION, value), (IDENTITY, FORGED)]);
    let client = native_client(vectors)?;
    rules().rewrite_request(&mut headers, &client);
    let mut told = HeaderMap::new();
    rules().rewrite_request(&mut told, &client);
    Ok(json!({ "expected": if headers == told {
        "the nominated field is dropped before our own is added; ours must reach the origin"
    } else {
        "our own field does not reach the origin as if nothing were nominated"
    }}))
}

fn rules() -> HeaderRules {
    HeaderRules::new(IDENTITY)
}

/// The value of a field; none if it is not there exactly once.
fn one_line<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// What the terminator tells of a client that it has authenticated.
fn native_client(vectors: &Vectors) -> Result<PeerHeaders, Fault> {
    let failed = || Fault::Missing("client that is authenticated");
    let name = ClientName::parse(NATIVE.as_bytes()).map_err(|_| failed())?;
    let presented = Presented {
        credential: Some(Credential::X509(vec![vectors.certificate(CLIENT)?])),
        client_id: ClientId::Form(ClientForm::Name(name)),
    };
    let settings = settings("**.example.com")?;
    let Step::NeedTlsa(need) = settings.start(&presented) else { return Err(failed()) };
    let now = vectors.now(&Value::Null)?;
    let client: VerifiedClient = match need.answer(&secure(vectors)?, now, path_builder()).verdict {
        Verdict::Authenticated(client) => client,
        Verdict::Unauthenticated(_) | Verdict::NotDane(_) | Verdict::Abort(_) => return Err(failed()),
    };
    PeerHeaders::new(LOOPBACK, Some(&client)).map_err(|_| failed())
}

fn settings(allowed: &str) -> Result<Settings, Fault> {
    Ok(Settings {
        profile: Profile::Current,
        policy: Policy::Require,
        on_lookup_failure: OnLookupFailure::Abort,
        allow_list: AllowList::parse([allowed]).map_err(|_| Fault::Missing("allow-list"))?,
        service_label: None,
        derive_without_signal: false,
        wildcard_ee: WildcardEndEntity::Accept,
        matching: MatchOptions::default(),
    })
}

/// The client's record, `3 1 1`.
fn secure(vectors: &Vectors) -> Result<TlsaAnswer, Fault> {
    let certificate = vectors.certificate(CLIENT)?;
    let usage = CertUsage::DANE_EE;
    let record = TlsaRdata::for_certificate(usage, Selector::SPKI, MatchingType::SHA2_256, &certificate)
        .map_err(|_| Fault::Certificate(CLIENT.to_owned()))?;
    let times = LinkTimes { ttl: 300, original_ttl: None, signature_expiry: None };
    let end = ChainEnd::Records { records: vec![record], wildcard: Some(false) };
    let link = Link { state: LinkState::Secure, times };
    Ok(TlsaAnswer::from_chain(vectors.now(&Value::Null)?, &[], link, end))
}

/// DNS that has one answer, and counts how often it is asked for it.
struct Dns {
    answer: TlsaAnswer,
    queries: AtomicU64,
}

impl TlsaSource for Dns {
    async fn lookup(&self, _: &OwnerName) -> Lookup {
        self.queries.fetch_add(1, Ordering::Relaxed);
        Lookup { answer: self.answer.clone(), trace: Trace::default() }
    }
}

/// A request as the balancer sends it on, through the check of middleware and auth service.
pub(super) fn cooperative(vectors: &Vectors, case: &Value) -> Result<Value, Fault> {
    only(case, &["name", "client_cert", "content_type", "body", "client_name", "status", "tlsa_queries_sent"])?;
    // What the client's key and DNS are is not a member of its own but in the case's name.
    let name = text(case, "name")?;
    let answer = if name == "DNS answer insecure" { TlsaAnswer::Insecure } else { secure(vectors)? };
    let certificate = vectors.certificate(if name == "TLSA does not match" { OTHER } else { CLIENT })?;
    let lines = match case.get("client_cert") {
        None => 1,
        Some(Value::Null) => 0,
        Some(Value::String(lines)) if lines == "two lines" => 2,
        Some(other) => return Err(Fault::Unknown { member: "client_cert", value: other.to_string() }),
    };
    let mut headers = HeaderMap::new();
    let kind = HeaderValue::from_str(text(case, "content_type")?).map_err(|_| Fault::Missing("content_type"))?;
    headers.insert(CONTENT_TYPE, kind);
    let forwarded = forwarded(&[certificate])?;
    for value in std::iter::repeat_n(forwarded.get(CLIENT_CERT), lines).flatten() {
        headers.append(CLIENT_CERT, value.clone());
    }
    let dns = Arc::new(Dns { answer, queries: AtomicU64::new(0) });
    let refused = check(&dns, &headers, text(case, "body")?.as_bytes())?;
    let mut found = match refused {
        Ok(client) => json!({ "client_name": client }),
        Err(status) => json!({ "status": status }),
    };
    // Told of some cases only.
    if case.get("tlsa_queries_sent").is_some() {
        found["tlsa_queries_sent"] = dns.queries.load(Ordering::Relaxed).into();
    }
    Ok(found)
}

/// The client's name, or the status of the refusal.
fn check(dns: &Arc<Dns>, headers: &HeaderMap, body: &[u8]) -> Result<Result<String, u16>, Fault> {
    let verifier = Verifier::new(Arc::new(settings("*.example.com")?), Arc::clone(dns), Limits::default());
    let verifier = verifier.map_err(|_| Fault::Missing("limits"))?;
    let checker = Checker::new(Rules::new(ForwardedBy::rfc9440()), Arc::new(verifier));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(Fault::Runtime)?;
    let outcome = match checker.begin(headers, Some(Peer::Address(LOOPBACK))) {
        Ok(begun) => runtime.block_on(checker.finish(begun, Some(body))).outcome,
        Err(refusal) => Err(refusal),
    };
    Ok(match outcome {
        Ok(client) => Ok(client.identity().to_owned()),
        Err(refusal) => Err(refusal.status(StatusRules::default()).as_u16()),
    })
}
