//! The octets that a signature is made over (RFC 4034 sections 3.1.8.1 and 6).

use bytes::Bytes;
use domain::base::NameBuilder;
use domain::base::iana::Class;

use crate::message::{Rrset, Signature};
use crate::question::DnsName;

/// The labels of a name as signatures count them: neither the root nor a leading asterisk (RFC 4034 section 3.1.3).
pub(crate) fn signed_labels(owner: &DnsName) -> usize {
    let labels = owner.label_count().saturating_sub(1);
    if owner.first().as_slice() == b"*" { labels.saturating_sub(1) } else { labels }
}

/// The closest encloser of a wildcard of this many labels that `owner` was expanded from.
fn encloser(owner: &DnsName, labels: u8) -> Option<DnsName> {
    let above = owner.label_count().saturating_sub(1).checked_sub(labels.into())?;
    owner.iter_suffixes().nth(above)
}

/// The wildcard of this many labels that `owner` was expanded from.
pub(crate) fn wildcard(owner: &DnsName, labels: u8) -> Option<DnsName> {
    let mut name = NameBuilder::new_bytes();
    name.append_label(b"*").ok()?;
    name.append_origin(&encloser(owner, labels)?).ok()
}

/// What `signature` signs if it is over `set`. The records are unique already and are put into canonical order here; `None` if one is
/// longer than a record can be.
pub(crate) fn signed_data(set: &Rrset, signature: &Signature) -> Option<Vec<u8>> {
    let mut records: Vec<&Bytes> = set.data.iter().collect();
    records.sort_unstable();
    let mut owner = Vec::with_capacity(set.owner.len());
    if usize::from(signature.labels) < signed_labels(&set.owner) {
        owner.extend_from_slice(b"\x01*");
        push_name(&mut owner, &encloser(&set.owner, signature.labels)?);
    } else {
        push_name(&mut owner, &set.owner);
    }

    let fixed = owner.len() + 10;
    let size = 18 + signature.signer.len() + records.iter().map(|data| fixed + data.len()).sum::<usize>();
    let mut octets = Vec::with_capacity(size);
    octets.extend_from_slice(&set.rtype.to_int().to_be_bytes());
    octets.push(signature.algorithm.to_int());
    octets.push(signature.labels);
    octets.extend_from_slice(&signature.original_ttl.to_be_bytes());
    octets.extend_from_slice(&signature.expiration.to_be_bytes());
    octets.extend_from_slice(&signature.inception.to_be_bytes());
    octets.extend_from_slice(&signature.key_tag.to_be_bytes());
    push_name(&mut octets, &signature.signer);
    for data in records {
        octets.extend_from_slice(&owner);
        octets.extend_from_slice(&set.rtype.to_int().to_be_bytes());
        octets.extend_from_slice(&Class::IN.to_int().to_be_bytes());
        octets.extend_from_slice(&signature.original_ttl.to_be_bytes());
        octets.extend_from_slice(&u16::try_from(data.len()).ok()?.to_be_bytes());
        octets.extend_from_slice(data);
    }
    Some(octets)
}

/// A name in wire form and lower case. The octets that say how long a label is are below those of letters.
fn push_name(octets: &mut Vec<u8>, name: &DnsName) {
    octets.extend(name.as_slice().iter().map(u8::to_ascii_lowercase));
}
