//! Finds misspelt annotations of portolan, and labels that should be annotations. Reports each object once, because such an
//! object looks as if it had an exception or a netns, but has none.

use std::collections::{BTreeMap, BTreeSet};

use portolan_engine::model::input::Input;
use portolan_engine::model::listing::Listing;
use portolan_engine::model::namespace::Namespace;
use portolan_engine::model::pod::Pod;
use portolan_engine::read::plain_text::escape;
use portolan_engine::rules::exception_annotation;

use crate::config::nearest_name::nearest_name;
use crate::source::kubernetes::objects::pod::NETNS_ANNOTATION;

const PREFIX: &str = "portolan.dev/";
const KNOWN: [&str; 3] = [exception_annotation::PORTS, exception_annotation::REASON, NETNS_ANNOTATION];
/// Maximum number of objects that are reported: users who may write pods must not be able to fill the log.
const MAX_OBJECTS: usize = 256;
/// Maximum number of names that are reported for one object.
const MAX_NAMES: usize = 4;
/// Maximum length of a reported name, in characters.
const MAX_NAME: usize = 80;

/// Reports misspelt annotations, once per object.
#[derive(Debug, Default)]
pub struct AnnotationLint {
    /// Objects that were reported.
    reported: BTreeSet<String>,
}

impl AnnotationLint {
    /// Returns one line for each object of the input that has such names and was not reported before.
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
        object: impl Fn() -> String,
        annotations: &BTreeMap<String, String>,
        labels: &BTreeMap<String, String>,
    ) -> Option<String> {
        let ours = |name: &&String| name.starts_with(PREFIX);
        let unknown = annotations.keys().filter(ours).filter(|name| !KNOWN.contains(&name.as_str()));
        let misplaced = labels.keys().filter(ours);
        let mut problems = unknown
            .map(|name| as_annotation(name))
            .chain(misplaced.map(|name| as_label(name)))
            .take(MAX_NAMES)
            .peekable();
        problems.peek()?;
        let object = object();
        if self.reported.len() >= MAX_OBJECTS || self.reported.contains(&object) {
            return None;
        }
        let remark = format!("{}: {}", shown(&object), problems.collect::<Vec<_>>().join("; "));
        self.reported.insert(object);
        let last = if self.reported.len() == MAX_OBJECTS { " (further objects are not told)" } else { "" };
        Some(format!("{remark}{last}"))
    }
}

fn as_annotation(name: &str) -> String {
    match nearest_name(name, KNOWN) {
        Some(near) => format!("annotation {} means nothing: did you mean {near}?", shown(name)),
        None => format!("annotation {} means nothing: portolan reads {}", shown(name), KNOWN.join(", ")),
    }
}

fn as_label(name: &str) -> String {
    match nearest_name(name, KNOWN) {
        Some(near) => format!("label {} means nothing: write it as the annotation {near}", shown(name)),
        None => format!("label {} means nothing: portolan reads no labels of its own", shown(name)),
    }
}

/// Escapes and truncates a name for the log.
fn shown(text: &str) -> String {
    escape(&text.chars().take(MAX_NAME).collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::source::pods::file;

    fn remarks(lint: &mut AnnotationLint, metadata: &str) -> Vec<String> {
        let text = format!(
            "kind: Pod\nmetadata: {{name: web, namespace: shop, {metadata}}}\nspec: {{containers: [{{name: c}}]}}\n"
        );
        let objects = file::parse(Path::new("pods.yaml"), &text).objects;
        objects.inputs(None).iter().flat_map(|input| lint.remarks(input)).collect()
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
            let mut lint = AnnotationLint::default();
            assert_eq!(remarks(&mut lint, metadata), [then]);
            assert_eq!(remarks(&mut lint, metadata), Vec::<String>::new(), "told already");
        }
        let right = "annotations: {portolan.dev/netns: x, portolan.dev/allow-ports: '80', other.dev/nets: y}";
        assert_eq!(remarks(&mut AnnotationLint::default(), right), Vec::<String>::new());
    }

    #[test]
    fn a_namespace_is_looked_at_alike_and_names_cannot_steer_a_terminal() {
        let namespace = Namespace {
            name: "shop\u{1b}[2J".to_owned(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::from([("portolan.dev/allow-porst".to_owned(), "80".to_owned())]),
        };
        let said =
            AnnotationLint::default().remarks(&Input::Namespaces(Listing::Changed(Box::new(namespace))));
        assert!(
            said[0].starts_with("namespace shop\\u{1b}[2J: annotation portolan.dev/allow-porst"),
            "{said:?}"
        );
    }

    #[test]
    fn ten_thousand_misspelt_pods_fill_no_log() {
        let mut lint = AnnotationLint::default();
        let annotated = |name: usize| Namespace {
            name: name.to_string(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::from([("portolan.dev/x".to_owned(), String::new())]),
        };
        let all = Input::Namespaces(Listing::All((0..10_000).map(annotated).collect()));
        let said = lint.remarks(&all);
        assert_eq!(said.len(), MAX_OBJECTS);
        assert!(said.last().is_some_and(|last| last.ends_with("(further objects are not told)")));
    }
}
