//! Somebody on the path, who also owns a zone.

use data_encoding::BASE64;
use domain::base::iana::Rtype;
use domain::base::name::ParsedName;
use domain::base::rdata::ComposeRecordData as _;
use domain::base::{Message, ToName as _};
use domain::rdata::AllRecordData;
use ring::digest::{SHA256, digest};
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::checker::crypto::key_tag;

/// SplitMix64: small, and the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below the limit; 0 if that is 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// The owner of a properly signed zone.
pub(crate) struct Evil {
    key: Ed25519KeyPair,
    seed: [u8; 32],
}

impl Evil {
    pub(crate) const ZONE: &'static str = "evil.test";

    pub(crate) fn new() -> Self {
        let seed = [0x66; 32];
        Self { key: Ed25519KeyPair::from_seed_unchecked(&seed).unwrap(), seed }
    }

    /// As `dnssec-keygen` writes it.
    pub(crate) fn key_text(&self) -> String {
        let (public, secret) = (BASE64.encode(self.key.public_key().as_ref()), BASE64.encode(&self.seed));
        let zone = Self::ZONE;
        format!(
            "{zone}. IN DNSKEY 257 3 15 {public}\nPrivate-key-format: v1.2\nAlgorithm: 15 (ED25519)\nPrivateKey: {secret}\n"
        )
    }

    fn dnskey(&self) -> Vec<u8> {
        [&[1, 1, 3, 15], self.key.public_key().as_ref()].concat()
    }

    /// A signature by the zone's key over one record, said to be by `signer`.
    fn sign(&self, record: &Record, signer: &[u8], labels: u8, now: u32) -> Record {
        let mut head = record.rtype.to_be_bytes().to_vec();
        head.extend([15, labels]);
        for field in [record.ttl, now.wrapping_add(86_400), now.wrapping_sub(86_400)] {
            head.extend(field.to_be_bytes());
        }
        head.extend(key_tag(&self.dnskey()).to_be_bytes());
        head.extend(signer.to_ascii_lowercase());
        let mut signed = head.clone();
        signed.extend(record.compose(&record.owner.to_ascii_lowercase(), record.ttl));
        head.extend(self.key.sign(&signed).as_ref());
        Record { rtype: super::checker::RRSIG, rdata: head, ..record.clone() }
    }
}

/// A record that can be changed.
#[derive(Clone)]
struct Record {
    owner: Vec<u8>,
    rtype: u16,
    class: u16,
    ttl: u32,
    rdata: Vec<u8>,
}

impl Record {
    fn compose(&self, owner: &[u8], ttl: u32) -> Vec<u8> {
        let len = u16::try_from(self.rdata.len()).unwrap().to_be_bytes();
        let (rtype, class, ttl) = (self.rtype.to_be_bytes(), self.class.to_be_bytes(), ttl.to_be_bytes());
        [owner, &rtype, &class, &ttl, &len, &self.rdata].concat()
    }
}

/// A message that can be changed.
#[derive(Clone)]
struct Opened {
    /// Flags and question.
    flags: [u8; 2],
    question: Vec<u8>,
    /// Answer and authority.
    sections: [Vec<Record>; 2],
}

impl Opened {
    fn open(octets: &[u8]) -> Option<Self> {
        let message = Message::from_octets(octets).ok()?;
        let question = message.first_question()?;
        let mut opened = Self {
            flags: [octets[2], octets[3]],
            question: question.qname().to_vec().into_octets(),
            sections: Default::default(),
        };
        opened.question.extend(question.qtype().to_int().to_be_bytes());
        opened.question.extend([0, 1]);
        for (to, section) in opened.sections.iter_mut().zip([message.answer().ok()?, message.authority().ok()?]) {
            for record in section {
                let record = record.ok()?;
                let (owner, rtype) = (record.owner().to_vec().into_octets(), record.rtype().to_int());
                let (class, ttl) = (record.class().to_int(), record.ttl().as_secs());
                let mut rdata = Vec::new();
                let record = record.into_record::<AllRecordData<_, ParsedName<_>>>().ok()??;
                record.data().compose_rdata(&mut rdata).ok()?;
                to.push(Record { owner, rtype, class, ttl, rdata });
            }
        }
        Some(opened)
    }

