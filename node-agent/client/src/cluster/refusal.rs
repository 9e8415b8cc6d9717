//! The API server's refusals as one sentence each: what may not be done, by whom, and which role gives it.

use kube::Error;
use kube::client::UpgradeConnectionError;
use portolan_report::error_text::causes;

use crate::kubeconfig;

/// Role of the Helm chart that gives what the plugin needs, where the release is called `portolan`.
pub(super) const ROLE: &str = "the chart's Role portolan-viewer";

/// Stands for a user whom the server does not name.
const SOMEBODY: &str = "the user of the kubeconfig";

/// Returns why the agents' pods cannot be listed.
#[must_use]
pub(super) fn of_list(error: &Error) -> String {
    match error {
        Error::Api(status) if status.code == 403 => {
            let (who, place) = user_and_place(&status.message);
            format!(
                "{who} may not list pods {place}: {ROLE}, bound to it, allows that in the agents' namespace \
                 (name it with --agents-namespace)"
            )
        }
        Error::Api(status) if status.code == 401 => {
            "the API server does not accept the credentials of the kubeconfig (401): log in again".to_owned()
        }
        Error::Api(status) if status.message.is_empty() => {
            format!("the agents' pods cannot be listed: the API server answers {}", status.code)
        }
        Error::Api(status) => {
            format!(
                "the agents' pods cannot be listed: the API server answers {}: {}",
                status.code, status.message
            )
        }
        error => format!("the agents' pods cannot be listed: {}", reason(error)),
    }
}

/// Returns why the API server at this place cannot be reached, and what to do.
#[must_use]
pub(super) fn of_connection(error: &Error, place: &str) -> String {
    if let Some(reason) = kubeconfig::missing_credentials(error) {
        return format!("no credentials for {place}: {reason}; log in again");
    }
    let text = causes(error);
    let (reason, advice) = if text.contains("InvalidContentType") {
        ("it does not speak TLS".to_owned(), "is its URL right (https://), and no other service there?")
    } else if text.contains("dns error") || text.contains("lookup address") {
        ("its name cannot be resolved".to_owned(), "is the context right, and the name server reachable?")
    } else {
        (deepest(error), "is the cluster up, and the context right?")
    };
    format!("cannot reach {place}: {reason}; {advice}")
}

/// Returns why a request got no answer. The text has nothing of the kubeconfig or of the programs that it names.
fn reason(error: &Error) -> String {
    kubeconfig::missing_credentials(error).unwrap_or_else(|| causes(error))
}

/// Returns the last cause of an error, without the number of the operating system.
fn deepest(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let text = cause.to_string();
    let text = text.split(" (os error ").next().unwrap_or_default();
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

/// Returns why no port-forward to a pod of the namespace can be opened.
#[must_use]
pub(super) fn of_forward(error: &Error, namespace: &str) -> String {
    let forbidden = |who: &str| {
        format!(
            "{who} may not use pods/portforward (get, from Kubernetes 1.35 on also create) in namespace {namespace}: \
             {ROLE}, bound to it there, allows that"
        )
    };
    match error {
        Error::Api(status) if status.code == 403 => forbidden(&user_and_place(&status.message).0),
        Error::Api(status) => format!("the API server answers {}: {}", status.code, status.message),
        Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(code)) if code.as_u16() == 403 => {
            forbidden(SOMEBODY)
        }
        error => reason(error),
    }
}

/// Returns why a request of a verb and resource, such as `create jobs`, failed.
#[must_use]
pub(super) fn of_request(error: &Error, what: &str) -> String {
    match error {
        Error::Api(status) if status.code == 403 && status.message.contains(" cannot ") => {
            let (who, place) = user_and_place(&status.message);
            // Nodes have no namespace.
            let place = if what.ends_with(" nodes") { "" } else { place.as_str() };
            format!(
                "{} (a role with that verb allows it)",
                format!("{who} may not {what} {place}").trim_end()
            )
        }
        Error::Api(status) if status.code == 401 => {
            "the API server does not accept the credentials of the kubeconfig (401): log in again".to_owned()
        }
        Error::Api(status) if status.message.is_empty() => {
            format!("cannot {what}: the API server answers {}", status.code)
        }
        Error::Api(status) => format!("cannot {what}: {}", status.message),
        error => format!("cannot {what}: {}", reason(error)),
    }
}

/// Returns who was refused, and where, from the server's message: `pods is forbidden: User "jane" cannot list resource
/// "pods" in API group "" in the namespace "portolan"`. Authorizers may add text behind it.
fn user_and_place(message: &str) -> (String, String) {
    let quoted = |before: &str| message.split_once(before)?.1.split_once('"').map(|(text, _)| text);
    let who = quoted("User \"").map_or_else(|| SOMEBODY.to_owned(), |user| format!("user {user}"));
    let place = quoted("in the namespace \"")
        .map_or_else(|| "in all namespaces".to_owned(), |namespace| format!("in namespace {namespace}"));
    (who, place)
}

#[cfg(test)]
mod tests {
    use super::user_and_place;

    #[test]
    fn who_and_where_are_read_from_the_servers_words() {
        let start = "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" ";
        for (message, who, place) in [
            (format!("{start}at the cluster scope"), "user jane", "in all namespaces"),
            (format!("{start}in the namespace \"portolan\""), "user jane", "in namespace portolan"),
            (
                format!("{start}in the namespace \"a\": RBAC: role \"x\" not found"),
                "user jane",
                "in namespace a",
            ),
            ("no".to_owned(), "the user of the kubeconfig", "in all namespaces"),
        ] {
            assert_eq!(user_and_place(&message), (who.to_owned(), place.to_owned()), "{message}");
        }
    }
}
