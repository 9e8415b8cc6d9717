//! A stream that fails when its reader takes nothing for too long, or too long for all that waits: a client that stops
//! reading, or reads a byte now and then, loses its connection instead of holding one of the few for ever.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// See the module.
#[derive(Debug)]
pub struct StallGuard<S> {
    stream: S,
    patience: Duration,
    answer: Duration,
    /// Runs while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
    /// Runs from the first write that waits until all is written, whatever is taken meanwhile.
    behind: Option<Pin<Box<Sleep>>>,
}

impl<S> StallGuard<S> {
    /// `patience` bounds each wait of a write, `answer` all waits until everything is written.
    pub fn new(stream: S, patience: Duration, answer: Duration) -> Self {
        Self { stream, patience, answer, waiting: None, behind: None }
    }

    fn guard<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.waiting = None;
            return result;
        }
        let (patience, answer) = (self.patience, self.answer);
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(patience)));
        let behind = self.behind.get_or_insert_with(|| Box::pin(sleep(answer)));
        let (waits, lags) = (waiting.as_mut().poll(cx), behind.as_mut().poll(cx));
        if waits.is_ready() || lags.is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StallGuard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StallGuard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.guard(cx, result)
    }

    /// Asked for when everything is written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.behind = None;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
