//! Certificate and CertificateRequest messages.

use dance_core::clientid::{ClientForm, ClientProfile, ExtensionError, ExtensionType, ExtensionTypes, Place, Profile};
use dance_core::matching::Credential;
use dance_core::message::{
    CertificateMessage, CertificateRequestMessage, CertificateType, Extensions, MAX_CERTIFICATES, MAX_MESSAGE_LEN,
    MessageError, Negotiated, read_client_certificate, read_client_certificate_tls12,
};
use dance_core::reason::Alert;
use dance_core::verdict::ClientId;

use crate::authority::name;

const NAME: &[u8] = b"\x03a.b";

fn vector(len: usize, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    [&length[length.len() - len..], content].concat()
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector(2, data)].concat()
}

fn ours(data: &[u8]) -> Vec<u8> {
    extension(0xffdc, data)
}

fn entry(certificate: &[u8], extensions: &[u8]) -> Vec<u8> {
    [vector(3, certificate), vector(2, extensions)].concat()
}

pub(crate) fn certificate(context: &[u8], entries: &[Vec<u8>]) -> Vec<u8> {
    [vec![11], vector(3, &[vector(1, context), vector(3, &entries.concat())].concat())].concat()
}

fn request(extensions: &[u8]) -> Vec<u8> {
    [vec![13], vector(3, &[vector(1, b""), vector(2, extensions)].concat())].concat()
}

const NEGOTIATED: Negotiated<'static> = Negotiated {
    extension_types: &ExtensionTypes::DEFAULT,
    profile: Profile::Current,
    signal_sent: true,
    certificate_type: CertificateType::X509,
    context: b"",
};

fn client_id(message: &[u8], negotiated: &Negotiated<'_>) -> ClientId {
    read_client_certificate(message, negotiated).unwrap().client_id
}

// CID-04
#[test]
fn certificates_and_name_come_out_as_received() {
    let other = extension(5, b"status");
    let block = [other.clone(), ours(NAME)].concat();
    let message = certificate(b"", &[entry(b"leaf", &block), entry(b"issuer", &other)]);
    let presented = read_client_certificate(&message, &NEGOTIATED).unwrap();
    let chain = [&b"leaf"[..], b"issuer"].map(|octets| octets.to_vec().into());
    assert_eq!(presented.credential, Some(Credential::X509(chain.to_vec())));
    assert_eq!(presented.client_id, ClientId::Form(ClientForm::Name(name("a.b"))));
}

// CID-04, SRV-04
#[test]
fn an_empty_list_has_neither_certificate_nor_extension() {
    for certificate_type in [CertificateType::X509, CertificateType::RawPublicKey] {
        let negotiated = Negotiated { certificate_type, ..NEGOTIATED };
        let presented = read_client_certificate(&certificate(b"", &[]), &negotiated).unwrap();
        assert_eq!((presented.credential, presented.client_id), (None, ClientId::Absent));
    }
}

// CID-09
#[test]
fn a_duplicate_is_found() {
    let twice = [ours(NAME), extension(5, b""), ours(NAME)].concat();
    let message = certificate(b"", &[entry(b"leaf", &twice)]);
    assert_eq!(client_id(&message, &NEGOTIATED), ClientId::Invalid(ExtensionError::Duplicate));
    assert_eq!(ExtensionError::Duplicate.reason().alert(), Alert::IllegalParameter);
    let request = request(&[ours(b"\0"), ours(b"\0")].concat());
    let request = CertificateRequestMessage::parse(&request).unwrap();
    assert_eq!(request.signal(&ExtensionTypes::DEFAULT, ClientProfile::default()), Err(ExtensionError::Duplicate));
}

// CID-14
#[test]
fn later_entries_may_not_have_the_extension() {
    let misplaced = ClientId::Invalid(ExtensionError::Misplaced(Place::ClientCertificateLater));
    let plain = entry(b"leaf", b"");
    let with = entry(b"leaf", &ours(NAME));
    assert_eq!(client_id(&certificate(b"", &[plain.clone(), with.clone()]), &NEGOTIATED), misplaced);
    assert_eq!(client_id(&certificate(b"", &[with.clone(), with.clone()]), &NEGOTIATED), misplaced);
    assert_eq!(client_id(&certificate(b"", &[plain.clone(), plain.clone(), with]), &NEGOTIATED), misplaced);
    assert_eq!(client_id(&certificate(b"", &[plain]), &NEGOTIATED), ClientId::Absent);
}

