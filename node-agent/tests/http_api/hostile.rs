//! Clients that send too much, too little or nothing, or do not read: each loses its own connection, and no other client is
//! affected.

use std::time::Duration;

use portolan::sink::http::Bounds;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::exchange::{PATIENCE, get, send};
use crate::model::Node;
use crate::served::{EPOCH, Served, eventually};
use crate::watching::finding_report;

fn impatient(connections: usize) -> Bounds {
    Bounds { connections, stall_timeout: Duration::from_millis(200), ..Bounds::API }
}

/// Waits until the server closes the connection.
async fn is_cut_off(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    assert!(read.is_ok(), "still connected");
}

#[tokio::test]
async fn header_bombs_are_refused() {
    let served = Served::start(Node::default()).await;
    let many = "x-a: b\r\n".repeat(500);
    assert_eq!(get(served.address, "/livez", &many).await.status, 431);
    let long = format!("x-a: {}\r\n", "b".repeat(1 << 20));
    assert_eq!(get(served.address, "/livez", &long).await.status, 431);
    let long_path = format!("/v1/findings?pod={}", "a".repeat(1 << 20));
    assert!(matches!(get(served.address, &long_path, "").await.status, 400..500));
    assert_eq!(send(served.address, "\u{0}\u{1}\r\n\r\n").await.status, 400);
    assert_eq!(get(served.address, "/livez", "").await.status, 200);
}

#[tokio::test]
async fn who_says_nothing_is_cut_off_and_makes_room() {
    let served = Served::start_within(Node::default(), impatient(2), 16, EPOCH).await;
    let mut silent = TcpStream::connect(served.address).await.expect("connects");
    let mut slow = TcpStream::connect(served.address).await.expect("connects");
    slow.write_all(b"GET /livez HTTP/1.1\r\nhost: loc").await.expect("sends");
    // Both slots are taken: this client is served once one is free.
    assert_eq!(get(served.address, "/livez", "").await.status, 200);
    is_cut_off(&mut silent).await;
    is_cut_off(&mut slow).await;
}

#[tokio::test]
async fn who_reads_nothing_is_cut_off() {
    let served = Served::start_within(Node::default(), impatient(4), 4096, EPOCH).await;
    let mut deaf = TcpStream::connect(served.address).await.expect("connects");
    deaf.write_all(b"GET /v1/watch HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("sends");
    eventually("it subscribed", || served.log.subscribers() == 1).await;
    let report = finding_report("shop", 1);
    eventually("it is cut off", || {
        for _ in 0..64 {
            served.publish(&report);
        }
        served.log.subscribers() == 0
    })
    .await;
    drop(deaf);
}

#[tokio::test]
async fn who_leaves_in_the_middle_harms_nobody() {
    let served = Served::start(Node::default()).await;
    for cut in [
        "G",
        "GET /v1/find",
        "GET /v1/findings HTTP/1.1\r\nhost: localhost\r\n",
        "GET /v1/findings HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ] {
        for _ in 0..50 {
            let mut stream = TcpStream::connect(served.address).await.expect("connects");
            stream.write_all(cut.as_bytes()).await.expect("sends");
        }
    }
    assert_eq!(get(served.address, "/v1/findings", "").await.status, 200);
}

#[tokio::test]
async fn silent_clients_of_telemetry_never_keep_a_probe_waiting() {
    let served = Served::start(Node::default()).await;
    let mut silent = Vec::new();
    // Twice as many clients as slots, from one address and from many.
    for last in (1..=32).chain(std::iter::repeat_n(1, 96)) {
        let socket = tokio::net::TcpSocket::new_v4().expect("socket");
        socket.bind(([127, 0, 7, last], 0).into()).expect("binds");
        let mut stream = socket.connect(served.telemetry).await.expect("connects");
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n").await.expect("sends");
        silent.push(stream);
    }
    let probes = async {
        for _ in 0..20 {
            let answer = send(served.telemetry, "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
            assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
        }
    };
    // The probe succeeded before the silent clients timed out.
    assert!(timeout(Bounds::TELEMETRY.stall_timeout, probes).await.is_ok(), "the probes had to wait");
}

#[tokio::test]
async fn who_reads_a_byte_now_and_then_is_cut_off() {
    let bounds = Bounds {
        stall_timeout: Duration::from_millis(400),
        answer_timeout: Duration::from_millis(800),
        ..Bounds::API
    };
    let served = Served::start_within(Node::default(), bounds, 4096, EPOCH).await;
    let socket = tokio::net::TcpSocket::new_v4().expect("socket");
    socket.set_recv_buffer_size(4096).expect("size");
    let mut slow = socket.connect(served.address).await.expect("connects");
    slow.write_all(b"GET /v1/watch HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("sends");
    eventually("it subscribed", || served.log.subscribers() == 1).await;
    let report = finding_report("shop", 1);
    let reading = async {
        let mut some = [0; 8192];
        while served.log.subscribers() > 0 {
            for _ in 0..2048 {
                served.publish(&report);
            }
            let _ = timeout(Duration::from_millis(100), slow.read(&mut some)).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    assert!(timeout(PATIENCE, reading).await.is_ok(), "it still follows");
}
