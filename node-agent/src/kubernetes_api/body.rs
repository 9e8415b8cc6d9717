//! Bodies of answers: chunks with a timeout, or lines of bounded length.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use kube::client::Body;
use tokio::time::timeout;

use super::fault::ApiFault;
use crate::retry::reason::causes;

/// Maximum size of an object in bytes. etcd accepts 1.5 MiB, and the JSON form can be longer.
pub const MAX_OBJECT: usize = 8 * 1024 * 1024;
/// Capacity in bytes above which a buffer is freed after use.
const MAX_IDLE_BUFFER: usize = 256 * 1024;

/// Reads the next chunk of a body. `None` at its end.
///
/// # Errors
/// If nothing arrives within `within`, or the connection breaks.
pub async fn next_chunk(body: &mut Body, within: Duration) -> Result<Option<Bytes>, ApiFault> {
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

/// Reads the lines of a body that is streamed, such as that of a watch.
pub struct BodyLines {
    body: Body,
    /// Received bytes. The first `returned` bytes are the line that was returned last.
    buffer: Vec<u8>,
    returned: usize,
    /// True within a line that is too long.
    skipping: bool,
    /// Number of lines that were dropped because they were longer than [`MAX_OBJECT`].
    pub skipped: u64,
}

impl BodyLines {
    /// Reads nothing yet.
    pub fn new(body: Body) -> Self {
        Self { body, buffer: Vec::new(), returned: 0, skipping: false, skipped: 0 }
    }

    /// Reads the next line, without its newline. `None` at the end of the body. A last line without a newline is incomplete
    /// and dropped.
    ///
    /// # Errors
    /// If nothing arrives within `within`, or the connection breaks.
    pub async fn next(&mut self, within: Duration) -> Result<Option<&[u8]>, ApiFault> {
        self.buffer.drain(..self.returned);
        self.returned = 0;
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
                self.returned = end + 1;
                return Ok(self.buffer.get(..end));
            }
            searched = self.buffer.len();
            if searched > MAX_OBJECT || self.skipping {
                self.skipping = true;
                self.buffer = Vec::new();
                searched = 0;
            }
            if self.buffer.is_empty() && self.buffer.capacity() > MAX_IDLE_BUFFER {
                self.buffer = Vec::new();
            }
            let Some(chunk) = next_chunk(&mut self.body, within).await? else { return Ok(None) };
            self.buffer.extend_from_slice(&chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(text: Vec<u8>) -> (Vec<usize>, u64) {
        let mut lines = BodyLines::new(Body::from(text));
        let mut lengths = Vec::new();
        while let Some(line) = lines.next(Duration::from_secs(1)).await.expect("in time") {
            lengths.push(line.len());
        }
        (lengths, lines.skipped)
    }

    #[tokio::test]
    async fn lines_are_bounded_and_an_incomplete_one_is_dropped() {
        assert_eq!(lines(b"a\n\nbcd\ncut".to_vec()).await, (vec![1, 0, 3], 0));
        assert_eq!(lines(Vec::new()).await, (vec![], 0));
    }
}
