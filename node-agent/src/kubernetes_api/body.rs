//! The body of an answer: pieces that come in time, or lines of a bounded length.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use kube::client::Body;
use tokio::time::timeout;

use super::fault::{ApiFault, causes};

/// Longest object: etcd takes 1.5 MiB, JSON writes it longer.
pub const MAX_OBJECT: usize = 8 * 1024 * 1024;
/// Buffers above this are given back after use.
const KEEP: usize = 256 * 1024;

/// The next piece of a body; `None` at its end.
///
/// # Errors
/// Where nothing comes in time or the connection breaks.
pub async fn piece(body: &mut Body, within: Duration) -> Result<Option<Bytes>, ApiFault> {
    loop {
        let frame = timeout(within, body.frame()).await.map_err(|_| ApiFault::Silent)?;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => {
                tracing::debug!(error = causes(&error), "an answer broke off");
                return Err(ApiFault::CutShort);
            }
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
        }
    }
}

/// The lines of a body that does not end.
pub struct Lines {
    body: Body,
    /// What has come and was not given yet; `given` bytes of it were.
    buffer: Vec<u8>,
    given: usize,
    /// Within a line that is too long.
    skipping: bool,
    /// Lines that were too long and let go.
    pub skipped: u64,
}

impl Lines {
    pub fn new(body: Body) -> Self {
        Self { body, buffer: Vec::new(), given: 0, skipping: false, skipped: 0 }
    }

    /// The next line without its end; `None` at the end of the body. A last line without an end is let go: it was cut.
    ///
    /// # Errors
    /// Where nothing comes in time or the connection breaks.
    pub async fn next(&mut self, within: Duration) -> Result<Option<&[u8]>, ApiFault> {
        self.buffer.drain(..self.given);
        self.given = 0;
        let mut searched = 0;
        loop {
            let rest = self.buffer.get(searched..).unwrap_or_default();
            if let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
                let end = searched + at;
                if std::mem::take(&mut self.skipping) {
                    self.skipped += 1;
                    self.buffer.drain(..=end);
                    searched = 0;
                    continue;
                }
                self.given = end + 1;
                return Ok(self.buffer.get(..end));
            }
            searched = self.buffer.len();
            if searched > MAX_OBJECT || self.skipping {
                self.skipping = true;
                self.buffer = Vec::new();
                searched = 0;
            }
            if self.buffer.is_empty() && self.buffer.capacity() > KEEP {
                self.buffer = Vec::new();
            }
            let Some(piece) = piece(&mut self.body, within).await? else { return Ok(None) };
            self.buffer.extend_from_slice(&piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(text: Vec<u8>) -> (Vec<usize>, u64) {
        let mut lines = Lines::new(Body::from(text));
        let mut lengths = Vec::new();
        while let Some(line) = lines.next(Duration::from_secs(1)).await.expect("in time") {
            lengths.push(line.len());
        }
        (lengths, lines.skipped)
    }

    #[tokio::test]
    async fn lines_are_bounded_and_a_cut_one_is_let_go() {
        assert_eq!(lines(b"a\n\nbcd\ncut".to_vec()).await, (vec![1, 0, 3], 0));
        assert_eq!(lines(Vec::new()).await, (vec![], 0));
    }
}
