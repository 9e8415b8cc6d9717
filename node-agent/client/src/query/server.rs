//! Address of an agent: the value of `--server`, or a dialer such as a port-forward.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use hyper::Uri;
use tokio::io::{AsyncRead, AsyncWrite};

use super::error::QueryError;

/// Port of the agent's HTTP API if the address has none.
const DEFAULT_PORT: u16 = 9470;

/// Byte stream to an agent.
pub trait AgentStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> AgentStream for S {}

/// Future of a stream that is being opened.
pub type DialFuture<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn AgentStream>>> + Send + 'a>>;

/// Opens streams to an agent that has no address of its own. Displays as the name of the agent.
pub trait Dial: fmt::Debug + fmt::Display + Send + Sync {
    /// Opens one stream to the agent's HTTP API.
    fn dial(&self) -> DialFuture<'_>;
}

/// Address of an agent.
#[derive(Clone, Debug)]
pub enum Server {
    /// TCP address.
    Tcp {
        /// Host as in a URL: an IPv6 address is in brackets.
        host: String,
        /// Port number.
        port: u16,
    },
    /// Path of a unix socket.
    Unix(PathBuf),
    /// Dialer that opens streams to the agent.
    Through(Arc<dyn Dial>),
}

impl Server {
    /// Parses `http://HOST[:PORT]`, `HOST:PORT` or `unix:PATH`.
    ///
    /// # Errors
    /// [`QueryError::BadServer`] for anything else.
    pub fn parse(given: &str) -> Result<Self, QueryError> {
        let bad = || QueryError::BadServer { given: given.to_owned() };
        if let Some(path) = given.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.starts_with('/') { Ok(Self::Unix(PathBuf::from(path))) } else { Err(bad()) };
        }
        let uri: Uri = given.parse().map_err(|_| bad())?;
        let plain = uri.scheme_str().is_none_or(|scheme| scheme == "http");
        let authority =
            uri.authority().filter(|_| plain && matches!(uri.path(), "" | "/") && uri.query().is_none());
        let authority = authority.filter(|authority| !authority.as_str().contains('@')).ok_or_else(bad)?;
        let host = authority.host();
        let port = match authority.as_str().strip_prefix(host) {
            Some("") => DEFAULT_PORT,
            _ => authority.port_u16().ok_or_else(bad)?,
        };
        if host.is_empty() { Err(bad()) } else { Ok(Self::Tcp { host: host.to_owned(), port }) }
    }

    /// Returns the value of the Host header.
    #[must_use]
    pub fn host_header(&self) -> String {
        match self {
            Self::Tcp { host, port } => format!("{host}:{port}"),
            Self::Unix(_) | Self::Through(_) => "localhost".to_owned(),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "http://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Through(dialer) => dialer.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Server;

    #[test]
    fn an_address_is_read_or_refused_in_one_line() {
        for (given, then) in [
            ("http://127.0.0.1:9470", "http://127.0.0.1:9470"),
            ("http://127.0.0.1:1/", "http://127.0.0.1:1"),
            ("http://localhost", "http://localhost:9470"),
            ("http://[::1]:80", "http://[::1]:80"),
            ("10.0.0.1:9470", "http://10.0.0.1:9470"),
            ("unix:/run/portolan.sock", "unix:/run/portolan.sock"),
            ("unix:///run/portolan.sock", "unix:/run/portolan.sock"),
        ] {
            assert_eq!(Server::parse(given).expect(given).to_string(), then);
        }
        for given in [
            "",
            "https://x:1",
            "http://",
            "http://x:1/v1",
            "unix:rel",
            "/run/x",
            "http://a@x:1",
            "http://x:99999",
        ] {
            let error = Server::parse(given).expect_err(given).to_string();
            assert!(error.contains("http://HOST:PORT or unix:PATH") && !error.contains('\n'), "{error}");
        }
    }
}
