//! Answers in a form in which everything about them can be changed.

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;
use domain::base::iana::Rtype;
use domain::base::{Name, ParsedName, ToName};
use domain::dep::octseq::Parser;

/// A domain name; keeps the case of its letters, compares without regard to it.
pub type DnsName = Name<Bytes>;

/// Header, RFC 1035 section 4.1.1.
const HEADER: usize = 12;
const CLASS_IN: u16 = 1;
/// The flags AA, AD and RCODE, as they stand in the header's second word.
pub const FLAG_AA: u16 = 0x0400;
/// See [`FLAG_AA`].
pub const FLAG_AD: u16 = 0x0020;
const FLAG_TC: u16 = 0x0200;
/// QR and RA.
const ALWAYS: u16 = 0x8080;
/// Opcode, RD and CD are the asker's.
const ECHOED: u16 = 0x7910;

/// A name from text without escapes, with or without final dot.
pub fn name(text: &str) -> DnsName {
    Name::bytes_from_str(&format!("{}.", text.trim_end_matches('.'))).unwrap()
}

/// What is asked for; the name in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// The name.
    pub name: DnsName,
    /// The type.
    pub rtype: Rtype,
}

impl Question {
    /// The message that asks, with DO and CD.
    pub fn compose(&self) -> Vec<u8> {
        let mut octets = vec![0, 1, 0x01, 0x10, 0, 1, 0, 0, 0, 0, 0, 1];
        octets.extend_from_slice(self.name.as_slice());
        octets.extend(self.rtype.to_int().to_be_bytes());
        octets.extend(CLASS_IN.to_be_bytes());
        octets.extend(opt_record());
        octets
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name.fmt_with_dot(), self.rtype)
    }
}

/// EDNS(0), 1232 octets, DO.
fn opt_record() -> [u8; 11] {
    [0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0]
}

/// A record; names in its data are not compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rr {
    /// Its owner.
    pub owner: DnsName,
    /// Its type.
    pub rtype: Rtype,
    /// Its time to live, seconds.
    pub ttl: u32,
    /// Its data.
    pub data: Vec<u8>,
}

impl Rr {
    /// The type that it is about: of an RRSIG, the one it covers.
    pub fn covers(&self) -> Rtype {
        match (self.rtype, self.data.first_chunk::<2>()) {
            (Rtype::RRSIG, Some(covered)) => Rtype::from_int(u16::from_be_bytes(*covered)),
            (rtype, _) => rtype,
        }
    }

    /// Whether it belongs to this RRset, as a record or as a signature.
    pub fn is_of(&self, owner: &DnsName, rtype: Rtype) -> bool {
        self.owner == *owner && self.covers() == rtype
    }
}

