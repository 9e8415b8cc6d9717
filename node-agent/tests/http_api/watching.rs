//! `/v1/watch`: events as they happen, resumption, lost events, limits, and the end of the agent.

use std::sync::Arc;

use portolan::sink::http::Bounds;
use portolan_engine::model::finding_code::FindingCode;
use portolan_engine::model::identity::Protocol;
use portolan_engine::model::listener::DeclarationStatus;
use portolan_report::wire::Report;

use crate::exchange::{Following, get};
use crate::model::{Node, converter, finding, listener, pod};
use crate::served::{EPOCH, Served, eventually};

pub fn finding_report(namespace: &str, port: u16) -> Report {
    let listener =
        Arc::new(listener(Some(pod(namespace, "app")), Protocol::Tcp, port, DeclarationStatus::Undeclared));
    Report::Finding(converter().finding(&finding(FindingCode::UndeclaredReachable, &listener)))
}

fn loss() -> Report {
    Report::Loss(converter().loss("ring-full", 1, true))
}

fn numbers(text: &str) -> Vec<u64> {
    let events = text.split("\n\n").filter(|event| event.contains("\ndata: "));
    let ids = events.flat_map(str::lines).filter_map(|line| line.strip_prefix(&format!("id: {EPOCH:x}-")));
    ids.map(|number| number.parse().expect("number")).collect()
}

#[tokio::test]
async fn events_come_as_they_happen_and_filters_hold() {
    let served = Served::start(Node::default()).await;
    let mut all = Following::start(served.address, "/v1/watch", "").await;
    let mut some = Following::start(served.address, "/v1/watch?kind=Finding&namespace=shop", "").await;
    served.publish(&finding_report("other", 1));
    served.publish(&loss());
    served.publish(&finding_report("shop", 2));
    let text = all.until("id: abc-2").await;
    assert!(text.contains("content-type: text/event-stream"), "{text}");
    assert!(
        text.contains("id: abc-1\nevent: Loss\ndata: {\"kind\":\"Loss\",\"schema\":\"portolan/v1\""),
        "{text}"
    );
    some.until("id: abc-2").await;
    assert_eq!(numbers(some.until("\"port\":2").await), [2]);
}

#[tokio::test]
async fn a_follower_that_comes_back_gets_what_it_missed() {
    let served = Served::start(Node::default()).await;
    for port in 1..=5 {
        served.publish(&finding_report("shop", port));
    }
    let mut back = Following::start(served.address, "/v1/watch", "last-event-id: abc-1\r\n").await;
    assert_eq!(numbers(back.until("id: abc-4").await), [2, 3, 4]);
    let mut current = Following::start(served.address, "/v1/watch", "last-event-id: abc-4\r\n").await;
    served.publish(&loss());
    assert_eq!(numbers(current.until("id: abc-5").await), [5]);
}

#[tokio::test]
async fn who_cannot_be_taken_up_again_is_told_to_read_the_lists() {
    let served = Served::start_within(Node::default(), Bounds::API, 4, EPOCH).await;
    for port in 1..=10 {
        served.publish(&finding_report("shop", port));
    }
    // Of another run, dropped already, not yet written, and malformed.
    for id in ["abd-9", "abc-2", "abc-99", "abc", "-", "abc-18446744073709551615", "\u{1f980}"] {
        let mut back =
            Following::start(served.address, "/v1/watch", &format!("last-event-id: {id}\r\n")).await;
        let text = back.until("event: reset").await.to_owned();
        assert!(numbers(&text).is_empty(), "{id}: {text}");
    }
    let mut oldest = Following::start(served.address, "/v1/watch", "last-event-id: abc-5\r\n").await;
    assert_eq!(numbers(oldest.until("id: abc-9").await), [6, 7, 8, 9]);
}

#[tokio::test]
async fn a_follower_that_lags_is_told_how_much_it_missed_and_stalls_nobody() {
    let patient = Bounds { stall_timeout: std::time::Duration::from_secs(120), ..Bounds::API };
    let served = Served::start_within(Node::default(), patient, 8, EPOCH).await;
    let mut slow = Following::start(served.address, "/v1/watch", "").await;
    // The client reads nothing: the socket buffers fill, then the log drops lines that it has not read.
    for port in 1..=10_000 {
        served.publish(&finding_report("shop", port));
        if port % 64 == 0 {
            assert_eq!(get(served.address, "/livez", "").await.status, 200);
        }
    }
    let text = slow.until("event: lost\ndata: {\"missed\":").await.to_owned();
    let last = slow.until("id: abc-9999").await.to_owned();
    let missed: u64 = last
        .lines()
        .filter_map(|line| line.strip_prefix("data: {\"missed\":"))
        .map(|rest| rest.trim_end_matches('}').parse::<u64>().expect("number"))
        .sum();
    let seen = u64::try_from(numbers(&last).len()).expect("count");
    assert_eq!(missed + seen, 10_000, "{}", text.len());
}

#[tokio::test]
async fn followers_that_leave_are_forgotten_and_too_many_are_refused() {
    let served = Served::start(Node::default()).await;
    let mut followers = Vec::new();
    for _ in 0..32 {
        followers.push(Following::start(served.address, "/v1/watch", "").await);
    }
    assert_eq!(get(served.address, "/v1/watch", "").await.status, 503);
    assert_eq!(get(served.address, "/v1/findings", "").await.status, 200);
    followers.clear();
    eventually("all followers are forgotten", || {
        served.publish(&loss());
        served.log.subscribers() == 0
    })
    .await;
}

#[tokio::test]
async fn the_end_of_the_agent_ends_the_stream() {
    let served = Served::start(Node::default()).await;
    let following = Following::start(served.address, "/v1/watch", "connection: close\r\n").await;
    served.shut_down();
    let text = following.end().await;
    assert!(text.ends_with("0\r\n\r\n"), "{text:?}");
}

#[tokio::test]
async fn the_log_keeps_to_its_bytes_whatever_is_published() {
    let served = Served::start_within(Node::default(), Bounds::API, usize::MAX, EPOCH).await;
    for port in 1..=10_000 {
        served.publish(&finding_report("shop", port));
    }
    let batch = served.log.read(0, usize::MAX, &portolan_report::filter::Filter::default());
    let bytes: usize = batch.lines.iter().map(|line| line.json.len()).sum();
    assert!(batch.missed > 0 && bytes < 4 << 20, "{bytes} bytes, {} missed", batch.missed);
}

#[tokio::test]
async fn a_follower_to_whom_nothing_came_can_go_on_where_it_was() {
    let served = Served::start(Node::default()).await;
    for port in 1..=3 {
        served.publish(&finding_report("shop", port));
    }
    let mut some = Following::start(served.address, "/v1/watch?namespace=other", "").await;
    let text = some.until("id: abc-2\n\n").await.to_owned();
    assert!(numbers(&text).is_empty(), "{text}");
    served.publish(&finding_report("other", 4));
    let mut back =
        Following::start(served.address, "/v1/watch?namespace=other", "last-event-id: abc-2\r\n").await;
    let text = back.until("id: abc-3").await.to_owned();
    assert!(!text.contains("reset"), "{text}");
}
