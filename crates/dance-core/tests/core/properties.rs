//! Promises that hold for all inputs, tried on random ones: octets, texts that are nearly right, and real inputs damaged.
//!
//! The bodies are those of the fuzz targets.

use dance_core::answer::{SecureTlsa, TlsaAnswer};
use dance_core::clientid::{ClientForm, Profile, decode_client};
use dance_core::fuzzing;
use dance_core::matching::Credential;
use dance_core::name::ClientName;
use dance_core::policy::{AllowList, Pattern, Policy};
use dance_core::ticket::Ticket;
use dance_core::tlsa::{CertUsage, MatchingType, TlsaRdata};
use dance_core::verdict::{ClientId, Presented, Verdict};
use dance_core::x509::Certificate;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::authority::{Authority, NAME, record};
use crate::decision::{decide, later, named, presented, secure, settings};

/// A name by construction, of one length for the text and another on the wire.
fn names() -> impl Strategy<Value = String> {
    let label = "[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,20}[a-zA-Z0-9_])?";
    (vec(label, 1..6), "[a-zA-Z][a-zA-Z0-9]{0,10}").prop_map(|(labels, top)| format!("{}.{top}", labels.join(".")))
}

/// Texts out of the characters that matter to a parser.
fn nearly(alphabet: &'static str) -> impl Strategy<Value = String> {
    let characters: Vec<char> = alphabet.chars().collect();
    vec(proptest::sample::select(characters), 0..80).prop_map(|characters| characters.into_iter().collect())
}

/// `original` with some octets changed, a piece cut out, or octets put in.
fn damaged(original: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let len = original.len();
    let change = (vec((0..len, any::<u8>()), 0..4), 0..len, 0..3usize, vec(any::<u8>(), 0..3));
    change.prop_map(move |(changes, at, cut, insert)| {
        let mut octets = original.clone();
        for (index, octet) in changes {
            octets[index] = octet;
        }
        octets.splice(at..(at + cut).min(len), insert);
        octets
    })
}

fn certificate_message_tls12() -> Vec<u8> {
    let root = Authority::root("Root");
    let length = |len: usize| (len as u32).to_be_bytes()[1..].to_vec();
    let list: Vec<u8> =
        [root.leaf(), root.der].iter().flat_map(|it| [length(it.len()), it.to_vec()].concat()).collect();
    [vec![11], length(list.len() + 3), length(list.len()), list].concat()
}

fn certificate_message() -> Vec<u8> {
    let root = Authority::root("Root");
    let name = [&[NAME.len() as u8], NAME.as_bytes()].concat();
    let extension = [&[0xff, 0xdc, 0, name.len() as u8], name.as_slice()].concat();
    let mut list = Vec::new();
    for (certificate, extensions) in [(root.leaf(), extension.as_slice()), (root.der, &[])] {
        list.extend(&(certificate.len() as u32).to_be_bytes()[1..]);
        list.extend_from_slice(&certificate);
        list.extend((extensions.len() as u16).to_be_bytes());
        list.extend_from_slice(extensions);
    }
    let length = |len: usize| (len as u32).to_be_bytes()[1..].to_vec();
    [vec![11], length(list.len() + 4), vec![0], length(list.len()), list].concat()
}

/// The ticket of a client by usage 2, which has everything that a ticket may have but a user.
fn ticket() -> Vec<u8> {
    let root = Authority::root("Root");
    let client = presented(&[&root.leaf(), &root.der], named(NAME));
    let decision = decide(&settings(Policy::Require), &client, &secure(vec![record(2, 0, 1, &root.der)]));
    let Verdict::Authenticated(client) = decision.verdict else { panic!("{decision:?}") };
    client.to_ticket()
}

