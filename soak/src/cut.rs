//! Connections that break off after so many octets.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection that fails, in both directions, once more than so many octets should be sent or received, and counts them.
#[derive(Debug)]
pub(crate) struct Cut<S> {
    inner: S,
    to_send: usize,
    to_receive: usize,
    broken: bool,
    pub(crate) sent: usize,
    pub(crate) received: usize,
}

impl<S> Cut<S> {
    /// Fails after these many octets in either direction.
    pub(crate) const fn after(inner: S, to_send: usize, to_receive: usize) -> Self {
        Self { inner, to_send, to_receive, broken: false, sent: 0, received: 0 }
    }

    fn break_off(&mut self) -> io::Error {
        self.broken = true;
        io::Error::new(io::ErrorKind::ConnectionAborted, "broken off as planned")
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cut<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let left = self.to_receive - self.received;
        if left == 0 || self.broken {
            return Poll::Ready(Err(self.break_off()));
        }
        let mut part = buf.take(left);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut part))?;
        let read = part.filled().to_vec();
        buf.put_slice(&read);
        self.received += read.len();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cut<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let part = data.get(..self.to_send - self.sent).unwrap_or(data);
        if self.broken || (part.is_empty() && !data.is_empty()) {
            return Poll::Ready(Err(self.break_off()));
        }
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, part))?;
        self.sent += written;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn breaks_off_where_it_should() {
        for to_receive in [3, usize::MAX] {
            let (near, mut far) = tokio::io::duplex(64);
            let mut cut = Cut::after(near, 5, to_receive);
            far.write_all(b"goodbye").await.unwrap();
            let mut read = [0; 3];
            cut.read_exact(&mut read).await.unwrap();
            assert_eq!(&read, b"goo");
            cut.write_all(b"hello").await.unwrap();
            if to_receive == usize::MAX {
                assert_eq!(cut.write_u8(0).await.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
            }
            assert_eq!(cut.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
            assert_eq!(cut.write_u8(0).await.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
            assert_eq!((cut.sent, cut.received), (5, 3));
            drop(cut);
            let mut arrived = Vec::new();
            far.read_to_end(&mut arrived).await.unwrap();
            assert_eq!(arrived, b"hello");
        }
    }
}