// CID-10
#[test]
fn the_extension_answers_a_signal_or_is_refused() {
    let message = certificate(b"", &[entry(b"leaf", &ours(NAME))]);
    let unasked = Negotiated { signal_sent: false, ..NEGOTIATED };
    let ClientId::Invalid(error) = client_id(&message, &unasked) else { panic!() };
    assert_eq!(error, ExtensionError::Unsolicited(Place::ClientCertificate));
    assert_eq!(error.reason().alert(), Alert::UnsupportedExtension);
    assert!(matches!(client_id(&message, &NEGOTIATED), ClientId::Form(_)));
}

// CID-01
#[test]
fn only_the_configured_code_point_is_ours() {
    let message = certificate(b"", &[entry(b"leaf", &ours(NAME))]);
    let other = ExtensionTypes::from(ExtensionType::new(0xffdd).unwrap());
    let other = Negotiated { extension_types: &other, ..NEGOTIATED };
    assert_eq!(client_id(&message, &other), ClientId::Absent);
}

fn types(values: &[u16]) -> ExtensionTypes {
    ExtensionTypes::new(values.iter().map(|value| ExtensionType::new(*value).unwrap()).collect::<Vec<_>>()).unwrap()
}

// CID-01, CID-09
#[test]
fn a_server_of_several_code_points_takes_one_of_them_from_a_client() {
    let set = types(&[0xff5a, 0xffdc]);
    let both = Negotiated { extension_types: &set, ..NEGOTIATED };
    let new = extension(0xff5a, NAME);
    let single = |block: &[u8]| certificate(b"", &[entry(b"leaf", block)]);
    let found = ClientId::Form(ClientForm::Name(name("a.b")));
    assert_eq!(client_id(&single(&new), &both), found);
    assert_eq!(client_id(&single(&ours(NAME)), &both), found);
    assert_eq!(client_id(&single(&extension(0xff5b, NAME)), &both), ClientId::Absent);

    let duplicate = ClientId::Invalid(ExtensionError::Duplicate);
    let (one_each, twice) = ([new.clone(), ours(NAME)].concat(), [new.clone(), new.clone()].concat());
    assert_eq!(client_id(&single(&one_each), &both), duplicate);
    assert_eq!(client_id(&single(&twice), &both), duplicate);
    // The other number is nobody's where it is not taken.
    assert_eq!(client_id(&single(&one_each), &NEGOTIATED), found);
    // One on each of two entries.
    let spread = certificate(b"", &[entry(b"leaf", &ours(NAME)), entry(b"issuer", &new)]);
    let ClientId::Invalid(error) = client_id(&spread, &both) else { panic!() };
    assert_eq!(error.reason().alert(), Alert::IllegalParameter);
    assert_eq!(client_id(&spread, &NEGOTIATED), found);
    assert_eq!(ExtensionError::Duplicate.reason().alert(), Alert::IllegalParameter);
    let unasked = Negotiated { signal_sent: false, ..both };
    let ClientId::Invalid(error) = client_id(&single(&new), &unasked) else { panic!() };
    assert_eq!(error.reason().alert(), Alert::UnsupportedExtension);
}

// CID-01, CID-02
#[test]
fn a_client_answers_to_the_code_point_that_it_prefers_of_those_signalled() {
    let message = request(&[extension(0xffdc, b"\0"), extension(0xff5a, b"\0"), extension(0xff5b, b"")].concat());
    let request = CertificateRequestMessage::parse(&message).unwrap();
    let answered = |values: &[u16], profile: ClientProfile| {
        request.signal(&types(values), profile).map(|found| found.map(|(kind, profile)| (kind.get(), profile)))
    };
    let current = ClientProfile::from(Profile::Current);
    for profile in [current, ClientProfile::Auto] {
        assert_eq!(answered(&[0xffdc], profile), Ok(Some((0xffdc, Profile::Current))));
        assert_eq!(answered(&[0xff5a, 0xffdc], profile), Ok(Some((0xff5a, Profile::Current))));
        assert_eq!(answered(&[0xff77, 0xffdc], profile), Ok(Some((0xffdc, Profile::Current))));
        assert_eq!(answered(&[0xff77], profile), Ok(None));
    }
    assert_eq!(answered(&[0xff5b], ClientProfile::Auto), Ok(Some((0xff5b, Profile::Draft2022))));
    assert_eq!(answered(&[0xff5b, 0xffdc], current), Err(ExtensionError::NoLength));
}

