//! A web application that remembers every octet of what it was asked: what stands behind a gateway in tests.
//!
//! It speaks HTTP/1.1 and reads it by hand, so that nothing is normalised on the way into the log. What it answers depends on the path:
//!
//! | path | answer |
//! |---|---|
//! | `/echo` | the request's body, chunk by chunk as it comes |
//! | `/big/N` | N octets of [`pattern`] |
//! | `/chunked` | two chunks, and the trailer field `X-Trailer: end` |
//! | `/fields` | `Vary: Accept, Dane-Clientid`, an identity header, and a field that `Connection` names |
//! | `/vary/NAME` | `Vary: NAME` |
//! | `/hold` | nothing before [`Origin::release`] |
//! | `/never` | nothing |
//! | `/break` | the connection is closed |
//! | `/once` | `200`, and the connection is closed although nothing announced it |
//! | `/status/N` | status N without body |
//! | `/refuse` | `417`, without reading the body |
//! | `/websocket` | `101`, then all octets come back |
//! | any other | `200` and `ok` |

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Bodies are remembered up to this length; what is longer is counted.
const MAX_REMEMBERED: usize = 64 * 1024;

/// One request as it arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The connection that it came on, counted from 0.
    pub connection: usize,
    /// The method.
    pub method: String,
    /// The request target.
    pub target: String,
    /// Header fields in their order, names in their case.
    pub fields: Vec<(String, String)>,
    /// The body, or the first 64 KiB of it.
    pub body: Vec<u8>,
    /// The body's whole length.
    pub body_len: usize,
    /// Trailer fields.
    pub trailers: Vec<(String, String)>,
}

impl Seen {
    /// The values of all fields of that name, whatever its case.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let named = |(found, _): &&(String, String)| found.eq_ignore_ascii_case(name);
        self.fields.iter().filter(named).map(|(_, value)| value.as_str()).collect()
    }
}

#[derive(Default)]
struct Log {
    seen: Vec<Seen>,
    connections: usize,
    open: usize,
}

struct Shared {
    log: Mutex<Log>,
    /// Counts what is in the log, and releases.
    changed: watch::Sender<u64>,
    released: watch::Sender<bool>,
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

/// A running web application. Dropping it ends it and its connections.
pub struct Origin {
    address: String,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Origin {
    /// Starts one on a free loopback port.
    ///
    /// # Errors
    /// The port cannot be listened on.
    pub async fn start() -> io::Result<Self> {
        Self::start_at((std::net::Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Starts one at an address.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn start_at(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?.to_string();
        Ok(Self::spawn(address, move |shared| async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(converse(Arc::clone(&shared), stream));
            }
        }))
    }

    /// Starts one on a Unix socket.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn start_unix(path: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        Ok(Self::spawn(format!("unix:{}", path.display()), move |shared| async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(converse(Arc::clone(&shared), stream));
            }
        }))
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(address: String, accept: impl FnOnce(Arc<Shared>) -> F) -> Self {
        let shared = Arc::new(Shared {
            log: Mutex::default(),
            changed: watch::Sender::new(0),
            released: watch::Sender::new(false),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(Arc::clone(&shared)));
        Self { address, shared, _tasks: tasks }
    }

    /// Where it listens, as a gateway's `origin` setting: `127.0.0.1:PORT` or `unix:/PATH`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Every request so far whose body has arrived.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.log().seen.clone()
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.shared.log().connections
    }

    /// Waits until at most that many connections are open.
    pub async fn wait_for_open(&self, connections: usize) {
        let mut changed = self.shared.changed.subscribe();
        while self.shared.log().open > connections && changed.changed().await.is_ok() {}
    }

    /// Waits until that many requests have been seen.
    pub async fn wait_for(&self, requests: usize) -> Vec<Seen> {
        let mut changed = self.shared.changed.subscribe();
        loop {
            let seen = self.seen();
            if seen.len() >= requests || changed.changed().await.is_err() {
                return seen;
            }
        }
    }

    /// Answers `/hold`, from now on at once.
    pub fn release(&self) {
        self.shared.released.send_replace(true);
    }
}

/// The octets that `/big/N` is made of.
pub fn pattern(position: usize) -> u8 {
    (position % 251) as u8
}

/// Counts a connection as open.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.log().open -= 1;
        self.0.touch();
    }
}

/// Serves one connection.
async fn converse<S: AsyncRead + AsyncWrite + Unpin + Send>(shared: Arc<Shared>, stream: S) {
    let connection = {
        let mut log = shared.log();
        log.connections += 1;
        log.open += 1;
        log.connections - 1
    };
    shared.touch();
    let _open = Open(Arc::clone(&shared));
    let mut stream = BufReader::with_capacity(32 * 1024, stream);
    // A broken connection is the peer's business; the log shows what came before.
    while let Ok(Some(request)) = read_head(&mut stream, connection).await {
        match answer(&shared, &mut stream, request).await {
            Ok(true) => {}
            Ok(false) | Err(_) => return,
        }
    }
}

async fn read_head<S: AsyncRead + Unpin>(stream: &mut BufReader<S>, connection: usize) -> io::Result<Option<Seen>> {
    let Some(line) = read_line(stream).await? else {
        return Ok(None);
    };
    let mut words = line.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default().to_owned();
    let fields = read_fields(stream).await?;
    Ok(Some(Seen { connection, method, target, fields, ..Seen::default() }))
}

