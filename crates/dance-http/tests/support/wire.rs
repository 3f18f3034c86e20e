//! Requests octet by octet, as no client library would send them, to a real server with the layer in front of an application that writes
//! down what it gets.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use dance_http::{AuthenticatedClient, CheckedBody, Checker, DaneLayer, Peer};
use dance_resolver::Resolver;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer as _, Service};

/// What the application got.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) client: String,
    pub(crate) headers: HeaderMap,
    /// `None` if it broke off.
    pub(crate) body: Option<Bytes>,
    pub(crate) trailers: HeaderMap,
}

/// A server, and the log of its application.
pub(crate) struct Server {
    address: SocketAddr,
    log: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(checker: Arc<Checker<Resolver>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let service = DaneLayer::new(checker).layer(application(Arc::clone(&log)));
        let task = tokio::spawn(async move {
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder.http2().max_header_list_size(256 * 1024);
            loop {
                let (stream, peer) = listener.accept().await.unwrap();
                let service = TowerToHyperService::new(Peer::from(peer).layer(service.clone()));
                let connection = builder.serve_connection(TokioIo::new(stream), service);
                let connection = connection.into_owned();
                tokio::spawn(async move {
                    // What a client does wrong is no error of the test.
                    let _ = connection.await;
                });
            }
        });
        Self { address, log, task }
    }

    /// Another one, which writes nothing down.
    pub(crate) fn of(address: SocketAddr, task: tokio::task::JoinHandle<()>) -> Self {
        Self { address, log: Arc::default(), task }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.log.lock().unwrap().clone()
    }

    /// Sends octets and reads to the end.
    pub(crate) async fn send(&self, octets: &[u8]) -> Vec<u8> {
        self.exchange(octets, false).await
    }

    /// Sends octets, says that there will be no more, and reads to the end.
    pub(crate) async fn send_and_end(&self, octets: &[u8]) -> Vec<u8> {
        self.exchange(octets, true).await
    }

    /// The server may have closed before all was sent or read; what came until then is what there is.
    async fn exchange(&self, octets: &[u8], end: bool) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let _ = stream.write_all(octets).await;
        if end {
            let _ = stream.shutdown().await;
        }
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer
    }

    /// What became of the first stream.
    pub(crate) async fn send_http2(&self, octets: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let _ = stream.write_all(octets).await;
        loop {
            let mut head = [0; 9];
            if stream.read_exact(&mut head).await.is_err() {
                return Answer::Closed;
            }
            let [a, b, c, kind, flags, ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            if stream.read_exact(&mut payload).await.is_err() {
                return Answer::Closed;
            }
            match kind {
                HEADERS => {
                    assert_eq!(flags & (PADDED | PRIORITY), 0);
                    return Answer::Status(status(&payload));
                }
                RST_STREAM => return Answer::Reset,
                GOAWAY => return Answer::Closed,
                _ => {}
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Status(u16),
    /// The stream alone.
    Reset,
    /// The connection.
    Closed,
}

/// The status in an answer of HTTP/1.1.
pub(crate) fn status_line(answer: &[u8]) -> Answer {
    match answer.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3)) {
        Some(digits) => Answer::Status(std::str::from_utf8(digits).unwrap().parse().unwrap()),
        None => Answer::Closed,
    }
}

/// Everything that gets here is written down, whatever it is.
fn application(
    log: Arc<Mutex<Vec<Seen>>>,
) -> impl Service<Request<CheckedBody<Incoming>>, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static {
    tower::service_fn(move |request: Request<CheckedBody<Incoming>>| {
        let log = Arc::clone(&log);
        async move {
            let (parts, body) = request.into_parts();
            let client = parts.extensions.get::<AuthenticatedClient>().unwrap().identity().to_owned();
            let place = {
                let mut log = log.lock().unwrap();
                log.push(Seen { client, headers: parts.headers, body: None, trailers: HeaderMap::new() });
                log.len() - 1
            };
            if let Ok(body) = body.collect().await {
                let seen = &mut log.lock().unwrap()[place];
                seen.trailers = body.trailers().cloned().unwrap_or_default();
                seen.body = Some(body.to_bytes());
            }
            Ok(Response::new(Full::new(Bytes::from_static(b"welcome"))))
        }
    })
}

/// A request, whatever it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, Vec<u8>)>,
    /// Do not say how long the body is.
    pub(crate) undeclared: bool,
}

