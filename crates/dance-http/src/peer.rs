//! Who may forward certificates (RFC 9440 section 4, requirements 6.2 item 6).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::task::{Context, Poll};

use http::header::{HeaderMap, HeaderName};
use http::{Extensions, Request};
use ipnet::IpNet;
use tower_layer::Layer;
use tower_service::Service;

/// Who is at the other end of the connection on which a request came. The server that accepted it puts this into the request's extensions;
/// a request without it is nobody's, and trusted with nothing. It is a tower layer over the service of the connection, which does that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An address.
    Address(IpAddr),
    /// A process that may open the Unix socket.
    UnixSocket,
}

impl Peer {
    /// Who sent the request that has these extensions, if the server says so. With the feature `axum` it may say so in axum's way, by
    /// `into_make_service_with_connect_info::<Peer>()`, or `::<SocketAddr>()`.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<Self> {
        let peer = extensions.get().copied();
        #[cfg(feature = "axum")]
        let peer = peer.or_else(|| crate::axum::connected(extensions));
        peer
    }
}

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        Self::Address(address)
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address.ip())
    }
}

/// The service of one connection: each of its requests is this peer's.
impl<T> Layer<T> for Peer {
    type Service = OfPeer<T>;

    fn layer(&self, inner: T) -> OfPeer<T> {
        OfPeer { peer: *self, inner }
    }
}

/// A service whose requests all come from one [`Peer`].
#[derive(Clone, Debug)]
pub struct OfPeer<T> {
    peer: Peer,
    inner: T,
}

impl<T: Service<Request<B>>, B> Service<Request<B>> for OfPeer<T> {
    type Response = T::Response;
    type Error = T::Error;
    type Future = T::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), T::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> T::Future {
        request.extensions_mut().insert(self.peer);
        self.inner.call(request)
    }
}

/// Whose forwarded certificates count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedPeers {
    networks: Vec<IpNet>,
    unix_socket: bool,
}

impl TrustedPeers {
    /// Processes on this machine: 127.0.0.0/8, ::1 and Unix sockets.
    #[must_use]
    pub fn this_machine() -> Self {
        let loopback = [
            IpNet::new_assert(IpAddr::from([127, 0, 0, 0]), 8),
            IpNet::new_assert(IpAddr::from(std::net::Ipv6Addr::LOCALHOST), 128),
        ];
        Self { networks: loopback.into(), unix_socket: true }
    }

    /// These networks, and Unix sockets if `unix_socket`.
    #[must_use]
    pub const fn new(networks: Vec<IpNet>, unix_socket: bool) -> Self {
        Self { networks, unix_socket }
    }

    /// Whether `peer` is one of them.
    #[must_use]
    pub fn contains(&self, peer: Peer) -> bool {
        match peer {
            Peer::Address(address) => {
                let address = address.to_canonical();
                self.networks.iter().any(|network| network.contains(&address))
            }
            Peer::UnixSocket => self.unix_socket,
        }
    }
}

/// Text forms: `unix`, an address, or a network such as `10.0.0.0/8`.
impl FromStr for TrustedPeers {
    type Err = TrustedPeersError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut peers = Self::default();
        for word in text.split(',').map(str::trim_ascii).filter(|word| !word.is_empty()) {
            if word == "unix" {
                peers.unix_socket = true;
            } else if let Some(network) = network(word) {
                peers.networks.push(network);
            } else {
                return Err(TrustedPeersError { found: word.to_owned() });
            }
        }
        Ok(peers)
    }
}

fn network(word: &str) -> Option<IpNet> {
    word.parse().ok().or_else(|| word.parse::<IpAddr>().ok().map(IpNet::from))
}

/// What is neither an address nor a network. The fault of whoever configured it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedPeersError {
    found: String,
}

impl fmt::Display for TrustedPeersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "expected \"unix\", an address or a network such as 10.0.0.0/8 as trusted peer, found \"{}\"",
            self.found
        )
    }
}

impl std::error::Error for TrustedPeersError {}

/// The client's address as the balancer tells it: the last one in the field, which the balancer itself has written. `None` where there is none
/// that can be read.
pub(crate) fn client_address(headers: &HeaderMap, field: &HeaderName) -> Option<IpAddr> {
    let value = headers.get_all(field).iter().next_back()?.to_str().ok()?;
    let last = value.rsplit(',').next()?.trim_ascii();
    let bare = last.strip_prefix('[').and_then(|rest| rest.split(']').next()).unwrap_or(last);
    bare.parse().ok().or_else(|| last.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
}