async fn read_line<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line).await?;
    let text = line.strip_suffix(b"\r\n");
    Ok(text.map(|text| String::from_utf8_lossy(text).into_owned()))
}

async fn read_fields<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> io::Result<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let line = read_line(stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let Some((name, value)) = line.split_once(':') else {
            return Ok(fields);
        };
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
}

/// What is left of a body, and how to find its end.
enum Framing {
    Length(usize),
    Chunked,
}

impl Framing {
    fn of(request: &Seen) -> Self {
        if request.values("transfer-encoding").iter().any(|value| value.eq_ignore_ascii_case("chunked")) {
            return Self::Chunked;
        }
        Self::Length(request.values("content-length").first().and_then(|value| value.parse().ok()).unwrap_or(0))
    }

    /// The body's next piece; empty at its end.
    async fn next<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut BufReader<S>,
        request: &mut Seen,
    ) -> io::Result<Vec<u8>> {
        let piece = match self {
            Self::Length(0) => Vec::new(),
            Self::Length(left) => {
                let available = stream.fill_buf().await?;
                if available.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let piece: Vec<u8> = available.iter().take(*left).copied().collect();
                stream.consume(piece.len());
                *left -= piece.len();
                piece
            }
            Self::Chunked => {
                let line = read_line(stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
                let size = usize::from_str_radix(&line, 16).map_err(|_| io::ErrorKind::InvalidData)?;
                let mut piece = vec![0; size];
                if size == 0 {
                    request.trailers = read_fields(stream).await?;
                    *self = Self::Length(0);
                } else {
                    stream.read_exact(&mut piece).await?;
                    read_line(stream).await?;
                }
                piece
            }
        };
        request.body_len += piece.len();
        let room = MAX_REMEMBERED.saturating_sub(request.body.len());
        request.body.extend(piece.iter().take(room));
        Ok(piece)
    }
}

/// Reads what is left of a request, and answers it. False ends the connection.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Shared,
    stream: &mut BufReader<S>,
    mut request: Seen,
) -> io::Result<bool> {
    let mut body = Framing::of(&request);
    let path = request.target.split('?').next().unwrap_or_default().to_owned();
    let note = |request: &Seen| {
        shared.log().seen.push(request.clone());
        shared.touch();
    };
    if path == "/refuse" {
        note(&request);
        send(stream, "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n").await?;
        return Ok(false);
    }
    if request.values("expect").contains(&"100-continue") {
        send(stream, "HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    if path == "/echo" {
        send(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
        loop {
            let piece = body.next(stream, &mut request).await?;
            if piece.is_empty() {
                break;
            }
            send(stream, &format!("{:x}\r\n", piece.len())).await?;
            stream.write_all(&piece).await?;
            send(stream, "\r\n").await?;
        }
        note(&request);
        send(stream, "0\r\n\r\n").await?;
        return Ok(true);
    }
    while !body.next(stream, &mut request).await?.is_empty() {}
    note(&request);
    match path.as_str() {
        "/break" => return Ok(false),
        // Until the peer has had enough.
        "/never" => return stream.fill_buf().await.map(|_| false),
        "/once" => {
            send(stream, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n").await?;
            return Ok(false);
        }
        "/hold" => {
            // The sender lives as long as the origin, and this task no longer.
            let _ = shared.released.subscribe().wait_for(|released| *released).await;
            send(stream, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nheld\n").await?;
        }
        "/websocket" => {
            send(stream, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
                .await?;
            let mut octets = [0; 4096];
            loop {
                let read = stream.read(&mut octets).await?;
                if read == 0 {
                    return Ok(false);
                }
                stream.write_all(octets.get(..read).unwrap_or_default()).await?;
                stream.flush().await?;
            }
        }
        "/chunked" => {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Trailer\r\n\r\n";
            send(stream, &format!("{head}5\r\nfirst\r\n6\r\nsecond\r\n0\r\nX-Trailer: end\r\n\r\n")).await?;
        }
        "/fields" => {
            let head = "HTTP/1.1 200 OK\r\nVary: Accept, Dane-Clientid\r\nDane-Clientid: forged.example\r\n";
            send(stream, &format!("{head}Connection: x-hop\r\nX-Hop: 1\r\nX-Kept: 1\r\nContent-Length: 0\r\n\r\n"))
                .await?;
        }
        _ => {
            if let Some(length) = path.strip_prefix("/big/").and_then(|text| text.parse().ok()) {
                return send_big(stream, length).await;
            }
            let vary = path.strip_prefix("/vary/").map_or(String::new(), |name| format!("Vary: {name}\r\n"));
            let status = path.strip_prefix("/status/");
            let (status, text) = status.map_or(("200 OK", "ok\n"), |status| (status, ""));
            let text = if request.method == "HEAD" { "" } else { text };
            let length = if status == "204" { String::new() } else { format!("Content-Length: {}\r\n", text.len()) };
            send(stream, &format!("HTTP/1.1 {status}\r\n{length}{vary}Content-Type: text/plain\r\n\r\n{text}")).await?;
        }
    }
    Ok(true)
}

async fn send_big<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>, length: usize) -> io::Result<bool> {
    send(stream, &format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")).await?;
    let mut position = 0;
    while position < length {
        let piece: Vec<u8> = (position..length.min(position + 16 * 1024)).map(pattern).collect();
        stream.write_all(&piece).await?;
        position += piece.len();
    }
    stream.flush().await?;
    Ok(true)
}

async fn send<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>, text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes()).await?;
    stream.flush().await
}
