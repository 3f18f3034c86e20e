//! UDP and TCP on one port of the loopback interface.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::dns::Shared;
use crate::dns_log::Transport;
use crate::dns_message::{Outcome, Reply, answer};

/// How often a port that is free for UDP may turn out to be taken for TCP before the server gives up.
const BIND_ATTEMPTS: usize = 32;
/// Connections at one time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 256;
/// Answers waiting for their time, on one connection or for all datagrams; questions beyond wait or are dropped.
const MAX_PENDING: usize = 4096;
/// Pause after the system refused to receive or accept, so that a lasting refusal does not take the whole processor.
const ERROR_PAUSE: Duration = Duration::from_millis(10);
/// Largest datagram that IP can carry.
const MAX_DATAGRAM: usize = 65_535;

/// Binds both transports to one free port.
pub(crate) async fn bind() -> io::Result<(UdpSocket, TcpListener, SocketAddr)> {
    let mut attempt = 0;
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = udp.local_addr()?;
        attempt += 1;
        match TcpListener::bind(addr).await {
            Ok(tcp) => return Ok((udp, tcp, addr)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempt < BIND_ATTEMPTS => {}
            Err(error) => return Err(error),
        }
    }
}

/// Answers datagrams until the task is aborted.
pub(crate) async fn serve_udp(socket: UdpSocket, shared: Arc<Shared>) {
    let socket = Arc::new(socket);
    // Aborts late answers together with this task.
    let mut late = JoinSet::new();
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        while late.try_join_next().is_some() {}
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else {
            tokio::time::sleep(ERROR_PAUSE).await;
            continue;
        };
        let question = buffer.get(..length).unwrap_or_default();
        let Outcome::Reply(reply) = outcome_for(&shared, question, Transport::Udp) else { continue };
        if reply.delay.is_zero() {
            // The asker may have gone; nobody is left to tell.
            let _ = socket.send_to(&reply.octets, peer).await;
        } else if late.len() < MAX_PENDING {
            let socket = socket.clone();
            late.spawn(async move {
                tokio::time::sleep(reply.delay).await;
                let _ = socket.send_to(&reply.octets, peer).await;
            });
        }
    }
}

/// Answers connections until the task is aborted.
pub(crate) async fn serve_tcp(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(serve_connection(stream, shared.clone()));
            }
            Err(_) => tokio::time::sleep(ERROR_PAUSE).await,
        }
    }
}

/// Reads questions as they come and answers each when its time has come, in any order (RFC 7766 section 6.2.1.1).
async fn serve_connection(stream: TcpStream, shared: Arc<Shared>) {
    // Octets that leave one at a time should arrive so; without this they merely may.
    let _ = stream.set_nodelay(true);
    let (mut reader, writer) = stream.into_split();
    let (replies, queue) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(write_replies(writer, queue));
    while let Ok(length) = reader.read_u16().await {
        let mut question = vec![0; usize::from(length)];
        if reader.read_exact(&mut question).await.is_err() {
            break;
        }
        let reply = match outcome_for(&shared, &question, Transport::Tcp) {
            Outcome::Reply(reply) => reply,
            Outcome::Silence => continue,
            Outcome::Close => return,
        };
        while tasks.try_join_next().is_some() {}
        if tasks.len() >= MAX_PENDING {
            tasks.join_next().await;
        }
        let replies = replies.clone();
        tasks.spawn(async move {
            tokio::time::sleep(reply.delay).await;
            // The writer has gone only if the peer has.
            let _ = replies.send(reply);
        });
    }
    // A peer that closed its sending side still gets what it asked for.
    drop(replies);
    while tasks.join_next().await.is_some() {}
}

async fn write_replies(mut writer: OwnedWriteHalf, mut queue: mpsc::UnboundedReceiver<Reply>) {
    while let Some(reply) = queue.recv().await {
        if write_reply(&mut writer, &reply).await.is_err() {
            return;
        }
    }
}

async fn write_reply(writer: &mut OwnedWriteHalf, reply: &Reply) -> io::Result<()> {
    let length = u16::try_from(reply.octets.len()).map_err(io::Error::other)?;
    let mut octets = length.to_be_bytes().to_vec();
    octets.extend_from_slice(&reply.octets);
    let Some(pause) = reply.tcp_pause else {
        return writer.write_all(&octets).await;
    };
    for octet in octets {
        writer.write_all(&[octet]).await?;
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

fn outcome_for(shared: &Shared, question: &[u8], transport: Transport) -> Outcome {
    answer(&shared.served(), &shared.log, question, transport)
}