fn certificate_tls12(content: &[u8]) -> Vec<u8> {
    [vec![11], vector(3, &vector(3, content))].concat()
}

// CID-04, SRV-04, RPK-01
#[test]
fn a_certificate_of_tls_12_is_a_list_or_a_key() {
    let said = || ClientId::Form(ClientForm::Name(name("a.b")));
    let list = certificate_tls12(&[vector(3, b"leaf"), vector(3, b"issuer")].concat());
    let presented = read_client_certificate_tls12(&list, CertificateType::X509, said()).unwrap();
    let chain = [&b"leaf"[..], b"issuer"].map(|octets| octets.to_vec().into());
    assert_eq!(presented.credential, Some(Credential::X509(chain.to_vec())));
    assert_eq!(presented.client_id, said());

    let key = certificate_tls12(b"key");
    let presented = read_client_certificate_tls12(&key, CertificateType::RawPublicKey, said()).unwrap();
    assert_eq!(presented.credential, Some(Credential::RawPublicKey(b"key".to_vec().into())));

    for certificate_type in [CertificateType::X509, CertificateType::RawPublicKey] {
        let presented = read_client_certificate_tls12(&certificate_tls12(b""), certificate_type, said()).unwrap();
        assert_eq!((presented.credential, presented.client_id), (None, said()));
    }
}

// SEC-14
#[test]
fn a_certificate_of_tls_12_has_the_limits_of_one_of_tls_13() {
    use CertificateType::{RawPublicKey, X509};
    let read = |message: &[u8], kind| read_client_certificate_tls12(message, kind, ClientId::Absent);
    let list = |count| certificate_tls12(&vector(3, b"c").repeat(count));
    assert!(read(&list(MAX_CERTIFICATES), X509).is_ok());
    assert_eq!(read(&list(MAX_CERTIFICATES + 1), X509), Err(MessageError::TooManyCertificates));
    assert_eq!(read(&certificate_tls12(&vector(3, b"")), X509), Err(MessageError::EmptyCertificate));
    // Header 4, length 3.
    assert!(read(&certificate_tls12(&vec![0; MAX_MESSAGE_LEN - 7]), RawPublicKey).is_ok());
    let too_long = certificate_tls12(&vec![0; MAX_MESSAGE_LEN - 6]);
    assert_eq!(read(&too_long, RawPublicKey), Err(MessageError::TooLong { octets: MAX_MESSAGE_LEN + 1 }));

    let message = list(2);
    for kind in [X509, RawPublicKey] {
        for len in 0..message.len() {
            assert_eq!(read(&message[..len], kind), Err(MessageError::Length), "{len}");
        }
        assert_eq!(read(&[&message[..], &[0]].concat(), kind), Err(MessageError::Length));
        // The form of TLS 1.3 is not taken for it.
        assert!(read(&certificate(b"", &[entry(b"leaf", b"")]), kind).is_err());
        assert!(matches!(read(&request(b""), kind), Err(MessageError::OtherMessage { .. })));
    }
    let inner = certificate_tls12(b"\0\0\x05leaf");
    assert_eq!(read(&inner, X509), Err(MessageError::Length));
}

// RPK-01, SRV-22
#[test]
fn one_raw_public_key_and_no_more() {
    let negotiated = Negotiated { certificate_type: CertificateType::RawPublicKey, ..NEGOTIATED };
    let one = certificate(b"", &[entry(b"key", &ours(NAME))]);
    let presented = read_client_certificate(&one, &negotiated).unwrap();
    assert_eq!(presented.credential, Some(Credential::RawPublicKey(b"key".to_vec().into())));
    assert!(matches!(presented.client_id, ClientId::Form(_)));
    let two = certificate(b"", &[entry(b"key", &ours(NAME)), entry(b"key", b"")]);
    let error = read_client_certificate(&two, &negotiated).unwrap_err();
    assert_eq!(error, MessageError::SeveralRawPublicKeys);
    assert_eq!(error.reason().alert(), Alert::DecodeError);
}

