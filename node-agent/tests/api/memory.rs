//! Memory of a pod in the agent.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use portolan::source::kubernetes::weight::weight;
use portolan_testing::api_server::object;
use portolan_testing::api_server::server::{Server, Settings, Transport};

use crate::world::{FAST, NODE, World};

/// Header of each block in glibc's heap, in bytes.
const HEADER: usize = 8;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, which counts the heap of each thread: other tests allocate at the same time.
struct CountPerThread;

#[global_allocator]
static ALLOCATOR: CountPerThread = CountPerThread;

impl CountPerThread {
    fn count(block: *mut u8, add: fn(usize, usize) -> usize) {
        // SAFETY: the block is one of the system allocator's, or null, for which the size is 0.
        let size = unsafe { libc::malloc_usable_size(block.cast()) } + HEADER;
        // A thread that ends has no counter any more, and nobody reads it.
        let _ = ALLOCATED.try_with(|allocated| allocated.set(add(allocated.get(), size)));
    }
}

// SAFETY: every call goes to the system's allocator unchanged; the counting allocates nothing.
unsafe impl GlobalAlloc for CountPerThread {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc`.
        let block = unsafe { System.alloc(layout) };
        Self::count(block, usize::wrapping_add);
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        Self::count(block, usize::wrapping_sub);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Returns the heap that this thread allocated and did not free, in bytes.
fn allocated() -> usize {
    ALLOCATED.with(Cell::get)
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
