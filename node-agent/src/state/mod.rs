//! State of every hook, source and sink of the agent, and the one feed that carries it.
//!
//! Each of them writes its own entry through a [`Reporter`]; status, readiness and metrics read the same [`States`]. It
//! stands outside `source` and `sink`, since both report here and neither knows the other.

mod component;
mod feed;
mod states;

pub use component::{Component, Hook, Readiness, Source};
pub use feed::{Reporter, StateFeed};
pub use states::{Entry, Settled, State, States};

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Source, State, StateFeed};

    fn down() -> State {
        State::Down { reason: "no".to_owned() }
    }

    #[test]
    fn names_are_those_that_are_typed_and_labels_have_no_path() {
        for (source, name, label) in [
            (Source::Cri(None), "cri", "cri"),
            (Source::Cri(Some("/run/c.sock".into())), "cri=/run/c.sock", "cri"),
            (Source::File("/a.yaml".into()), "file=/a.yaml", "file"),
            (Source::Pods, "kubernetes", "kubernetes"),
            (Source::NetworkPolicies, "kubernetes/networkpolicies", "kubernetes/networkpolicies"),
            (Source::Reports, "sink/reports", "sink/reports"),
        ] {
            assert_eq!((source.to_string().as_str(), source.label()), (name, label));
        }
    }

    #[test]
    fn the_agent_is_ready_once_netns_and_one_source_of_metadata_were() {
        let feed = StateFeed::default();
        let is_ready = || feed.subscribe().borrow().is_ready();
        let netns = feed.reporter(Source::Netns);
        assert!(!is_ready());
        netns.report(down());
        assert!(!is_ready());
        netns.mark_ready();
        assert!(is_ready(), "no source of metadata is waited for");
        let (cri, file) = (feed.reporter(Source::Cri(None)), feed.reporter(Source::File("a".into())));
        feed.reporter(Source::Services).report(State::Up);
        cri.report(down());
        assert!(!is_ready(), "Services are no source of pods");
        file.report(State::Degraded { reason: "slow".to_owned() });
        file.report(down());
        assert!(is_ready(), "one was up");
    }

    #[test]
    fn a_label_that_sources_share_is_up_where_all_are() {
        let feed = StateFeed::default();
        feed.reporter(Source::File("a".into())).report(down());
        feed.reporter(Source::File("b".into())).report(State::Up);
        feed.reporter(Source::OtlpLogs).report(State::Up);
        let _starting = feed.reporter(Source::Conntrack);
        let up = feed.subscribe().borrow().up_by_label();
        assert_eq!(up, BTreeMap::from([("file", false), ("otlp/logs", true)]));
    }

    #[test]
    fn what_is_reported_again_changes_nothing() {
        let feed = StateFeed::default();
        let mut states = feed.subscribe();
        let cri = feed.reporter(Source::Cri(None));
        assert!(cri.report(down()));
        states.mark_unchanged();
        assert!(!cri.report(down()) && !states.has_changed().expect("open"));
        let before = states.borrow().settled();
        assert!(cri.report(State::Down { reason: "never".to_owned() }));
        assert_eq!(states.borrow().settled(), before, "only the reason differs");
    }
}
