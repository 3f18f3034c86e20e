//! Questions and replies as octets.

use std::io;

use bytes::Bytes;
use dance_dnssec::{DnsName, Question};
use domain::base::iana::{Opcode, Rcode};
use domain::base::opt::cookie::Cookie;
use domain::base::{Header, Message, MessageBuilder};
use ring::rand::{SecureRandom as _, SystemRandom};

/// UDP payload size offered (EDNS): what fits into any path's packets without fragments.
pub(super) const UDP_PAYLOAD: u16 = 1232;
/// Questions over TLS are padded to a multiple of this (RFC 8467 section 4.1), so that their lengths do not tell the names.
const PADDING_BLOCK: usize = 128;
/// Where the question begins.
const HEADER: usize = 12;
/// Its type and class.
const TYPE_AND_CLASS: usize = 4;
/// An OPT record without options (RFC 6891 section 6.1.2).
const EMPTY_OPT: usize = 11;
/// An option's code and length.
const OPTION_HEADER: usize = 4;

/// What the asker wants of the resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flags {
    /// DO=1 CD=1: all data with signatures, validated or not.
    Unchecked,
    /// AD=1 CD=0: the resolver's verdict.
    Verdict,
}

/// What a question is put into.
#[derive(Clone, Debug)]
pub(super) enum Carrier {
    /// A datagram, with what tells its answer from a forged one besides ID and port.
    Udp { cookie: Cookie, letters: Letters },
    /// A TCP connection.
    Tcp { letters: Letters },
    /// A TLS connection.
    Tls,
}

/// In what letters a name is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Letters {
    /// As it is.
    Plain,
    /// Upper or lower case at random (draft-vixie-dnsext-dns0x20): a bit for each letter that a forger would have to guess.
    Random,
}

/// A question in octets.
#[derive(Clone, Debug)]
pub(super) struct Query {
    octets: Vec<u8>,
    name: DnsName,
}

impl Query {
    /// The question with a random ID.
    pub(super) fn new(question: &Question, flags: Flags, carrier: &Carrier) -> io::Result<Self> {
        let mut octets = compose(question, flags, carrier).ok_or(io::ErrorKind::InvalidInput)?;
        let mut random = [0; 34];
        SystemRandom::new().fill(&mut random).map_err(|_| io::Error::other("no randomness"))?;
        let [high, low, bits @ ..] = random;
        Header::for_message_slice_mut(&mut octets).set_id(u16::from_be_bytes([high, low]));
        if matches!(carrier, Carrier::Udp { letters: Letters::Random, .. } | Carrier::Tcp { letters: Letters::Random })
        {
            // Octets that hold a label's length are no letters: they are below 64.
            for (index, octet) in octets.iter_mut().skip(HEADER).take(question.name.len()).enumerate() {
                match bits.get(index / 8).is_some_and(|bits| bits >> (index % 8) & 1 == 1) {
                    true => octet.make_ascii_uppercase(),
                    false => octet.make_ascii_lowercase(),
                }
            }
        }
        Ok(Self { octets, name: question.name.clone() })
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.octets
    }

    pub(super) fn id(&self) -> u16 {
        Header::for_message_slice(&self.octets).id()
    }

    pub(super) fn set_id(&mut self, id: u16) {
        Header::for_message_slice_mut(&mut self.octets).set_id(id);
    }

    /// The name as it was sent, and its type and class.
    fn asked(&self) -> (&[u8], &[u8]) {
        split_question(&self.octets, self.name.len()).unwrap_or_default()
    }

    /// How a message fits this question: `None` if it has nothing to do with it.
    pub(super) fn fit(&self, octets: &[u8]) -> Option<(Fit, Message<Bytes>)> {
        let message = Message::from_octets(octets).ok()?;
        let header = message.header();
        if !header.qr() || header.id() != self.id() || header.opcode() != Opcode::QUERY {
            return None;
        }
        let fit = match message.header_counts().qdcount() {
            // An error reply may leave the question out.
            0 if !matches!(header.rcode(), Rcode::NOERROR | Rcode::NXDOMAIN) => Fit::Unquestioned,
            1 => {
                let (name, rest) = split_question(octets, self.name.len())?;
                let (asked, asked_rest) = self.asked();
                if rest != asked_rest || !name.eq_ignore_ascii_case(asked) {
                    return None;
                }
                if name == asked { Fit::Exact } else { Fit::Letters }
            }
            _ => return None,
        };
        let mut octets = octets.to_vec();
        // In the letters that our own side knows: record owners refer to them.
        if fit != Fit::Unquestioned
            && let Some(name) = octets.get_mut(HEADER..HEADER + self.name.len())
        {
            name.copy_from_slice(self.name.as_slice());
        }
        Some((fit, Message::from_octets(Bytes::from(octets)).ok()?))
    }
}

/// How a reply fits its question, besides ID and opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It repeats the question to the letter.
    Exact,
    /// It repeats the question, in other letters.
    Letters,
    /// It is an error, and does not repeat the question.
    Unquestioned,
}

/// The octets of the question's name, and of its type and class.
fn split_question(octets: &[u8], name: usize) -> Option<(&[u8], &[u8])> {
    octets.get(HEADER..HEADER + name + TYPE_AND_CLASS)?.split_at_checked(name)
}

