//! What the page shows: rows of `/v1/chart`, and their counts in the event `Traffic`.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use libtest_mimic::Trial;
use portolan_report::chart::{Chart, ChartRow};

use super::case;
use crate::harness::agent::Agent;
use crate::harness::http;
use crate::harness::timeouts::{TIMEOUT, eventually};
use crate::harness::world::World;

pub fn cases() -> Vec<Trial> {
    vec![case("chart/calls_of_an_undeclared_port_are_counted_by_row_and_minute", calls_are_counted)]
}

fn row(agent: &Agent, query: &str) -> Result<ChartRow, String> {
    let (status, body) =
        http::get(agent.socket(), &format!("/v1/chart{query}")).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&body).into_owned();
    let chart: Chart = serde_json::from_slice(&body).map_err(|error| format!("{status} {error}: {text}"))?;
    chart.rows.into_iter().find(|row| row.port == Some(7000)).ok_or(text)
}

fn calls_are_counted() {
    let world = World::new(&["web:8080", "client"]);
    let agent = world.agent();
    let (web, client) = (world.actor("web"), world.actor("client"));
    web.serve("0.0.0.0:7000");
    client.connect_many(world.v4("web", 7000), 5);
    let finding = world.finding(&agent, "web", 7000, |finding| finding.code == "undeclared-active");
    let query = format!("?fingerprint={}", finding.fingerprint);
    // Minutes are counted every few seconds.
    eventually(TIMEOUT, "the calls are in the row and its minutes", || {
        let row = row(&agent, &query)?;
        let in_minutes: u32 = row.minutes.iter().sum();
        if (row.connections, in_minutes) == (5, 5) { Ok(()) } else { Err(format!("{row:?}")) }
    });
    let row = row(&agent, "").expect("the row without a filter");
    assert_eq!((row.code.as_deref(), row.pods), (Some("undeclared-active"), 1));
    assert_eq!(row.findings, [finding.id]);
    let text = stream_until(agent.socket(), "/v1/watch?kind=Traffic", &row.fingerprint);
    let event = text.split("event: Traffic\ndata: ").nth(1).expect("an event");
    let items: serde_json::Value = serde_json::from_str(event.lines().next().expect("a line")).expect("JSON");
    let counts = items["items"].as_array().expect("items").iter();
    let counts =
        counts.clone().find(|item| item["fingerprint"] == row.fingerprint).expect("the row's counts");
    assert_eq!(counts["connections"], 5, "{items}");
    world.settles(&agent);
}

/// Reads a stream until the line that contains `wanted` is complete, and returns all text so far.
fn stream_until(socket: &Path, target: &str, wanted: &str) -> String {
    let mut stream = UnixStream::connect(socket).expect("connect");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("send");
    let (mut text, mut piece) = (String::new(), [0; 4096]);
    while !text.split_once(wanted).is_some_and(|(_, rest)| rest.contains('\n')) {
        let read = stream.read(&mut piece).expect("more of the stream");
        assert!(read > 0, "ended before {wanted:?}: {text}");
        text.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    text
}