proptest! {
    // NAM-05, NAM-12
    #[test]
    fn names_of_the_syntax_parse_and_agree_with_their_wire_form(text in names()) {
        prop_assert_eq!(ClientName::parse(text.as_bytes()).is_ok(), text.len() <= 253);
        fuzzing::name(text.as_bytes());
    }

    // NAM-12
    #[test]
    fn no_octets_upset_the_name_parser(octets in vec(any::<u8>(), 0..300), text in nearly("aA0-_.x")) {
        fuzzing::name(&octets);
        fuzzing::name(text.as_bytes());
    }

    // CID-04
    #[test]
    fn a_name_survives_the_extension(text in names()) {
        prop_assume!(text.len() <= 253);
        let form = ClientForm::Name(ClientName::parse(text.as_bytes()).unwrap());
        for profile in [Profile::Current, Profile::Draft2022] {
            let data = form.encode(profile).unwrap();
            fuzzing::extension(&data);
            prop_assert_eq!(decode_client(profile, &data), Ok(form.clone()));
        }
    }

    // CID-08
    #[test]
    fn no_octets_upset_the_extension_decoder(octets in vec(any::<u8>(), 0..300)) {
        fuzzing::extension(&octets);
    }

    // SEC-14
    #[test]
    fn no_octets_upset_the_message_parsers(octets in vec(any::<u8>(), 0..200)) {
        for kind in [11, 13] {
            let length = (octets.len() as u32).to_be_bytes();
            let message = [&[kind], &length[1..], &octets].concat();
            fuzzing::certificate_message(&message);
            fuzzing::certificate_request(&message);
        }
        fuzzing::certificate_message(&octets);
        fuzzing::certificate_request(&octets);
    }

    // SEC-14
    #[test]
    fn a_damaged_message_decodes_to_itself_or_not_at_all(message in damaged(certificate_message())) {
        fuzzing::certificate_message(&message);
    }

    // SEC-14
    #[test]
    fn a_damaged_message_of_tls_12_decodes_to_itself_or_not_at_all(message in damaged(certificate_message_tls12())) {
        fuzzing::certificate_message(&message);
    }

    // SRV-17
    #[test]
    fn a_ticket_is_the_client_that_it_was_made_of(
        name in names(),
        key in any::<u8>(),
        ttl in 2..10_000u64,
        wildcard in any::<Option<bool>>(),
        before in 0..64usize,
        matching_type in 1..3u8,
    ) {
        prop_assume!(name.len() <= 253);
        let spki = [&b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00"[..], &[key; 32]].concat();
        let record = TlsaRdata::for_spki(CertUsage::DANE_EE, MatchingType(matching_type), &spki).unwrap();
        let name = ClientName::parse(name.as_bytes()).unwrap();
        let mut settings = settings(Policy::Require);
        settings.allow_list = AllowList::parse([name.as_str()]).unwrap();
        let presented = Presented {
            credential: Some(Credential::RawPublicKey(spki.into())),
            client_id: ClientId::Form(ClientForm::Name(name)),
        };
        let mut records = vec![TlsaRdata::from_wire(b"rubbish"); before];
        records.push(record);
        let secure = SecureTlsa { records, valid_until: later(ttl), ttl: 1, wildcard };
        let answer = TlsaAnswer::Secure(secure.into());
        let Verdict::Authenticated(client) = decide(&settings, &presented, &answer).verdict else { panic!() };
        let octets = client.to_ticket();
        fuzzing::ticket(&octets);
        let ticket = Ticket::decode(&octets).unwrap();
        prop_assert_eq!(settings.resume(&ticket, &answer, later(ttl - 1)), Ok(client));
    }

    // SRV-17
    #[test]
    fn no_octets_upset_the_ticket_decoder(octets in vec(any::<u8>(), 0..200), ticket in damaged(ticket())) {
        fuzzing::ticket(&octets);
        fuzzing::ticket(&[&[1], octets.as_slice()].concat());
        fuzzing::ticket(&ticket);
    }

    // TLSA-20
    #[test]
    fn every_rdata_has_a_text_that_gives_it_back(octets in vec(any::<u8>(), 0..100)) {
        fuzzing::rfc3597(&octets);
        prop_assert_eq!(TlsaRdata::from_wire(&octets).to_string().parse(), Ok(TlsaRdata::from_wire(&octets)));
    }

    // TLSA-20
    #[test]
    fn no_text_upsets_the_record_parsers(text in nearly("0123 9afAF\\#\tTYPE52x"), any in any::<String>()) {
        for text in [text, any] {
            fuzzing::tlsa_presentation(text.as_bytes());
            fuzzing::tlsa_presentation(format!("3 1 1 {text}").as_bytes());
            fuzzing::rfc3597(format!("\\# {} {text}", text.len() / 2).as_bytes());
        }
    }

    // TLSA-23, SEC-14
    #[test]
    fn a_damaged_certificate_gives_slices_of_itself_or_nothing(octets in damaged(Authority::root("Root").leaf().to_vec())) {
        fuzzing::x509(&octets);
        fuzzing::x509(&octets[..octets.len() / 2]);
        if let Ok(certificate) = Certificate::parse(&octets) {
            fuzzing::x509(certificate.spki());
        }
    }

    // HTTP-18
    #[test]
    fn patterns_are_written_as_they_were_read(pattern in nearly("aB.*-_"), name in names(), stars in "(\\*\\*?\\.)?") {
        fuzzing::allow_list(pattern.as_bytes());
        fuzzing::allow_list(format!("{stars}{name} a.b.{name}").as_bytes());
        fuzzing::allow_list(format!("{stars}{name} a{name}").as_bytes());
        fuzzing::allow_list(format!("{stars}{name} a.{name}").as_bytes());
    }

    // HTTP-18
    #[test]
    fn wildcards_admit_by_the_number_of_labels(name in names(), below in vec("[a-z]{1,5}", 0..4)) {
        let long = below.iter().fold(name.clone(), |name, label| format!("{label}.{name}"));
        prop_assume!(long.len() <= 253);
        let long = ClientName::parse(long.as_bytes()).unwrap();
        let admits = |stars: &str| Pattern::parse(&format!("{stars}{name}")).unwrap().admits(&long);
        prop_assert_eq!(admits(""), below.is_empty());
        prop_assert_eq!(admits("*."), below.len() == 1);
        prop_assert_eq!(admits("**."), !below.is_empty());
    }

    // SRV-14, TLSA-22, SEC-14
    #[test]
    fn outcomes_and_conclusion_agree_whatever_is_asked(
        flags in 0..16u8,
        year in 110..115u8,
        order in vec(0..6usize, 1..19),
        records in vec((any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>()), 0..70),
    ) {
        let certificates = chain();
        let mut octets = vec![flags, year, order.len() as u8];
        for index in &order {
            octets.extend((certificates[*index].len() as u16).to_be_bytes());
            octets.extend_from_slice(&certificates[*index]);
        }
        octets.push(records.len() as u8);
        for (usage, selector, matching_type, source) in records {
            octets.extend([usage, selector, matching_type, source, 0, 0]);
        }
        fuzzing::match_records(&octets);
    }

    // SEC-14
    #[test]
    fn no_octets_upset_the_engine(octets in vec(any::<u8>(), 0..300)) {
        fuzzing::match_records(&octets);
    }
}

/// End entity, three levels above it, a stranger and rubbish; made once.
fn chain() -> &'static [Vec<u8>] {
    static CHAIN: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
    CHAIN.get_or_init(|| {
        let root = Authority::root("Root");
        let sub = root.sub("Intermediate");
        let lower = sub.sub("Lower");
        let stranger = Authority::root("Root");
        let octets = [lower.leaf(), lower.der, sub.der, root.der, stranger.der].map(|it| it.to_vec());
        octets.into_iter().chain([b"rubbish".to_vec()]).collect()
    })
}