    fn asked(&self) -> Rtype {
        let rtype = self.question.last_chunk().map_or(0, |&[high, low, ..]: &[u8; 4]| u16::from_be_bytes([high, low]));
        Rtype::from_int(rtype)
    }

    fn close(&self) -> Vec<u8> {
        let mut octets = vec![0, 0, self.flags[0], self.flags[1], 0, 1];
        for section in &self.sections {
            octets.extend(u16::try_from(section.len()).unwrap().to_be_bytes());
        }
        octets.extend([0, 0]);
        octets.extend(&self.question);
        for record in self.sections.iter().flatten() {
            octets.extend(record.compose(&record.owner, record.ttl));
        }
        octets
    }
}

/// Changes messages.
pub(crate) struct Forger<'a> {
    pub(crate) random: Random,
    evil: &'a Evil,
    stock: Vec<Opened>,
    /// Of the tampering with messages one in so many is done.
    seldom: usize,
    /// Instead, the zone so many labels above the victim is taken over.
    takes_over: Option<usize>,
    now: u32,
}

const RTYPES: [Rtype; 7] =
    [Rtype::CNAME, Rtype::DNAME, Rtype::DS, Rtype::NSEC, Rtype::DNSKEY, Rtype::NSEC3, Rtype::TLSA];

impl<'a> Forger<'a> {
    pub(crate) fn new(mut random: Random, evil: &'a Evil, stock: &[Vec<u8>]) -> Self {
        let seldom = 1 + random.below(8);
        let takes_over = random.one_in(4).then(|| 1 + random.below(4));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let stock = stock.iter().filter_map(|octets| Opened::open(octets)).collect();
        Self { random, evil, stock, seldom, takes_over, now: now as u32 }
    }

    /// What becomes of an answer; `None`: it is lost.
    pub(crate) fn tamper(&mut self, qname: &[u8], victim: &str, genuine: Vec<u8>) -> Option<Vec<u8>> {
        if self.takes_over.is_none() && !self.random.one_in(self.seldom) {
            return Some(genuine);
        }
        if self.random.one_in(40) {
            return None;
        }
        let mut opened = Opened::open(&genuine)?;
        if let Some(levels) = self.takes_over {
            self.take_over(levels, &mut opened, qname, victim);
            return Some(opened.close());
        }
        for _ in 0..1 + self.random.below(3) * self.random.below(2) {
            self.change(&mut opened, qname, victim);
        }
        let mut octets = opened.close();
        if self.random.one_in(6) {
            for _ in 0..1 + self.random.below(3) {
                let at = self.random.below(octets.len() - 12) + 12;
                octets[at] ^= 1 << self.random.below(8);
            }
        }
        if self.random.one_in(50) {
            octets.truncate(12 + self.random.below(octets.len()));
        }
        Some(octets)
    }