#[test]
fn the_context_is_that_of_the_request() {
    let message = certificate(b"context", &[entry(b"leaf", b"")]);
    assert_eq!(read_client_certificate(&message, &NEGOTIATED), Err(MessageError::OtherContext));
    assert!(read_client_certificate(&message, &Negotiated { context: b"context", ..NEGOTIATED }).is_ok());
}

// CID-02, CID-03
#[test]
fn a_request_carries_the_signal_or_none() {
    let parse = |extensions: &[u8], profile| {
        let message = request(extensions);
        CertificateRequestMessage::parse(&message).unwrap().signal(&ExtensionTypes::DEFAULT, profile)
    };
    let algorithms = extension(13, b"\0\x02\x08\x04");
    for profile in [Profile::Current, Profile::Draft2022] {
        let found = Ok(Some((ExtensionType::DEFAULT, profile)));
        for client in [ClientProfile::from(profile), ClientProfile::Auto] {
            assert_eq!(parse(&algorithms, client), Ok(None));
            assert_eq!(parse(&[algorithms.clone(), ours(profile.signal())].concat(), client), found);
        }
    }
    assert_eq!(parse(&ours(b""), Profile::Current.into()), Err(ExtensionError::NoLength));
    assert_eq!(parse(&ours(b"\0"), Profile::Draft2022.into()), Err(ExtensionError::SignalNotEmpty { octets: 1 }));
    assert_eq!(parse(&ours(NAME), Profile::Current.into()), Err(ExtensionError::ServerNamed));
    assert_eq!(parse(&ours(NAME), ClientProfile::Auto), Err(ExtensionError::ServerNamed));
}

// SEC-14
#[test]
fn limits_hold_at_their_edges() {
    let entries = |count| vec![entry(b"c", b""); count];
    assert_eq!(CertificateMessage::parse(&certificate(b"", &entries(MAX_CERTIFICATES))).unwrap().entries.len(), 16);
    let one_more = certificate(b"", &entries(MAX_CERTIFICATES + 1));
    assert_eq!(CertificateMessage::parse(&one_more), Err(MessageError::TooManyCertificates));

    // Header 4, context 1, list 3, certificate 3, extensions 2.
    let longest = certificate(b"", &[entry(&vec![0; MAX_MESSAGE_LEN - 13], b"")]);
    assert_eq!(longest.len(), MAX_MESSAGE_LEN);
    assert!(CertificateMessage::parse(&longest).is_ok());
    let too_long = certificate(b"", &[entry(&vec![0; MAX_MESSAGE_LEN - 12], b"")]);
    assert_eq!(CertificateMessage::parse(&too_long), Err(MessageError::TooLong { octets: MAX_MESSAGE_LEN + 1 }));
}

// SEC-14
#[test]
fn every_shortened_or_lengthened_message_is_refused() {
    let message = certificate(b"", &[entry(b"leaf", &ours(NAME)), entry(b"issuer", b"")]);
    assert!(CertificateMessage::parse(&message).is_ok());
    for len in 0..message.len() {
        assert_eq!(CertificateMessage::parse(&message[..len]), Err(MessageError::Length), "{len}");
    }
    let longer = [&message[..], &[0]].concat();
    assert_eq!(CertificateMessage::parse(&longer), Err(MessageError::Length));
    assert_eq!(CertificateMessage::parse(&certificate(b"", &[entry(b"", b"")])), Err(MessageError::EmptyCertificate));
    assert_eq!(CertificateMessage::parse(&request(b"")), Err(MessageError::OtherMessage { expected: 11, found: 13 }));
    assert_eq!(CertificateRequestMessage::parse(&message), Err(MessageError::OtherMessage { expected: 13, found: 11 }));
    assert_eq!(Extensions::parse(b"\xff\xdc\x00\x02a"), Err(MessageError::Length));
}
