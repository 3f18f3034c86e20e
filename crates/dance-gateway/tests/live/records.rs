//! Clients whose records are cut as no stack cuts them. TLS says nothing about where records and segments end, so that a server must
//! not care: a message may come an octet at a time, and a whole flight at once.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use dance_core::clientid::{ClientForm, Profile, TlsVersion};
use dance_core::name::ClientName;
use dance_testkit::Identity;
use openssl::pkey::PKey;
use openssl::ssl::{ExtensionContext, Ssl, SslContext, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::X509;
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use crate::wire::{TYPE, Wire};

/// How handshake messages are cut into records, and records into segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Each segment an octet, the records as they are.
    OctetsPerSegment,
    /// Each record an octet of a handshake message.
    OctetsPerRecord,
    /// All messages of a flight in one record.
    OneRecord,
    /// The last flight in one segment with the request that follows it. TLS 1.3: earlier the client may send none.
    WithRequest,
}

impl Cut {
    pub(crate) const ALL: [Self; 4] =
        [Self::OctetsPerSegment, Self::OctetsPerRecord, Self::OneRecord, Self::WithRequest];
}

/// The records of handshake messages as they went out: how many messages or parts of one each of them holds.
pub(crate) type Sent = Arc<Mutex<Vec<usize>>>;

/// A client of OpenSSL's own that knows the extension, with everything that it writes cut anew.
pub(crate) fn client(wire: Wire, name: &str, identity: &Identity, cut: Cut, stream: TcpStream) -> (Tls, Sent) {
    let secrets = Secrets::default();
    let mut ctx = SslContext::builder(SslMethod::tls_client()).unwrap();
    let version = match wire.version {
        TlsVersion::Tls12 => SslVersion::TLS1_2,
        TlsVersion::Tls13 => SslVersion::TLS1_3,
    };
    ctx.set_min_proto_version(Some(version)).unwrap();
    ctx.set_max_proto_version(Some(version)).unwrap();
    // The one suite that is known here.
    ctx.set_ciphersuites("TLS_AES_128_GCM_SHA256").unwrap();
    ctx.set_verify(SslVerifyMode::NONE);
    ctx.set_certificate(&X509::from_der(identity.leaf_der()).unwrap()).unwrap();
    ctx.set_private_key(&PKey::private_key_from_pem(identity.key_pem().as_bytes()).unwrap()).unwrap();
    let log = Arc::clone(&secrets);
    ctx.set_keylog_callback(move |_, line| {
        if let Some(rest) = line.strip_prefix("CLIENT_HANDSHAKE_TRAFFIC_SECRET ") {
            let secret = rest.split(' ').nth(1).unwrap();
            *log.lock().unwrap() = Some(data_encoding::HEXLOWER.decode(secret.as_bytes()).unwrap());
        }
    });
    let name = ClientForm::Name(ClientName::parse_config(name).unwrap());
    let said = name.encode(Profile::Current).unwrap();
    let places = match wire.version {
        TlsVersion::Tls12 => ExtensionContext::CLIENT_HELLO | ExtensionContext::TLS1_2_SERVER_HELLO,
        TlsVersion::Tls13 => ExtensionContext::TLS1_3_CERTIFICATE_REQUEST | ExtensionContext::TLS1_3_CERTIFICATE,
    };
    ctx.add_custom_ext(TYPE, places, move |_, _, _| Ok(Some(said.clone())), |_, _, _, _| Ok(())).unwrap();
    let mut ssl = Ssl::new(&ctx.build()).unwrap();
    ssl.set_hostname("localhost").unwrap();
    let sent = Sent::default();
    let stream = Recut {
        inner: stream,
        cut,
        secrets,
        cutter: Cutter::new(cut, Arc::clone(&sent)),
        out: Vec::new(),
        yielded: false,
    };
    (SslStream::new(ssl, stream).unwrap(), sent)
}

