//! Names, owner names, service labels, patterns.

use dance_core::name::{ClientName, NameError, OwnerName, OwnerNameError, ServiceLabel};
use dance_core::policy::{AllowList, Pattern, PatternErrorKind};

use crate::authority::name;

fn refusal(octets: &[u8]) -> NameError {
    ClientName::parse(octets).unwrap_err()
}

// NAM-01
#[test]
fn a_final_dot_is_for_administrators_only() {
    assert_eq!(refusal(b"device1.example.com."), NameError::TrailingDot);
    assert_eq!(ClientName::parse_config("device1.example.com.").unwrap(), name("device1.example.com"));
    assert_eq!(ClientName::parse_config("device1.example.com..").unwrap_err(), NameError::TrailingDot);
}

// NAM-02, NAM-03
#[test]
fn every_octet_but_letters_digits_hyphen_underscore_and_dot_is_refused() {
    for octet in 0..=255u8 {
        let text = [b"a", [octet].as_slice(), b"b.example"].concat();
        let allowed = octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
        assert_eq!(ClientName::parse(&text).is_ok(), allowed, "{octet:#04x}");
        if !allowed {
            assert_eq!(refusal(&text), NameError::ForbiddenOctet { octet, offset: 1 });
        }
    }
    assert!(ClientName::parse(b"xn--bcher-kva.example").is_ok());
}

// NAM-04
#[test]
fn lengths_end_where_the_wire_form_ends() {
    let label = |len: usize| "a".repeat(len);
    assert!(ClientName::parse(format!("{}.example", label(63)).as_bytes()).is_ok());
    assert_eq!(refusal(format!("{}.example", label(64)).as_bytes()), NameError::LabelTooLong { octets: 64 });

    let longest = format!("{0}.{0}.{0}.{1}", label(63), label(61));
    assert_eq!(longest.len(), 253);
    assert_eq!(name(&longest).to_wire().as_slice().len(), 255);
    assert_eq!(
        refusal(format!("{0}.{0}.{0}.{1}", label(63), label(62)).as_bytes()),
        NameError::TooLong { octets: 254 }
    );
    assert_eq!(refusal(b"a..example"), NameError::EmptyLabel);
    assert_eq!(refusal(b".a.example"), NameError::EmptyLabel);
    assert_eq!(refusal(b""), NameError::Empty);
}

// NAM-05
#[test]
fn case_is_folded_once_and_everywhere() {
    let (upper, lower) = (name("Sensor7._DEVICE.Example.COM"), name("sensor7._device.example.com"));
    assert_eq!(upper, lower);
    assert_eq!(upper.as_str(), "sensor7._device.example.com");
    assert_eq!(upper.to_wire().as_slice(), b"\x07sensor7\x07_device\x07example\x03com\x00");
    assert!(Pattern::parse("*._Device.EXAMPLE.com").unwrap().admits(&upper));
}

// NAM-06
#[test]
fn addresses_single_labels_and_edge_hyphens_are_refused() {
    assert_eq!(refusal(b"192.0.2.1"), NameError::NumericTopLabel);
    assert_eq!(refusal(b"1.2.0x7f"), NameError::NumericTopLabel);
    assert_eq!(refusal(b"localhost"), NameError::SingleLabel);
    assert_eq!(refusal(b"-a.example"), NameError::HyphenAtEdge);
    assert_eq!(refusal(b"a-.example"), NameError::HyphenAtEdge);
    assert_eq!(refusal(b"device._com"), NameError::UnderscoreTopLabel);
    assert!(ClientName::parse(b"7.0.example").is_ok());
}

// NAM-07, NAM-10
#[test]
fn the_owner_name_is_the_conveyed_name_whatever_its_convention() {
    for text in ["device73.example.com", "_smtp-client.example.com", "s._device.example.com", "_unheard-of._of.example"]
    {
        assert_eq!(OwnerName::verbatim(&name(text)).as_str(), text);
        assert_eq!(OwnerName::construct(&name(text), None).unwrap().as_str(), text);
    }
}

