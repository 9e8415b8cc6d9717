//! Fast writer of connections as NDJSON: it writes thousands a second into one buffer, and reuses the parts that consecutive
//! lines share. Each line equals that of [`super::ndjson::ndjson`], which a test checks; decision 0019 has the figures.

use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use portolan_engine::model::connection::Connection;
use portolan_engine::model::fingerprint::hex;
use portolan_engine::model::identity::BootTime;
use portolan_engine::model::pod::PodRef;

use crate::sink::convert::{Converter, Wall, pod_ref, reference, via};

/// Size of a batch in bytes after which it is published. A pipe takes one in a single write.
const FULL: usize = 60 * 1024;
/// Estimated size of a line in bytes.
const LINE: usize = 512;
const NS_PER_SECOND: i128 = 1_000_000_000;
const NS_PER_MILLISECOND: i128 = 1_000_000;

/// Lines of connections in one buffer.
#[derive(Debug, Default)]
pub struct ConnectionBatch {
    /// All lines, each with its newline.
    pub bytes: Bytes,
    /// The range of each line, without its newline.
    pub each: Vec<(Range<usize>, Arc<Connection>)>,
}

/// Collects lines until [`Self::take`].
#[derive(Debug, Default)]
pub struct ConnectionLines {
    bytes: Vec<u8>,
    each: Vec<(Range<usize>, Arc<Connection>)>,
    /// The beginning of all lines, up to the end of the envelope.
    head: Vec<u8>,
    /// The pod of the previous line, and its JSON.
    pod: Option<(Arc<PodRef>, Vec<u8>)>,
    second: SecondText,
}

impl ConnectionLines {
    /// Adds a line. Returns true if the batch is large enough to [`Self::take`].
    pub fn add(&mut self, connection: &Arc<Connection>, convert: &Converter) -> bool {
        if self.each.is_empty() {
            self.begin(convert);
        }
        let start = self.bytes.len();
        // Writing to memory cannot fail, and no key here is refused.
        let _ = self.write(connection, convert.wall);
        self.each.push((start..self.bytes.len(), Arc::clone(connection)));
        self.bytes.push(b'\n');
        self.bytes.len() >= FULL
    }

    /// Returns the batch and starts a new one. `None` if it is empty.
    pub fn take(&mut self) -> Option<ConnectionBatch> {
        if self.each.is_empty() {
            return None;
        }
        Some(ConnectionBatch {
            bytes: std::mem::take(&mut self.bytes).into(),
            each: std::mem::replace(&mut self.each, Vec::with_capacity(FULL / LINE)),
        })
    }

    /// Writes the head that all lines of the batch share.
    fn begin(&mut self, convert: &Converter) {
        let envelope = convert.envelope();
        self.head.clear();
        self.head.extend_from_slice(b"{\"kind\":\"Connection\",\"schema\":");
        let _ = json(&mut self.head, &envelope.schema);
        self.head.extend_from_slice(b",\"node\":");
        let _ = json(&mut self.head, &envelope.node);
        self.head.extend_from_slice(b",\"time\":");
        let _ = json(&mut self.head, &envelope.time);
        self.head.extend_from_slice(b",\"id\":\"");
    }

    fn write(&mut self, connection: &Connection, wall: Wall) -> std::io::Result<()> {
        let Self { bytes, head, pod, second, .. } = self;
        bytes.extend_from_slice(head);
        let (port, (address, remote_port)) = (connection.port, connection.remote);
        write!(
            bytes,
            "{}\",\"protocol\":\"{}\",\"local\":{{\"address\":\"{}\",\"port\":{}}},\"remote\":{{\"address\":\"{address}\",\
             \"port\":{remote_port},\"origin\":\"{}\",\"ref\":",
            hex(connection.listener_id),
            port.protocol.as_str(),
            connection.local,
            port.port,
            connection.origin.as_str(),
        )?;
        match connection.reference.as_deref() {
            Some(pod) => json(bytes, &reference(pod))?,
            None => bytes.extend_from_slice(b"null"),
        }
        if let Some(dialled) = &connection.via {
            bytes.extend_from_slice(b",\"via\":");
            json(bytes, &via(dialled))?;
        }
        bytes.extend_from_slice(b"},\"openedAt\":");
        second.write(bytes, wall, connection.opened_at)?;
        bytes.extend_from_slice(b",\"closedAt\":");
        match connection.closed_at {
            Some(at) => second.write(bytes, wall, at)?,
            None => bytes.extend_from_slice(b"null"),
        }
        write!(bytes, ",\"bytesIn\":{},\"bytesOut\":{},\"pod\":", connection.bytes_in, connection.bytes_out)?;
        match &connection.pod {
            Some(of) => bytes.extend_from_slice(pod_json(pod, of)),
            None => bytes.extend_from_slice(b"null"),
        }
        bytes.push(b'}');
        Ok(())
    }
}

