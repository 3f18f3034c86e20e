//! From the octets of a question to the octets of an answer.

use std::time::{Duration, Instant};

use domain::base::iana::{Class, Opcode, Rcode, Rtype};
use domain::base::message_builder::PushError;
use domain::base::opt::ExtendedError;
use domain::base::rdata::UnknownRecordData;
use domain::base::{Header, Message, MessageBuilder, Name, StaticCompressor, ToName, Ttl};

use crate::dns::now;
use crate::dns_answer::Rr;
use crate::dns_fault::Effects;
use crate::dns_log::{Query, QueryLog, Transport};
use crate::dns_resolve::{Front, Resolution, Served, Trust};
use crate::zone::DnsName;

/// Datagram size without EDNS, RFC 1035 section 4.2.1.
const MIN_UDP: u16 = 512;
/// Largest datagram that the server sends, whatever the asker offers.
const MAX_UDP: u16 = 4096;
/// What the server says it can receive; the value of DNS flag day 2020.
const OUR_UDP: u16 = 1232;

/// An answer and how it is to be sent.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) octets: Vec<u8>,
    pub(crate) delay: Duration,
    pub(crate) tcp_pause: Option<Duration>,
}

/// What a question says besides name and type.
#[derive(Debug)]
struct Asked {
    header: Header,
    name: DnsName,
    rtype: Rtype,
    /// Payload size and DO bit.
    edns: Option<(u16, bool)>,
}

/// What becomes of a message.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is answered.
    Reply(Reply),
    /// It is ignored.
    Silence,
    /// Its connection is closed.
    Close,
}

/// Answers a message, and puts the question into the log.
pub(crate) fn answer(served: &Served, log: &QueryLog, octets: &[u8], transport: Transport) -> Outcome {
    let Ok(message) = Message::from_octets(octets) else {
        return Outcome::Silence;
    };
    let header = message.header();
    if header.qr() {
        return Outcome::Silence;
    }
    let Some(asked) = read(&message) else {
        let rcode = if header.opcode() == Opcode::QUERY { Rcode::FORMERR } else { Rcode::NOTIMP };
        return immediate(error_only(header, rcode));
    };
    log.push(Query {
        name: asked.name.to_string().to_ascii_lowercase().trim_end_matches('.').to_owned(),
        rtype: asked.rtype,
        transport,
        at: Instant::now(),
        checking_disabled: header.cd(),
        dnssec_ok: asked.edns.is_some_and(|(_, dnssec)| dnssec),
        authentic_data: header.ad(),
    });
    let meta = [Rtype::ANY, Rtype::AXFR, Rtype::IXFR, Rtype::RRSIG, Rtype::OPT];
    if meta.contains(&asked.rtype) {
        return immediate(error_only(header, Rcode::REFUSED));
    }

    let resolution = served.resolve(&asked.name, asked.rtype, now());
    let Effects { silent, close_tcp, delay, tcp_pause, .. } = resolution.effects;
    if close_tcp && transport == Transport::Tcp {
        return Outcome::Close;
    }
    match compose(served.front, &asked, &resolution, transport) {
        Ok(octets) if !silent => Outcome::Reply(Reply { octets, delay, tcp_pause }),
        _ => Outcome::Silence,
    }
}

fn immediate(octets: Option<Vec<u8>>) -> Outcome {
    match octets {
        Some(octets) => Outcome::Reply(Reply { octets, delay: Duration::ZERO, tcp_pause: None }),
        None => Outcome::Silence,
    }
}

/// Reads a question; `None` if it is not one of class IN with at most one OPT record.
fn read(message: &Message<&[u8]>) -> Option<Asked> {
    if message.header().opcode() != Opcode::QUERY {
        return None;
    }
    let question = message.sole_question().ok()?;
    if question.qclass() != Class::IN {
        return None;
    }
    let edns = message.opt().map(|opt| (opt.udp_payload_size(), opt.dnssec_ok()));
    Some(Asked { header: message.header(), name: question.qname().to_bytes(), rtype: question.qtype(), edns })
}

type Builder = MessageBuilder<StaticCompressor<Vec<u8>>>;

fn builder(asked: Header, rcode: Rcode) -> Option<Builder> {
    let mut builder = MessageBuilder::from_target(StaticCompressor::new(Vec::new())).ok()?;
    let header = builder.header_mut();
    header.set_id(asked.id());
    header.set_qr(true);
    header.set_opcode(asked.opcode());
    header.set_rd(asked.rd());
    header.set_cd(asked.cd());
    header.set_ra(true);
    header.set_rcode(rcode);
    Some(builder)
}

