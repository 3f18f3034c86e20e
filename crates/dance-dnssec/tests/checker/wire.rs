//! Names and messages as octets.

use super::{CNAME, DNAME};

/// A name: its labels from the left, in lower case. In canonical order (RFC 4034 section 6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Labels(Vec<Vec<u8>>);

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.iter().rev().cmp(other.0.iter().rev())
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Labels {
    /// From the uncompressed wire form.
    pub(crate) fn from_octets(octets: &[u8]) -> Self {
        Reader::new(octets).name().unwrap()
    }

    pub(crate) fn octets(&self) -> Vec<u8> {
        let mut octets = Vec::new();
        for label in &self.0 {
            octets.push(u8::try_from(label.len()).unwrap());
            octets.extend(label);
        }
        octets.push(0);
        octets
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn first(&self) -> Option<&[u8]> {
        self.0.first().map(Vec::as_slice)
    }

    pub(crate) fn is_wildcard(&self) -> bool {
        self.first() == Some(b"*")
    }

    /// As an RRSIG counts them.
    pub(crate) fn signed_labels(&self) -> usize {
        self.count() - usize::from(self.is_wildcard())
    }

    pub(crate) fn ends_with(&self, suffix: &Self) -> bool {
        self.0.ends_with(&suffix.0)
    }

    pub(crate) fn last(&self, count: usize) -> Self {
        Self(self.0[self.count().saturating_sub(count)..].to_vec())
    }

    /// The name, and all above it.
    pub(crate) fn suffixes(&self) -> impl Iterator<Item = Self> {
        (0..=self.count()).rev().map(|count| self.last(count))
    }

    pub(crate) fn wildcard(&self) -> Self {
        Self([vec![b"*".to_vec()], self.0.clone()].concat())
    }

    pub(crate) fn with_suffix_replaced(&self, suffix: &Self, by: &Self) -> Self {
        let kept = self.count() - suffix.count();
        Self([&self.0[..kept], &by.0[..]].concat())
    }
}

/// A record; RDATA in canonical form.
pub(crate) struct Record {
    pub(crate) owner: Labels,
    pub(crate) rtype: u16,
    pub(crate) rdata: Vec<u8>,
}

/// An RRSIG (RFC 4034 section 3.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Signature {
    pub(crate) covered: u16,
    pub(crate) algorithm: u8,
    pub(crate) labels: u8,
    pub(crate) original_ttl: u32,
    pub(crate) expiration: u32,
    pub(crate) inception: u32,
    pub(crate) tag: u16,
    pub(crate) signer: Labels,
    /// All before the signature itself, with the signer in lower case.
    pub(crate) head: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

impl Signature {
    pub(crate) fn read(rdata: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(rdata);
        let covered = reader.u16()?;
        let [algorithm, labels] = reader.array()?;
        let (original_ttl, expiration, inception) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let tag = reader.u16()?;
        let signer = reader.name()?;
        let mut head = rdata.get(..18)?.to_vec();
        head.extend(signer.octets());
        let value = reader.rest().to_vec();
        Some(Self { covered, algorithm, labels, original_ttl, expiration, inception, tag, signer, head, value })
    }
}

/// Octets and a place in them.
pub(crate) struct Reader<'a> {
    octets: &'a [u8],
    at: usize,
    /// Of a message: how many records the sections that are left have.
    sections: Vec<u16>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(octets: &'a [u8]) -> Self {
        Self { octets, at: 0, sections: Vec::new() }
    }

    /// A message, behind its questions.
    pub(crate) fn of_message(octets: &'a [u8]) -> Option<Self> {
        let mut reader = Self { octets, at: 4, sections: Vec::new() };
        let counts: [Option<u16>; 4] = std::array::from_fn(|_| reader.u16());
        let [questions, answer, authority, _] = counts;
        for _ in 0..questions? {
            reader.name()?;
            reader.u32()?;
        }
        // Taken from the end.
        reader.sections = vec![authority?, answer?];
        Some(reader)
    }

    /// The records of the next section, answer first.
    pub(crate) fn section(&mut self) -> Option<Vec<Record>> {
        let count = self.sections.pop()?;
        Some((0..count).map_while(|_| self.record()).collect())
    }

    fn record(&mut self) -> Option<Record> {
        let owner = self.name()?;
        let rtype = self.u16()?;
        let _class_and_ttl = (self.u16()?, self.u32()?);
        let len = usize::from(self.u16()?);
        let end = self.at + len;
        let rdata = match rtype {
            // These may be compressed, and are in lower case when signed.
            CNAME | DNAME => self.name()?.octets(),
            _ => self.octets.get(self.at..end)?.to_vec(),
        };
        self.at = end;
        Some(Record { owner, rtype, rdata })
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let array = *self.octets.get(self.at..)?.first_chunk()?;
        self.at += N;
        Some(array)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn rest(&self) -> &'a [u8] {
        self.octets.get(self.at..).unwrap_or_default()
    }

    pub(crate) fn name(&mut self) -> Option<Labels> {
        let (mut labels, mut at, mut after) = (Vec::new(), self.at, None);
        // Longer than any name, with a pointer before each label.
        for _ in 0..256 {
            let len = *self.octets.get(at)?;
            match len {
                0 => {
                    self.at = after.unwrap_or(at + 1);
                    return Some(Labels(labels));
                }
                1..=63 => {
                    let end = at + 1 + usize::from(len);
                    labels.push(self.octets.get(at + 1..end)?.to_ascii_lowercase());
                    at = end;
                }
                192.. => {
                    let low = *self.octets.get(at + 1)?;
                    after.get_or_insert(at + 2);
                    at = usize::from(u16::from_be_bytes([len & 63, low]));
                }
                _ => return None,
            }
        }
        None
    }
}

