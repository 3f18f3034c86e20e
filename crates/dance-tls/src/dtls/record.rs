//! Records of DTLS 1.2 as they can be read by anybody, and the two messages that come before there is a connection.

/// ContentType (RFC 5246 section 6.2.1).
pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
/// Type, version, epoch, sequence number, length (RFC 6347 section 4.1).
pub(super) const HEADER: usize = 1 + 2 + 2 + 6 + 2;
/// DTLS 1.2 on the wire.
const DTLS12: [u8; 2] = [0xfe, 0xfd];
/// Sequence numbers have 48 bits.
const MAX_SEQUENCE: u64 = (1 << 48) - 1;

pub(super) struct Record<'a> {
    pub(super) content_type: u8,
    pub(super) epoch: u16,
    pub(super) sequence: u64,
    pub(super) fragment: &'a [u8],
}

impl<'a> Record<'a> {
    /// The first record of a datagram, and what follows it.
    pub(super) fn split(datagram: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&[content_type, 0xfe, _, e0, e1, s0, s1, s2, s3, s4, s5, l0, l1], rest) =
            datagram.split_first_chunk::<HEADER>()?
        else {
            return None;
        };
        let (fragment, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([l0, l1])))?;
        let epoch = u16::from_be_bytes([e0, e1]);
        let sequence = u64::from_be_bytes([0, 0, s0, s1, s2, s3, s4, s5]);
        Some((Self { content_type, epoch, sequence, fragment }, rest))
    }
}

/// All records of a datagram. `None` if it is not made of records alone.
pub(super) fn records(mut datagram: &[u8]) -> Option<Vec<Record<'_>>> {
    let mut found = Vec::new();
    while !datagram.is_empty() {
        let (record, rest) = Record::split(datagram)?;
        found.push(record);
        datagram = rest;
    }
    Some(found)
}

/// Moves the sequence numbers of a datagram's records in the clear. They are not part of what the handshake signs.
pub(super) fn shift(datagram: &mut [u8], by: u64) {
    let mut at = 0;
    while let Some((record, _)) = datagram.get(at..).and_then(Record::split) {
        let (epoch, sequence, length) = (record.epoch, record.sequence, record.fragment.len());
        if epoch == 0
            && let Some(field) = datagram.get_mut(at + 5..at + 11)
        {
            let moved = (sequence + by).min(MAX_SEQUENCE).to_be_bytes();
            field.copy_from_slice(&moved[2..]);
        }
        at += HEADER + length;
    }
}

fn record(content_type: u8, version: [u8; 2], sequence: u64, fragment: &[u8]) -> Vec<u8> {
    let mut wire = vec![content_type];
    wire.extend(version);
    wire.extend([0, 0]);
    wire.extend(&sequence.min(MAX_SEQUENCE).to_be_bytes()[2..]);
    wire.extend((fragment.len() as u16).to_be_bytes());
    wire.extend(fragment);
    wire
}

/// A fatal alert in the clear.
pub(super) fn fatal_alert(sequence: u64, description: u8) -> Vec<u8> {
    record(ALERT, DTLS12, sequence, &[2, description])
}

/// What there is to know of a ClientHello before a connection is made for it.
pub(super) struct ClientHello<'a> {
    pub(super) sequence: u64,
    /// Version, random and session id, which are the same in the second ClientHello as in the first.
    pub(super) parameters: &'a [u8],
    pub(super) cookie: &'a [u8],
}

impl<'a> ClientHello<'a> {
    /// The ClientHello at the start of a datagram: the first of a client, or the one that answers a HelloVerifyRequest.
    /// Whatever is not that is no reason to answer.
    pub(super) fn parse(datagram: &'a [u8]) -> Option<Self> {
        const CLIENT_HELLO: u8 = 1;
        const RANDOM: usize = 32;
        let (record, _) = Record::split(datagram)?;
        let (&[CLIENT_HELLO, l0, l1, l2, 0, message_sequence, 0, 0, 0, f0, f1, f2], body) =
            record.fragment.split_first_chunk::<12>()?
        else {
            return None;
        };
        let length =
            |octets: [u8; 3]| usize::from(octets[0]) << 16 | usize::from(octets[1]) << 8 | usize::from(octets[2]);
        if record.content_type != HANDSHAKE
            || record.epoch != 0
            || body.len() != length([f0, f1, f2])
            || body.len() > length([l0, l1, l2])
        {
            return None;
        }
        let (&session_id, rest) = body.get(2 + RANDOM..)?.split_first()?;
        let (&cookie, rest) = rest.get(usize::from(session_id)..)?.split_first()?;
        let parameters = body.get(..2 + RANDOM + 1 + usize::from(session_id))?;
        let cookie = rest.get(..usize::from(cookie))?;
        // The message's own number: 0, and 1 with a cookie.
        (message_sequence == u8::from(!cookie.is_empty())).then_some(Self {
            sequence: record.sequence,
            parameters,
            cookie,
        })
    }
}

/// The answer to a ClientHello without a cookie of ours, under the number of the record that it answers (RFC 6347 section
/// 4.2.1). DTLS 1.0 stands for nothing here: the version is not yet negotiated.
pub(super) fn hello_verify_request(sequence: u64, cookie: &[u8]) -> Vec<u8> {
    const HELLO_VERIFY_REQUEST: u8 = 3;
    const DTLS10: [u8; 2] = [0xfe, 0xff];
    let length = &((2 + 1 + cookie.len()) as u32).to_be_bytes()[1..];
    let mut message = vec![HELLO_VERIFY_REQUEST];
    message.extend(length);
    message.extend([0; 2 + 3]);
    message.extend(length);
    message.extend(DTLS10);
    message.push(cookie.len() as u8);
    message.extend(cookie);
    record(HANDSHAKE, DTLS10, sequence, &message)
}
