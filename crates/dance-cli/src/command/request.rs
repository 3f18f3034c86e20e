//! `dance request`: one HTTP request over an authenticated connection.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{HeaderMap, Method, Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::command::tls::{Server, TlsOptions, Watched};
use crate::files::{self, PendingFile, Secrecy};
use crate::{Error, Exit, output, runtime};

/// Send one HTTP request over a connection with client authentication by DANE.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// What to ask for; https only
    #[arg(value_name = "URL", value_parser = parse_url)]
    url: Uri,

    /// The method [default: GET, or POST with --data]
    #[arg(short = 'X', long, value_name = "METHOD")]
    method: Option<Method>,

    /// A header field, "NAME: VALUE"; may be given several times
    #[arg(short = 'H', long = "header", value_name = "FIELD", value_parser = parse_field)]
    headers: Vec<(HeaderName, HeaderValue)>,

    /// The body: text, or @FILE for what is in a file
    #[arg(short, long, value_name = "BODY")]
    data: Option<String>,

    /// Write the response's body to a file; it is there whole or not at all
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Connect to this host and port instead of the URL's
    #[arg(long, value_name = "HOST:PORT")]
    resolve_to: Option<Server>,

    #[command(flatten)]
    tls: TlsOptions,
}

const AFTER_HELP: &str = "\
EXAMPLES:
    dance request https://gateway.example.net/whoami --name sensor7._device.example.com \\
        --cert sensor7._device.example.com.cert.pem --key sensor7._device.example.com.key.pem
    dance request https://gateway.example.net/readings -d @reading.json \\
        -H 'content-type: application/json' \\
        --name sensor7._device.example.com --key sensor7._device.example.com.key.pem

    dance request https://gateway.example.net/whoami --name sensor7._device.example.com \\
        --key old.key.pem --next-key new.key.pem

    With a name, the client's own TLSA record is looked up first: what servers would refuse is not
    sent. Speaks HTTP/2 or HTTP/1.1, whichever the server prefers. Redirections are not followed:
    another server would learn the client's name.

EXIT CODES:
    0  a response with a status below 400
    1  a response with a status of 400 or more; or the server refused this client, or would have,
       or is not the one that was meant
    2  wrong usage, or a certificate or key that cannot be used
    3  the connection failed";

impl Args {
    pub(crate) fn run(self) -> Result<Exit, Error> {
        runtime()?.block_on(self.send())
    }

    async fn send(self) -> Result<Exit, Error> {
        let body = match self.data.as_deref().map(|data| (data, data.strip_prefix('@'))) {
            None => None,
            Some((_, Some(file))) => Some(files::read(Path::new(file))?),
            Some((text, None)) => Some(text.as_bytes().to_vec()),
        };
        // The parser of the argument lets no URL through without host.
        let server = Server::new(self.url.host().unwrap_or_default(), self.url.port_u16().unwrap_or(443));
        let address = self.resolve_to.as_ref().unwrap_or(&server);
        let alpn = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let stream = self.tls.connect(&server, address, alpn).await?;
        self.tls.describe(address, &stream);
        let http2 = stream.negotiated().alpn.as_deref() == Some(b"h2");

        let mut request = Request::new(Full::new(Bytes::from(body.clone().unwrap_or_default())));
        *request.method_mut() = self.method.unwrap_or(if body.is_some() { Method::POST } else { Method::GET });
        *request.headers_mut() = fields(self.headers, &self.url, http2, body.is_some());
        *request.uri_mut() = if http2 { self.url.clone() } else { origin_form(&self.url) };

        let (stream, refused) = Watched::new(stream);
        let exchanged = async {
            let response = exchange(stream, request, http2).await?;
            let status = response.status();
            output::note(format_args!("{:?} {status}", response.version()));
            let body = response.into_body();
            receive(body, self.output.as_deref()).await?;
            Ok(if status.as_u16() < 400 { Exit::Yes } else { Exit::No })
        };
        match exchanged.await {
            Err(Error::Http(_)) if refused.load(Ordering::Relaxed) => Err(Error::Refused),
            other => other,
        }
    }
}

/// Sends a request over a connection that is used for nothing else.
pub(crate) async fn exchange(
    stream: Watched<impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static>,
    request: Request<Full<Bytes>>,
    http2: bool,
) -> Result<Response<Incoming>, Error> {
    let io = TokioIo::new(stream);
    // The connection's own error is the request's, too: the task need not tell it.
    if http2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.map_err(Error::Http)?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(Error::Http)
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(Error::Http)?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(Error::Http)
    }
}

/// Writes the body to the file, or to standard output as it comes.
async fn receive(mut body: Incoming, path: Option<&Path>) -> Result<(), Error> {
    let mut file = path.map(|path| PendingFile::create(path, Secrecy::Public)).transpose()?;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Error::Http)?.into_data() else {
            continue;
        };
        match &mut file {
            Some(file) => file.write(&data)?,
            None => output::raw(&data)?,
        }
    }
    file.map_or(Ok(()), |file| file.commit(true))
}

/// The header to send: what was asked for, and what nobody wants to type.
fn fields(asked: Vec<(HeaderName, HeaderValue)>, url: &Uri, http2: bool, body: bool) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in asked {
        fields.append(name, value);
    }
    if !http2
        && !fields.contains_key(HOST)
        && let Some(host) = url.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok())
    {
        fields.insert(HOST, host);
    }
    if !fields.contains_key(USER_AGENT) {
        fields.insert(USER_AGENT, HeaderValue::from_static(concat!("dance/", env!("CARGO_PKG_VERSION"))));
    }
    if body && !fields.contains_key(CONTENT_TYPE) {
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    }
    fields
}

/// The form of HTTP/1.1 requests to an origin (RFC 9112 section 3.2.1).
fn origin_form(url: &Uri) -> Uri {
    url.path_and_query().map_or_else(|| Uri::from_static("/"), |path| Uri::from(path.clone()))
}

fn parse_url(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|error| format!("expected https://HOST[:PORT]/PATH: {error}"))?;
    let authority = url.authority().map(|authority| authority.as_str()).unwrap_or_default();
    if url.scheme_str() != Some("https") || authority.is_empty() {
        return Err("expected https://HOST[:PORT]/PATH: client authentication needs TLS".to_owned());
    }
    if authority.contains('@') {
        return Err("expected a URL without user name and password: the client is known by its DNS name".to_owned());
    }
    Ok(url)
}

fn parse_field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("expected \"NAME: VALUE\", found no colon")?;
    let name = name.parse().map_err(|_| "expected a field name before the colon")?;
    let value = value.trim().parse().map_err(|_| "expected printable characters as the field's value")?;
    Ok((name, value))
}
