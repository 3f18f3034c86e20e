//! Proxies that do what no honest server or resolver does.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::base::iana::Rtype;
use domain::base::name::ParsedName;
use domain::base::{Message, MessageBuilder, Name, Record, ToName};
use domain::rdata::AllRecordData;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Runtime;

/// Most octets over UDP; what is longer is truncated.
const MAX_DATAGRAM: usize = 1232;

/// What a proxy does to what passes through it.
#[derive(Clone)]
pub enum Manner {
    /// Answers otherwise what is asked about these names.
    Lies(Arc<Vec<(Name<Vec<u8>>, Lie)>>),
    /// Answers so much later.
    Late(Duration),
    /// Drops RRSIG records.
    WithoutSignatures,
    /// Nothing but TC over UDP; over TCP the whole answer.
    TruncatesUdp,
    /// Nothing but TC, over TCP too.
    Truncates,
    /// Nothing but TC over UDP; over TCP an octet at a time, with this pause between two.
    Drips(Duration),
    /// Reads and says nothing.
    Silent,
}

/// What is said in place of the truth.
#[derive(Clone)]
pub enum Lie {
    /// The truth without NSEC and NSEC3 records.
    WithoutProof,
    /// The truth about another name, said of this one.
    AsFor(Name<Vec<u8>>),
}

/// A name in presentation format.
pub(crate) fn name(text: &str) -> Name<Vec<u8>> {
    text.parse().unwrap()
}

/// Starts one, until the runtime is shut down.
pub(crate) fn start(
    runtime: &Runtime,
    listen: SocketAddr,
    upstream: SocketAddr,
    manner: Manner,
) -> io::Result<SocketAddr> {
    let (udp, tcp) = runtime.block_on(async {
        let tcp = TcpListener::bind(listen).await?;
        Ok::<_, io::Error>((UdpSocket::bind(tcp.local_addr()?).await?, tcp))
    })?;
    let address = tcp.local_addr()?;
    let udp = Arc::new(udp);
    let for_tcp = manner.clone();
    runtime.spawn(async move {
        let mut buffer = vec![0; 65_535];
        loop {
            let Ok((length, client)) = udp.recv_from(&mut buffer).await else { continue };
            let Ok(query) = Message::from_octets(buffer[..length].to_vec()) else { continue };
            let (udp, manner) = (udp.clone(), manner.clone());
            tokio::spawn(async move {
                let cut = match manner {
                    Manner::TruncatesUdp | Manner::Truncates | Manner::Drips(_) => Some(truncated(&query)),
                    _ => None,
                };
                let reply = match cut {
                    Some(cut) => Some(cut),
                    None => reply(&query, upstream, &manner).await,
                };
                if let Some(reply) = reply {
                    let reply = if reply.len() > MAX_DATAGRAM { truncated(&query) } else { reply };
                    let _ = udp.send_to(&reply, client).await;
                }
            });
        }
    });
    runtime.spawn(async move {
        while let Ok((stream, _)) = tcp.accept().await {
            tokio::spawn(connection(stream, upstream, for_tcp.clone()));
        }
    });
    Ok(address)
}

async fn connection(mut stream: TcpStream, upstream: SocketAddr, manner: Manner) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let query = Message::from_octets(read_message(&mut stream).await?).map_err(io::Error::other)?;
        let reply = match manner {
            Manner::Truncates => Some(truncated(&query)),
            _ => reply(&query, upstream, &manner).await,
        };
        let Some(reply) = reply else { continue };
        let Manner::Drips(pause) = manner else {
            write_message(&mut stream, &reply).await?;
            continue;
        };
        for octet in framed(&reply) {
            stream.write_all(&[octet]).await?;
            tokio::time::sleep(pause).await;
        }
    }
}

