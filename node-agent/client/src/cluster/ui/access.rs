//! Who may read the page: whoever brings the key of the printed URL first gets a cookie, and nobody else. The key is spent then.
//!
//! The port is open to all users of the machine, and to all pages in the browser: the cookie keeps out the former, and the
//! headers Host and Sec-Fetch-Site the latter.

use std::sync::Mutex;
use std::sync::PoisonError;

use getrandom::fill;
use hyper::header::{COOKIE, HOST};
use hyper::{HeaderMap, Method, Uri};
use subtle::ConstantTimeEq;
use tokio::sync::Notify;

use super::query;

/// Bytes of a key, and of the value of a cookie.
const SECRET_BYTES: usize = 32;

/// Decision about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is answered.
    Admitted,
    /// It brought the key: it gets this cookie, if it has none, and goes on at this path.
    Entered { cookie: Option<String>, location: String },
    /// It is refused with this status and sentence.
    Refused(u16, &'static str),
}

/// Keeper of the key and the cookie.
pub(super) struct Access {
    port: u16,
    cookie: String,
    /// The key; `None` once it is spent.
    key: Mutex<Option<String>>,
    /// Tells when the key is spent.
    opened: Notify,
}

const FOREIGN_HOST: &str = "the Host header must be 127.0.0.1 or localhost, with the port of this page";
const FOREIGN_SITE: &str = "another site asks; open the page by its own address";
const WRONG_METHOD: &str = "everything is read with GET";
const NO_COOKIE: &str = "this browser has no key, or the key was used before; if it was not you who used it, end `kubectl portolan ui` now; run it again for a new key";

impl Access {
    /// Creates a key and a cookie for a page on this port.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub(super) fn new(port: u16) -> Result<Self, getrandom::Error> {
        Ok(Self { port, cookie: secret()?, key: Mutex::new(Some(secret()?)), opened: Notify::new() })
    }

    /// Returns the address of the page with the key, which opens it once. `query` is the page's own.
    pub(super) fn url(&self, query: &str) -> String {
        let key = self.key.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default();
        let and = if query.is_empty() { "" } else { "&" };
        format!("http://127.0.0.1:{}/?key={key}{and}{query}", self.port)
    }

    /// Waits until a browser brings the key, which happens once.
    pub(super) async fn opened(&self) {
        self.opened.notified().await;
    }

    /// Decides about a request, and spends the key if the request brings it.
    pub(super) fn decide(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Verdict {
        if !self.names_this_page(headers) {
            return Verdict::Refused(403, FOREIGN_HOST);
        }
        let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
        // Pages of other ports of this machine are of the same site.
        if site.is_some_and(|site| !matches!(site, b"same-origin" | b"none")) {
            return Verdict::Refused(403, FOREIGN_SITE);
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Verdict::Refused(405, WRONG_METHOD);
        }
        let is_known = self.has_cookie(headers);
        let (key, rest) = query::split_key(uri.query().unwrap_or_default());
        let is_entry = uri.path() == "/" && key.is_some();
        match key.filter(|_| is_entry) {
            // Whoever opens the URL again is in already.
            Some(_) if is_known => Verdict::Entered { cookie: None, location: page(&rest) },
            // A look ahead must not spend the key.
            Some(key) if *method == Method::GET && self.spend(&key) => {
                let name = self.cookie_name();
                let cookie = format!("{name}={}; Path=/; HttpOnly; SameSite=Strict", self.cookie);
                Verdict::Entered { cookie: Some(cookie), location: page(&rest) }
            }
            None if is_known => Verdict::Admitted,
            Some(_) | None => Verdict::Refused(403, NO_COOKIE),
        }
    }

    /// Returns true for the Host header of the address that is bound. A page elsewhere can lead its own name here, but cannot
    /// send another name.
    fn names_this_page(&self, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) else {
            return false;
        };
        // Browsers leave out the port of the scheme.
        let (name, port) = host.rsplit_once(':').unwrap_or((host, "80"));
        port.parse() == Ok(self.port) && (name == "127.0.0.1" || name.eq_ignore_ascii_case("localhost"))
    }

    /// Cookies are shared between the ports of a host.
    fn cookie_name(&self) -> String {
        format!("portolan-{}", self.port)
    }

    fn has_cookie(&self, headers: &HeaderMap) -> bool {
        let name = self.cookie_name();
        headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|cookies| cookies.to_str().ok())
            .flat_map(|cookies| cookies.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='))
            .any(|(known, value)| known == name && is_same(value, &self.cookie))
    }

    /// Returns true if this is the key, which is spent then.
    fn spend(&self, given: &str) -> bool {
        let mut key = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = key.as_deref().is_some_and(|key| is_same(given, key));
        if is_it {
            *key = None;
            self.opened.notify_one();
        }
        is_it
    }
}

/// Compares without telling by its time how much is the same.
fn is_same(given: &str, secret: &str) -> bool {
    given.as_bytes().ct_eq(secret.as_bytes()).into()
}

