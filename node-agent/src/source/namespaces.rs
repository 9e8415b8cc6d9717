//! Namespaces of the API server. Requests ask for metadata only.

use portolan_engine::model::input::Input;
use portolan_engine::model::listing::Listing;
use portolan_engine::model::namespace::Namespace;
use serde::de::IgnoredAny;

use crate::source::kubernetes::kind::{Kind, Parsed, Parts};
use crate::source::kubernetes::object::{Cuts, Metadata};
use crate::state::Source;

/// Source of all namespaces.
pub struct Namespaces;

impl Kind for Namespaces {
    type Spec = IgnoredAny;
    type Status = IgnoredAny;
    type Key = String;
    type Item = Namespace;

    const SOURCE: Source = Source::Namespaces;
    const PATH: &'static str = "/api/v1/namespaces";
    const PARTS: Parts = Parts::MetadataOnly;
    const MOST: usize = 65_536;

    fn read(
        &self,
        mut metadata: Metadata,
        _spec: Option<IgnoredAny>,
        _status: Option<IgnoredAny>,
        cuts: &mut Cuts,
    ) -> Option<Parsed<String, Namespace>> {
        let (_, name) = metadata.take_key(cuts)?;
        let labels = metadata.take_labels(cuts);
        let annotations = metadata.take_annotations(|key| key.starts_with("portolan.dev/"), cuts);
        Some(Parsed { key: name.clone(), item: Some(Namespace { name, labels, annotations }) })
    }

    fn all(&mut self, namespaces: Vec<Namespace>) -> Input {
        Input::Namespaces(Listing::All(namespaces))
    }

    fn changed(&mut self, namespace: Namespace) -> Input {
        Input::Namespaces(Listing::Changed(Box::new(namespace)))
    }

    fn gone(&mut self, name: String) -> Input {
        Input::Namespaces(Listing::Gone { namespace: String::new(), name })
    }

    fn unavailable(&mut self) -> Option<Input> {
        Some(Input::Namespaces(Listing::Unavailable))
    }
}
