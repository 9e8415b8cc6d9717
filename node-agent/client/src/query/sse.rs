//! Parses server-sent events from the pieces of a body, as the HTML standard defines them. The size of an event is bounded.

/// Maximum number of bytes of an event that is one object. An object has at most 16 KiB.
pub const MAX_OBJECT: usize = 256 * 1024;

/// A server-sent event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Field `id`; `None` if the event has none.
    pub id: Option<String>,
    /// Field `event`; `message` if the event has none.
    pub name: String,
    /// Lines of `data`, joined with newlines.
    pub data: String,
}

/// Error of a line or event that exceeds the limit of the reader.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an event has more than {max} bytes")]
pub struct TooLong {
    /// The limit in bytes.
    max: usize,
}

/// Incremental parser of an event stream.
#[derive(Debug)]
pub struct Reader {
    /// Maximum number of bytes of an event.
    max: usize,
    /// Bytes of an incomplete line.
    rest: Vec<u8>,
    /// Fields of an incomplete event.
    event: Event,
    has_data: bool,
    last_id: Option<String>,
}

impl Reader {
    /// Creates a parser of events of at most `max` bytes.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max, rest: Vec::new(), event: Event::default(), has_data: false, last_id: None }
    }

    /// Returns the last id, from which the stream can be resumed. An id without data counts, too.
    #[must_use]
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// Parses the next piece of the body. Returns the events that the piece completes.
    ///
    /// # Errors
    /// [`TooLong`] if a line or an event exceeds the limit.
    pub fn read(&mut self, piece: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        self.rest.extend_from_slice(piece);
        let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let left = self.rest.split_off(whole);
        let lines = std::mem::replace(&mut self.rest, left);
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let text = String::from_utf8_lossy(line);
            events.extend(self.line(text.trim_end_matches(['\n', '\r'])));
            if self.event.data.len() > self.max {
                return Err(TooLong { max: self.max });
            }
        }
        if self.rest.len() > self.max { Err(TooLong { max: self.max }) } else { Ok(events) }
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            if event.id.is_some() {
                self.last_id.clone_from(&event.id);
            }
            return std::mem::take(&mut self.has_data).then_some(event).map(Event::named);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.event.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            _ => {}
        }
        None
    }
}

impl Event {
    fn named(mut self) -> Self {
        if self.name.is_empty() {
            "message".clone_into(&mut self.name);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, MAX_OBJECT, Reader};
    use proptest::prelude::*;

    const STREAM: &str = "retry: 1000\n\nid: a-1\nevent: Finding\ndata: {\"x\":1}\n\n: alive\n\nevent:lost\r\ndata:{}\r\n\r\ndata: a\ndata: b\n\n";

    fn event(id: Option<&str>, name: &str, data: &str) -> Event {
        Event { id: id.map(ToOwned::to_owned), name: name.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn an_id_without_data_is_no_event_but_where_to_go_on() {
        let mut reader = Reader::new(MAX_OBJECT);
        assert_eq!(reader.read(b": alive\nid: a-9\n"), Ok(Vec::new()));
        assert_eq!(reader.last_id(), None);
        assert_eq!(reader.read(b"\n"), Ok(Vec::new()));
        assert_eq!(reader.last_id(), Some("a-9"));
    }

    proptest! {
        #[test]
        fn however_the_stream_is_cut_the_events_are_the_same(cuts in prop::collection::vec(0..STREAM.len(), 0..9)) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let mut reader = Reader::new(MAX_OBJECT);
            let mut events = Vec::new();
            let mut from = 0;
            for to in cuts.into_iter().chain([STREAM.len()]) {
                events.extend(reader.read(&STREAM.as_bytes()[from..to]).expect("short"));
                from = to;
            }
            let then = [
                event(Some("a-1"), "Finding", "{\"x\":1}"),
                event(None, "lost", "{}"),
                event(None, "message", "a\nb"),
            ];
            prop_assert_eq!(events.as_slice(), then.as_slice());
        }
    }

    #[test]
    fn a_line_without_an_end_is_refused() {
        let mut reader = Reader::new(MAX_OBJECT);
        let piece = vec![b'x'; MAX_OBJECT / 2];
        assert!(reader.read(&piece).is_ok());
        assert!(reader.read(&piece).is_ok());
        assert!(reader.read(&piece).is_err());
    }
}