/// What to say; nothing where upstream says nothing either.
async fn reply(query: &Message<Vec<u8>>, upstream: SocketAddr, manner: &Manner) -> Option<Vec<u8>> {
    match manner {
        Manner::Silent => None,
        Manner::Late(delay) => {
            tokio::time::sleep(*delay).await;
            Some(ask(query, upstream).await.ok()?.into_octets())
        }
        Manner::WithoutSignatures => {
            let truth = ask(query, upstream).await.ok()?;
            Some(said(query, &truth, |record| record.rtype() != Rtype::RRSIG))
        }
        Manner::Lies(lies) => {
            let question = query.sole_question().ok()?;
            let asked: Name<Vec<u8>> = question.qname().to_name();
            match lies.iter().find(|(name, _)| *name == asked).map(|(_, lie)| lie) {
                None => Some(ask(query, upstream).await.ok()?.into_octets()),
                Some(Lie::WithoutProof) => {
                    Some(said(query, &ask(query, upstream).await.ok()?, |record| !is_proof(record)))
                }
                Some(Lie::AsFor(other)) => {
                    let truth = ask(&asking(query, other), upstream).await.ok()?;
                    Some(said(query, &truth, |_| true))
                }
            }
        }
        Manner::TruncatesUdp | Manner::Truncates | Manner::Drips(_) => {
            Some(ask(query, upstream).await.ok()?.into_octets())
        }
    }
}

type AnyRecord<'a> = Record<ParsedName<&'a [u8]>, AllRecordData<&'a [u8], ParsedName<&'a [u8]>>>;

fn is_proof(record: &AnyRecord<'_>) -> bool {
    let of = match record.data() {
        AllRecordData::Rrsig(signature) => signature.type_covered(),
        _ => record.rtype(),
    };
    [Rtype::NSEC, Rtype::NSEC3].contains(&of)
}

/// This reply as one to `query`: where it speaks of its own question's name, it speaks of the one asked for instead.
fn said(query: &Message<Vec<u8>>, reply: &Message<Vec<u8>>, keep: impl Fn(&AnyRecord<'_>) -> bool) -> Vec<u8> {
    let reply = Message::from_octets(reply.as_slice()).unwrap();
    let (asked, answered) = (query.sole_question().unwrap(), reply.sole_question().unwrap());
    let asked_name: Name<Vec<u8>> = asked.qname().to_name();
    let mut builder = MessageBuilder::new_vec();
    *builder.header_mut() = reply.header();
    builder.header_mut().set_id(query.header().id());
    let mut builder = builder.question();
    builder.push(asked).unwrap();
    let sections = [reply.answer().unwrap(), reply.authority().unwrap(), reply.additional().unwrap()];
    let [answer, authority, additional] = sections.map(|section| {
        let records = section.limit_to::<AllRecordData<_, _>>().map(Result::unwrap).filter(|record| keep(record));
        let renamed = records.map(|record| {
            let moved = record.owner() == answered.qname();
            let owner = if moved { asked_name.clone() } else { record.owner().to_name() };
            (owner, record.class(), record.ttl(), record.data().clone())
        });
        renamed.collect::<Vec<_>>()
    });
    let mut builder = builder.answer();
    answer.into_iter().for_each(|record| builder.push(record).unwrap());
    let mut builder = builder.authority();
    authority.into_iter().for_each(|record| builder.push(record).unwrap());
    let mut builder = builder.additional();
    additional.into_iter().for_each(|record| builder.push(record).unwrap());
    builder.finish()
}

/// The same question about another name.
fn asking(query: &Message<Vec<u8>>, name: &Name<Vec<u8>>) -> Message<Vec<u8>> {
    let mut builder = MessageBuilder::new_vec();
    *builder.header_mut() = query.header();
    let mut builder = builder.question();
    builder.push((name, query.sole_question().unwrap().qtype())).unwrap();
    let mut builder = builder.additional();
    builder
        .opt(|opt| {
            opt.set_udp_payload_size(1232);
            opt.set_dnssec_ok(true);
            Ok(())
        })
        .unwrap();
    Message::from_octets(builder.finish()).unwrap()
}

/// TC and nothing else.
fn truncated(query: &Message<Vec<u8>>) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    let header = builder.header_mut();
    *header = query.header();
    header.set_qr(true);
    header.set_tc(true);
    header.set_ra(true);
    header.set_ad(false);
    let mut builder = builder.question();
    if let Ok(question) = query.sole_question() {
        builder.push(question).unwrap();
    }
    builder.finish()
}

/// Asks over TCP, so that nothing is truncated.
pub(crate) async fn ask(query: &Message<Vec<u8>>, server: SocketAddr) -> io::Result<Message<Vec<u8>>> {
    let mut stream = TcpStream::connect(server).await?;
    write_message(&mut stream, query.as_slice()).await?;
    Message::from_octets(read_message(&mut stream).await?).map_err(io::Error::other)
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap();
    [&length.to_be_bytes()[..], message].concat()
}

async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    stream.write_all(&framed(message)).await
}

async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}
