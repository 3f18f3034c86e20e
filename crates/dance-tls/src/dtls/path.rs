//! The way to one peer and back.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::{fmt, io};

use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use super::listener::Entry;

/// The longest datagram that is read: one record of the largest size (RFC 6347 section 4.1) and its header.
pub(super) const MAX_DATAGRAM: usize = 13 + 256 + (1 << 14);

#[derive(Debug)]
pub(super) enum Path {
    /// A socket of its own, connected.
    Connected { socket: UdpSocket, buffer: Box<[u8]> },
    /// A listener's socket, which many peers share.
    Shared { socket: Arc<UdpSocket>, queue: mpsc::Receiver<Vec<u8>>, idle: Idle, entry: Entry, writable: Writable },
}

/// Waits until a socket that many peers share takes datagrams. The socket's own `poll_send_to` wakes none but the last who
/// has called it.
#[derive(Default)]
pub(super) struct Writable(Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>>);

impl fmt::Debug for Writable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Writable").field(&self.0.is_none()).finish()
    }
}

impl Writable {
    fn poll_send_to(
        &mut self,
        socket: &Arc<UdpSocket>,
        cx: &mut Context<'_>,
        datagram: &[u8],
        peer: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        loop {
            match socket.try_send_to(datagram, peer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => {
                    self.0 = None;
                    return Poll::Ready(sent);
                }
            }
            let waiting = self.0.get_or_insert_with(|| {
                let socket = Arc::clone(socket);
                Box::pin(async move { socket.writable().await })
            });
            let ready = ready!(waiting.as_mut().poll(cx));
            self.0 = None;
            ready?;
        }
    }
}

/// Ends a way on which nothing comes any more.
#[derive(Debug)]
pub(super) struct Idle {
    time: Duration,
    timer: Pin<Box<Sleep>>,
}

impl Idle {
    pub(super) fn new(time: Duration) -> Self {
        Self { time, timer: Box::pin(tokio::time::sleep(time)) }
    }
}

impl Path {
    pub(super) fn connected(socket: UdpSocket) -> Self {
        Self::Connected { socket, buffer: vec![0; MAX_DATAGRAM + 1].into_boxed_slice() }
    }

    /// To one peer of those that share a socket.
    pub(super) fn shared(socket: Arc<UdpSocket>, queue: mpsc::Receiver<Vec<u8>>, idle: Duration, entry: Entry) -> Self {
        Self::Shared { socket, queue, idle: Idle::new(idle), entry, writable: Writable::default() }
    }

    pub(super) fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Connected { socket, .. } => socket.peer_addr(),
            Self::Shared { entry, .. } => Ok(entry.peer()),
        }
    }

    /// The next datagram that is not empty or too long.
    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Vec<u8>>> {
        match self {
            Self::Connected { socket, buffer } => loop {
                let mut buf = ReadBuf::new(buffer);
                ready!(socket.poll_recv(cx, &mut buf))?;
                if (1..=MAX_DATAGRAM).contains(&buf.filled().len()) {
                    return Poll::Ready(Ok(buf.filled().to_vec()));
                }
            },
            Self::Shared { queue, idle, .. } => match queue.poll_recv(cx) {
                Poll::Ready(Some(datagram)) => Poll::Ready(Ok(datagram)),
                // The listener's task has ended with its runtime.
                Poll::Ready(None) => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
                Poll::Pending => idle.timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
            },
        }
    }

    /// The peer has been heard of: its time begins anew.
    pub(super) fn heard(&mut self) {
        // A time without an end has been set as such, and stays.
        if let Self::Shared { idle, .. } = self
            && let Some(end) = Instant::now().checked_add(idle.time)
        {
            idle.timer.as_mut().reset(end);
        }
    }

    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, datagram: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Connected { socket, .. } => socket.poll_send(cx, datagram),
            Self::Shared { socket, entry, writable, .. } => writable.poll_send_to(socket, cx, datagram, entry.peer()),
        }
    }
}