/// The message, with an ID of 0. `None` is impossible for a name that fits into one.
fn compose(question: &Question, flags: Flags, carrier: &Carrier) -> Option<Vec<u8>> {
    let mut builder = MessageBuilder::new_vec();
    let header = builder.header_mut();
    header.set_opcode(Opcode::QUERY);
    header.set_rd(true);
    header.set_cd(flags == Flags::Unchecked);
    header.set_ad(flags == Flags::Verdict);
    let mut builder = builder.question();
    builder.push((&question.name, question.rtype)).ok()?;
    let mut builder = builder.additional();
    builder
        .opt(|opt| {
            opt.set_udp_payload_size(UDP_PAYLOAD);
            opt.set_dnssec_ok(flags == Flags::Unchecked);
            match carrier {
                Carrier::Udp { cookie, .. } => opt.cookie(cookie.clone())?,
                // RFC 7828: how long may the connection be left idle?
                Carrier::Tcp { .. } => opt.tcp_keepalive(None)?,
                Carrier::Tls => {
                    opt.tcp_keepalive(None)?;
                    let bare = HEADER + question.name.len() + TYPE_AND_CLASS + EMPTY_OPT + 2 * OPTION_HEADER;
                    let missing = bare.next_multiple_of(PADDING_BLOCK) - bare;
                    // Less than a block.
                    opt.padding(u16::try_from(missing).unwrap_or_default())?;
                }
            }
            Ok(())
        })
        .ok()?;
    Some(builder.finish())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

    use domain::base::iana::Rtype;
    use domain::base::opt::cookie::ClientCookie;

    use super::*;

    fn question(name: &str) -> Question {
        Question { name: name.parse().unwrap(), rtype: Rtype::TLSA }
    }

    fn udp(letters: Letters) -> Carrier {
        Carrier::Udp { cookie: Cookie::new(ClientCookie::from_octets([7; 8]), None), letters }
    }

    /// What a server makes of a question: the same with QR set.
    fn echo(query: &Query) -> Vec<u8> {
        let mut octets = query.as_slice().to_vec();
        octets[2] |= 0x80;
        octets
    }

    // SEC-04
    #[test]
    fn over_tls_lengths_tell_nothing() {
        let length =
            |name: &str| Query::new(&question(name), Flags::Unchecked, &Carrier::Tls).unwrap().as_slice().len();
        let mut name = String::from("a");
        while name.len() < 60 {
            assert_eq!(length(&name), 128, "{name}");
            name.push('a');
        }
        let long = format!("{name}.{name}.{name}.{name}");
        assert_eq!(length(&long) % 128, 0);
    }

    #[test]
    fn letters_are_random_where_that_is_asked_for() {
        let question = question("sensor7._device.example.com");
        let names = |letters| -> Vec<Vec<u8>> {
            let query = || Query::new(&question, Flags::Unchecked, &udp(letters)).unwrap();
            (0..64).map(|_| query().asked().0.to_vec()).collect()
        };
        assert!(names(Letters::Plain).iter().all(|name| name == question.name.as_slice()));
        let random = names(Letters::Random);
        assert!(random.iter().all(|name| name.eq_ignore_ascii_case(question.name.as_slice())));
        // Each letter of the first label comes in both sizes.
        for index in 1..7 {
            assert!(random.iter().any(|name| name[index].is_ascii_uppercase()));
            assert!(random.iter().any(|name| name[index].is_ascii_lowercase()));
        }
    }

    // DNS-01
    #[test]
    fn what_fits() {
        let question = question("sensor7._device.example.com");
        let query = Query::new(&question, Flags::Unchecked, &udp(Letters::Random)).unwrap();
        type Change<'a> = &'a dyn Fn(&mut Vec<u8>);
        let fit = |change: Change<'_>| {
            let mut octets = echo(&query);
            change(&mut octets);
            query.fit(&octets)
        };
        let (exact, message) = fit(&|_| ()).unwrap();
        assert_eq!(exact, Fit::Exact);
        // Whatever letters went over the wire.
        assert_eq!(message.as_slice()[12..41], *question.name.as_slice());
        let (letters, message) = fit(&|octets| octets[13] ^= 0x20).unwrap();
        assert_eq!(letters, Fit::Letters);
        assert_eq!(message.as_slice()[12..41], *question.name.as_slice());
        let bare = |rcode: u8| {
            move |octets: &mut Vec<u8>| {
                octets.truncate(12);
                octets[3] = rcode;
                octets[4..].fill(0);
            }
        };
        assert_eq!(fit(&bare(2)).unwrap().0, Fit::Unquestioned);
        let not: [Change<'_>; 8] = [
            &bare(0),
            &bare(3),
            &|octets| octets[0] ^= 1,
            &|octets| octets[2] &= 0x7f,
            &|octets| octets[14] ^= 1,
            &|octets| octets[42] ^= 1,
            &|octets| octets[5] = 2,
            &|octets| octets.truncate(20),
        ];
        for (index, change) in not.into_iter().enumerate() {
            assert!(fit(change).is_none(), "{index}");
        }
        let whole = echo(&query);
        let question = 12 + 29 + 4;
        for length in 0..whole.len() {
            let fit = query.fit(&whole[..length]).map(|(fit, _)| fit);
            assert_eq!(fit, (length >= question).then_some(Fit::Exact), "{length}");
        }
    }
}
