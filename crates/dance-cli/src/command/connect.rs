//! `dance connect`: one authenticated connection, piped.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split, stdin, stdout};

use crate::command::tls::{Server, TlsOptions};
use crate::{Error, Exit, runtime};

/// Open one connection with client authentication by DANE, show what was negotiated, and pipe standard input and output through it.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The server
    #[arg(value_name = "HOST:PORT")]
    server: Server,

    /// An application protocol to offer; may be given several times, in order of preference
    #[arg(long, value_name = "PROTOCOL")]
    alpn: Vec<String>,

    #[command(flatten)]
    tls: TlsOptions,
}

const AFTER_HELP: &str = "\
EXAMPLES:
    dance connect gateway.example.net:8443 --name sensor7._device.example.com \\
        --cert sensor7._device.example.com.cert.pem --key sensor7._device.example.com.key.pem
    dance connect 127.0.0.1:8443 --server-name localhost --server-ca ca.pem \\
        --name sensor7._device.example.com --key sensor7._device.example.com.key.pem </dev/null
    dance connect old.example.net:8443 --profile 2022 --tls12 --name-in-certificate \\
        --cert sensor7._device.example.com.cert.pem --key sensor7._device.example.com.key.pem

    With a name, the client's own TLSA record is looked up first: what servers would refuse is not
    sent. In TLS 1.3 the server decides about the client after the handshake: success is
    what the server sends, or its orderly close.

EXIT CODES:
    0  the connection was used and closed in order
    1  the server refused this client, or would have, or is not the one that was meant
    2  wrong usage, or a certificate or key that cannot be used
    3  the connection failed";

impl Args {
    pub(crate) fn run(self) -> Result<Exit, Error> {
        let runtime = runtime()?;
        let result = runtime.block_on(async {
            let alpn = self.alpn.into_iter().map(String::into_bytes).collect();
            let stream = self.tls.connect(&self.server, &self.server, alpn).await?;
            self.tls.describe(&self.server, &stream);
            pipe(stream).await
        });
        // Standard input may have a read under way that nothing can end.
        runtime.shutdown_background();
        result
    }
}

/// Copies both ways until the server closes. The end of standard input is the end of what is sent.
async fn pipe(stream: impl AsyncRead + AsyncWrite) -> Result<Exit, Error> {
    let (from_server, mut to_server) = split(stream);
    let send = async {
        tokio::io::copy(&mut stdin(), &mut to_server).await?;
        to_server.shutdown().await
    };
    let receive = receive(from_server);
    tokio::pin!(receive);
    tokio::select! {
        received = &mut receive => received,
        sent = send => match sent {
            Ok(()) => receive.await,
            // The server may have said why before it stopped reading.
            Err(error) => receive.await.and(Err(Error::connection(error))),
        },
    }
}

async fn receive(mut from_server: impl AsyncRead + Unpin) -> Result<Exit, Error> {
    let mut received = false;
    let mut out = stdout();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let octets = match from_server.read(&mut buffer).await {
            Ok(0) => return Ok(Exit::Yes),
            Ok(octets) => octets,
            // Many servers close without saying so; what they had said before was said.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && received => return Ok(Exit::Yes),
            Err(error) => return Err(Error::connection(error)),
        };
        received = true;
        out.write_all(buffer.get(..octets).unwrap_or_default()).await.map_err(Error::Output)?;
        out.flush().await.map_err(Error::Output)?;
    }
}
