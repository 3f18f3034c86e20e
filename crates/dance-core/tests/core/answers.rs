//! What a chain of DNS links amounts to, and for how long.

use std::time::Duration;

use dance_core::UnixTime;
use dance_core::answer::{
    ChainEnd, DenialKind, Link, LinkState, LinkTimes, LookupFailure, MAX_ALIAS_LINKS, MAX_CACHE, TlsaAnswer,
    valid_until,
};

use crate::authority::NOW;

fn seconds(left: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(NOW.as_secs() + left))
}

const fn times(ttl: u32) -> LinkTimes {
    LinkTimes { ttl, original_ttl: None, signature_expiry: None }
}

const fn link(state: LinkState, ttl: u32) -> Link {
    Link { state, times: times(ttl) }
}

fn records() -> ChainEnd {
    ChainEnd::Records { records: Vec::new(), wildcard: None }
}

// DNS-08
#[test]
fn an_answer_is_good_for_the_shortest_of_all_its_times() {
    let left = |links: &[LinkTimes]| valid_until(NOW, MAX_CACHE, links.iter().copied()).as_secs() - NOW.as_secs();
    assert_eq!(left(&[times(300)]), 300);
    assert_eq!(left(&[times(300), times(60)]), 60);
    assert_eq!(left(&[times(86_400)]), 3600);
    assert_eq!(left(&[times(0)]), 0);
    // The TTL on the wire can be raised by whoever forwards it, the one under the signature cannot.
    assert_eq!(left(&[LinkTimes { original_ttl: Some(120), ..times(3600) }]), 120);
    assert_eq!(left(&[LinkTimes { signature_expiry: Some(seconds(30)), ..times(3600) }]), 30);
    let expired = UnixTime::since_unix_epoch(Duration::from_secs(NOW.as_secs() - 1));
    assert_eq!(left(&[LinkTimes { signature_expiry: Some(expired), ..times(3600) }]), 0);
    assert_eq!(valid_until(seconds(0), MAX_CACHE, []), seconds(3600));
    let end_of_time = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    assert_eq!(valid_until(end_of_time, MAX_CACHE, [times(300)]), end_of_time);
}

// DNS-08
#[test]
fn a_denial_is_good_for_a_minute_at_most() {
    for (ttl, left) in [(3600, 60), (60, 60), (5, 5), (0, 0)] {
        let answer =
            TlsaAnswer::from_chain(NOW, &[], link(LinkState::Secure, ttl), ChainEnd::Denied(DenialKind::Nodata));
        let TlsaAnswer::Denied(denial) = answer else { panic!("{answer:?}") };
        assert_eq!((denial.kind, denial.valid_until), (DenialKind::Nodata, seconds(left)));
    }
}

// DNS-03, DNS-05
#[test]
fn a_chain_is_as_bad_as_its_worst_link_wherever_that_is() {
    use LinkState::*;
    let states = [Secure, Insecure, Indeterminate, Bogus];
    for first in states {
        for last in states {
            for end in [records(), ChainEnd::Denied(DenialKind::Nxdomain)] {
                let answer = TlsaAnswer::from_chain(NOW, &[link(first, 60)], link(last, 300), end);
                match first.max(last) {
                    Secure => assert!(matches!(answer, TlsaAnswer::Secure(_) | TlsaAnswer::Denied(_))),
                    Insecure => assert!(matches!(answer, TlsaAnswer::Insecure)),
                    Indeterminate => {
                        assert!(matches!(answer, TlsaAnswer::Indeterminate(LookupFailure::NoTrust)));
                    }
                    Bogus => assert!(matches!(answer, TlsaAnswer::Bogus)),
                }
            }
        }
    }
}

// DNS-05
#[test]
fn eight_aliases_are_followed_and_no_more() {
    let aliases = vec![link(LinkState::Secure, 60); MAX_ALIAS_LINKS + 1];
    let follow = |count: usize| TlsaAnswer::from_chain(NOW, &aliases[..count], link(LinkState::Secure, 300), records());
    let TlsaAnswer::Secure(secure) = follow(8) else { panic!() };
    assert_eq!((secure.ttl, secure.valid_until), (60, seconds(60)));
    assert!(matches!(follow(9), TlsaAnswer::Indeterminate(LookupFailure::AliasLimit)));
}

// DNS-02, DNS-03
#[test]
fn the_ad_bit_says_nothing_across_a_channel_that_is_not_trusted() {
    assert_eq!(LinkState::from_ad(true, true), LinkState::Secure);
    assert_eq!(LinkState::from_ad(false, true), LinkState::Insecure);
    assert_eq!(LinkState::from_ad(true, false), LinkState::Indeterminate);
    assert_eq!(LinkState::from_ad(false, false), LinkState::Indeterminate);
}

// SRV-11
#[test]
fn reply_codes_are_failures_or_answers() {
    assert!(TlsaAnswer::from_rcode(0).is_none());
    assert!(TlsaAnswer::from_rcode(3).is_none());
    assert!(matches!(TlsaAnswer::from_rcode(2), Some(TlsaAnswer::Indeterminate(LookupFailure::Servfail))));
    for rcode in [1, 4, 5, 9, 16, 255] {
        let answer = TlsaAnswer::from_rcode(rcode);
        assert!(matches!(answer, Some(TlsaAnswer::Indeterminate(LookupFailure::Refused))), "{rcode}");
    }
}