impl Sent {
    pub(crate) fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub(crate) fn trailer(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.trailers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub(crate) fn body(self, kind: &str, body: impl AsRef<[u8]>) -> Self {
        Self { body: body.as_ref().to_vec(), ..self.with("content-type", kind) }
    }

    pub(crate) fn undeclared(self) -> Self {
        Self { undeclared: true, ..self }
    }

    /// As HTTP/1.1, on a connection for itself.
    pub(crate) fn http1(&self) -> Vec<u8> {
        let mut octets = b"POST / HTTP/1.1\r\nHost: app.test\r\n".to_vec();
        let line = |octets: &mut Vec<u8>, name: &str, value: &[u8]| {
            octets.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        };
        for (name, value) in &self.fields {
            line(&mut octets, name, value);
        }
        if !self.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("connection")) {
            line(&mut octets, "connection", b"close");
        }
        if self.undeclared || !self.trailers.is_empty() {
            octets.extend(b"transfer-encoding: chunked\r\n\r\n");
            for chunk in self.body.chunks(1000) {
                octets.extend(format!("{:x}\r\n", chunk.len()).bytes());
                octets.extend(chunk);
                octets.extend(b"\r\n");
            }
            octets.extend(b"0\r\n");
            for (name, value) in &self.trailers {
                line(&mut octets, name, value);
            }
            octets.extend(b"\r\n");
        } else {
            octets.extend(format!("content-length: {}\r\n\r\n", self.body.len()).bytes());
            octets.extend(&self.body);
        }
        octets
    }

    /// As HTTP/2, the first stream of its connection.
    pub(crate) fn http2(&self) -> Vec<u8> {
        let mut fields = pseudo_fields();
        fields.extend(self.fields.iter().map(|(name, value)| (name.to_lowercase(), value.clone())));
        if !self.undeclared {
            fields.push(("content-length".to_owned(), self.body.len().to_string().into_bytes()));
        }
        let mut octets = http2_start();
        octets.extend(headers(&fields, self.body.is_empty() && self.trailers.is_empty()));
        let mut chunks = self.body.chunks(MAX_FRAME).peekable();
        while let Some(chunk) = chunks.next() {
            let last = chunks.peek().is_none() && self.trailers.is_empty();
            octets.extend(frame(DATA, if last { END_STREAM } else { 0 }, 1, chunk));
        }
        if !self.trailers.is_empty() {
            octets.extend(headers(&self.trailers, true));
        }
        octets
    }
}

pub(crate) const DATA: u8 = 0;
const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;
const MAX_FRAME: usize = 16_384;

/// What every connection begins with.
pub(crate) fn http2_start() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat()
}

pub(crate) fn pseudo_fields() -> Vec<(String, Vec<u8>)> {
    [(":method", "POST"), (":scheme", "http"), (":authority", "app.test"), (":path", "/")]
        .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
        .into()
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The fields of the first stream, each as a literal that nobody need remember (RFC 7541 section 6.2.2).
pub(crate) fn headers(fields: &[(String, Vec<u8>)], end: bool) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_bytes(), value] {
            integer(&mut block, text.len());
            block.extend(text);
        }
    }
    let end_stream = if end { END_STREAM } else { 0 };
    let mut octets = Vec::new();
    let mut parts = block.chunks(MAX_FRAME).enumerate().peekable();
    while let Some((index, part)) = parts.next() {
        let end_headers = if parts.peek().is_none() { END_HEADERS } else { 0 };
        let (kind, flags) = if index == 0 { (HEADERS, end_stream) } else { (CONTINUATION, 0) };
        octets.extend(frame(kind, flags | end_headers, 1, part));
    }
    octets
}

/// A length, not compressed (RFC 7541 section 5.1, with a prefix of 7 bits).
fn integer(block: &mut Vec<u8>, mut number: usize) {
    if number < 127 {
        block.push(number as u8);
        return;
    }
    block.push(127);
    number -= 127;
    while number >= 128 {
        block.push((number % 128) as u8 | 128);
        number /= 128;
    }
    block.push(number as u8);
}

/// The status at the beginning of a block of fields: from the static table, or three digits in Huffman code (RFC 7541 appendices A and B).
fn status(block: &[u8]) -> u16 {
    match block {
        [index @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(index - 0x88)],
        [name, length, value @ ..] if name & 0x0f == 8 => {
            assert!(length & 0x80 != 0, "Huffman");
            let bits = value
                .iter()
                .take(usize::from(length & 0x7f))
                .flat_map(|octet| (0..8).rev().map(move |bit| octet >> bit & 1));
            let bits: Vec<u8> = bits.collect();
            let number = |bits: &[u8]| bits.iter().fold(0_u16, |number, bit| number << 1 | u16::from(*bit));
            let mut rest = bits.as_slice();
            (0..3).fold(0, |status, _| {
                // Those up to 2 have five bits, the others six.
                let length = if number(&rest[..5]) <= 2 { 5 } else { 6 };
                let code = number(&rest[..length]);
                rest = &rest[length..];
                status * 10 + if length == 5 { code } else { code - 0b01_1001 + 3 }
            })
        }
        _ => panic!("no status: {block:?}"),
    }
}