fn secret() -> Result<String, getrandom::Error> {
    let mut bytes = [0_u8; SECRET_BYTES];
    fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Returns where a browser goes on: without the query, if a header cannot hold it.
fn page(query: &str) -> String {
    if query.is_empty() || !query.bytes().all(|byte| byte.is_ascii_graphic()) {
        "/".to_owned()
    } else {
        format!("/?{query}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(of: &[(&'static str, &str)]) -> HeaderMap {
        of.iter()
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
            .collect()
    }

    fn decide(access: &Access, path: &str, more: &[(&'static str, &str)]) -> Verdict {
        let host = [("host", "127.0.0.1:8470")];
        let headers = headers(&[&host[..], more].concat());
        access.decide(&Method::GET, &path.parse().expect("a path"), &headers)
    }

    /// A page whose key is spent, the cookie's name and value, and the way in.
    fn entered() -> (Access, String, String) {
        let access = Access::new(8470).expect("random numbers");
        let way_in = access.url("view=table").replace("http://127.0.0.1:8470", "");
        let Verdict::Entered { cookie: Some(cookie), location } = decide(&access, &way_in, &[]) else {
            panic!("refused");
        };
        assert_eq!(location, "/?view=table");
        assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{cookie}");
        let value = cookie.split(';').next().expect("a value").to_owned();
        assert!(value.starts_with("portolan-8470=") && value.len() > 64, "{value}");
        (access, value, way_in)
    }

    #[test]
    fn the_key_opens_the_page_once_and_the_cookie_then() {
        let (access, cookie, way_in) = entered();
        assert_eq!(decide(&access, &way_in, &[]), Verdict::Refused(403, NO_COOKIE));
        for path in ["/", "/v1/chart?q=x", "/ui/main.js"] {
            assert_eq!(decide(&access, path, &[("cookie", &cookie)]), Verdict::Admitted);
            assert_eq!(decide(&access, path, &[]), Verdict::Refused(403, NO_COOKIE));
        }
        let others = format!("a=b; {cookie}; portolan-8471=x");
        assert_eq!(decide(&access, "/", &[("cookie", &others)]), Verdict::Admitted);
        let again = Verdict::Entered { cookie: None, location: "/?view=table".to_owned() };
        assert_eq!(
            decide(&access, &way_in, &[("cookie", &cookie)]),
            again,
            "opened again by the same browser"
        );
    }

    #[test]
    fn a_query_that_no_header_can_hold_leads_to_the_page_without_it() {
        let access = Access::new(8470).expect("random numbers");
        let way_in = access.url("q=\u{fc}").replace("http://127.0.0.1:8470", "");
        let uri = Uri::from_maybe_shared(way_in.into_bytes()).expect("a path");
        let verdict = access.decide(&Method::GET, &uri, &headers(&[("host", "127.0.0.1:8470")]));
        let Verdict::Entered { cookie: Some(_), location } = verdict else { panic!("{verdict:?}") };
        assert_eq!(location, "/");
    }

    #[test]
    fn a_wrong_key_or_cookie_is_refused_and_spends_nothing() {
        let access = Access::new(8470).expect("random numbers");
        for path in ["/?key=", "/?key=0", "/?view=table", "/v1/chart?key=0"] {
            assert_eq!(decide(&access, path, &[]), Verdict::Refused(403, NO_COOKIE), "{path}");
        }
        let way_in = access.url("").replace("http://127.0.0.1:8470", "");
        let elsewhere = way_in.replace("/?", "/v1/chart?");
        assert_eq!(decide(&access, &elsewhere, &[]), Verdict::Refused(403, NO_COOKIE));
        let ahead = access.decide(
            &Method::HEAD,
            &way_in.parse().expect("a path"),
            &headers(&[("host", "localhost:8470")]),
        );
        assert_eq!(ahead, Verdict::Refused(403, NO_COOKIE));
        for cookie in ["portolan-8470=", "portolan-8470=0", "portolan-8471=x"] {
            assert_eq!(decide(&access, "/", &[("cookie", cookie)]), Verdict::Refused(403, NO_COOKIE));
        }
        assert!(matches!(decide(&access, &way_in, &[]), Verdict::Entered { cookie: Some(_), .. }));
    }

    #[test]
    fn other_names_other_sites_and_other_methods_are_refused_also_with_the_cookie() {
        let (access, cookie, _) = entered();
        let decide = |method: Method, host: &str, more: &[(&'static str, &str)]| {
            let all = [&[("host", host), ("cookie", cookie.as_str())][..], more].concat();
            access.decide(&method, &"/v1/chart".parse().expect("a path"), &headers(&all))
        };
        for host in ["127.0.0.1:8470", "localhost:8470", "LOCALHOST:8470"] {
            assert_eq!(decide(Method::GET, host, &[]), Verdict::Admitted, "{host}");
            assert_eq!(decide(Method::HEAD, host, &[("sec-fetch-site", "same-origin")]), Verdict::Admitted);
        }
        for host in [
            "",
            "evil.example:8470",
            "127.0.0.1",
            "127.0.0.1:8471",
            "localhost.evil.example:8470",
            "[::1]:8470",
        ] {
            assert_eq!(decide(Method::GET, host, &[]), Verdict::Refused(403, FOREIGN_HOST), "{host}");
        }
        for site in ["cross-site", "same-site", "x"] {
            let verdict = decide(Method::GET, "localhost:8470", &[("sec-fetch-site", site)]);
            assert_eq!(verdict, Verdict::Refused(403, FOREIGN_SITE), "{site}");
        }
        for method in [Method::POST, Method::OPTIONS, Method::DELETE] {
            assert_eq!(decide(method, "localhost:8470", &[]), Verdict::Refused(405, WRONG_METHOD));
        }
    }
}
