//! Where a watcher stands, and the requests that follow from it: what is listed is asked of the server's cache, as new as
//! what we know already, so that no list costs the cluster's store anything.

use std::fmt::Write;
use std::time::Duration;

use crate::kubernetes_api::fault::ApiFault;

/// Objects of one page, where the list is not taken whole.
const PAGE: usize = 500;

/// What is known of the server's history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The newest resource version that was seen; `None`: none, or one that the server does not accept.
    version: Option<String>,
    /// The server did not accept the last one: the next list must be of now.
    forgot: bool,
    /// Everything up to `version` is known.
    listed: bool,
}

/// The kind that requests are made for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    pub path: &'a str,
    pub field_selector: Option<&'a str>,
}

impl Place {
    pub fn is_listed(&self) -> bool {
        self.listed
    }

    /// Everything up to here is known.
    pub fn listed_at(&mut self, version: Option<String>) {
        self.listed = true;
        self.moved_to(version);
    }

    pub fn moved_to(&mut self, version: Option<String>) {
        if let Some(version) = version.filter(|version| !version.is_empty() && version.len() < 64) {
            self.version = Some(version);
            self.forgot = false;
        }
    }

    /// What happened since is lost: list again.
    pub fn lost(&mut self) {
        self.listed = false;
    }

    /// A list did not come about. Some faults are the version's: the server lost its history, or is older than we know it.
    pub fn list_failed(&mut self, fault: &ApiFault) {
        self.listed = false;
        if matches!(fault, ApiFault::Expired | ApiFault::Refused { code: 400 | 410 | 504, .. }) {
            self.version = None;
            self.forgot = true;
        }
    }

    /// A list: whole from the server's cache, or page by page where it must be of now.
    pub fn list_request(&self, target: Target<'_>, next_page: Option<&str>) -> String {
        let mut request = Request::new(target);
        match (next_page, self.forgot) {
            (Some(next), _) => {
                request.add("limit", &PAGE.to_string());
                request.add("continue", next);
            }
            (None, true) => request.add("limit", &PAGE.to_string()),
            (None, false) => request.add("resourceVersion", self.version.as_deref().unwrap_or("0")),
        }
        request.text
    }

    /// A watch from here on; before anything is listed, one that begins with the list.
    pub fn watch_request(&self, target: Target<'_>, lasting: Duration) -> String {
        let mut request = Request::new(target);
        request.add("watch", "true");
        request.add("allowWatchBookmarks", "true");
        request.add("timeoutSeconds", &lasting.as_secs().max(1).to_string());
        if !self.listed {
            request.add("sendInitialEvents", "true");
            request.add("resourceVersionMatch", "NotOlderThan");
        }
        let version = match (&self.version, self.forgot) {
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
    fn new(target: Target<'_>) -> Self {
        let mut request = Self { text: target.path.to_owned() };
        if let Some(selector) = target.field_selector {
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

    const PODS: Target<'static> = Target { path: "/p", field_selector: Some("spec.nodeName=a") };
    const ALL: Target<'static> = Target { path: "/p", field_selector: None };
    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_list_is_taken_whole_from_the_cache() {
        let mut place = Place::default();
        assert_eq!(place.list_request(PODS, None), "/p?fieldSelector=spec.nodeName%3Da&resourceVersion=0");
        place.listed_at(Some("7".to_owned()));
        place.lost();
        assert_eq!(place.list_request(ALL, None), "/p?resourceVersion=7");
    }

    #[test]
    fn a_version_that_the_server_refuses_is_forgotten_and_the_list_is_of_now() {
        let mut place = Place::default();
        place.listed_at(Some("7".to_owned()));
        place.list_failed(&ApiFault::Refused { code: 504, reason: String::new(), retry_after: None });
        assert_eq!(place.list_request(ALL, None), "/p?limit=500");
        assert_eq!(place.list_request(ALL, Some("a=")), "/p?limit=500&continue=a%3D");
        assert!(!place.watch_request(ALL, MINUTE).contains("resourceVersion="));
        place.listed_at(Some("9".to_owned()));
        place.list_failed(&ApiFault::Silent);
        assert_eq!(place.list_request(ALL, None), "/p?resourceVersion=9");
    }

    #[test]
    fn a_watch_begins_with_the_list_where_there_was_none() {
        let mut place = Place::default();
        let streamed = place.watch_request(ALL, MINUTE);
        assert_eq!(
            streamed,
            "/p?watch=true&allowWatchBookmarks=true&timeoutSeconds=60&sendInitialEvents=true\
             &resourceVersionMatch=NotOlderThan&resourceVersion=0"
        );
        place.listed_at(Some("7".to_owned()));
        place.moved_to(Some("8".to_owned()));
        let watch = place.watch_request(ALL, MINUTE);
        assert_eq!(watch, "/p?watch=true&allowWatchBookmarks=true&timeoutSeconds=60&resourceVersion=8");
    }
}
