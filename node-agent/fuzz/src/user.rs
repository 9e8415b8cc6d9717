//! Parsers of input from users, of the client for the answers of a server, and of the agent's own state file.

use portolan::config::{file, value};
use portolan::finding_memory::format::{self, Subject};
use portolan_client::query::server::Server;
use portolan_client::query::sse;
use portolan_engine::model::identity::BootTime;
use portolan_report::escape;
use portolan_report::label_selector::Selector;

/// Parses the input as configuration file, values of options, server address and label selector.
pub fn configuration(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = file::parse("fuzz.yaml", &text);
    let _ = value::duration("grace", &text);
    let _ = value::networks("pod-cidr", &[text.clone().into_owned()]);
    let _ = Server::parse(&text);
    if let Ok(selector) = text.parse::<Selector>() {
        let written = selector.to_string().parse::<Selector>();
        assert_eq!(written.expect("what is written can be read"), selector);
    }
}

/// Maximum size of an event in bytes.
const MAX_EVENT: usize = 1 << 20;

/// Reads a stream of events, which must not depend on how the stream is split, and escapes the input for the terminal.
pub fn client(bytes: &[u8]) {
    let mut whole = sse::Reader::new(MAX_EVENT);
    let at_once = whole.read(bytes).ok();
    let mut pieces = sse::Reader::new(MAX_EVENT);
    let piecewise: Option<Vec<_>> = bytes.chunks(7).map(|piece| pieces.read(piece).ok()).collect();
    if let (Some(at_once), Some(piecewise)) = (at_once, piecewise) {
        assert_eq!(at_once, piecewise.into_iter().flatten().collect::<Vec<_>>());
    }
    let text = String::from_utf8_lossy(bytes);
    assert!(!escape::terminal(&text).chars().any(char::is_control));
    let (cut, _) = escape::bounded(&text, 64);
    assert!(text.starts_with(&cut));
}

/// Decodes the input as a state file, and as the body of one whose header fits it. What is believed can be written again.
pub fn state(bytes: &[u8]) {
    const MOST: usize = 64;
    let now = BootTime(u64::MAX);
    let subject = Subject { boot_id: "boot".to_owned(), node: "node".to_owned() };
    let sealed = [format::header(bytes).as_bytes(), bytes].concat();
    for file in [bytes, &sealed] {
        if let Ok(findings) = format::decode(file, &subject, now, MOST) {
            assert!(findings.len() <= MOST);
            let (written, beyond) = format::encode(&subject, now, findings.clone(), MOST);
            assert_eq!((format::decode(&written, &subject, now, MOST), beyond), (Ok(findings), 0));
        }
    }
}