/// An NSEC record: the next name, and the types.
pub(crate) fn nsec(rdata: &[u8]) -> Option<(Labels, &[u8])> {
    let mut reader = Reader::new(rdata);
    Some((reader.name()?, reader.rest()))
}

/// An NSEC3 record, but for its types.
pub(crate) struct Nsec3<'a> {
    pub(crate) algorithm: u8,
    pub(crate) flags: u8,
    pub(crate) iterations: u16,
    pub(crate) salt: &'a [u8],
    pub(crate) next: &'a [u8],
}

pub(crate) fn nsec3(rdata: &[u8]) -> Option<Nsec3<'_>> {
    let (&[algorithm, flags, high, low, salt_len], rest) = rdata.split_first_chunk()?;
    let (salt, rest) = rest.split_at_checked(usize::from(salt_len))?;
    let (&next_len, rest) = rest.split_first()?;
    let next = rest.get(..usize::from(next_len))?;
    Some(Nsec3 { algorithm, flags, iterations: u16::from_be_bytes([high, low]), salt, next })
}

/// Whether there is NS without SOA, or DNAME.
pub(crate) fn is_hiding(types: &[u8]) -> bool {
    // All three are in window 0.
    let bits = match types {
        [0, len, rest @ ..] => rest.get(..usize::from(*len)).unwrap_or_default(),
        _ => &[],
    };
    let has = |rtype: usize| bits.get(rtype / 8).is_some_and(|octet| octet & (0x80 >> (rtype % 8)) != 0);
    (has(2) && !has(6)) || has(39)
}

/// 32 lower-case digits as 20 octets (RFC 4648 section 7).
pub(crate) fn base32hex(digits: &[u8]) -> Option<Vec<u8>> {
    let mut bits: Vec<bool> = Vec::new();
    for digit in digits {
        let value = b"0123456789abcdefghijklmnopqrstuv".iter().position(|known| known == digit)?;
        bits.extend((0..5).rev().map(|bit| value >> bit & 1 == 1));
    }
    let octets = bits.chunks_exact(8).map(|bits| bits.iter().fold(0, |octet, bit| octet << 1 | u8::from(*bit)));
    Some(octets.collect()).filter(|_| digits.len() == 32)
}
