//! What a verdict costs, in time and in allocations. Certificates come from the conformance vectors, as octets.
#![allow(missing_docs, clippy::unwrap_used, reason = "benchmarks")]

use std::time::Duration;

use dance_core::clientid::{ClientForm, ExtensionTypes, Profile, decode_client};
use dance_core::matching::{Credential, MatchOptions, match_rrset};
use dance_core::message::{CertificateType, Negotiated, read_client_certificate};
use dance_core::name::ClientName;
use dance_core::pkix::WebPki;
use dance_core::policy::{AllowList, OnLookupFailure, Policy, WildcardEndEntity};
use dance_core::tlsa::{CertUsage, MatchingType, Selector, TlsaRdata};
use dance_core::verdict::{ClientId, Presented, Settings, Step};
use dance_core::{CertificateDer, UnixTime};
use divan::{AllocProfiler, Bencher, black_box};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

static PATHS: WebPki = WebPki::new(webpki::ALL_VERIFICATION_ALGS);

const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_795_305_600));

const EE: &[u8] = include_bytes!("../../../spec/vectors/certs/ee-p256.der");
const LEAF: &[u8] = include_bytes!("../../../spec/vectors/certs/leaf.der");
const INTERMEDIATE: &[u8] = include_bytes!("../../../spec/vectors/certs/inter.der");
const ROOT: &[u8] = include_bytes!("../../../spec/vectors/certs/root.der");
const MESSAGE: &[u8] = include_bytes!("../../../spec/vectors/messages/cert-chain.bin");

fn main() {
    divan::main();
}

fn name(text: &str) -> ClientName {
    ClientName::parse(text.as_bytes()).unwrap()
}

fn record(usage: u8, selector: u8, certificate: &[u8]) -> TlsaRdata {
    TlsaRdata::for_certificate(CertUsage(usage), Selector(selector), MatchingType::SHA2_256, certificate).unwrap()
}

fn bench_match(bencher: Bencher<'_, '_>, chain: &[&'static [u8]], records: &[TlsaRdata]) {
    let credential = Credential::X509(chain.iter().map(|octets| CertificateDer::from(*octets)).collect());
    let (name, options) = (name("device1.example.com"), MatchOptions::default());
    bencher.bench_local(|| match_rrset(black_box(records), black_box(&credential), &name, &options, NOW, &PATHS));
}

/// `3 1 1` against a P-256 certificate, from its octets.
#[divan::bench]
fn match_3_1_1(bencher: Bencher<'_, '_>) {
    bench_match(bencher, &[EE], &[record(3, 1, EE)]);
}

/// The record of the next key stands before that of the current one.
#[divan::bench]
fn match_3_1_1_during_rollover(bencher: Bencher<'_, '_>) {
    bench_match(bencher, &[EE], &[record(3, 1, LEAF), record(3, 1, EE)]);
}

/// `2 0 1` of a root two levels above the end entity: two signatures, each verified once.
#[divan::bench]
fn match_2_0_1(bencher: Bencher<'_, '_>) {
    bench_match(bencher, &[LEAF, INTERMEDIATE, ROOT], &[record(2, 0, ROOT)]);
}

/// A certificate read as far as its key.
#[divan::bench]
fn certificate_to_key(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| {
        dance_core::x509::Certificate::parse(black_box(EE)).map(|certificate| certificate.spki().len())
    });
}

/// A whole Certificate message with three entries and a name.
#[divan::bench]
fn certificate_message(bencher: Bencher<'_, '_>) {
    let negotiated = Negotiated {
        extension_types: &ExtensionTypes::DEFAULT,
        profile: Profile::Current,
        signal_sent: true,
        certificate_type: CertificateType::X509,
        context: &[],
    };
    bencher.bench_local(|| read_client_certificate(black_box(MESSAGE), &negotiated));
}

/// The extension alone. The one allocation is the name.
#[divan::bench]
fn decode_extension(bencher: Bencher<'_, '_>) {
    let data = ClientForm::Name(name("sensor7._device.example.com")).encode(Profile::Current).unwrap();
    bencher.bench_local(|| decode_client(Profile::Current, black_box(&data)));
}

/// A client that the allow-list does not have: nothing is allocated beyond the name that the extension held.
#[divan::bench]
fn refuse_a_name(bencher: Bencher<'_, '_>) {
    let settings = Settings {
        profile: Profile::Current,
        policy: Policy::Require,
        on_lookup_failure: OnLookupFailure::Abort,
        allow_list: AllowList::parse(["**.example.com", "*.example.org"]).unwrap(),
        service_label: None,
        derive_without_signal: false,
        wildcard_ee: WildcardEndEntity::Accept,
        matching: MatchOptions::default(),
    };
    let presented = Presented {
        credential: Some(Credential::X509(vec![CertificateDer::from(EE)])),
        client_id: ClientId::Form(ClientForm::Name(name("sensor7._device.example.net"))),
    };
    bencher.bench_local(|| matches!(settings.start(black_box(&presented)), Step::Done(_)));
}
