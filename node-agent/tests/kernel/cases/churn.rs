//! Thousands of random opens, binds, closes and kills over many namespaces that come and go; then rest, then equality.

use std::hash::{BuildHasher, RandomState};

use libtest_mimic::Trial;

use super::case;
use crate::actor::protocol::{Request, SocketName, SocketOptions, Transport};
use crate::harness::actor::Actor;
use crate::harness::patience::PATIENCE;
use crate::harness::world::World;

const NAMESPACES: usize = 50;
const STEPS: usize = 6000;

pub fn cases() -> Vec<Trial> {
    vec![case("churn/fifty_namespaces_come_to_rest", fifty_namespaces_come_to_rest)]
}

/// Small and repeatable: xorshift64.
struct Dice(u64);

impl Dice {
    /// From the environment, to repeat a run that failed, or another one each time.
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

/// One namespace with one process and the sockets it has.
struct Place {
    role: String,
    actor: Actor,
    sockets: Vec<SocketName>,
}

impl Place {
    fn new(world: &mut World, number: usize) -> Self {
        let role = format!("churn{number}");
        let netns = world.network.add_bare(&role);
        Self { role, actor: Actor::start(&netns), sockets: Vec::new() }
    }

    fn open(&mut self, dice: &mut Dice) {
        let v6 = dice.below(3) == 0;
        let udp = dice.below(4) == 0;
        let options = SocketOptions {
            reuse_port: dice.below(2) == 0,
            v6_only: dice.below(2) == 0,
            destination_options: false,
        };
        let transport = if udp { Transport::Udp } else { Transport::Tcp };
        let name = self.actor.open_with(transport, v6, options).name();
        let host = [["0.0.0.0", "127.0.0.1"], ["[::]", "[::1]"]][usize::from(v6)][dice.below(2)];
        let address = format!("{host}:{}", 1000 + dice.below(40)).parse().expect("an address");
        // A port in use is part of the game; what the kernel says afterwards is what counts.
        let _ = self.actor.attempt(&Request::Bind { socket: name, address });
        if !udp && dice.below(8) > 0 {
            let _ = self.actor.attempt(&Request::Listen { socket: name, backlog: 8 });
        }
        self.sockets.push(name);
    }

    fn end_one(&mut self, dice: &mut Dice) {
        if self.sockets.is_empty() {
            return;
        }
        let index = dice.below(self.sockets.len());
        let socket = self.sockets[index];
        match dice.below(8) {
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
    let mut dice = Dice::new();
    let mut world = World::new(&[]);
    std::fs::write(world.metadata(), "").expect("no pods at all");
    let agent = world.agent();
    let mut places: Vec<Place> = (0..NAMESPACES).map(|number| Place::new(&mut world, number)).collect();
    let mut made = NAMESPACES;
    for _ in 0..STEPS {
        let index = dice.below(places.len());
        match dice.below(200) {
            0 => {
                let old = places.swap_remove(index);
                world.network.remove(&old.role);
                drop(old);
                places.push(Place::new(&mut world, made));
                made += 1;
            }
            1 | 2 => {
                let place = &mut places[index];
                place.actor.kill();
                place.actor = Actor::start(&world.network.netns(&place.role));
                place.sockets.clear();
            }
            3..120 => places[index].open(&mut dice),
            _ => places[index].end_one(&mut dice),
        }
    }
    let rest = world.settles_within(&agent, 3 * PATIENCE);
    assert!(rest.len() > NAMESPACES, "the churn left {} listeners only", rest.len());
    drop(places);
    world.settles_within(&agent, 3 * PATIENCE);
}