/// Returns the pod as JSON. Writes it only if it is not the previous pod.
fn pod_json<'a>(kept: &'a mut Option<(Arc<PodRef>, Vec<u8>)>, pod: &Arc<PodRef>) -> &'a [u8] {
    let known = kept.take().filter(|(before, _)| Arc::ptr_eq(before, pod));
    let written = known.unwrap_or_else(|| {
        let mut text = Vec::new();
        let _ = json(&mut text, &pod_ref(pod));
        (Arc::clone(pod), text)
    });
    &kept.insert(written).1
}

/// Text of one second. Most times of a batch are in the same second.
#[derive(Debug, Default)]
struct SecondText {
    /// Seconds since 1970.
    number: i128,
    /// Opening quote to decimal point: `"2026-01-02T03:04:05.`
    text: Vec<u8>,
}

impl SecondText {
    /// Writes the text of [`Wall::rfc3339`] in quotes.
    fn write(&mut self, out: &mut Vec<u8>, wall: Wall, at: BootTime) -> std::io::Result<()> {
        let ns = wall.unix_ns_at_boot.saturating_add(i128::from(at.0));
        let number = ns.div_euclid(NS_PER_SECOND);
        if self.text.is_empty() || self.number != number || number <= 0 {
            let whole = wall.rfc3339(at);
            self.number = number;
            self.text.clear();
            self.text.push(b'"');
            self.text.extend_from_slice(whole.strip_suffix('Z').unwrap_or(&whole).as_bytes());
            self.text.truncate(self.text.len().saturating_sub(3));
            return json(out, &whole);
        }
        out.extend_from_slice(&self.text);
        write!(out, "{:03}Z\"", ns.rem_euclid(NS_PER_SECOND) / NS_PER_MILLISECOND)
    }
}

fn json(out: &mut Vec<u8>, value: &impl serde::Serialize) -> std::io::Result<()> {
    Ok(serde_json::to_writer(out, value)?)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::num::NonZeroU16;

    use proptest::prelude::*;

    use super::*;
    use crate::sink::stream::ndjson::{MAX_LINE, ndjson};
    use portolan_engine::model::identity::{NetnsId, PodUid, PortId, Protocol};
    use portolan_engine::model::pod::Workload;
    use portolan_engine::model::traffic::{Origin, Via, ViaKind};
    use portolan_report::wire::Report;

    fn pod(name: &str, workload: bool) -> PodRef {
        PodRef {
            namespace: "shop \"\n\u{7f}".to_owned(),
            name: name.to_owned(),
            uid: PodUid("6f1c".to_owned()),
            workload: workload.then(|| Workload { kind: "Deployment".to_owned(), name: name.to_owned() }),
            host_network: workload,
            labels: Arc::default(),
            sole_container: None,
        }
    }

    fn connection(numbers: (u64, u64, u64), remote: [u8; 16], name: &str) -> Connection {
        let (id, opened, length) = numbers;
        Connection {
            listener_id: id,
            port: PortId {
                netns: NetnsId(7),
                protocol: Protocol::Tcp,
                port: NonZeroU16::new(9090).expect("not 0"),
            },
            local: IpAddr::from([10, 1, 0, 2]),
            remote: (IpAddr::from(remote), remote[0].into()),
            origin: Origin::SamePod,
            reference: (id % 2 == 0).then(|| format!("shop/{name}").into()),
            via: (id % 5 == 0).then(|| {
                Arc::new(Via {
                    address: IpAddr::from(remote),
                    port: 80,
                    kind: ViaKind::NodePort,
                    reference: (id % 2 == 0).then(|| format!("shop/{name}")),
                    client: (id % 3 == 0).then(|| IpAddr::from(remote)),
                })
            }),
            opened_at: BootTime(opened),
            closed_at: (length % 3 > 0).then(|| BootTime(opened.saturating_add(length))),
            bytes_in: length,
            bytes_out: id,
            pod: (id % 3 > 0).then(|| Arc::new(pod(name, id % 2 == 0))),
        }
    }

    proptest! {
        #[test]
        fn a_line_is_what_the_wire_type_says(
            numbers in prop::collection::vec((any::<u64>(), 0..u64::from(u32::MAX) * 1000, 0..5_000_000_000_u64), 1..8),
            remote in any::<[u8; 16]>(),
            name in "\\PC{0,300}",
            booted in prop_oneof![Just(0_i128), 0..4_000_000_000_000_000_000_i128],
        ) {
            let wall = Wall { unix_ns_at_boot: booted };
            let convert = Converter { agent: "node \u{202e}1".into(), wall, now: BootTime(5) };
            let mut lines = ConnectionLines::default();
            let all: Vec<Arc<Connection>> =
                numbers.iter().map(|numbers| Arc::new(connection(*numbers, remote, &name))).collect();
            for connection in &all {
                lines.add(connection, &convert);
            }
            let lines = lines.take().expect("lines");
            let mut expected = Vec::new();
            for ((range, _), connection) in lines.each.iter().zip(&all) {
                let line = ndjson(&Report::Connection(convert.connection(connection))).expect("a line");
                prop_assert!(line.len() < MAX_LINE / 2);
                prop_assert_eq!(&line[..line.len() - 1], &lines.bytes[range.clone()]);
                expected.extend_from_slice(&line);
            }
            prop_assert_eq!(&lines.bytes[..], &expected[..]);
        }
    }
}
