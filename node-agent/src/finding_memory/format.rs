//! The state file: a line with magic, version and checksum, then JSON. The parser believes nothing that does not fit
//! exactly, because root reads the file.

use portolan_engine::model::fingerprint::{hex, parse};
use portolan_engine::model::identity::{BootTime, NetnsId};
use portolan_engine::model::reach::Reach;
use portolan_engine::model::remembered::{RememberedFinding, RememberedPort};
use serde::{Deserialize, Serialize};

/// First word of the file.
const MAGIC: &str = "portolan-state";
/// Version of the format that this agent writes, and the only one that it reads.
const VERSION: u32 = 1;
/// Upper bound of the header and the body without its findings, in bytes. A node's name has at most 253.
const FRAME_BYTES: usize = 1024;
/// Upper bound of one finding, in bytes.
const FINDING_BYTES: usize = 128;

/// What a file must be about to be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The kernel's id of this boot.
    pub boot_id: String,
    /// The node's name.
    pub node: String,
}

/// Why a file is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("it is no state file of portolan")]
    Foreign,
    #[error("it has version {found}, and this agent reads version {VERSION}")]
    Version { found: u32 },
    #[error("it is damaged: {what}")]
    Damaged { what: &'static str },
    #[error("the node was booted since")]
    OtherBoot,
    #[error("it is about another node, {found:?}")]
    OtherNode { found: String },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Body {
    boot_id: String,
    node: String,
    /// CLOCK_BOOTTIME in nanoseconds, as all times in the file.
    written_at: u64,
    findings: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    id: String,
    first_seen: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<Port>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Port {
    netns: u64,
    reach: String,
}

/// Maximum size of a file with at most `most` findings, in bytes.
#[must_use]
pub const fn max_bytes(most: usize) -> usize {
    FRAME_BYTES.saturating_add(FINDING_BYTES.saturating_mul(most))
}

/// Encodes these findings, in the order of their ids. Of more than `most` it takes those whose callers were farthest away,
/// and of these the oldest. Returns the file and the number of findings that did not fit.
#[must_use]
pub fn encode(
    subject: &Subject,
    written_at: BootTime,
    mut findings: Vec<RememberedFinding>,
    most: usize,
) -> (Vec<u8>, usize) {
    let beyond = findings.len().saturating_sub(most);
    if beyond > 0 {
        let reach = |finding: &RememberedFinding| finding.port.map(|port| port.reach);
        findings.sort_by_key(|finding| (std::cmp::Reverse(reach(finding)), finding.first_seen, finding.id));
        findings.truncate(most);
    }
    findings.sort_by_key(|finding| finding.id);
    let entry = |finding: &RememberedFinding| Entry {
        id: hex(finding.id),
        first_seen: finding.first_seen.0,
        port: finding.port.map(|port| Port { netns: port.netns.0, reach: port.reach.as_str().to_owned() }),
    };
    let body = Body {
        boot_id: subject.boot_id.clone(),
        node: subject.node.clone(),
        written_at: written_at.0,
        findings: findings.iter().map(entry).collect(),
    };
    // Nothing in the body can fail to serialize; an empty body would be refused as damaged.
    let json = serde_json::to_vec(&body).unwrap_or_default();
    let mut file = header(&json).into_bytes();
    file.extend(json);
    (file, beyond)
}

/// Returns the first line of a file with this body.
#[must_use]
pub fn header(body: &[u8]) -> String {
    format!("{MAGIC} {VERSION} {:08x}\n", crc32fast::hash(body))
}

/// Decodes a file that was read whole.
///
/// # Errors
/// Unless the file is whole, of this version, about `subject`, and has at most `most` findings, none younger than `now`.
pub fn decode(
    file: &[u8],
    subject: &Subject,
    now: BootTime,
    most: usize,
) -> Result<Vec<RememberedFinding>, Refusal> {
    let body = parse_body(checked(file)?)?;
    if body.boot_id != subject.boot_id {
        return Err(Refusal::OtherBoot);
    }
    if body.node != subject.node {
        return Err(Refusal::OtherNode { found: body.node.chars().take(253).collect() });
    }
    if body.findings.len() > most {
        return Err(Refusal::Damaged { what: "it has more findings than this agent keeps" });
    }
    if body.written_at > now.0 {
        return Err(Refusal::Damaged { what: "it was written in the future" });
    }
    let found = body.findings.iter().map(|entry| finding(entry, body.written_at));
    let found: Vec<RememberedFinding> = found.collect::<Option<_>>().ok_or(UNLIKE)?;
    let rising = found.windows(2).all(|pair| matches!(pair, [one, next] if one.id < next.id));
    if rising { Ok(found) } else { Err(Refusal::Damaged { what: "its findings are not in order" }) }
}

const UNLIKE: Refusal = Refusal::Damaged { what: "its content is not what an agent writes" };

/// Returns the body behind a header that fits it.
fn checked(file: &[u8]) -> Result<&[u8], Refusal> {
    let end = file.iter().take(FRAME_BYTES).position(|byte| *byte == b'\n').ok_or(Refusal::Foreign)?;
    let (header, body) = file.split_at_checked(end).ok_or(Refusal::Foreign)?;
    let header = std::str::from_utf8(header).map_err(|_| Refusal::Foreign)?;
    let mut words =
        header.strip_prefix(MAGIC).and_then(|rest| rest.strip_prefix(' ')).unwrap_or("").split(' ');
    let version: u32 = words.next().and_then(|word| word.parse().ok()).ok_or(Refusal::Foreign)?;
    if version != VERSION {
        return Err(Refusal::Version { found: version });
    }
    let body = body.get(1..).unwrap_or_default();
    let expected = format!("{:08x}", crc32fast::hash(body));
    let is_whole = words.next() == Some(&expected) && words.next().is_none();
    if is_whole { Ok(body) } else { Err(Refusal::Damaged { what: "its checksum is another" }) }
}

fn parse_body(body: &[u8]) -> Result<Body, Refusal> {
    serde_json::from_slice(body).map_err(|_| UNLIKE)
}

fn finding(entry: &Entry, written_at: u64) -> Option<RememberedFinding> {
    let id = parse(&entry.id)?;
    let port = match &entry.port {
        Some(port) => Some(RememberedPort { netns: NetnsId(port.netns), reach: Reach::parse(&port.reach)? }),
        None => None,
    };
    let first_seen = BootTime(entry.first_seen);
    (first_seen.0 <= written_at).then_some(RememberedFinding { id, first_seen, port })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: BootTime = BootTime(1_000_000);
    const MOST: usize = 16;

    fn subject() -> Subject {
        Subject { boot_id: "3f0c2f5e-0000-4000-8000-000000000001".to_owned(), node: "node-1".to_owned() }
    }

    fn any_finding() -> impl Strategy<Value = RememberedFinding> {
        let port = (any::<u64>(), 0..Reach::ALL.len())
            .prop_map(|(netns, reach)| RememberedPort { netns: NetnsId(netns), reach: Reach::ALL[reach] });
        (any::<u64>(), 0..=NOW.0, proptest::option::of(port)).prop_map(|(id, at, port)| RememberedFinding {
            id,
            first_seen: BootTime(at),
            port,
        })
    }

    fn some() -> Vec<RememberedFinding> {
        let port = |reach| Some(RememberedPort { netns: NetnsId(u64::MAX), reach });
        vec![
            RememberedFinding { id: 1, first_seen: BootTime(5), port: port(Reach::External) },
            RememberedFinding { id: 2, first_seen: BootTime(6), port: None },
            RememberedFinding { id: 3, first_seen: BootTime(7), port: port(Reach::InCluster) },
        ]
    }

    fn file() -> Vec<u8> {
        encode(&subject(), NOW, some(), MOST).0
    }

    fn read(file: &[u8]) -> Result<Vec<RememberedFinding>, Refusal> {
        decode(file, &subject(), NOW, MOST)
    }

    /// A file with this body and the right checksum.
    fn sealed(body: &str) -> Vec<u8> {
        format!("{}{body}", header(body.as_bytes())).into_bytes()
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(findings in proptest::collection::btree_map(any::<u64>(), any_finding(), 0..=MOST)) {
            let findings: Vec<_> =
                findings.into_iter().map(|(id, finding)| RememberedFinding { id, ..finding }).collect();
            let (file, beyond) = encode(&subject(), NOW, findings.clone(), MOST);
            prop_assert!(file.len() <= max_bytes(MOST));
            prop_assert_eq!((read(&file), beyond), (Ok(findings), 0));
        }

        #[test]
        fn any_bytes_are_refused_or_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(read(&bytes).is_err());
            let _ = read(&sealed(&String::from_utf8_lossy(&bytes)));
        }
    }

    #[test]
    fn a_file_that_is_cut_or_damaged_anywhere_is_refused() {
        let whole = file();
        assert_eq!(read(&whole), Ok(some()));
        for length in 0..whole.len() {
            assert!(read(whole.get(..length).expect("a part")).is_err(), "cut to {length}");
        }
        for at in 0..whole.len() {
            for flip in [1, 0x20, 0x80, 0xff] {
                let mut damaged = whole.clone();
                *damaged.get_mut(at).expect("a byte") ^= flip;
                assert!(read(&damaged).is_err(), "byte {at} of {}", String::from_utf8_lossy(&damaged));
            }
        }
        for more in ["\n", " ", "{}", "\0"] {
            assert!(read(&[&whole, more.as_bytes()].concat()).is_err(), "with {more:?} behind it");
        }
    }

    #[test]
    fn each_refusal_says_what_is_wrong() {
        let of = |boot_id: &str, node: &str| Subject { boot_id: boot_id.to_owned(), node: node.to_owned() };
        let decode_as = |subject: &Subject| decode(&file(), subject, NOW, MOST);
        assert_eq!(decode_as(&of("another", "node-1")), Err(Refusal::OtherBoot));
        let found = "node-1".to_owned();
        assert_eq!(decode_as(&of(&subject().boot_id, "node-2")), Err(Refusal::OtherNode { found }));
        assert_eq!(read(b"PK\x03\x04\n"), Err(Refusal::Foreign));
        assert_eq!(read(b"portolan-state 2 00000000\nanything"), Err(Refusal::Version { found: 2 }));
        let damaged = |what| Err(Refusal::Damaged { what });
        assert_eq!(
            decode(&file(), &subject(), NOW, 2),
            damaged("it has more findings than this agent keeps")
        );
        assert_eq!(
            decode(&file(), &subject(), BootTime(NOW.0 - 1), MOST),
            damaged("it was written in the future")
        );
    }

    #[test]
    fn a_right_checksum_makes_no_wrong_content_right() {
        let frame = |findings: &str| {
            let Subject { boot_id, node } = subject();
            sealed(&format!(
                r#"{{"bootId":"{boot_id}","node":"{node}","writtenAt":9,"findings":[{findings}]}}"#
            ))
        };
        let one = r#"{"id":"0000000000000001","firstSeen":9,"port":{"netns":1,"reach":"pod"}}"#;
        assert_eq!(read(&frame(one)).expect("the form is right").len(), 1);
        for wrong in [
            r#"{"id":"1","firstSeen":9}"#,
            r#"{"id":"000000000000000G","firstSeen":9}"#,
            r#"{"id":"0000000000000001","firstSeen":10}"#,
            r#"{"id":"0000000000000001","firstSeen":-1}"#,
            r#"{"id":"0000000000000001","firstSeen":9,"port":{"netns":1,"reach":"moon"}}"#,
            r#"{"id":"0000000000000001","firstSeen":9,"port":{"netns":1,"reach":"pod","more":1}}"#,
            r#"{"id":"0000000000000001","firstSeen":9,"code":"undeclared-external"}"#,
            &format!("{one},{one}"),
            r#"{"id":"0000000000000002","firstSeen":9},{"id":"0000000000000001","firstSeen":9}"#,
            &"[".repeat(100_000),
        ] {
            assert!(read(&frame(wrong)).is_err(), "{wrong:.100}");
        }
    }

    #[test]
    fn of_too_many_the_most_severe_are_kept() {
        let (file, beyond) = encode(&subject(), NOW, some(), 2);
        let ids = read(&file).expect("valid").iter().map(|finding| finding.id).collect::<Vec<_>>();
        assert_eq!((ids, beyond), (vec![1, 3], 1));
    }

    #[test]
    fn the_longest_finding_has_room() {
        let port = Some(RememberedPort { netns: NetnsId(u64::MAX), reach: Reach::Published });
        let longest = RememberedFinding { id: u64::MAX, first_seen: BootTime(u64::MAX), port };
        let few = encode(&subject(), NOW, Vec::new(), 1).0.len();
        let one = encode(&subject(), NOW, vec![longest], 1).0.len();
        assert!(one - few < FINDING_BYTES, "{}", one - few);
        let long = Subject { node: "n".repeat(253), ..subject() };
        assert!(encode(&long, BootTime(u64::MAX), Vec::new(), 0).0.len() < FRAME_BYTES);
    }
}