    fn change(&mut self, message: &mut Opened, qname: &[u8], victim: &str) {
        let section = self.random.below(2);
        let at = self.random.below(message.sections[section].len());
        let present = !message.sections[section].is_empty();
        match self.random.below(22) {
            0 if present => drop(message.sections[section].remove(at)),
            1 => {
                // All of one type, or its signatures.
                let rtype = self.random.pick(&RTYPES).to_int();
                let signatures = self.random.one_in(2);
                let covers = |record: &Record| {
                    record.rtype == Rtype::RRSIG.to_int() && record.rdata.starts_with(&rtype.to_be_bytes())
                };
                message.sections.iter_mut().for_each(|section| {
                    section.retain(|record| match signatures {
                        true => !covers(record),
                        false => record.rtype != rtype && !covers(record),
                    })
                });
            }
            // Another genuine answer, in whole or in part, under this question.
            2 => message.sections = self.random.pick(&self.stock).sections.clone(),
            3 | 4 => {
                let other = self.random.pick(&self.stock);
                let from = self.random.below(2);
                message.sections[section].extend(other.sections[from].iter().cloned());
            }
            5 => {
                let other = self.random.pick(&self.stock).sections[section].clone();
                message.sections[section] = other;
            }
            6 if present => {
                let other = self.random.pick(&self.stock).sections[section].clone();
                if !other.is_empty() {
                    message.sections[section][at] = self.random.pick(&other).clone();
                }
            }
            // Other owners: of one record, or of all that have this one's.
            7 if present => {
                let owner = self.name(qname, victim);
                message.sections[section][at].owner = owner;
            }
            8 if present => {
                let (owner, old) = (self.name(qname, victim), message.sections[section][at].owner.clone());
                message
                    .sections
                    .iter_mut()
                    .flatten()
                    .filter(|record| record.owner == old)
                    .for_each(|record| record.owner.clone_from(&owner));
            }
            // Other times.
            9 if present => {
                message.sections[section][at].ttl = *self.random.pick(&[0, 1, 86_400, u32::MAX >> 1, u32::MAX])
            }
            10 => {
                let (field, value) = (
                    8 + 4 * self.random.below(2),
                    self.now.wrapping_add(*self.random.pick(&[0, 1, 1 << 20, 1 << 30, 1 << 31])),
                );
                for record in
                    message.sections.iter_mut().flatten().filter(|record| record.rtype == Rtype::RRSIG.to_int())
                {
                    record.rdata[field..field + 4].copy_from_slice(&value.to_be_bytes());
                }
            }
            // Other contents.
            11 if present => {
                let rdata = &mut message.sections[section][at].rdata;
                let place = self.random.below(rdata.len());
                if let Some(octet) = rdata.get_mut(place) {
                    *octet = self.random.next().to_le_bytes()[0];
                }
            }
            12 if present => {
                // In a signature: type covered, algorithm, labels, tag.
                let record = &mut message.sections[section][at];
                if record.rtype == Rtype::RRSIG.to_int() {
                    let place = *self.random.pick(&[1, 2, 3, 3, 3, 16]);
                    record.rdata[place] = record.rdata[place].wrapping_add(*self.random.pick(&[1, 255]));
                }
            }
            13 => message.flags[1] ^= 3,
            14 if present => {
                let moved = message.sections[section].remove(at);
                message.sections[1 - section].push(moved);
            }
            15 | 16 => self.deny(message, qname, victim),
            _ => self.forge(message, qname, victim),
        }
    }

    /// A name of some use.
    fn name(&mut self, qname: &[u8], victim: &str) -> Vec<u8> {
        let victim = wire(victim);
        let evil = wire(Evil::ZONE);
        match self.random.below(7) {
            0 => qname.to_vec(),
            1 => victim,
            2 => evil,
            3 => above(&victim, 1 + self.random.below(3)),
            4 => [b"\x01*", &above(&victim, 1 + self.random.below(2))[..]].concat(),
            5 => [b"\x01*", &evil[..]].concat(),
            _ => {
                let (message, section) = (self.random.pick(&self.stock).clone(), self.random.below(2));
                match message.sections[section].as_slice() {
                    [] => qname.to_vec(),
                    records => self.random.pick(records).owner.clone(),
                }
            }
        }
    }

