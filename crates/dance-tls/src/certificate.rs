//! The client's Certificate message as received, octet for octet (TLSA-23).

use dance_core::CertificateDer;
use dance_core::matching::Credential;

/// Most certificates in a chain (requirements section 7, SEC-14).
const MAX_CERTIFICATES: usize = 16;

/// The message is malformed or exceeds our limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Reads a TLS 1.3 Certificate message, handshake header included (RFC 9846 section 4.5.1).
pub(crate) fn credential(message: &[u8], raw_public_key: bool) -> Result<Option<Credential>, Malformed> {
    let (_, mut rest) = message.split_at_checked(4).ok_or(Malformed)?;
    take(&mut rest, 1)?;
    let mut list = take(&mut rest, 3)?;
    let mut entries = Vec::new();
    while !list.is_empty() {
        entries.push(take(&mut list, 3)?);
        take(&mut list, 2)?;
    }
    if !rest.is_empty() || entries.len() > MAX_CERTIFICATES {
        return Err(Malformed);
    }
    match (entries.as_slice(), raw_public_key) {
        ([], _) => Ok(None),
        ([spki], true) => Ok(Some(Credential::RawPublicKey(spki.to_vec().into()))),
        (_, true) => Err(Malformed),
        (chain, false) => {
            Ok(Some(Credential::X509(chain.iter().map(|entry| CertificateDer::from(entry.to_vec())).collect())))
        }
    }
}

/// Takes a vector with a length field of `prefix` octets.
fn take<'a>(data: &mut &'a [u8], prefix: usize) -> Result<&'a [u8], Malformed> {
    let (len, rest) = data.split_at_checked(prefix).ok_or(Malformed)?;
    let len = len.iter().fold(0, |len, octet| len << 8 | usize::from(*octet));
    let (vector, rest) = rest.split_at_checked(len).ok_or(Malformed)?;
    *data = rest;
    Ok(vector)
}
