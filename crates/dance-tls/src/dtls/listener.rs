//! One UDP socket for many clients: what comes in is told apart by address, and an address gets nothing but a cookie
//! before it has shown that it is there.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use std::{fmt, io};

use tokio::net::UdpSocket;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::{Semaphore, oneshot};
use tracing::debug;

use super::cookie::Cookies;
use super::path::{MAX_DATAGRAM, Path};
use super::record::{ClientHello, hello_verify_request};

/// How much clients of a [`DtlsListener`] may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DtlsLimits {
    /// Clients at a time, from a valid cookie to the end of their connection.
    pub clients: usize,
    /// Of these, from one IPv4 address or IPv6 network of 64 bits.
    pub clients_per_source: usize,
    /// Of these, not yet taken by [`DtlsListener::accept`].
    pub backlog: usize,
    /// Datagrams of one client that have not been read, each of 16.6 kB at most; what comes beyond them is lost.
    pub queue: usize,
    /// After how long without data from it a client counts as gone: UDP has no end of its own. During its handshake, any
    /// datagram from its address will do.
    pub idle: Duration,
}

impl Default for DtlsLimits {
    /// 1024 clients, 64 of one source, a backlog of 128, queues of 16, 5 minutes.
    fn default() -> Self {
        Self { clients: 1024, clients_per_source: 64, backlog: 128, queue: 16, idle: Duration::from_secs(300) }
    }
}

/// A client that has shown that it receives what is sent to its address, and no more. Dropping it forgets it.
#[derive(Debug)]
pub struct DtlsIncoming {
    peer: SocketAddr,
    pub(super) path: Path,
    pub(super) client_hello: Vec<u8>,
    /// The number of the record that the ClientHello came in.
    pub(super) sequence: u64,
}

impl DtlsIncoming {
    /// Where it is.
    #[must_use]
    pub const fn peer_addr(&self) -> SocketAddr {
        self.peer
    }
}

/// Hands out clients, one by one. Clients that are connected remain so when it is dropped.
pub struct DtlsListener {
    incoming: mpsc::Receiver<DtlsIncoming>,
    socket: Arc<UdpSocket>,
    clients: Arc<Clients>,
    _keep: Keep,
}

impl fmt::Debug for DtlsListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DtlsListener").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl DtlsListener {
    /// Reads from the socket in a task of its own, on the current runtime, which ends with the last that needs it.
    ///
    /// # Errors
    /// No key for cookies could be made.
    pub fn new(socket: UdpSocket, limits: DtlsLimits) -> io::Result<Self> {
        let socket = Arc::new(socket);
        let clients = Arc::new(Clients::default());
        let (sender, incoming) = channel(limits.backlog);
        let (keep, gone) = oneshot::channel();
        let keep = Arc::new(keep);
        let demultiplexer = Demultiplexer {
            socket: Arc::clone(&socket),
            clients: Arc::clone(&clients),
            cookies: Cookies::new()?,
            limits,
            incoming: sender,
            keep: Arc::downgrade(&keep),
        };
        tokio::spawn(async move {
            tokio::select! {
                () = demultiplexer.run() => {}
                _ = gone => {}
            }
        });
        Ok(Self { incoming, socket, clients, _keep: keep })
    }

    /// The next client. Can be dropped and called again.
    ///
    /// # Errors
    /// The task that reads from the socket is gone, with the runtime that it was made in.
    pub async fn accept(&mut self) -> io::Result<DtlsIncoming> {
        self.incoming.recv().await.ok_or_else(|| io::ErrorKind::ConnectionAborted.into())
    }

    /// How many clients there are, handed out or not.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.lock().queues.len()
    }

    /// Where the socket is.
    ///
    /// # Errors
    /// As the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// Who gets what comes in.
#[derive(Default)]
struct Clients(Mutex<Table>);

#[derive(Default)]
struct Table {
    queues: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>>,
    sources: HashMap<IpAddr, usize>,
}

impl Clients {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held by the listener and by each of its clients: with the last of them, the task that reads from the socket ends.
type Keep = Arc<oneshot::Sender<()>>;

/// A client's place in the table, until this is dropped.
pub(super) struct Entry {
    peer: SocketAddr,
    clients: Arc<Clients>,
    _keep: Option<Keep>,
}

impl Entry {
    pub(super) const fn peer(&self) -> SocketAddr {
        self.peer
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Entry").field(&self.peer).finish()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut table = self.clients.lock();
        table.queues.remove(&self.peer);
        let source = source(self.peer.ip());
        if let Some(count) = table.sources.get_mut(&source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                table.sources.remove(&source);
            }
        }
    }
}

/// Whom an address stands for: whoever has one address of IPv6 has a network of them.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

/// For as many as that, as far as tokio can: it panics beyond.
fn channel<T>(places: usize) -> (mpsc::Sender<T>, mpsc::Receiver<T>) {
    mpsc::channel(places.clamp(1, Semaphore::MAX_PERMITS))
}