impl fmt::Display for Rr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.owner.fmt_with_dot(), self.ttl, self.rtype)?;
        match (self.rtype, Rrsig::read(&self.data)) {
            (Rtype::RRSIG, Some(sig)) => write!(
                f,
                " {} alg {} labels {} ttl {} {}..{} tag {} {} ({} octets)",
                sig.covered,
                sig.algorithm,
                sig.labels,
                sig.original_ttl,
                sig.inception,
                sig.expiration,
                sig.tag,
                sig.signer.fmt_with_dot(),
                sig.signature.len()
            ),
            _ => {
                let data = domain::base::rdata::UnknownRecordData::from_octets(self.rtype, &self.data[..]).unwrap();
                write!(f, " {data}")?;
                match self.rtype {
                    Rtype::NSEC => {
                        let end = name_end(&self.data, 0).unwrap_or_default();
                        let next = Name::from_octets(&self.data[..end]).map(|next| next.fmt_with_dot().to_string());
                        write!(f, " = {} {:?}", next.unwrap_or_default(), types(&self.data[end..]))
                    }
                    Rtype::NSEC3 => {
                        let map = nsec3_types_at(&self.data).unwrap_or(self.data.len());
                        write!(f, " = {:?}", types(&self.data[map..]))
                    }
                    Rtype::CNAME | Rtype::DNAME | Rtype::NS => {
                        let target = Name::from_octets(&self.data[..]).map(|next| next.fmt_with_dot().to_string());
                        write!(f, " = {}", target.unwrap_or_default())
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

/// Where the uncompressed name that begins here ends.
pub fn name_end(octets: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match usize::from(*octets.get(at)?) {
            0 => return Some(at + 1),
            length => at += 1 + length,
        }
    }
}

/// Where the bit map of an NSEC3 record begins, RFC 5155 section 3.2.
pub fn nsec3_types_at(data: &[u8]) -> Option<usize> {
    let salt = usize::from(*data.get(4)?);
    let hash = usize::from(*data.get(5 + salt)?);
    Some(6 + salt + hash).filter(|at| *at <= data.len())
}

/// The types of a bit map, RFC 4034 section 4.1.2.
pub fn types(mut map: &[u8]) -> Vec<Rtype> {
    let mut types = Vec::new();
    while let [window, length, rest @ ..] = map {
        let Some((bits, rest)) = rest.split_at_checked(usize::from(*length)) else { break };
        for (at, octet) in bits.iter().enumerate() {
            for bit in (0..8).filter(|bit| octet & (0x80 >> bit) != 0) {
                types.push(Rtype::from_int(u16::from(*window) << 8 | (at as u16) << 3 | bit));
            }
        }
        map = rest;
    }
    types
}

/// The bit map of these types.
pub fn type_map(types: &[Rtype]) -> Vec<u8> {
    let mut windows: std::collections::BTreeMap<u8, [u8; 32]> = std::collections::BTreeMap::new();
    for rtype in types {
        let [window, low] = rtype.to_int().to_be_bytes();
        windows.entry(window).or_default()[usize::from(low >> 3)] |= 0x80 >> (low & 7);
    }
    let mut map = Vec::new();
    for (window, bits) in windows {
        let length = bits.iter().rposition(|octet| *octet != 0).unwrap() + 1;
        map.extend([window, length as u8]);
        map.extend_from_slice(&bits[..length]);
    }
    map
}

/// The data of an RRSIG record, RFC 4034 section 3.1.
#[derive(Clone, Debug)]
pub struct Rrsig {
    /// The type that it covers.
    pub covered: Rtype,
    /// Its algorithm.
    pub algorithm: u8,
    /// So many labels had the owner when it was signed.
    pub labels: u8,
    /// The TTL that was signed.
    pub original_ttl: u32,
    /// Its end, in seconds since 1970.
    pub expiration: u32,
    /// Its beginning.
    pub inception: u32,
    /// The tag of the key.
    pub tag: u16,
    /// The zone.
    pub signer: DnsName,
    /// The signature.
    pub signature: Vec<u8>,
}

impl Rrsig {
    /// Reads it.
    pub fn read(data: &[u8]) -> Option<Self> {
        let fixed = data.first_chunk::<18>()?;
        let end = name_end(data, 18)?;
        let word = |at: usize| u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        Some(Self {
            covered: Rtype::from_int(u16::from_be_bytes([fixed[0], fixed[1]])),
            algorithm: fixed[2],
            labels: fixed[3],
            original_ttl: word(4),
            expiration: word(8),
            inception: word(12),
            tag: u16::from_be_bytes([fixed[16], fixed[17]]),
            signer: Name::from_octets(Bytes::copy_from_slice(&data[18..end])).ok()?,
            signature: data[end..].to_vec(),
        })
    }

    /// Writes all but the signature.
    pub fn head(&self) -> Vec<u8> {
        let mut octets = self.covered.to_int().to_be_bytes().to_vec();
        octets.extend([self.algorithm, self.labels]);
        octets.extend(self.original_ttl.to_be_bytes());
        octets.extend(self.expiration.to_be_bytes());
        octets.extend(self.inception.to_be_bytes());
        octets.extend(self.tag.to_be_bytes());
        octets.extend_from_slice(self.signer.as_slice());
        octets
    }

    /// Writes it.
    pub fn data(&self) -> Vec<u8> {
        [self.head(), self.signature.clone()].concat()
    }
}

/// An answer: what counts in it. What stands in its additional section counts for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// RCODE.
    pub rcode: u8,
    /// AA and AD.
    pub flags: u16,
    /// The sections answer and authority.
    pub sections: [Vec<Rr>; 2],
}

impl Answer {
    /// Reads a message of the honest world.
    pub fn parse(octets: &[u8]) -> Self {
        let word = |at: usize| u16::from_be_bytes([octets[at], octets[at + 1]]);
        let mut parser = Parser::from_ref(octets);
        parser.advance(HEADER).unwrap();
        ParsedName::parse(&mut parser).unwrap();
        parser.advance(4).unwrap();
        let section = |parser: &mut Parser<'_, [u8]>, count: u16| {
            (0..count)
                .map(|_| {
                    let owner = ParsedName::parse(parser).unwrap().to_bytes();
                    let rtype = Rtype::from_int(parser.parse_u16_be().unwrap());
                    parser.advance(2).unwrap();
                    let ttl = parser.parse_u32_be().unwrap();
                    let length = parser.parse_u16_be().unwrap();
                    let data = parser.parse_octets(usize::from(length)).unwrap().to_vec();
                    Rr { owner, rtype, ttl, data }
                })
                .collect()
        };
        let answer = section(&mut parser, word(6));
        let authority = section(&mut parser, word(8));
        Self { rcode: octets[3] & 0x0f, flags: word(2) & (FLAG_AA | FLAG_AD), sections: [answer, authority] }
    }

    /// The message that answers this question, whole or, if it is longer than `limit`, empty and marked as truncated. `None` if the
    /// question cannot be read.
    pub fn compose(&self, question: &[u8], limit: usize) -> Option<Vec<u8>> {
        let whole = self.compose_with(question, false)?;
        if whole.len() <= limit { Some(whole) } else { self.compose_with(question, true) }
    }

    fn compose_with(&self, question: &[u8], truncated: bool) -> Option<Vec<u8>> {
        let end = name_end(question, HEADER)? + 4;
        let asked = u16::from_be_bytes([*question.get(2)?, *question.get(3)?]);
        let truncation = if truncated { FLAG_TC } else { 0 };
        let flags = ALWAYS | asked & ECHOED | self.flags | truncation | u16::from(self.rcode);
        let edns = *question.get(11)? > 0;
        let counts = self.sections.each_ref().map(|section| if truncated { 0 } else { section.len() as u16 });
        let mut message = question.get(..2)?.to_vec();
        for word in [flags, 1, counts[0], counts[1], edns.into()] {
            message.extend(word.to_be_bytes());
        }
        let mut known = HashMap::new();
        push_name(&mut message, question.get(HEADER..end - 4)?, &mut known);
        message.extend(question.get(end - 4..end)?);
        if !truncated {
            for rr in self.sections.iter().flatten() {
                push_name(&mut message, rr.owner.as_slice(), &mut known);
                message.extend(rr.rtype.to_int().to_be_bytes());
                message.extend(CLASS_IN.to_be_bytes());
                message.extend(rr.ttl.to_be_bytes());
                message.extend((rr.data.len() as u16).to_be_bytes());
                message.extend(&rr.data);
            }
        }
        if edns {
            message.extend(opt_record());
        }
        Some(message)
    }

    /// Both sections, one after the other.
    pub fn records(&self) -> impl Iterator<Item = &Rr> {
        self.sections.iter().flatten()
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  rcode {} flags {:#06x}", self.rcode, self.flags)?;
        for (title, section) in ["answer", "authority"].into_iter().zip(&self.sections) {
            for rr in section {
                writeln!(f, "  {title}: {rr}")?;
            }
        }
        Ok(())
    }
}

/// Writes a name; what of it stands in the message already, in the same case, by a pointer.
fn push_name<'a>(message: &mut Vec<u8>, mut name: &'a [u8], known: &mut HashMap<&'a [u8], u16>) {
    while let [length, rest @ ..] = name {
        if *length == 0 {
            message.push(0);
            return;
        }
        if let Some(at) = known.get(name) {
            message.extend((0xc000 | at).to_be_bytes());
            return;
        }
        if message.len() < 0x4000 {
            known.insert(name, message.len() as u16);
        }
        let (label, after) = rest.split_at(usize::from(*length));
        message.push(*length);
        message.extend(label);
        name = after;
    }
}
