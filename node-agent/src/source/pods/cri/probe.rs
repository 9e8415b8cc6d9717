//! Finds the container runtime: the first socket that answers, with name and version.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::client::{Call, CriError, Runtime};
use super::messages::{ListResponse, VersionResponse};
use super::socket::candidates;

/// Time for a runtime to refuse the event stream. A runtime that supports events does not respond before the first event.
const REFUSAL: Duration = Duration::from_millis(300);
/// Maximum length of a name or version, in characters.
const MAX_TEXT: usize = 64;

/// A connection to a runtime, with name and version.
pub(super) struct Session {
    pub runtime: Runtime,
    pub socket: PathBuf,
    pub name: String,
    pub version: String,
}

/// Description of a runtime, for `portolan doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub socket: PathBuf,
    pub name: String,
    pub version: String,
    /// How the agent notices changes.
    pub notice: &'static str,
    pub sandboxes: usize,
}

/// Connects to the first runtime that answers.
///
/// # Errors
/// When no runtime answers: the error of the last socket that was tried.
pub(super) async fn open(asked: Option<&Path>) -> Result<Session, CriError> {
    let mut error = CriError::NoSocket;
    for socket in candidates(asked) {
        match open_one(&socket).await {
            Ok(session) => return Ok(session),
            Err(reason) => error = reason,
        }
    }
    Err(error)
}

async fn open_one(socket: &Path) -> Result<Session, CriError> {
    let runtime = Runtime::connect(socket).await?;
    let version: VersionResponse = match runtime.ask_for(Call::Version, &()).await {
        Err(CriError::Unimplemented { .. }) => return Err(CriError::NoCri { socket: socket.to_owned() }),
        answer => answer?,
    };
    let text = |text: String| text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect();
    let (name, version) = (text(version.runtime_name), text(version.runtime_version));
    Ok(Session { runtime, socket: socket.to_owned(), name, version })
}

impl Session {
    /// True if reading the runtime's events does not take any from kubelet. containerd 1.7 sends each event to only one of the
    /// readers (containerd issue 7318, fixed in 2.0), and 1.6 has no events.
    pub fn events_are_ours(&self) -> bool {
        let major = self.version.trim_start_matches('v').split('.').next();
        let major = major.and_then(|number| number.parse::<u32>().ok());
        self.name != "containerd" || major.is_some_and(|major| major >= 2)
    }

    async fn notice(&self) -> &'static str {
        if !self.events_are_ours() {
            return "polled each second: its events have one reader, which is kubelet";
        }
        let first = async { self.runtime.events().await.ok()?.message().await.ok()? };
        match tokio::time::timeout(REFUSAL, first).await {
            Ok(None) => "polled each second: it tells no events",
            Ok(Some(_)) | Err(_) => "by its events",
        }
    }
}

/// Finds a runtime and describes it.
///
/// # Errors
/// When no runtime answers, or the runtime does not list its sandboxes.
pub async fn probe(asked: Option<&Path>) -> Result<Found, CriError> {
    let session = open(asked).await?;
    let list: ListResponse = session.runtime.ask_for(Call::ListPodSandbox, &()).await?;
    Ok(Found {
        notice: session.notice().await,
        sandboxes: list.items.len(),
        socket: session.socket,
        name: session.name,
        version: session.version,
    })
}