/// The alert in an error of OpenSSL's.
pub(crate) fn alert_in(error: &openssl::ssl::Error) -> Option<i32> {
    const SSL_AD_REASON_OFFSET: i32 = 1000;
    error.ssl_error()?.errors().first().map(|error| error.reason_code() - SSL_AD_REASON_OFFSET)
}

pub(crate) type Tls = SslStream<Recut<TcpStream>>;

type Secrets = Arc<Mutex<Option<Vec<u8>>>>;

/// Content types of records, and the type of the message that ends a handshake.
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const FINISHED: u8 = 20;

/// Writes what OpenSSL writes, cut anew.
pub(crate) struct Recut<S> {
    inner: S,
    cut: Cut,
    secrets: Secrets,
    cutter: Cutter,
    /// Ready to go.
    out: Vec<u8>,
    /// The peer has had its turn since the last octet.
    yielded: bool,
}

impl<S: AsyncWrite + Unpin> Recut<S> {
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let held = self.cut == Cut::WithRequest && self.cutter.finished && !self.cutter.requested;
        while !held && !self.out.is_empty() {
            let mut len = self.out.len();
            if self.cut == Cut::OctetsPerSegment {
                len = 1;
                self.yielded = !self.yielded;
                if self.yielded {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.out[..len]))?;
            self.out.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Recut<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(Err(error)) = self.poll_out(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Recut<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let secret = self.secrets.lock().unwrap().clone();
        let cut = self.cutter.write(data, secret.as_deref());
        self.out.extend(cut);
        // What cannot go now goes with the next read.
        let _ = self.poll_out(cx)?;
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // OpenSSL does not wait for a flush.
        let _ = self.poll_out(cx)?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Takes records apart and makes others of them.
struct Cutter {
    cut: Cut,
    sent: Sent,
    /// The beginning of a record.
    rest: Vec<u8>,
    /// Handshake messages in the clear that have not gone out.
    clear: Vec<u8>,
    /// Those under the keys of the handshake, which go out when they are complete.
    flight: Vec<u8>,
    /// Records read and written under these keys.
    read: u64,
    written: u64,
    /// The client's Finished has been written.
    finished: bool,
    /// And a record after it.
    requested: bool,
}

impl Cutter {
    fn new(cut: Cut, sent: Sent) -> Self {
        let (rest, clear, flight) = (Vec::new(), Vec::new(), Vec::new());
        Self { cut, sent, rest, clear, flight, read: 0, written: 0, finished: false, requested: false }
    }

    /// What goes out for what OpenSSL wrote.
    fn write(&mut self, data: &[u8], secret: Option<&[u8]>) -> Vec<u8> {
        let mut out = Vec::new();
        self.rest.extend(data);
        while let [kind, _, _, high, low, ..] = self.rest[..] {
            let len = 5 + usize::from(u16::from_be_bytes([high, low]));
            if self.rest.len() < len {
                break;
            }
            let record: Vec<u8> = self.rest.drain(..len).collect();
            match (kind, secret) {
                (HANDSHAKE, None) if !self.finished => self.clear.extend(&record[5..]),
                (APPLICATION_DATA, Some(secret)) if !self.finished => {
                    let messages = open(secret, self.read, &record);
                    self.read += 1;
                    self.flight.extend(messages);
                    if ends_in_finished(&self.flight) {
                        self.finished = true;
                        let flight = std::mem::take(&mut self.flight);
                        for part in self.parts(&flight) {
                            out.extend(seal(secret, self.written, &part));
                            self.written += 1;
                        }
                    }
                }
                _ => {
                    // What was in the clear comes before it.
                    out.extend(self.clear_out());
                    // TLS 1.2: the handshake goes on under keys that are not known here.
                    self.requested |= self.finished;
                    self.finished |= kind == CHANGE_CIPHER_SPEC && secret.is_none();
                    out.extend(record);
                }
            }
        }
        out.extend(self.clear_out());
        out
    }

    fn clear_out(&mut self) -> Vec<u8> {
        let clear = std::mem::take(&mut self.clear);
        let record = |part: Vec<u8>| {
            let [high, low] = (part.len() as u16).to_be_bytes();
            [vec![HANDSHAKE, 3, 3, high, low], part].concat()
        };
        self.parts(&clear).into_iter().flat_map(record).collect()
    }

    /// Handshake messages, cut into what goes into a record each.
    fn parts(&self, messages: &[u8]) -> Vec<Vec<u8>> {
        let parts: Vec<Vec<u8>> = match self.cut {
            Cut::OctetsPerRecord => messages.iter().map(|octet| vec![*octet]).collect(),
            Cut::OneRecord if messages.is_empty() => Vec::new(),
            Cut::OneRecord => vec![messages.to_vec()],
            Cut::OctetsPerSegment | Cut::WithRequest => split(messages),
        };
        self.sent.lock().unwrap().extend(parts.iter().map(|part| split(part).len()));
        parts
    }
}

/// The messages, one by one; the last may lack its end.
fn split(mut messages: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let [_, a, b, c, ..] = *messages {
        let len = 4 + u32::from_be_bytes([0, a, b, c]) as usize;
        let (message, rest) = messages.split_at(len.min(messages.len()));
        found.push(message.to_vec());
        messages = rest;
    }
    if !messages.is_empty() {
        found.push(messages.to_vec());
    }
    found
}

fn ends_in_finished(flight: &[u8]) -> bool {
    /// With SHA-256.
    const LEN: u8 = 32;
    split(flight).last().is_some_and(|last| last[..4.min(last.len())] == [FINISHED, 0, 0, LEN] && last.len() == 36)
}

/// HKDF-Expand-Label (RFC 9846 section 7.1) without context.
fn expand(secret: &[u8], label: &str, len: usize) -> Vec<u8> {
    struct Len(usize);
    impl KeyType for Len {
        fn len(&self) -> usize {
            self.0
        }
    }
    let label = format!("tls13 {label}");
    let info: [&[u8]; 4] = [&(len as u16).to_be_bytes(), &[label.len() as u8], label.as_bytes(), &[0]];
    let mut out = vec![0; len];
    Prk::new_less_safe(HKDF_SHA256, secret).expand(&info, Len(len)).unwrap().fill(&mut out).unwrap();
    out
}

fn key(secret: &[u8], sequence: u64) -> (LessSafeKey, Nonce) {
    let key = UnboundKey::new(&AES_128_GCM, &expand(secret, "key", 16)).unwrap();
    let mut nonce: [u8; 12] = expand(secret, "iv", 12).try_into().unwrap();
    for (octet, count) in nonce[4..].iter_mut().zip(sequence.to_be_bytes()) {
        *octet ^= count;
    }
    (LessSafeKey::new(key), Nonce::assume_unique_for_key(nonce))
}

/// The handshake messages in a protected record.
fn open(secret: &[u8], sequence: u64, record: &[u8]) -> Vec<u8> {
    let (key, nonce) = key(secret, sequence);
    let mut body = record[5..].to_vec();
    let plain = key.open_in_place(nonce, Aad::from(&record[..5]), &mut body).unwrap();
    let (kind, messages) = plain.split_last().unwrap();
    assert_eq!(*kind, HANDSHAKE);
    messages.to_vec()
}

/// A protected record of handshake messages.
fn seal(secret: &[u8], sequence: u64, messages: &[u8]) -> Vec<u8> {
    let (key, nonce) = key(secret, sequence);
    let mut body = [messages, &[HANDSHAKE]].concat();
    let [high, low] = ((body.len() + AES_128_GCM.tag_len()) as u16).to_be_bytes();
    let header = [APPLICATION_DATA, 3, 3, high, low];
    key.seal_in_place_append_tag(nonce, Aad::from(header), &mut body).unwrap();
    [header.to_vec(), body].concat()
}