fn error_only(asked: Header, rcode: Rcode) -> Option<Vec<u8>> {
    Some(builder(asked, rcode)?.finish().into_target())
}

fn compose(front: Front, asked: &Asked, resolution: &Resolution, transport: Transport) -> Result<Vec<u8>, PushError> {
    let effects = &resolution.effects;
    let edns = asked.edns.filter(|_| !effects.ignore_edns);
    let bogus = match (front, resolution.trust) {
        (Front::Validating, Trust::Bogus(code)) if !asked.header.cd() => Some(code),
        _ => None,
    };
    let rcode = match (effects.rcode, bogus) {
        (Some(rcode), _) => rcode,
        (None, Some(_)) => Rcode::SERVFAIL,
        (None, None) => resolution.rcode,
    };
    let wants_ad = asked.header.ad() || edns.is_some_and(|(_, dnssec)| dnssec);
    let denies_or_answers = [Rcode::NOERROR, Rcode::NXDOMAIN].contains(&rcode);
    let ad = match front {
        Front::NonValidating => false,
        Front::Validating => resolution.trust == Trust::Secure && wants_ad && denies_or_answers,
        Front::AlwaysAd => true,
    };
    let empty = effects.rcode.is_some() || bogus.is_some();
    let truncate = match transport {
        Transport::Udp => effects.truncate_udp,
        Transport::Tcp => effects.truncate_tcp,
    };
    let plan = Plan { rcode, ad, edns, extended_error: bogus };
    let whole = plan.compose(asked, resolution, !empty && !truncate, truncate)?;

    let limit = match (transport, edns) {
        (Transport::Tcp, _) => usize::from(u16::MAX),
        (Transport::Udp, Some((size, _))) => usize::from(size.clamp(MIN_UDP, MAX_UDP)),
        (Transport::Udp, None) => usize::from(MIN_UDP),
    };
    let mut octets = match whole.len() <= limit {
        true => whole,
        false => plan.compose(asked, resolution, false, true)?,
    };
    if effects.malformed {
        octets.truncate(octets.len().saturating_sub(3));
    }
    Ok(octets)
}

/// What goes into the message besides the records.
struct Plan {
    rcode: Rcode,
    ad: bool,
    edns: Option<(u16, bool)>,
    extended_error: Option<u16>,
}

impl Plan {
    fn compose(
        &self,
        asked: &Asked,
        resolution: &Resolution,
        with_records: bool,
        truncated: bool,
    ) -> Result<Vec<u8>, PushError> {
        let mut builder = builder(asked.header, self.rcode).ok_or(PushError::ShortBuf)?;
        let header = builder.header_mut();
        header.set_ad(self.ad);
        header.set_tc(truncated);
        if resolution.effects.wrong_id {
            header.set_id(!asked.header.id());
        }
        let mut section = builder.question();
        match resolution.effects.wrong_question {
            true => section.push((Name::<Vec<u8>>::root(), asked.rtype))?,
            false => section.push((&asked.name, asked.rtype))?,
        }
        let dnssec = self.edns.is_some_and(|(_, dnssec)| dnssec);
        let wanted = |rr: &&Rr| {
            let only_dnssec = [Rtype::RRSIG, Rtype::NSEC, Rtype::NSEC3].contains(&rr.rtype);
            with_records && (dnssec || !only_dnssec || rr.rtype == asked.rtype)
        };
        let mut section = section.answer();
        for rr in resolution.answer.iter().filter(wanted) {
            section.push(record(rr)?)?;
        }
        let mut section = section.authority();
        for rr in resolution.authority.iter().filter(wanted) {
            section.push(record(rr)?)?;
        }
        let mut section = section.additional();
        for rr in resolution.additional.iter().filter(wanted) {
            section.push(record(rr)?)?;
        }
        if self.edns.is_some() {
            section.opt(|opt| {
                opt.set_udp_payload_size(OUR_UDP);
                opt.set_dnssec_ok(dnssec);
                match self.extended_error {
                    Some(code) => opt.push(&ExtendedError::<Vec<u8>>::from(code)),
                    None => Ok(()),
                }
            })?;
        }
        Ok(section.finish().into_target())
    }
}

type RawRecord<'a> = (&'a DnsName, Class, Ttl, UnknownRecordData<&'a [u8]>);

fn record(rr: &Rr) -> Result<RawRecord<'_>, PushError> {
    let data = UnknownRecordData::from_octets(rr.rtype, &rr.data[..]).map_err(|_| PushError::ShortBuf)?;
    Ok((&rr.owner, rr.class, Ttl::from_secs(rr.ttl), data))
}
