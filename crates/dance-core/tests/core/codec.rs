//! The extension's octets and places.

use dance_core::clientid::{
    ClientForm, ClientProfile, ExtensionError, ExtensionType, ExtensionTypes, Place, Placement, Profile, TlsVersion,
    decode_client, decode_signal, placement,
};
use dance_core::name::NameError;
use dance_core::reason::{Alert, Softening};

use crate::authority::name;

const BOTH: [Profile; 2] = [Profile::Current, Profile::Draft2022];

fn alert<T>(result: Result<T, ExtensionError>) -> Option<Alert> {
    result.err().map(|error| error.reason().alert())
}

// CID-02, CID-03
#[test]
fn signals_have_the_octets_of_their_profile_and_reveal_it() {
    assert_eq!(Profile::Current.signal(), [0]);
    assert_eq!(Profile::Draft2022.signal(), []);
    for profile in BOTH {
        assert_eq!(decode_signal(profile, profile.signal()), Ok(()));
        assert_eq!(ClientProfile::Auto.decode_signal(profile.signal()), Ok(profile));
        assert_eq!(Profile::from_name(profile.name()), Some(profile));
    }
    assert_eq!(ClientProfile::Auto.decode_signal(b"\x01a"), Err(ExtensionError::ServerNamed));
}

// CID-04, CID-05
#[test]
fn a_client_sends_length_and_name_and_never_zero_length() {
    let form = ClientForm::Name(name("sensor7._device.example.com"));
    for profile in BOTH {
        assert_eq!(form.encode(profile).unwrap(), b"\x1bsensor7._device.example.com");
    }
    assert_eq!(ClientForm::InCertificate.encode(Profile::Draft2022).unwrap(), b"");
    assert_eq!(ClientForm::InCertificate.encode(Profile::Current), None);
}

// CID-06
#[test]
fn zero_length_is_a_failed_authentication_in_one_profile_and_undecodable_in_the_other() {
    assert_eq!(decode_client(Profile::Current, &[0]), Err(ExtensionError::ZeroName));
    assert_eq!(alert(decode_client(Profile::Current, &[0])), Some(Alert::HandshakeFailure));
    assert_eq!(alert(decode_client(Profile::Draft2022, &[0])), Some(Alert::DecodeError));
}

// CID-07
#[test]
fn no_octets_are_undecodable_in_one_profile_and_a_form_in_the_other() {
    assert_eq!(alert(decode_client(Profile::Current, &[])), Some(Alert::DecodeError));
    assert_eq!(decode_client(Profile::Draft2022, &[]), Ok(ClientForm::InCertificate));
}

// CID-08
#[test]
fn the_length_octet_covers_the_data_exactly() {
    for profile in BOTH {
        for data in [&b"\x04a.b"[..], b"\x02a.b", b"\xffa.b", b"a.b", b"\x00\x03a.b", &[b'a'; 300]] {
            assert_eq!(alert(decode_client(profile, data)), Some(Alert::DecodeError), "{profile} {data:?}");
        }
        assert_eq!(decode_client(profile, b"\x03a.b"), Ok(ClientForm::Name(name("a.b"))));
    }
}

// CID-08, NAM-04
#[test]
fn a_name_that_decodes_and_makes_no_sense_is_a_failed_authentication() {
    for profile in BOTH {
        let error = decode_client(profile, b"\x04a.b.").unwrap_err();
        assert_eq!(error, ExtensionError::Name(NameError::TrailingDot));
        assert_eq!(error.reason().alert(), Alert::HandshakeFailure);
    }
}

// CID-15
#[test]
fn a_server_has_no_name() {
    assert_eq!(alert(decode_signal(Profile::Current, b"\x03a.b")), Some(Alert::IllegalParameter));
    assert_eq!(alert(decode_signal(Profile::Current, b"\x04a.b")), Some(Alert::DecodeError));
    assert_eq!(alert(decode_signal(Profile::Current, b"")), Some(Alert::DecodeError));
    assert_eq!(alert(decode_signal(Profile::Draft2022, b"\x00")), Some(Alert::DecodeError));
    assert_eq!(alert(decode_signal(Profile::Draft2022, b"\x03a.b")), Some(Alert::DecodeError));
}

