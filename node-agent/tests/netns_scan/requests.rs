//! Work on request: lists of connections, and scans within their budget.

use std::time::Duration;

use portolan::source::clock;
use portolan::source::netns::{self, NoActor};
use portolan_engine::model::identity::NetnsId;
use portolan_engine::model::input::Input;
use tokio::sync::mpsc;

use crate::lab::{Netns, options, until, wait_for};

const PAIR: &str = "
server = socket.create_server(('127.0.0.1', 4000))
client = socket.create_connection(('127.0.0.1', 4000))
accepted, _ = server.accept()
client.sendall(b'x' * 700)
accepted.sendall(b'x' * 50)
";

async fn id_of(inputs: &mut mpsc::Receiver<Input>, netns: &Netns) -> NetnsId {
    let path = netns.path();
    wait_for(inputs, |input| match input {
        Input::NetnsSeen { facts, .. } if facts.paths.contains(&path) => Some(facts.netns),
        _ => None,
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connections_of_a_netns_are_listed_on_request() {
    let netns = Netns::new("conns");
    let _pair = netns.python(PAIR);
    let (sender, mut inputs) = mpsc::channel(65_536);
    let handle = netns::start(options(), Box::new(NoActor), sender).expect("start");
    let id = id_of(&mut inputs, &netns).await;
    until(&handle, |progress| progress.first_scan_done).await;
    let asked = clock::now();
    handle.list_connections(id);
    let list = wait_for(&mut inputs, |input| match input {
        Input::ConnectionsListed(list) => Some(list.clone()),
        _ => None,
    })
    .await;
    assert!(list.netns == id && list.at >= asked);
    let mut bytes: Vec<(u64, u64)> =
        list.connections.iter().map(|connection| (connection.bytes_in, connection.bytes_out)).collect();
    bytes.sort_unstable();
    // The client's socket counts its own SYN as a byte that was acknowledged.
    assert_eq!(bytes, [(50, 701), (700, 50)]);
    drop(inputs);
    handle.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn requested_scans_have_their_turns_within_the_budget_and_progress_says_that_they_wait() {
    const ROUNDS: u32 = 12;
    let all: Vec<Netns> = (0..4).map(|index| Netns::new(&format!("budget{index}"))).collect();
    let serve = "keep = [socket.create_server(('0.0.0.0', p)) for p in range(2000, 2800)]";
    let _serving: Vec<_> = all.iter().map(|netns| netns.python(serve)).collect();
    let (sender, mut inputs) = mpsc::channel(65_536);
    let handle = netns::start(options(), Box::new(NoActor), sender).expect("start");
    let mut paths = std::collections::BTreeMap::new();
    until(&handle, |progress| progress.first_scan_done).await;
    while let Ok(input) = inputs.try_recv() {
        if let Input::NetnsSeen { facts, .. } = input {
            paths.extend(facts.paths.iter().map(|path| (path.clone(), facts.netns)));
        }
    }
    let ids: Vec<NetnsId> = all.iter().map(|netns| paths[&netns.path()]).collect();
    // Each netns is asked for again as soon as it was scanned.
    let mut scanned = vec![0; ids.len()];
    let mut has_waited = false;
    ids.iter().for_each(|id| handle.scan(*id));
    let flood = async {
        while !has_waited || scanned.iter().any(|count| *count < ROUNDS) {
            let Input::NetnsScanned(scan) = inputs.recv().await.expect("the thread runs") else { continue };
            if let Some(index) = ids.iter().position(|id| *id == scan.netns) {
                scanned[index] += 1;
                has_waited |= handle.progress().borrow().waiting > 0;
                handle.scan(scan.netns);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), flood)
        .await
        .expect("the budget ends, and all of them have their turns");
    let (fewest, most) = (scanned.iter().min(), scanned.iter().max());
    assert!(
        fewest.zip(most).is_some_and(|(fewest, most)| *most <= 2 * fewest),
        "each in its turn: {scanned:?}"
    );
    // The last requests are done, and nothing waits any more.
    let done = async {
        while handle.progress().borrow().waiting > 0 {
            let _more = inputs.recv().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), done).await.expect("nothing is put off for ever");
    drop(inputs);
    handle.shutdown();
}