struct Demultiplexer {
    socket: Arc<UdpSocket>,
    clients: Arc<Clients>,
    cookies: Cookies,
    limits: DtlsLimits,
    incoming: mpsc::Sender<DtlsIncoming>,
    keep: Weak<oneshot::Sender<()>>,
}

impl Drop for Demultiplexer {
    /// Clients hear nothing any more, and are told so.
    fn drop(&mut self) {
        self.clients.lock().queues.clear();
    }
}

impl Demultiplexer {
    async fn run(mut self) {
        /// Errors of a UDP socket are about one datagram, and pass. Should one not pass, this is how often it is met.
        const PAUSE: Duration = Duration::from_millis(10);
        let mut buffer = vec![0; MAX_DATAGRAM + 1];
        loop {
            match self.socket.recv_from(&mut buffer).await {
                Ok((length, peer)) if length <= MAX_DATAGRAM => {
                    if let Some(datagram) = buffer.get(..length).filter(|datagram| !datagram.is_empty()) {
                        self.take(datagram, peer);
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    debug!(%error, "reading from the socket failed");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn take(&mut self, datagram: &[u8], peer: SocketAddr) {
        if let Some(queue) = self.clients.lock().queues.get(&peer) {
            // A queue that is full is a datagram lost; one that is closed is about to go from the table.
            if let Err(TrySendError::Full(_)) = queue.try_send(datagram.to_vec()) {
                debug!(%peer, "a datagram is dropped: those before it have not been read");
            }
            return;
        }
        let Some(hello) = ClientHello::parse(datagram) else {
            return;
        };
        if self.incoming.is_closed() {
            return;
        }
        if self.cookies.verify(peer, &hello) {
            self.admit(datagram, hello.sequence, peer);
        } else if let Ok(cookie) = self.cookies.make(peer, &hello) {
            // Shorter than what it answers. If it cannot be sent, it is lost, and the client asks again.
            let _ = self.socket.try_send_to(&hello_verify_request(hello.sequence, &cookie), peer);
        }
    }

    fn admit(&self, client_hello: &[u8], sequence: u64, peer: SocketAddr) {
        let Ok(place) = self.incoming.try_reserve() else {
            debug!(%peer, "a client is turned away: the backlog is full");
            return;
        };
        let (sender, queue) = channel(self.limits.queue);
        {
            let mut table = self.clients.lock();
            let source = source(peer.ip());
            let of_source = table.sources.get(&source).copied().unwrap_or(0);
            if table.queues.len() >= self.limits.clients || of_source >= self.limits.clients_per_source {
                debug!(%peer, clients = table.queues.len(), of_source, "a client is turned away: there are too many");
                return;
            }
            table.queues.insert(peer, sender);
            table.sources.insert(source, of_source + 1);
        }
        let entry = Entry { peer, clients: Arc::clone(&self.clients), _keep: self.keep.upgrade() };
        let path = Path::shared(Arc::clone(&self.socket), queue, self.limits.idle, entry);
        place.send(DtlsIncoming { peer, path, client_hello: client_hello.to_vec(), sequence });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use tokio::io::Interest;

    use super::*;

    #[derive(Default)]
    struct Woken {
        woken: AtomicBool,
        notify: tokio::sync::Notify,
    }

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.woken.store(true, Ordering::Release);
            self.notify.notify_one();
        }
    }

    // A socket that takes nothing for a while makes all wait that share it, and wakes them all.
    #[tokio::test]
    async fn everybody_waits_for_the_socket() {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.writable().await.unwrap();
        // This is how tokio learns that a socket is full.
        let full = socket.try_io(Interest::WRITABLE, || io::Result::<()>::Err(io::ErrorKind::WouldBlock.into()));
        assert_eq!(full.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let mut waiting: Vec<_> = (0..3)
            .map(|_| {
                let (_, queue) = mpsc::channel(1);
                let entry = Entry { peer: peer.local_addr().unwrap(), clients: Arc::default(), _keep: None };
                let path = Path::shared(Arc::clone(&socket), queue, Duration::MAX, entry);
                (path, Arc::new(Woken::default()))
            })
            .collect();
        for (path, woken) in &mut waiting {
            let waker = Waker::from(Arc::clone(woken));
            assert!(path.poll_send(&mut Context::from_waker(&waker), b"data").is_pending());
        }
        // What comes in has the system say all that the socket is ready for.
        peer.send_to(b"wake up", socket.local_addr().unwrap()).await.unwrap();
        for (path, woken) in &mut waiting {
            while !woken.woken.load(Ordering::Acquire) {
                woken.notify.notified().await;
            }
            let waker = Waker::from(Arc::clone(woken));
            let sent = path.poll_send(&mut Context::from_waker(&waker), b"data");
            assert!(matches!(sent, Poll::Ready(Ok(4))), "{sent:?}");
        }
    }
}
