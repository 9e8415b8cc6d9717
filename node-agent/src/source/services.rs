//! Services of the API server.

use portolan_engine::model::input::Input;
use portolan_engine::model::listing::Listing;
use portolan_engine::model::service::Service;

use crate::source::kubernetes::kind::{Kind, Parts};
use crate::source::kubernetes::objects::fault::Fault;
use crate::source::kubernetes::objects::fields::{Cuts, Fields};
use crate::source::kubernetes::objects::metadata::Metadata;
use crate::source::kubernetes::objects::service::{ServiceSpec, ServiceStatus, service};
use crate::state::Source;

/// Source of the Services of all namespaces.
pub struct Services;

impl Kind for Services {
    type Spec = ServiceSpec;
    type Status = ServiceStatus;
    type Key = (String, String);
    type Item = Service;

    const SOURCE: Source = Source::Services;
    const NAME: &'static str = "Service";
    const PATH: &'static str = "/api/v1/services";
    const PARTS: Parts = Parts::Whole;
    const MOST: usize = 65_536;

    fn key(&self, metadata: &Metadata) -> Result<Self::Key, Fault> {
        metadata.key()
    }

    fn read(
        &self,
        metadata: Metadata,
        spec: Option<Fields<ServiceSpec>>,
        status: Option<Fields<ServiceStatus>>,
        cuts: &mut Cuts,
    ) -> Result<Option<Service>, Fault> {
        service(&metadata, spec, status, cuts).map(Some)
    }

    fn all(&mut self, services: Vec<Service>) -> Input {
        Input::Services(Listing::All(services))
    }

    fn changed(&mut self, service: Service) -> Input {
        Input::Services(Listing::Changed(Box::new(service)))
    }

    fn gone(&mut self, (namespace, name): Self::Key) -> Input {
        Input::Services(Listing::Gone { namespace, name })
    }

    fn unavailable(&mut self) -> Option<Input> {
        Some(Input::Services(Listing::Unavailable))
    }
}