// NAM-08
#[test]
fn a_service_label_is_added_only_to_names_without_structure() {
    let service = ServiceLabel::parse("smtp-client").unwrap();
    assert_eq!(service, ServiceLabel::parse("_SMTP-client").unwrap());
    let owner = |text| OwnerName::construct(&name(text), Some(&service));
    assert_eq!(owner("device1.example.com").unwrap().as_str(), "_smtp-client.device1.example.com");
    assert_eq!(owner("_smtp-client.device1.example.com").unwrap().as_str(), "_smtp-client.device1.example.com");
    assert_eq!(owner("s._device.example.com").unwrap().as_str(), "s._device.example.com");
    assert_eq!(owner("_other.device1.example.com"), Err(OwnerNameError::OtherService));
    assert_eq!(owner("_user.example.com"), Err(OwnerNameError::OtherService));
    let long = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(49));
    assert_eq!(owner(&long), Err(OwnerNameError::TooLong { octets: 254 }));
    assert_eq!(owner(&long[1..]).unwrap().as_str().len(), 253);
}

// NAM-08
#[test]
fn a_service_label_is_one_label() {
    for wrong in ["", "_", "a.b", "_a.", "smtp client", "smtp-", &"a".repeat(63)] {
        assert!(ServiceLabel::parse(wrong).is_err(), "{wrong}");
    }
    assert!(ServiceLabel::parse(&"a".repeat(62)).is_ok());
}

// NAM-11
#[test]
fn a_user_name_is_a_domain_behind_user() {
    assert_eq!(name("_user.example.com").without_user_label(), Some(name("example.com")));
    assert_eq!(name("_USER.example.com").without_user_label(), Some(name("example.com")));
    assert_eq!(name("_user.com").without_user_label(), None);
    assert_eq!(name("_users.example.com").without_user_label(), None);
    assert_eq!(name("a._user.example.com").without_user_label(), None);
}

// HTTP-18
#[test]
fn patterns_match_whole_labels_and_never_their_suffix() {
    let admits = |pattern: &str, text: &str| Pattern::parse(pattern).unwrap().admits(&name(text));
    assert!(admits("device1.example.com", "device1.example.com"));
    assert!(!admits("device1.example.com", "a.device1.example.com"));
    assert!(admits("*.example.com", "a.example.com"));
    assert!(!admits("*.example.com", "a.b.example.com"));
    assert!(!admits("*.example.com", "example.com"));
    assert!(!admits("*.example.com", "evil-example.com"));
    assert!(admits("**.example.com", "a.b.example.com"));
    assert!(admits("**.example.com", "a.example.com"));
    assert!(!admits("**.example.com", "example.com"));
    assert!(!admits("**.example.com", "a.evilexample.com"));
    assert!(admits("*._device.example.com", "s._device.example.com"));
    assert!(admits("*.example.com.", "a.example.com"));
}

// HTTP-18
#[test]
fn patterns_that_admit_too_much_or_make_no_sense_are_refused() {
    let fault = |text: &str| Pattern::parse(text).unwrap_err().kind;
    for broad in ["*.com", "**.com", "*.", "**."] {
        assert_eq!(fault(broad), PatternErrorKind::TooBroad, "{broad}");
    }
    for star in ["*", "**", "a*.example.com", "*a.example.com", "a.*.example.com", "*.*.example.com", "***.example.com"]
    {
        assert_eq!(fault(star), PatternErrorKind::StarInside, "{star}");
    }
    assert_eq!(fault("a b.example.com"), PatternErrorKind::Name(NameError::ForbiddenOctet { octet: b' ', offset: 1 }));
    assert_eq!(fault("!a.example.com"), PatternErrorKind::Name(NameError::ForbiddenOctet { octet: b'!', offset: 0 }));
    assert_eq!(fault("com"), PatternErrorKind::Name(NameError::SingleLabel));
}

// HTTP-18, SRV-07
#[test]
fn an_empty_list_admits_nobody_and_order_does_not_matter() {
    let who = name("a.example.com");
    assert_eq!(AllowList::default().admits(&who), None);
    assert!(AllowList::default().is_empty());
    let list = AllowList::parse(["b.example.com", "*.example.com"]).unwrap();
    assert_eq!(list.admits(&who), Some(1));
    assert_eq!(list.admits(&name("b.example.com")), Some(0));
    assert_eq!(AllowList::parse(["*.example.com", "b.example.com"]).unwrap().admits(&who), Some(0));
    assert!(AllowList::parse(["a.example.com", "*"]).is_err());
}
