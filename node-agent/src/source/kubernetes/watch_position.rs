//! Position of a watcher in the server's history, and the requests that follow from the position. Lists are served from
//! the server's cache, at least as new as the known version, so that no list loads the cluster's store.

use std::fmt::Write;
use std::time::Duration;

use crate::kubernetes_api::fault::ApiFault;

/// Objects per page of a paged list.
const PAGE: usize = 500;

/// How far a watcher has followed the server's history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchPosition {
    /// Newest resource version; `None` if there is none that the server accepts.
    version: Option<String>,
    /// The server did not accept the last version: the next list must read the current state.
    version_refused: bool,
    /// All objects up to `version` are known.
    listed: bool,
}

/// Path and selector of the requests for one kind.
#[derive(Clone, Copy, Debug)]
pub struct Resource<'a> {
    pub path: &'a str,
    pub field_selector: Option<&'a str>,
}

impl WatchPosition {
    pub fn is_listed(&self) -> bool {
        self.listed
    }

    /// Records that all objects up to this version are known.
    pub fn listed_at(&mut self, version: Option<String>) {
        self.listed = true;
        self.moved_to(version);
    }

    /// Records the version of the latest event.
    pub fn moved_to(&mut self, version: Option<String>) {
        if let Some(version) = version.filter(|version| !version.is_empty() && version.len() < 64) {
            self.version = Some(version);
            self.version_refused = false;
        }
    }

    /// Records that events were missed: the next request lists again.
    pub fn lost(&mut self) {
        self.listed = false;
    }

    /// Records a failed list. Some faults are those of the version: the server has lost its history, or is behind it.
    pub fn list_failed(&mut self, fault: &ApiFault) {
        self.listed = false;
        if matches!(fault, ApiFault::Expired | ApiFault::Refused { code: 400 | 410 | 504, .. }) {
            self.version = None;
            self.version_refused = true;
        }
    }

    /// Returns the request for a list: unpaged from the server's cache, or paged if the list must read the current state.
    pub fn list_request(&self, resource: Resource<'_>, next_page: Option<&str>) -> String {
        let mut request = Request::new(resource);
        match (next_page, self.version_refused) {
            (Some(next), _) => {
                request.add("limit", &PAGE.to_string());
                request.add("continue", next);
            }
            (None, true) => request.add("limit", &PAGE.to_string()),
            (None, false) => request.add("resourceVersion", self.version.as_deref().unwrap_or("0")),
        }
        request.text
    }

    /// Returns the request for a watch from this position. Before the first list, the watch begins with the list (a streamed
    /// list).
    pub fn watch_request(&self, resource: Resource<'_>, lasting: Duration) -> String {
        let mut request = Request::new(resource);
        request.add("watch", "true");
        request.add("allowWatchBookmarks", "true");
        request.add("timeoutSeconds", &lasting.as_secs().max(1).to_string());
        if !self.listed {
            request.add("sendInitialEvents", "true");
            request.add("resourceVersionMatch", "NotOlderThan");
        }
        let version = match (&self.version, self.version_refused) {
            (Some(version), _) => version,
            (None, true) => "",
            (None, false) => "0",
        };
        if !version.is_empty() {
            request.add("resourceVersion", version);
        }
        request.text
    }
}

struct Request {
    text: String,
}

impl Request {
    fn new(resource: Resource<'_>) -> Self {
        let mut request = Self { text: resource.path.to_owned() };
        if let Some(selector) = resource.field_selector {
            request.add("fieldSelector", selector);
        }
        request
    }

    fn add(&mut self, key: &str, value: &str) {
        self.text.push(if self.text.contains('?') { '&' } else { '?' });
        self.text.push_str(key);
        self.text.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                self.text.push(char::from(byte));
            } else {
                let _ = write!(self.text, "%{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PODS: Resource<'static> = Resource { path: "/p", field_selector: Some("spec.nodeName=a") };
    const ALL: Resource<'static> = Resource { path: "/p", field_selector: None };
    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_list_is_taken_whole_from_the_cache() {
        let mut position = WatchPosition::default();
        assert_eq!(position.list_request(PODS, None), "/p?fieldSelector=spec.nodeName%3Da&resourceVersion=0");
        position.listed_at(Some("7".to_owned()));
        position.lost();
        assert_eq!(position.list_request(ALL, None), "/p?resourceVersion=7");
    }

    #[test]
    fn a_version_that_the_server_refuses_is_forgotten_and_the_list_is_of_now() {
        let mut position = WatchPosition::default();
        position.listed_at(Some("7".to_owned()));
        position.list_failed(&ApiFault::Refused { code: 504, reason: String::new(), retry_after: None });
        assert_eq!(position.list_request(ALL, None), "/p?limit=500");
        assert_eq!(position.list_request(ALL, Some("a=")), "/p?limit=500&continue=a%3D");
        assert!(!position.watch_request(ALL, MINUTE).contains("resourceVersion="));
        position.listed_at(Some("9".to_owned()));
        position.list_failed(&ApiFault::Silent);
        assert_eq!(position.list_request(ALL, None), "/p?resourceVersion=9");
    }

    #[test]
    fn a_watch_begins_with_the_list_where_there_was_none() {
        let mut position = WatchPosition::default();
        let streamed = position.watch_request(ALL, MINUTE);
        assert_eq!(
            streamed,
            "/p?watch=true&allowWatchBookmarks=true&timeoutSeconds=60&sendInitialEvents=true\
             &resourceVersionMatch=NotOlderThan&resourceVersion=0"
        );
        position.listed_at(Some("7".to_owned()));
        position.moved_to(Some("8".to_owned()));
        let watch = position.watch_request(ALL, MINUTE);
        assert_eq!(watch, "/p?watch=true&allowWatchBookmarks=true&timeoutSeconds=60&resourceVersion=8");
    }
}