// CID-01
#[test]
fn the_code_point_comes_from_the_private_range() {
    assert_eq!(ExtensionType::new(0xff00).map(ExtensionType::get), Some(0xff00));
    assert_eq!(ExtensionType::new(0xffff).map(ExtensionType::get), Some(0xffff));
    assert_eq!(ExtensionType::new(0xfeff), None);
    // renegotiation_info
    assert_eq!(ExtensionType::new(0xff01), None);
    assert_eq!(ExtensionType::default().get(), 0xffdc);
}

// CID-01
#[test]
fn a_set_of_code_points_has_one_to_four_and_none_twice() {
    let some: Vec<_> = (0xff50..0xff60).filter_map(ExtensionType::new).collect();
    assert_eq!(ExtensionTypes::new(&some[..0]), None);
    assert_eq!(ExtensionTypes::new(&some[..5]), None);
    assert_eq!(ExtensionTypes::new([some[0], some[1], some[0]]), None);
    let four = ExtensionTypes::new(&some[..4]).unwrap();
    assert_eq!(four.as_slice(), &some[..4], "in the order given");
    assert_eq!(four.to_string(), "0xff50, 0xff51, 0xff52, 0xff53");
    assert!(four.contains(0xff53) && !four.contains(0xff54) && !four.contains(0xffdc));
    assert_eq!(ExtensionTypes::new([some[0]]), Some(ExtensionTypes::from(some[0])));
    assert_eq!(ExtensionTypes::default(), ExtensionTypes::from(ExtensionType::DEFAULT));
    assert!(!ExtensionTypes::from(some[0]).contains(0xffdc));
}

// CID-02, CID-03, CLI-10
#[test]
fn a_client_takes_the_signal_of_its_profile_or_set_to_auto_of_any() {
    let all = [ClientProfile::Fixed(Profile::Current), ClientProfile::Fixed(Profile::Draft2022), ClientProfile::Auto];
    for (profile, name) in all.into_iter().zip(["current", "2022", "auto"]) {
        assert_eq!((profile.name(), ClientProfile::from_name(name)), (name, Some(profile)));
    }
    assert_eq!(ClientProfile::from_name("2023"), None);
    assert_eq!(ClientProfile::default(), all[0]);
    let read = |data: &[u8]| all.map(|profile| profile.decode_signal(data));
    let (current, draft_2022) = (Ok(Profile::Current), Ok(Profile::Draft2022));
    assert_eq!(read(b"\0"), [current, Err(ExtensionError::SignalNotEmpty { octets: 1 }), current]);
    assert_eq!(read(b""), [Err(ExtensionError::NoLength), draft_2022, draft_2022]);
    for (data, alert) in [(&b"\x03a.b"[..], Alert::IllegalParameter), (b"\x04a.b", Alert::DecodeError)] {
        let [_, _, auto] = read(data);
        assert_eq!(auto.unwrap_err().reason().alert(), alert);
    }
}

// CLI-08, CID-12
#[test]
fn a_client_hello_carries_the_extension_only_for_tls_12_and_the_name_only_if_wanted() {
    let form = ClientForm::Name(name("a.example.com"));
    for profile in [ClientProfile::Fixed(Profile::Current), ClientProfile::Auto] {
        assert!(!profile.may_use_client_hello());
        for (tls12, name_in_client_hello) in [(false, false), (false, true), (true, false), (true, true)] {
            assert_eq!(profile.client_hello(tls12, name_in_client_hello, &form), None);
        }
    }
    let profile = ClientProfile::Fixed(Profile::Draft2022);
    assert!(profile.may_use_client_hello());
    assert_eq!(profile.client_hello(false, true, &form), None);
    assert_eq!(profile.client_hello(true, false, &form), Some(ClientForm::InCertificate));
    assert_eq!(profile.client_hello(true, true, &form), Some(form));
    let empty = ClientForm::InCertificate;
    assert_eq!(profile.client_hello(true, true, &empty), Some(empty));
}

