//! HTTP/1.1 by hand, where the octets matter, and hyper's HTTP/2.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::time::timeout;

use crate::lab::{SOON, Tls};

/// A response as it arrived.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Answer {
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let named = |(found, _): &&(String, String)| found.eq_ignore_ascii_case(name);
        self.fields.iter().filter(named).map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// One HTTP/1.1 connection.
pub(crate) struct Http1<S>(pub(crate) BufReader<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Http1<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self(BufReader::new(stream))
    }

    /// Sends octets as they are.
    pub(crate) async fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.0.write_all(octets.as_ref()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// Sends a request without body and reads the answer. `fields` are lines without their ends.
    pub(crate) async fn get(&mut self, target: &str, fields: &[&str]) -> Answer {
        let fields: String = fields.iter().map(|line| format!("{line}\r\n")).collect();
        self.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n")).await;
        self.answer().await
    }

    /// The next answer, after any `1xx`.
    pub(crate) async fn answer(&mut self) -> Answer {
        timeout(SOON, self.read_answer()).await.unwrap()
    }

    /// The next header, a `1xx` too.
    pub(crate) async fn head(&mut self) -> Answer {
        let line = self.line().await;
        let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("no status line: {line:?}")).parse().unwrap();
        Answer { status, fields: self.fields().await, ..Answer::default() }
    }

    async fn read_answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        while answer.status < 200 && answer.status != 101 {
            answer = self.head().await;
        }
        if answer.values("transfer-encoding") == ["chunked"] {
            loop {
                let size = usize::from_str_radix(&self.line().await, 16).unwrap();
                if size == 0 {
                    break;
                }
                self.body(size, &mut answer).await;
                assert_eq!(self.line().await, "");
            }
            answer.trailers = self.fields().await;
        } else if let Some(length) = answer.values("content-length").first() {
            let length = length.parse().unwrap();
            self.body(length, &mut answer).await;
        }
        answer
    }

    async fn body(&mut self, length: usize, answer: &mut Answer) {
        let start = answer.body.len();
        answer.body.resize(start + length, 0);
        self.0.read_exact(answer.body.get_mut(start..).unwrap()).await.unwrap();
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line.trim_end_matches("\r\n").to_owned()
    }

    async fn fields(&mut self) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        loop {
            let line = self.line().await;
            let Some((name, value)) = line.split_once(':') else {
                return fields;
            };
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// What comes until the end of the stream.
    pub(crate) async fn rest(&mut self) -> std::io::Result<Vec<u8>> {
        let mut octets = Vec::new();
        timeout(SOON, self.0.read_to_end(&mut octets)).await.unwrap()?;
        Ok(octets)
    }
}

/// A body of given frames.
pub(crate) struct Frames(pub(crate) std::collections::VecDeque<Frame<Bytes>>);

impl Frames {
    pub(crate) fn none() -> Self {
        Self([].into())
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

/// An HTTP/2 connection.
pub(crate) async fn http2(tls: Tls) -> SendRequest<Frames> {
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    sender
}

/// A request without body.
pub(crate) fn get(path: &str) -> Request<Frames> {
    Request::get(format!("https://localhost{path}")).body(Frames::none()).unwrap()
}

/// The whole body and the trailers.
pub(crate) async fn collect(response: Response<Incoming>) -> (Vec<u8>, Option<http::HeaderMap>) {
    let mut body = response.into_body();
    let (mut octets, mut trailers) = (Vec::new(), None);
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        match frame.unwrap().into_data() {
            Ok(data) => octets.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    (octets, trailers)
}
