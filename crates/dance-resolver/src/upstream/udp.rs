//! A question in a datagram.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use dance_dnssec::Question;
use domain::base::Message;
use domain::base::iana::OptRcode;
use tokio::net::UdpSocket;

use super::cookie::{Cookies, Told};
use super::failure::Failure;
use super::message::{Carrier, Fit, Flags, Letters, Query, UDP_PAYLOAD};

/// With so many messages that are no replies to the question, somebody is guessing: TCP is harder to forge (RFC 5452 section 9.3).
const MAX_GUESSES: usize = 10;

/// What came.
#[derive(Debug)]
pub(super) enum Heard {
    /// A reply.
    Reply(Message<Bytes>),
    /// A reply that did not fit.
    Truncated,
    /// A reply that somebody else might have sent, or too many that somebody else has sent.
    Doubtful(Doubt),
    /// The server wants its cookie, which is known now (RFC 7873 section 5.3).
    CookieWanted,
}

/// What is odd about a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// The name is not in the letters asked for.
    Letters,
    /// It does not repeat the question.
    Unquestioned,
    /// It has no cookie, although the server has given some.
    Cookie,
    /// Too many others came before one that fits.
    Guesses,
}

/// Asks and waits for a reply, for as long as it takes.
pub(super) async fn ask(
    server: SocketAddr,
    question: &Question,
    flags: Flags,
    letters: Letters,
    cookies: &Cookies,
) -> Result<Heard, Failure> {
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    // A socket, hence a port of the system's choice, for each question; connected, so that only `server` is heard.
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    let cookie = cookies.cookie(socket.local_addr()?.ip());
    let query = Query::new(question, flags, &Carrier::Udp { cookie: cookie.clone(), letters })?;
    socket.send(query.as_slice()).await?;
    // One octet more than was offered: a datagram that fills it may have been longer.
    let mut buffer = vec![0; usize::from(UDP_PAYLOAD) + 1];
    for _ in 0..MAX_GUESSES {
        let length = socket.recv(&mut buffer).await?;
        let Some((fit, reply)) = query.fit(buffer.get(..length).unwrap_or_default()) else { continue };
        let told = cookies.reply(&cookie, &reply);
        let doubt = match (fit, told) {
            (_, Told::Wrong) => continue,
            (Fit::Letters, _) => Some(Doubt::Letters),
            (Fit::Unquestioned, _) => Some(Doubt::Unquestioned),
            (Fit::Exact, Told::Missing) => Some(Doubt::Cookie),
            (Fit::Exact, Told::Fine) => None,
        };
        return Ok(match doubt {
            Some(doubt) => Heard::Doubtful(doubt),
            None if reply.opt_rcode() == OptRcode::BADCOOKIE => Heard::CookieWanted,
            None if reply.header().tc() || length > usize::from(UDP_PAYLOAD) => Heard::Truncated,
            None => Heard::Reply(reply),
        });
    }
    Ok(Heard::Doubtful(Doubt::Guesses))
}
