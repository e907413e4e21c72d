//! A connection as the dialogue sees it: with or without TLS, and never more than a bounded number of
//! bytes from the server.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// How much a server may say in one connection, in bytes: many times what its answers need. A line
/// without an end would otherwise be kept until there is no memory left.
const MOST: usize = 64 * 1024;

/// After STARTTLS a server does not greet once more (RFC 3207 section 4.2), but the dialogue begins with
/// a greeting.
const GREETING: &[u8] = b"220 \r\n";

/// A connection in either form.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {
    /// Its other end.
    fn peer(&self) -> io::Result<SocketAddr>;
}

impl Stream for TcpStream {
    fn peer(&self) -> io::Result<SocketAddr> {
        self.peer_addr()
    }
}

impl Stream for TlsStream<TcpStream> {
    fn peer(&self) -> io::Result<SocketAddr> {
        self.get_ref().0.peer_addr()
    }
}

/// See the module.
pub(super) struct Channel {
    stream: Box<dyn Stream>,
    /// What is read first.
    first: &'static [u8],
    /// How much may still be read.
    left: usize,
}

impl Channel {
    /// One whose server is going to greet.
    pub fn new(stream: impl Stream + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            first: &[],
            left: MOST,
        }
    }

    /// One whose server has greeted before.
    pub fn greeted(stream: impl Stream + 'static) -> Self {
        Self {
            first: GREETING,
            ..Self::new(stream)
        }
    }
}

impl AsyncRead for Channel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let (now, later) = self
                .first
                .split_at(self.first.len().min(buffer.remaining()));
            buffer.put_slice(now);
            self.first = later;
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = buffer.filled().len() - before;
        match self.left.checked_sub(read) {
            None => Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            Some(left) => {
                self.left = left;
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Channel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl AsyncTokioStream for Channel {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer()
    }
}

/// Nothing of what is said is shown.
impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Channel")
    }
}
