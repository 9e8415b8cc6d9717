//! Chooses the proxy to the API server as kubectl does: the kubeconfig's `proxy-url`, else the environment's proxy unless the
//! server is on loopback or in `NO_PROXY`. The Kubernetes client compares `NO_PROXY` with the proxy's own address instead.

use std::env;

use hyper::Uri;
use hyper::http::uri::InvalidUri;
use hyper_util::client::proxy::matcher::Matcher;
use kube::config::Kubeconfig;

use crate::kubeconfig::cluster_of;

/// The environment's proxies for one scheme, and the servers that are reached without them.
#[derive(Clone, Debug, Default)]
struct Environment {
    proxy: String,
    exempt: String,
}

impl Environment {
    /// Reads the variables that count for a server of this scheme. The name in capitals is preferred.
    fn for_scheme(scheme: Option<&str>) -> Self {
        let read = |names: [&str; 2]| {
            names.iter().filter_map(|name| env::var(name).ok()).find(|value| !value.is_empty())
        };
        let proxy = match scheme {
            Some("http") => read(["HTTP_PROXY", "http_proxy"]),
            _ => read(["HTTPS_PROXY", "https_proxy"]),
        };
        Self { proxy: proxy.unwrap_or_default(), exempt: read(["NO_PROXY", "no_proxy"]).unwrap_or_default() }
    }
}

/// Returns the proxy for a server, or `None` if it is reached directly. `of_cluster` is the kubeconfig's `proxy-url`.
///
/// # Errors
/// If the proxy is not a URL.
pub(super) fn choose(server: &Uri, of_cluster: Option<&str>) -> Result<Option<Uri>, InvalidUri> {
    match of_cluster.filter(|url| !url.is_empty()) {
        Some(url) => url.parse().map(Some),
        None => of_environment(server, &Environment::for_scheme(server.scheme_str())),
    }
}

/// Returns the `proxy-url` of the cluster of a context. Without a name, the context is the current one.
pub(super) fn of_context<'a>(kubeconfig: &'a Kubeconfig, context: Option<&str>) -> Option<&'a str> {
    cluster_of(kubeconfig, context)?.proxy_url.as_deref()
}

fn of_environment(server: &Uri, environment: &Environment) -> Result<Option<Uri>, InvalidUri> {
    if environment.proxy.is_empty() || is_loopback(server) {
        return Ok(None);
    }
    // The matcher only says which servers are exempt; the Kubernetes client connects through the proxy.
    let matcher = Matcher::builder().all("http://proxy").no(environment.exempt.clone()).build();
    if matcher.intercept(server).is_none() {
        return Ok(None);
    }
    // The environment may leave out the scheme of a proxy.
    let scheme = if environment.proxy.contains("://") { "" } else { "http://" };
    format!("{scheme}{}", environment.proxy).parse().map(Some)
}

fn is_loopback(server: &Uri) -> bool {
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose_for(server: &str, proxy: &str, exempt: &str) -> Option<String> {
        let environment = Environment { proxy: proxy.to_owned(), exempt: exempt.to_owned() };
        let chosen = of_environment(&server.parse().expect("a URL"), &environment).expect("a proxy's URL");
        chosen.map(|uri| uri.to_string())
    }

    #[test]
    fn the_environments_proxy_counts_unless_the_server_is_exempt() {
        let proxy = "http://user:pa%40ss@proxy.corp:3128/";
        for (server, exempt, is_used) in [
            ("https://api.example.com:6443", "", true),
            ("https://api.example.com:6443", "example.com", false),
            ("https://api.example.com:6443", ".example.com", false),
            ("https://api.example.com:6443", "*", false),
            ("https://api.example.org:6443", "example.com,.svc,10.0.0.0/8", true),
            ("https://10.1.2.3:6443", "example.com, 10.0.0.0/8", false),
            ("https://11.1.2.3:6443", "10.0.0.0/8", true),
            // The proxy's own address says nothing about the server.
            ("https://11.1.2.3:6443", "proxy.corp", true),
            ("https://127.0.0.1:37841", "", false),
            ("https://[::1]:37841", "", false),
            ("https://localhost:37841", "", false),
        ] {
            let expected = is_used.then(|| proxy.to_owned());
            assert_eq!(choose_for(server, proxy, exempt), expected, "{server} {exempt}");
        }
        assert_eq!(choose_for("https://11.1.2.3", "", ""), None);
        assert_eq!(choose_for("https://11.1.2.3", "corp:3128", "").as_deref(), Some("http://corp:3128/"));
        assert_eq!(choose_for("https://11.1.2.3", "socks5://s:1", "").as_deref(), Some("socks5://s:1/"));
    }

    #[test]
    fn the_kubeconfigs_proxy_is_that_of_the_chosen_context() {
        let text = "
current-context: near
contexts: [{name: near, context: {cluster: a}}, {name: far, context: {cluster: b}}]
clusters: [{name: a, cluster: {server: https://a}}, {name: b, cluster: {server: https://b, proxy-url: 'socks5://s:1'}}]
";
        let kubeconfig = Kubeconfig::from_yaml(text).expect("a kubeconfig");
        assert_eq!(of_context(&kubeconfig, None), None);
        assert_eq!(of_context(&kubeconfig, Some("far")), Some("socks5://s:1"));
        assert_eq!(of_context(&kubeconfig, Some("absent")), None);
        let chosen = choose(&"https://127.0.0.1:1".parse().expect("a URL"), Some("socks5://s:1"));
        assert_eq!(chosen.expect("a URL"), Some("socks5://s:1".parse().expect("a URL")), "also for loopback");
    }
}
