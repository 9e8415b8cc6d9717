//! Reads kubeconfigs. They hold tokens and keys, so no message repeats their text: it says path, line, column and cause.

use std::path::{Path, PathBuf};

use kube::client::AuthError;
use kube::config::{Cluster, Context, Kubeconfig, KubeconfigError, LoadDataError};
use portolan_report::error_text::causes;
use serde_saphyr::Error as YamlError;
use serde_saphyr::localizer::ExternalMessageSource;

/// Environment variable with the paths of kubeconfigs.
const VARIABLE: &str = "KUBECONFIG";
/// What a file should be, for messages.
const EXPECTED: &str = "a kubeconfig as `kubectl config view --raw` writes it";

/// Reads the kubeconfig at `path`, else those of KUBECONFIG, merged, else `~/.kube/config`.
///
/// # Errors
/// One line that names the file and what is wrong with it, without any of its text.
pub fn read(path: Option<&Path>) -> Result<Kubeconfig, String> {
    if let Some(path) = path {
        return read_file(path);
    }
    let paths = variable_paths();
    if paths.is_empty() {
        return Kubeconfig::read().map_err(|error| format!("~/.kube/config: {}", fault(&error)));
    }
    paths.iter().try_fold(Kubeconfig::default(), |merged, path| {
        let next = read_file(path)?;
        merged.merge(next).map_err(|error| format!("{}: {}", path.display(), fault(&error)))
    })
}

/// Reads the same again, for messages. `None` if that fails, or if a file is a pipe, which can be read once only.
#[must_use]
pub fn read_again(path: Option<&Path>) -> Option<Kubeconfig> {
    let paths = path.map_or_else(variable_paths, |path| vec![path.to_owned()]);
    let is_file = |path: &PathBuf| path.metadata().is_ok_and(|metadata| metadata.is_file());
    if paths.iter().all(is_file) { read(path).ok() } else { None }
}

/// Names the files that [`read`] reads, for messages.
#[must_use]
pub fn origin(path: Option<&Path>) -> String {
    let paths = path.map_or_else(variable_paths, |path| vec![path.to_owned()]);
    if paths.is_empty() {
        return "~/.kube/config".to_owned();
    }
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn variable_paths() -> Vec<PathBuf> {
    let value = std::env::var_os(VARIABLE).unwrap_or_default();
    std::env::split_paths(&value).filter(|path| !path.as_os_str().is_empty()).collect()
}

fn read_file(path: &Path) -> Result<Kubeconfig, String> {
    Kubeconfig::read_from(path).map_err(|error| format!("{}: {}", path.display(), fault(&error)))
}

/// Returns what is wrong with a kubeconfig, without any of its text.
#[must_use]
pub fn fault(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::ReadConfig(error, _) => format!("{error}; expected {EXPECTED}"),
        KubeconfigError::Parse(error) => yaml(error),
        KubeconfigError::LoadCertificateAuthority(error) => data("certificate-authority", error),
        KubeconfigError::LoadClientCertificate(error) => data("client-certificate", error),
        KubeconfigError::LoadClientKey(error) => data("client-key", error),
        KubeconfigError::ParseCertificates(_) => {
            "certificate-authority: expected certificates in PEM".to_owned()
        }
        error => causes(error),
    }
}

/// Returns the error of a client that cannot be made of a kubeconfig, without any of its text. `program` is what
/// [`credentials_program`] returns for it.
#[must_use]
pub fn client_fault(error: &kube::Error, program: Option<&str>) -> String {
    match error {
        kube::Error::InferKubeconfig(error) => fault(error),
        kube::Error::Auth(error) => auth_fault(error, program),
        kube::Error::RustlsTls(_) => {
            "client-certificate, client-key or certificate-authority of the kubeconfig cannot be \
                                      used: expected certificates and an unencrypted key in PEM"
                .to_owned()
        }
        error => causes(error),
    }
}

/// Returns the context of this name; the current one if `None`.
fn context_of<'a>(file: &'a Kubeconfig, name: Option<&str>) -> Option<&'a Context> {
    let name = name.or(file.current_context.as_deref())?;
    file.contexts.iter().find(|named| named.name == name)?.context.as_ref()
}

/// Returns the cluster of a context. `context`: that of the kubeconfig if `None`.
#[must_use]
pub fn cluster_of<'a>(file: &'a Kubeconfig, context: Option<&str>) -> Option<&'a Cluster> {
    let context = context_of(file, context)?;
    file.clusters.iter().find(|named| named.name == context.cluster)?.cluster.as_ref()
}

/// Returns the program that gives the credentials of a context, where the kubeconfig names one. `context`: that of the kubeconfig if
/// `None`.
#[must_use]
pub fn credentials_program(file: &Kubeconfig, context: Option<&str>) -> Option<String> {
    let context = context_of(file, context)?;
    let user = file.auth_infos.iter().find(|named| Some(&named.name) == context.user.as_ref())?;
    user.auth_info.as_ref()?.exec.as_ref()?.command.clone()
}

/// Returns the reason if a request failed because there are no credentials for it, such as a token that could not be renewed.
#[must_use]
pub fn missing_credentials(error: &kube::Error) -> Option<String> {
    let error = match error {
        kube::Error::Auth(error) => error,
        kube::Error::Service(error) => error.downcast_ref::<AuthError>()?,
        _ => return None,
    };
    Some(auth_fault(error, None))
}