    /// A denial of some other name instead of the answer, as it is or under owners of use.
    fn deny(&mut self, message: &mut Opened, qname: &[u8], victim: &str) {
        let other = self.random.pick(&self.stock).sections[1].clone();
        let owners: Vec<_> = other.iter().map(|record| record.owner.clone()).collect();
        message.sections = [Vec::new(), other];
        if self.random.one_in(2) && !owners.is_empty() {
            let (old, owner) = (self.random.pick(&owners).clone(), self.name(qname, victim));
            let moved = message.sections[1].iter_mut().filter(|record| record.owner == old);
            moved.for_each(|record| record.owner.clone_from(&owner));
        }
    }

    /// A record of the attacker's, signed with the attacker's key.
    fn forge(&mut self, message: &mut Opened, qname: &[u8], victim: &str) {
        // Most of the time what was asked for.
        let (rtype, owner) = match self.random.one_in(2) {
            true => (*self.random.pick(&RTYPES), self.name(qname, victim)),
            false => (message.asked(), qname.to_vec()),
        };
        let signer = match self.random.below(4) {
            0 => above(&owner, self.random.below(3)),
            1 => self.name(qname, victim),
            _ => wire(Evil::ZONE),
        };
        let labels = match self.random.one_in(3) {
            true => self.random.below(count(&owner) + 2),
            false => count(&owner),
        };
        let other = self.name(qname, victim);
        self.put(message, (owner, rtype, labels), &signer, &other);
    }

    /// The attacker's keys in a zone above the victim, and the records that they would sign.
    fn take_over(&mut self, levels: usize, message: &mut Opened, qname: &[u8], victim: &str) {
        let zone = above(&wire(victim), levels);
        let rtype = message.asked();
        let signer = match rtype {
            Rtype::DS => above(&zone, 1),
            _ => zone.clone(),
        };
        let wanted = rtype == Rtype::TLSA || (qname == zone && (rtype == Rtype::DNSKEY || self.random.one_in(3)));
        if wanted {
            self.put(message, (qname.to_vec(), rtype, count(qname)), &signer, &zone);
        }
    }

    fn put(
        &mut self,
        message: &mut Opened,
        (owner, rtype, labels): (Vec<u8>, Rtype, usize),
        signer: &[u8],
        other: &[u8],
    ) {
        let bitmap = [0, 6, 0x40, 1, 0, 0, 0, 3];
        let key = self.evil.dnskey();
        let rdata = match rtype {
            Rtype::CNAME | Rtype::DNAME => other.to_vec(),
            Rtype::NSEC => [other, &bitmap].concat(),
            Rtype::NSEC3 => [&[1, 0, 0, 0, 0, 20], &[0xff; 20][..], &bitmap].concat(),
            Rtype::DNSKEY => key,
            Rtype::DS => {
                let digest = digest(&SHA256, &[&owner.to_ascii_lowercase(), &key[..]].concat());
                [&key_tag(&key).to_be_bytes()[..], &[15, 2], digest.as_ref()].concat()
            }
            _ => [&[3, 1, 1][..], &[0x66; 32]].concat(),
        };
        let record = Record { owner: owner.clone(), rtype: rtype.to_int(), class: 1, ttl: 300, rdata };
        let signature = self.evil.sign(&record, signer, u8::try_from(labels).unwrap(), self.now);
        let section = &mut message.sections[usize::from(matches!(rtype, Rtype::NSEC | Rtype::NSEC3))];
        if self.random.one_in(2) {
            // In place of the true ones.
            section.retain(|record| record.owner != owner || record.rtype != rtype.to_int());
        }
        section.push(record);
        if !self.random.one_in(5) {
            section.push(signature);
        }
    }
}

fn wire(name: &str) -> Vec<u8> {
    name.parse::<domain::base::Name<Vec<u8>>>().unwrap().into_octets()
}

fn count(name: &[u8]) -> usize {
    domain::base::Name::from_octets(name).unwrap().label_count() - 1
}

fn above(name: &[u8], labels: usize) -> Vec<u8> {
    let name = domain::base::Name::from_octets(name).unwrap();
    name.iter_suffixes().nth(labels).map_or(vec![0], |name| name.to_vec().into_octets())
}
