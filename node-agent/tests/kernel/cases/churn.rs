//! Thousands of random opens, binds, closes and kills in many namespaces that come and go. After that the lists must be
//! equal.

use std::hash::{BuildHasher, RandomState};

use libtest_mimic::Trial;

use super::exclusive;
use crate::actor::protocol::{Request, SocketName, SocketOptions, Transport};
use crate::harness::actor::Actor;
use crate::harness::timeouts::TIMEOUT;
use crate::harness::world::World;

const NAMESPACES: usize = 50;
const STEPS: usize = 6000;

pub fn cases() -> Vec<Trial> {
    vec![exclusive("churn/fifty_namespaces_come_to_rest", fifty_namespaces_come_to_rest)]
}

/// A small, repeatable random number generator: xorshift64.
struct Random(u64);

impl Random {
    /// Takes the seed from the environment, to repeat a failed run, or a new seed each time.
    fn new() -> Self {
        let chosen = std::env::var("PORTOLAN_TIER_SEED").ok().and_then(|text| text.parse().ok());
        let seed = chosen.unwrap_or_else(|| RandomState::new().hash_one(0)).max(1);
        println!("churn: PORTOLAN_TIER_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).expect("below a usize")
    }
}

/// A namespace with one process and its sockets.
struct BusyNetns {
    role: String,
    actor: Actor,
    sockets: Vec<SocketName>,
}

impl BusyNetns {
    fn new(world: &mut World, number: usize) -> Self {
        let role = format!("churn{number}");
        let netns = world.network.add_bare(&role);
        Self { role, actor: Actor::start(&netns), sockets: Vec::new() }
    }

    fn open(&mut self, random: &mut Random) {
        let v6 = random.below(3) == 0;
        let udp = random.below(4) == 0;
        let options = SocketOptions {
            reuse_port: random.below(2) == 0,
            v6_only: random.below(2) == 0,
            ..SocketOptions::default()
        };
        let transport = if udp { Transport::Udp } else { Transport::Tcp };
        let name = self.actor.open_with(transport, v6, options).name();
        let host = [["0.0.0.0", "127.0.0.1"], ["[::]", "[::1]"]][usize::from(v6)][random.below(2)];
        let address = format!("{host}:{}", 1000 + random.below(40)).parse().expect("an address");
        // The port may be in use; only the kernel's list at the end counts.
        let _ = self.actor.attempt(&Request::Bind { socket: name, address });
        if !udp && random.below(8) > 0 {
            let _ = self.actor.attempt(&Request::Listen { socket: name, backlog: 8 });
        }
        self.sockets.push(name);
    }

    fn end_one(&mut self, random: &mut Random) {
        if self.sockets.is_empty() {
            return;
        }
        let index = random.below(self.sockets.len());
        let socket = self.sockets[index];
        match random.below(8) {
            0 => drop(self.actor.attempt(&Request::Shutdown { socket })),
            1 => drop(self.actor.attempt(&Request::Disconnect { socket })),
            2 => drop(self.actor.attempt(&Request::Listen { socket, backlog: 8 })),
            _ => {
                self.actor.order(&Request::Close { socket });
                self.sockets.swap_remove(index);
            }
        }
    }
}

fn fifty_namespaces_come_to_rest() {
    let mut random = Random::new();
    let mut world = World::new(&[]);
    std::fs::write(world.metadata(), "").expect("no pods at all");
    let agent = world.agent();
    let mut all: Vec<BusyNetns> = (0..NAMESPACES).map(|number| BusyNetns::new(&mut world, number)).collect();
    let mut made = NAMESPACES;
    for _ in 0..STEPS {
        let index = random.below(all.len());
        match random.below(200) {
            0 => {
                let old = all.swap_remove(index);
                world.network.remove(&old.role);
                drop(old);
                all.push(BusyNetns::new(&mut world, made));
                made += 1;
            }
            1 | 2 => {
                let busy = &mut all[index];
                busy.actor.kill();
                busy.actor = Actor::start(&world.network.netns(&busy.role));
                busy.sockets.clear();
            }
            3..120 => all[index].open(&mut random),
            _ => all[index].end_one(&mut random),
        }
    }
    let rest = world.settles_within(&agent, 3 * TIMEOUT);
    assert!(rest.len() > NAMESPACES, "the churn left {} listeners only", rest.len());
    drop(all);
    world.settles_within(&agent, 3 * TIMEOUT);
}