/// Says what is wrong with credentials. The client's own words have the program's environment and what it printed.
fn auth_fault(error: &AuthError, program: Option<&str>) -> String {
    let program = program.map_or_else(
        || "the program that the kubeconfig names for credentials".to_owned(),
        |program| format!("the program {program} of the kubeconfig"),
    );
    match error {
        AuthError::AuthExecStart(error) => format!("{program} cannot be started: {error}"),
        AuthError::AuthExecRun { out, .. } => {
            format!("{program} ended with {}; run it by hand to see why", out.status)
        }
        AuthError::AuthExecParse(error) => {
            format!("{program} wrote no ExecCredential: {}{}", place(error), cause(error))
        }
        AuthError::AuthExec(_) => format!("{program} gave no credentials; run it by hand to see why"),
        AuthError::ParseTokenKey(_) => "the token that a program gave cannot be read".to_owned(),
        error => causes(error),
    }
}

fn data(field: &str, error: &LoadDataError) -> String {
    match error {
        LoadDataError::DecodeBase64(_) => format!("{field}-data: expected base64"),
        error => format!("{field}: {}", causes(error)),
    }
}

/// Returns line, column and cause of an error in YAML.
fn yaml(error: &YamlError) -> String {
    format!("{}{}; expected {EXPECTED}", place(error), cause(error))
}

/// Returns line and column of an error in YAML.
fn place(error: &YamlError) -> String {
    let location = error.location();
    location
        .map(|location| format!("line {}, column {}: ", location.line(), location.column()))
        .unwrap_or_default()
}

/// Returns the cause in words that have nothing of the file: neither values nor keys.
fn cause(mut error: &YamlError) -> String {
    while let YamlError::AliasError { error: inner, .. } | YamlError::WithSnippet { error: inner, .. } = error
    {
        error = inner;
    }
    match error {
        YamlError::ExternalMessage { source, .. } => match source.as_ref() {
            ExternalMessageSource::Parser(error) => format!("it is not YAML: {}", error.kind()),
            _ => "it is not YAML".to_owned(),
        },
        YamlError::SerdeMissingField { field, .. } => format!("`{field}` is missing"),
        YamlError::DuplicateMappingKey { .. } => "a key is there twice".to_owned(),
        YamlError::Eof { .. } => "it ends too early".to_owned(),
        _ => "a value has another type than it should".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "s3cr3t-t0ken";

    fn refused(text: &str) -> String {
        fault(&Kubeconfig::from_yaml(text).expect_err(text))
    }

    #[test]
    fn a_broken_kubeconfig_is_named_by_its_place_and_none_of_its_text() {
        for (text, then) in [
            ("users:\n- name: u\n  user: {token: SECRET\nclusters: []\n", "line "),
            ("users:\n- name: u\n  user:\n    token: SECRET: x\n", "line 4, column "),
            ("users: SECRET\n", "line 1, column 8: "),
            ("users:\n- name: u\n  user: SECRET\n", "line 3, column "),
            ("users:\n- name: u\n  user:\n    token: \"SECRET\n", "line "),
            ("users:\n- name: u\n  user: {token: SECRET, token: SECRET}\n", "line "),
            ("users:\n- name: u\n  user:\n    token: *SECRET\n", "line "),
            ("users:\n- name: u\n  user:\n    token: !SECRET x\n  bad\n", "line "),
            ("root:SECRET:0:0:root:/root:/bin/bash\nbin:x:1:1::/:/bin/false\n", "line 1, column 1: "),
        ] {
            let said = refused(&text.replace("SECRET", SECRET));
            assert!(said.starts_with(then), "{text}: {said}");
            assert!(
                said.ends_with("expected a kubeconfig as `kubectl config view --raw` writes it"),
                "{said}"
            );
            assert!(!said.contains("s3cr3t") && !said.contains("root") && !said.contains('\n'), "{said}");
        }
    }

    #[tokio::test]
    async fn data_that_cannot_be_decoded_is_not_repeated() {
        for (field, key) in [
            ("client-key-data: 's3cr3t!'", "client-key-data: expected base64"),
            // `-----BEGIN s3cr3t` of base64, a section that does not end.
            (
                "client-key-data: LS0tLS1CRUdJTiBzM2NyM3QK",
                "expected certificates and an unencrypted key in PEM",
            ),
        ] {
            let text = format!(
                "current-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
                 clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:1'}}}}]\n\
                 users: [{{name: u, user: {{client-certificate-data: LS0tLS1CRUdJTiBzM2NyM3QK, {field}}}}}]\n"
            );
            let file = Kubeconfig::from_yaml(&text).expect("a kubeconfig");
            let options = kube::config::KubeConfigOptions::default();
            let said = match kube::Config::from_custom_kubeconfig(file, &options).await {
                Ok(config) => client_fault(&kube::Client::try_from(config).err().expect("no client"), None),
                Err(error) => fault(&error),
            };
            assert!(said.contains(key) && !said.contains("s3cr3t") && !said.contains("115, 51"), "{said}");
        }
    }
}
