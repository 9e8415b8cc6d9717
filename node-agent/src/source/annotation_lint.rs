//! Annotations that would mean something if they were spelled right, and labels that would if they were annotations: said once of
//! each object, since such an object looks as if it were excepted, or bound to a netns, and is not.

use std::collections::{BTreeMap, BTreeSet};

use portolan_engine::model::input::Input;
use portolan_engine::model::listing::Listing;
use portolan_engine::model::namespace::Namespace;
use portolan_engine::model::pod::Pod;
use portolan_engine::read::plain_text::escape;
use portolan_engine::rules::exception_annotation;

use crate::config::yaml_error::nearest;
use crate::source::pods::file::NETNS_ANNOTATION;

const PREFIX: &str = "portolan.dev/";
const KNOWN: [&str; 3] = [exception_annotation::PORTS, exception_annotation::REASON, NETNS_ANNOTATION];
/// Objects of which something is said; whoever may write pods must not fill the log.
const MAX_OBJECTS: usize = 256;
/// Names of one object that are said, and characters of one.
const MAX_NAMES: usize = 4;
const MAX_NAME: usize = 80;

/// What was said already.
#[derive(Debug, Default)]
pub struct Spelling {
    told: BTreeSet<String>,
}

impl Spelling {
    /// One line for each object of this fact that has such names, and of which nothing was said yet.
    pub fn remarks(&mut self, input: &Input) -> Vec<String> {
        match input {
            Input::Pods { pods, .. } => pods.iter().filter_map(|pod| self.of_pod(pod)).collect(),
            Input::PodChanged { pod, .. } => self.of_pod(pod).into_iter().collect(),
            Input::Namespaces(Listing::All(all)) => {
                all.iter().filter_map(|one| self.of_namespace(one)).collect()
            }
            Input::Namespaces(Listing::Changed(one)) => self.of_namespace(one).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn of_pod(&mut self, pod: &Pod) -> Option<String> {
        self.of(|| format!("pod {}/{}", pod.namespace, pod.name), &pod.annotations, &pod.labels)
    }

    fn of_namespace(&mut self, namespace: &Namespace) -> Option<String> {
        self.of(|| format!("namespace {}", namespace.name), &namespace.annotations, &namespace.labels)
    }

    fn of(
        &mut self,
        who: impl Fn() -> String,
        annotations: &BTreeMap<String, String>,
        labels: &BTreeMap<String, String>,
    ) -> Option<String> {
        let ours = |name: &&String| name.starts_with(PREFIX);
        let unknown = annotations.keys().filter(ours).filter(|name| !KNOWN.contains(&name.as_str()));
        let misplaced = labels.keys().filter(ours);
        let mut said = unknown
            .map(|name| as_annotation(name))
            .chain(misplaced.map(|name| as_label(name)))
            .take(MAX_NAMES)
            .peekable();
        said.peek()?;
        let who = who();
        if self.told.len() >= MAX_OBJECTS || self.told.contains(&who) {
            return None;
        }
        let remark = format!("{}: {}", shown(&who), said.collect::<Vec<_>>().join("; "));
        self.told.insert(who);
        let last = if self.told.len() == MAX_OBJECTS { " (further objects are not told)" } else { "" };
        Some(format!("{remark}{last}"))
    }
}

fn as_annotation(name: &str) -> String {
    match nearest(name, KNOWN) {
        Some(near) => format!("annotation {} means nothing: did you mean {near}?", shown(name)),
        None => format!("annotation {} means nothing: portolan reads {}", shown(name), KNOWN.join(", ")),
    }
}

fn as_label(name: &str) -> String {
    match nearest(name, KNOWN) {
        Some(near) => format!("label {} means nothing: write it as the annotation {near}", shown(name)),
        None => format!("label {} means nothing: portolan reads no labels of its own", shown(name)),
    }
}

fn shown(text: &str) -> String {
    escape(&text.chars().take(MAX_NAME).collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::source::pods::file;

    fn remarks(spelling: &mut Spelling, metadata: &str) -> Vec<String> {
        let text = format!(
            "kind: Pod\nmetadata: {{name: web, namespace: shop, {metadata}}}\nspec: {{containers: [{{name: c}}]}}\n"
        );
        let objects = file::parse(Path::new("pods.yaml"), &text).expect("a manifest");
        objects.inputs(None).iter().flat_map(|input| spelling.remarks(input)).collect()
    }

    #[test]
    fn a_misspelt_annotation_is_told_once_with_what_was_meant() {
        for (metadata, then) in [
            (
                "annotations: {portolan.dev/nets: x}",
                "pod shop/web: annotation portolan.dev/nets means nothing: did you mean portolan.dev/netns?",
            ),
            (
                "annotations: {portolan.dev/allow-port: '80'}",
                "pod shop/web: annotation portolan.dev/allow-port means nothing: did you mean portolan.dev/allow-ports?",
            ),
            (
                "annotations: {portolan.dev/zzzzzzzzzzzzzzzz: x}",
                "pod shop/web: annotation portolan.dev/zzzzzzzzzzzzzzzz means nothing: portolan reads \
                 portolan.dev/allow-ports, portolan.dev/allow-reason, portolan.dev/netns",
            ),
            (
                "labels: {portolan.dev/allow-ports: '80'}",
                "pod shop/web: label portolan.dev/allow-ports means nothing: write it as the annotation \
                 portolan.dev/allow-ports",
            ),
        ] {
            let mut spelling = Spelling::default();
            assert_eq!(remarks(&mut spelling, metadata), [then]);
            assert_eq!(remarks(&mut spelling, metadata), Vec::<String>::new(), "told already");
        }
        let right = "annotations: {portolan.dev/netns: x, portolan.dev/allow-ports: '80', other.dev/nets: y}";
        assert_eq!(remarks(&mut Spelling::default(), right), Vec::<String>::new());
    }

    #[test]
    fn a_namespace_is_looked_at_alike_and_names_cannot_steer_a_terminal() {
        let namespace = Namespace {
            name: "shop\u{1b}[2J".to_owned(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::from([("portolan.dev/allow-porst".to_owned(), "80".to_owned())]),
        };
        let said = Spelling::default().remarks(&Input::Namespaces(Listing::Changed(Box::new(namespace))));
        assert!(
            said[0].starts_with("namespace shop\\u{1b}[2J: annotation portolan.dev/allow-porst"),
            "{said:?}"
        );
    }

    #[test]
    fn ten_thousand_misspelt_pods_fill_no_log() {
        let mut spelling = Spelling::default();
        let annotated = |name: usize| Namespace {
            name: name.to_string(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::from([("portolan.dev/x".to_owned(), String::new())]),
        };
        let all = Input::Namespaces(Listing::All((0..10_000).map(annotated).collect()));
        let said = spelling.remarks(&all);
        assert_eq!(said.len(), MAX_OBJECTS);
        assert!(said.last().is_some_and(|last| last.ends_with("(further objects are not told)")));
    }
}
