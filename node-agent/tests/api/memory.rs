//! Memory of a pod in the agent.

use portolan::source::kubernetes::weight::weight;
use portolan_testing::api_server::object;
use portolan_testing::api_server::server::{Server, Settings, Transport};

use crate::world::{FAST, NODE, World};

/// Returns the number of allocated bytes.
fn allocated() -> usize {
    // SAFETY: mallinfo2 has no preconditions.
    unsafe { libc::mallinfo2() }.uordblks
}

const PODS: usize = 2000;

#[test]
fn a_pod_costs_at_most_8_kib() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (pods, text) = runtime.block_on(async {
        let server = Server::start(Transport::Plain, Settings::default()).await;
        let mut text = 0;
        for n in 0..PODS {
            let pod = object::pod("shop", &format!("web-5d4f8c7b9-{n:05}"), NODE);
            text += pod.to_string().len();
            server.put("pods", pod);
        }
        let mut world = World::of(server, FAST);
        world.until("all pods", |known| known.pods.len() == PODS).await;
        (std::mem::take(&mut world.known.pods).into_values().collect::<Vec<_>>(), text / PODS)
    });
    // Copies have exact sizes, without spare capacity.
    let before = allocated();
    let copies = pods.clone();
    let each = (allocated() - before) / PODS;
    println!("{each} bytes for a pod of {text} bytes of JSON");
    assert!(each <= 8 << 10, "{each} bytes");
    let estimate = copies.iter().map(weight).sum::<usize>() / PODS;
    assert!((each / 2..each * 2).contains(&estimate), "estimated {estimate} bytes, of {each}");
    let engine = std::mem::size_of_val(&copies[0]);
    assert!(engine < each);
    drop(copies);
}
