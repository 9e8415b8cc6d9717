//! Namespaces of the API server. Requests ask for metadata only.

use portolan_engine::model::input::Input;
use portolan_engine::model::listing::Listing;
use portolan_engine::model::namespace::Namespace;
use serde::de::IgnoredAny;

use crate::source::kubernetes::kind::{Kind, Parts};
use crate::source::kubernetes::objects::fault::Fault;
use crate::source::kubernetes::objects::fields::{Cuts, Fields};
use crate::source::kubernetes::objects::metadata::Metadata;
use crate::source::kubernetes::objects::namespace::namespace;
use crate::state::Source;

/// Source of all namespaces.
pub struct Namespaces;

impl Kind for Namespaces {
    type Spec = IgnoredAny;
    type Status = IgnoredAny;
    type Key = String;
    type Item = Namespace;

    const SOURCE: Source = Source::Namespaces;
    const NAME: &'static str = "Namespace";
    const PATH: &'static str = "/api/v1/namespaces";
    const PARTS: Parts = Parts::MetadataOnly;
    const MOST: usize = 65_536;

    fn key(&self, metadata: &Metadata) -> Result<String, Fault> {
        metadata.name()
    }

    fn read(
        &self,
        metadata: Metadata,
        _spec: Option<Fields<IgnoredAny>>,
        _status: Option<Fields<IgnoredAny>>,
        cuts: &mut Cuts,
    ) -> Result<Option<Namespace>, Fault> {
        namespace(metadata, cuts).map(Some)
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
