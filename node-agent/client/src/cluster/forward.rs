//! A stream to an agent's loopback port, through the API server and the node's kubelet.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::Api;
use portolan_report::error_text::causes;

use super::agents::Agent;
use crate::query::server::{Dial, Dialling, Stream};

/// The way to one agent.
pub struct Forward {
    pods: Api<Pod>,
    agent: Agent,
    port: u16,
    /// What kubelet said last about the port.
    complaint: Arc<Mutex<Option<String>>>,
}

impl Forward {
    pub fn new(client: Client, agent: Agent, port: u16) -> Self {
        Self { pods: Api::namespaced(client, &agent.namespace), agent, port, complaint: Arc::default() }
    }

    /// What kubelet said about the port, where it said something.
    pub fn complaint(&self) -> Option<String> {
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn open(&self) -> io::Result<Box<dyn Stream>> {
        let opened = self.pods.portforward(&self.agent.pod, &[self.port]).await;
        let mut forwarder = opened.map_err(|error| io::Error::other(causes(&error)))?;
        let stream = forwarder.take_stream(self.port).ok_or_else(|| io::Error::other("no stream came"))?;
        let complaining = forwarder.take_error(self.port);
        let complaint = Arc::clone(&self.complaint);
        // Both end with the stream.
        tokio::spawn(async move {
            if let Some(complaining) = complaining
                && let Some(text) = complaining.await
            {
                *complaint.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
            }
        });
        tokio::spawn(forwarder.join());
        Ok(Box::new(stream))
    }
}

impl Dial for Forward {
    fn dial(&self) -> Dialling<'_> {
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
