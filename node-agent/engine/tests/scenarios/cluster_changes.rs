//! Services, policies and labels that change again and again, among them changes that mean the same as before: what is said
//! in the end is what would be said had only the last version of each been told.

use std::collections::BTreeMap;

use portolan_engine::model::identity::Protocol;
use portolan_engine::model::input::Input;
use portolan_engine::model::listing::Listing;
use portolan_engine::model::pod::ContainerKind;
use proptest::prelude::*;

use crate::objects::{
    admits, admitted, for_app, named, number, policies, policy, sends, service, service_changed,
    service_gone, services,
};
use crate::world::{World, ms, netns, pod, told};

fn app_named(which: usize) -> &'static str {
    if which == 0 { "web" } else { "db" }
}

/// What one object is from now on.
#[derive(Clone, Copy, Debug)]
enum Version {
    Service { which: usize, app: usize, port: u16, by_name: bool },
    NoService { which: usize },
    Policy { which: usize, app: usize, first: u16, more: u16, rules: bool },
    NoPolicy { which: usize },
    Label { pod: usize, app: usize, release: usize },
}

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![
        4 => (0..3_usize, 0..2_usize, 9_000..9_003_u16, any::<bool>())
            .prop_map(|(which, app, port, by_name)| Version::Service { which, app, port, by_name }),
        1 => (0..3_usize).prop_map(|which| Version::NoService { which }),
        4 => (0..3_usize, 0..2_usize, 9_000..9_003_u16, 0..2_u16, any::<bool>()).prop_map(
            |(which, app, first, more, rules)| Version::Policy { which, app, first, more, rules }
        ),
        1 => (0..3_usize).prop_map(|which| Version::NoPolicy { which }),
        2 => (0..2_usize, 0..2_usize, 0..2_usize)
            .prop_map(|(pod, app, release)| Version::Label { pod, app, release }),
    ]
}

impl Version {
    /// Two versions of the same object have the same.
    fn of(self) -> (u8, usize) {
        match self {
            Self::Service { which, .. } | Self::NoService { which } => (0, which),
            Self::Policy { which, .. } | Self::NoPolicy { which } => (1, which),
            Self::Label { pod, .. } => (2, pod),
        }
    }

    fn input(self) -> Input {
        match self {
            Self::Service { which, app, port, by_name } => {
                let target = if by_name { named("main") } else { number(port) };
                let service = service(&format!("s{which}"), app_named(app));
                service_changed(sends(service, port, Protocol::Tcp, target))
            }
            Self::NoService { which } => service_gone(&format!("s{which}")),
            Self::Policy { which, app, first, more, rules } => {
                let policy = for_app(policy(&format!("p{which}")), app_named(app));
                let ports = vec![admitted(Protocol::Tcp, Some(number(first)), Some(first + more))];
                let policy = if rules { admits(policy, ports) } else { policy };
                Input::NetworkPolicies(Listing::Changed(Box::new(policy)))
            }
            Self::NoPolicy { which } => {
                let (namespace, name) = (policy("p").namespace, format!("p{which}"));
                Input::NetworkPolicies(Listing::Gone { namespace, name })
            }
            Self::Label { pod: which, app, release } => told("kubernetes", labelled(which, app, release)),
        }
    }
}

fn labelled(which: usize, app: usize, release: usize) -> portolan_engine::model::pod::Pod {
    let name = format!("pod-{which}");
    let pod = pod(&name).at(&name).label("app", app_named(app)).label("release", &release.to_string());
    pod.container("app", ContainerKind::Regular, &[(9_000, Protocol::Tcp)])
        .named_port("main", 9_001, Protocol::Tcp)
        .into()
}

/// Two pods that serve four ports each, of which two are declared.
fn begin() -> World {
    let mut world = World::new();
    world.apply(services(Vec::new())).apply(policies(Vec::new()));
    for which in 0..2_usize {
        let id = 1 + which as u64;
        world.apply(netns(id, &format!("pod-{which}"), &format!("10.1.0.{}/24", id + 1)));
        world.apply(told("kubernetes", labelled(which, which, 0)));
        for port in 9_000..9_004_u16 {
            world.listen(id, id * 10 + u64::from(port), port);
        }
    }
    world.wait(6_000);
    world
}

/// All that people see, once everything has come to rest.
fn rest(versions: impl Iterator<Item = Version>) -> Vec<String> {
    let mut world = begin();
    for version in versions {
        world.apply(version.input()).wait(700);
    }
    world.now = ms(100_000);
    world.wait(100_000);
    let listeners =
        world.engine.listeners().map(|l| format!("{} {:?} {:?} {:?}", l.id, l.port, l.pod, l.declaration));
    let findings = world.engine.findings().map(|f| {
        format!("{} {} {:?} {:?} {:?} {}", f.id, f.code.as_str(), f.pod, f.declaration, f.policy, f.message)
    });
    let mut lines: Vec<String> = listeners.chain(findings).collect();
    lines.sort();
    lines
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_last_version_of_each_is_all_that_counts(versions in proptest::collection::vec(version(), 0..24)) {
        let mut last = BTreeMap::new();
        for version in &versions {
            last.insert(version.of(), *version);
        }
        prop_assert_eq!(rest(versions.into_iter()), rest(last.into_values()));
    }
}
