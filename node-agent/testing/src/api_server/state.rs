//! State that every request and watch of one server shares.

use std::sync::{Mutex, MutexGuard};

use tokio::sync::watch;

use crate::api_server::fault::Faults;
use crate::api_server::log::Log;
use crate::api_server::settings::Settings;
use crate::api_server::store::Store;

/// Objects, faults, settings and log of one server.
#[derive(Debug)]
pub struct ServerState {
    store: Mutex<Store>,
    faults: Mutex<Faults>,
    settings: Mutex<Settings>,
    /// Revision of the latest change, which wakes the watches.
    revision: watch::Sender<u64>,
    pub log: Log,
}

impl ServerState {
    /// An empty server without faults.
    pub fn new(settings: Settings) -> Self {
        Self {
            store: Mutex::default(),
            faults: Mutex::default(),
            settings: Mutex::new(settings),
            revision: watch::Sender::new(0),
            log: Log::default(),
        }
    }

    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().expect("not poisoned")
    }

    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().expect("not poisoned")
    }

    /// Returns a copy of the current settings.
    pub fn settings(&self) -> Settings {
        self.settings.lock().expect("not poisoned").clone()
    }

    /// Changes the settings for later requests.
    pub fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings.lock().expect("not poisoned"));
    }

    /// Wakes all watches after a change.
    pub fn notify_watches(&self, revision: u64) {
        self.revision.send_replace(revision);
    }

    /// Returns a receiver of the latest revision.
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }
}
