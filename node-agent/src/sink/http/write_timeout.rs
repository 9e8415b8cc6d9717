//! Write timeouts of a connection: one for each blocked write, and one until all written bytes are sent. A client that stops
//! reading, or reads very slowly, loses its connection and frees the slot.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Wraps a stream and fails its writes with `TimedOut`.
#[derive(Debug)]
pub(crate) struct WriteTimeout<S> {
    stream: S,
    stall_timeout: Duration,
    answer_timeout: Duration,
    /// Runs while a write is blocked.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Runs from the first blocked write until the next flush, even if the client reads meanwhile.
    unsent: Option<Pin<Box<Sleep>>>,
}

impl<S> WriteTimeout<S> {
    /// `stall_timeout` bounds each blocked write. `answer_timeout` bounds the time until everything is written.
    pub(crate) fn new(stream: S, stall_timeout: Duration, answer_timeout: Duration) -> Self {
        Self { stream, stall_timeout, answer_timeout, stalled: None, unsent: None }
    }

    /// Fails a pending write if one of the timers has run out.
    fn check<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let (stall_timeout, answer_timeout) = (self.stall_timeout, self.answer_timeout);
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(stall_timeout)));
        let unsent = self.unsent.get_or_insert_with(|| Box::pin(sleep(answer_timeout)));
        // Both must be polled, so that both wake this task.
        let (stalled, unsent) = (stalled.as_mut().poll(cx), unsent.as_mut().poll(cx));
        if stalled.is_ready() || unsent.is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.check(cx, result)
    }

    /// Called by hyper when everything is written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unsent = None;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const SHORT: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_client_that_reads_nothing_or_not_all_in_time_loses_its_connection() {
        for (stall_timeout, answer_timeout) in [(SHORT, LONG), (LONG, SHORT)] {
            let (near, _far) = duplex(8);
            let mut near = WriteTimeout::new(near, stall_timeout, answer_timeout);
            let written = near.write_all(&[0; 64]).await;
            assert_eq!(written.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
        }
    }

    #[tokio::test]
    async fn a_client_that_reads_gets_everything() {
        let (near, mut far) = duplex(8);
        let mut near = WriteTimeout::new(near, LONG, LONG);
        let writing = tokio::spawn(async move { near.write_all(&[7; 64]).await });
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.expect("reads");
        assert!(writing.await.expect("no panic").is_ok());
        assert_eq!(read, [7; 64]);
    }
}