// CID-11, CID-16
#[test]
fn a_client_set_to_auto_is_as_strict_about_places_as_any() {
    use Place::*;
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        for place in [ServerHello, HelloRetryRequest, EncryptedExtensions, ServerCertificate, NewSessionTicket] {
            let found = ClientProfile::Auto.placement(version, place, false);
            for profile in BOTH {
                assert_eq!(found, ClientProfile::from(profile).placement(version, place, false));
            }
            assert!(matches!(found, Placement::Refuse(error) if error.reason().alert() == Alert::UnsupportedExtension));
        }
    }
    let request = |profile: ClientProfile| profile.placement(TlsVersion::Tls13, CertificateRequest, false);
    assert_eq!(request(ClientProfile::Auto), Placement::Read);
    let hello = |profile: ClientProfile| profile.placement(TlsVersion::Tls12, ServerHello, true);
    assert_eq!(hello(Profile::Draft2022.into()), Placement::Read);
    assert!(matches!(hello(Profile::Current.into()), Placement::Refuse(_)));
}

#[test]
fn one_octet_is_not_octets() {
    let told = |error: ExtensionError| error.to_string();
    assert!(told(ExtensionError::Length { said: 2, found: 1 }).ends_with("1 octet of name follows"));
    assert!(told(ExtensionError::Length { said: 1, found: 2 }).ends_with("2 octets of name follow"));
    assert!(told(ExtensionError::SignalNotEmpty { octets: 1 }).contains("found 1 octet ("));
    assert!(told(ExtensionError::SignalNotEmpty { octets: 2 }).contains("found 2 octets ("));
}

// CID-10, CID-11, CID-12, CID-13, CID-14, CID-16
#[test]
fn each_place_has_its_answer() {
    use Place::*;
    use TlsVersion::*;
    let refused = |profile, version, place, asked| match placement(profile, version, place, asked) {
        Placement::Refuse(error) => Some(error.reason().alert()),
        Placement::Read | Placement::Ignore => None,
    };
    for profile in BOTH {
        assert_eq!(placement(profile, Tls13, CertificateRequest, false), Placement::Read);
        assert_eq!(placement(profile, Tls13, ClientCertificate, true), Placement::Read);
        assert_eq!(refused(profile, Tls13, ClientCertificate, false), Some(Alert::UnsupportedExtension));
        assert_eq!(refused(profile, Tls13, ClientCertificateLater, true), Some(Alert::IllegalParameter));
        assert_eq!(refused(profile, Tls13, ClientCertificateLater, false), Some(Alert::UnsupportedExtension));
        for place in [ServerHello, HelloRetryRequest, EncryptedExtensions, ServerCertificate, NewSessionTicket] {
            assert_eq!(refused(profile, Tls13, place, true), Some(Alert::UnsupportedExtension), "{place}");
        }
    }
    assert_eq!(refused(Profile::Current, Tls13, ClientHello, true), Some(Alert::IllegalParameter));
    assert_eq!(placement(Profile::Draft2022, Tls13, ClientHello, true), Placement::Ignore);
    assert_eq!(placement(Profile::Current, Tls12, ClientHello, true), Placement::Ignore);
    assert_eq!(placement(Profile::Draft2022, Tls12, ClientHello, true), Placement::Read);
    assert_eq!(placement(Profile::Draft2022, Tls12, ServerHello, true), Placement::Read);
    assert_eq!(refused(Profile::Draft2022, Tls12, ServerHello, false), Some(Alert::UnsupportedExtension));
    assert_eq!(refused(Profile::Current, Tls12, ServerHello, true), Some(Alert::UnsupportedExtension));
}

// CID-17
#[test]
fn no_fault_of_the_extension_can_be_softened() {
    let faults = [
        ExtensionError::Duplicate,
        ExtensionError::Length { said: 1, found: 2 },
        ExtensionError::Misplaced(Place::ClientCertificateLater),
        ExtensionError::Name(NameError::Empty),
        ExtensionError::NoLength,
        ExtensionError::ServerNamed,
        ExtensionError::SignalNotEmpty { octets: 1 },
        ExtensionError::Unsolicited(Place::ClientCertificate),
        ExtensionError::ZeroName,
    ];
    for fault in faults {
        assert_eq!(fault.reason().softening(), Softening::Never, "{fault}");
    }
}
