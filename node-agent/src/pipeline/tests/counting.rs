//! Tests of what is kept of each finding: its fingerprint, and what its port counts.

use std::collections::BTreeSet;

use portolan_engine::model::traffic::{PortDelta, TrafficDrain};
use portolan_report::chart::MINUTES;

use super::*;
use crate::pipeline::finding_index;

fn called(number: u16, connections: u64) -> Input {
    let delta = PortDelta {
        attempts: connections,
        connections,
        packets: connections * 5,
        bytes: connections * 400,
        ..PortDelta::default()
    };
    Input::Traffic(TrafficDrain { at: clock::now(), ports: BTreeMap::from([(port(number), delta)]) })
}

#[test]
fn calls_of_a_port_with_a_finding_are_counted_by_minute_and_fingerprint() {
    let mut running = Running::start();
    running.open(1, 9090);
    running.pipeline.apply(called(9090, 5));
    running.pipeline.sample_minutes();
    running.pipeline.apply(called(9090, 2));
    running.pipeline.sample_minutes();
    let minute = running.pipeline.converter().wall.minute(clock::now());
    let minutes = ReadModel::minutes(&running.pipeline, minute, None);
    let counts = running.pipeline.port_counts();
    let ([(fingerprint, minutes)], [count]) = (minutes.as_slice(), counts.as_slice()) else {
        panic!("{minutes:?} {counts:?}")
    };
    assert_eq!(minutes.iter().sum::<u32>(), 7);
    assert_eq!((count.fingerprint, count.connections, count.bytes), (*fingerprint, 7, 2800));
    assert_eq!(running.pipeline.status().limits["minutes"].used, 1);
    running.close(1);
    assert!(
        running.pipeline.port_counts().is_empty()
            && ReadModel::minutes(&running.pipeline, minute, None).is_empty()
    );
    assert_eq!(running.pipeline.status().limits["minutes"].used, 0);
}

#[test]
fn calls_before_the_end_of_a_minute_count_for_it_though_no_sample_came() {
    let mut running = Running::start();
    running.open(1, 9090);
    let minute = running.pipeline.converter().wall.minute(clock::now());
    let pipeline = &mut running.pipeline;
    pipeline.index.sample(&pipeline.engine, minute);
    pipeline.apply(called(9090, 5));
    for next in [minute, minute + 1, minute + 1] {
        pipeline.index.end_minute(&pipeline.engine, next);
    }
    pipeline.apply(called(9090, 2));
    pipeline.index.end_minute(&pipeline.engine, minute + 1);
    pipeline.index.sample(&pipeline.engine, minute + 1);
    let minutes = ReadModel::minutes(pipeline, minute + 1, None);
    assert_eq!(minutes[0].1[MINUTES - 2..], [5, 2]);
}

#[test]
fn a_finding_is_found_by_its_fingerprint_also_after_it_was_resolved() {
    let mut running = Running::start();
    running.open(1, 9090);
    running.open(2, 9091);
    let ListAnswer::Page(page) = running.list(Query::Findings, ListQuery::default()) else {
        panic!("a page")
    };
    let fingerprint = page.items.iter().find_map(|report| match report {
        Report::Finding(finding) if finding.port == Some(9090) => finding_index::number(&finding.fingerprint),
        _ => None,
    });
    let fingerprints = Some(BTreeSet::from([fingerprint.expect("a fingerprint")]));
    let by_fingerprint = ListQuery { fingerprints: fingerprints.clone(), ..ListQuery::default() };
    assert_eq!(running.ports(Query::Findings, by_fingerprint.clone()).0, [9090]);
    running.close(1);
    assert!(running.ports(Query::Findings, by_fingerprint).0.is_empty());
    let filter = Filter { state: vec!["resolved".to_owned()], ..Filter::default() };
    let resolved = ListQuery { fingerprints, filter, ..ListQuery::default() };
    assert_eq!(running.ports(Query::Findings, resolved).0, [9090]);
}

#[test]
fn a_port_is_counted_also_if_there_is_no_room_for_its_minutes() {
    let mut running = Running::start();
    running.pipeline.index.fill();
    running.open(1, 9090);
    running.pipeline.apply(called(9090, 5));
    let minute = running.pipeline.converter().wall.minute(clock::now());
    assert!(ReadModel::minutes(&running.pipeline, minute, None).is_empty());
    let counts: Vec<u64> = running.pipeline.port_counts().iter().map(|port| port.connections).collect();
    assert_eq!(counts, [5]);
}

#[test]
fn an_event_tells_the_fingerprint_of_before_if_it_is_another() {
    let mut running = Running::start();
    let unknown = Pod { workload: None, ..pod("", &[5432]) };
    running.pipeline.apply(Input::Pods { source: PodSource::File, pods: vec![unknown] });
    running.open(1, 9090);
    running.set_pod("Deployment", &[5432]);
    running.pipeline.tick();
    running.close(1);
    let filter = Filter { port: vec![9090], kind: vec!["Finding".to_owned()], ..Filter::default() };
    let filter = Filter { state: vec!["open".to_owned(), "resolved".to_owned()], ..filter };
    let events: Vec<serde_json::Value> = running
        .log
        .read(0, usize::MAX, &filter)
        .lines
        .iter()
        .map(|line| serde_json::from_slice(&line.json).expect("JSON"))
        .collect();
    let [first, renamed, resolved] = events.as_slice() else { panic!("{events:#?}") };
    assert!(first["formerFingerprint"].is_null() && resolved["formerFingerprint"].is_null());
    assert_ne!(renamed["fingerprint"], first["fingerprint"]);
    assert_eq!(renamed["formerFingerprint"], first["fingerprint"]);
}
