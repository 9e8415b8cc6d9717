//! Opens streams to an agent's loopback port, through the API server and the node's kubelet (port-forward).

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::Api;

use super::agents::Agent;
use super::refusal;
use crate::query::server::{AgentStream, Dial, DialFuture};

/// Port-forward to one agent.
pub(super) struct Forward {
    pods: Api<Pod>,
    agent: Agent,
    port: u16,
    /// Last error that kubelet reported about the port, since the last attempt to open a stream.
    port_error: Arc<Mutex<Option<String>>>,
}

impl Forward {
    /// Creates a port-forward. Opens no stream yet.
    pub(super) fn new(client: Client, agent: Agent, port: u16) -> Self {
        Self { pods: Api::namespaced(client, &agent.namespace), agent, port, port_error: Arc::default() }
    }

    /// Returns the last error that kubelet reported about the port, if there is one.
    pub(super) fn port_error(&self) -> Option<String> {
        self.port_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn open(&self) -> io::Result<Box<dyn AgentStream>> {
        *self.port_error.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let opened = self.pods.portforward(&self.agent.pod, &[self.port]).await;
        let mut forwarder =
            opened.map_err(|error| io::Error::other(refusal::of_forward(&error, &self.agent.namespace)))?;
        let stream = forwarder.take_stream(self.port).ok_or_else(|| io::Error::other("no stream came"))?;
        let error = forwarder.take_error(self.port);
        let port_error = Arc::clone(&self.port_error);
        // Both tasks end with the stream.
        tokio::spawn(async move {
            if let Some(error) = error
                && let Some(text) = error.await
            {
                *port_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
            }
        });
        tokio::spawn(forwarder.join());
        Ok(Box::new(stream))
    }
}

impl Dial for Forward {
    fn dial(&self) -> DialFuture<'_> {
        Box::pin(self.open())
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.agent.node)
    }
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward")
            .field("agent", &self.agent)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}
