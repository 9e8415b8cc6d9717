//! Credentials: the server's authority and certificate, and a client's kubeconfig and token.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// A certificate authority, and a server certificate for 127.0.0.1 and localhost that it signed.
#[derive(Clone)]
pub struct Authority {
    /// Certificate of the authority, as PEM.
    pub pem: String,
    pub acceptor: TlsAcceptor,
}

impl Authority {
    /// Generates keys and certificates.
    ///
    /// # Panics
    /// If no certificate can be made.
    #[must_use]
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "stand-in authority");
        let certificate = params.self_signed(&key).expect("an authority");
        let issuer = Issuer::new(params, key);

        let server_key = KeyPair::generate().expect("a key");
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut server = CertificateParams::new(names).expect("parameters");
        server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        let server = server.signed_by(&server_key, &issuer).expect("a certificate");

        let private = PrivateKeyDer::try_from(server_key.serialize_der()).expect("a private key");
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![server.der().clone()], private)
            .expect("certificate and key belong together");
        Self { pem: certificate.pem(), acceptor: TlsAcceptor::from(Arc::new(config)) }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// Paths of a client's files. Each is replaced by rename, as kubelet does.
#[derive(Clone, Debug)]
pub struct ClientFiles {
    pub kubeconfig: PathBuf,
    pub token: PathBuf,
    pub authority: PathBuf,
}

impl ClientFiles {
    /// Writes a kubeconfig for the server at `url` into a directory, with token and authority in files beside it.
    ///
    /// # Panics
    /// If the directory is not writable.
    #[must_use]
    pub fn write(directory: &Path, url: &str, token: &str, authority: Option<&str>) -> Self {
        let files = Self {
            kubeconfig: directory.join("kubeconfig"),
            token: directory.join("token"),
            authority: directory.join("ca.crt"),
        };
        files.write_token(token);
        let trust = authority.map_or(String::new(), |pem| {
            files.write_authority(pem);
            format!(", certificate-authority: {}", files.authority.display())
        });
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: stand-in\n\
             clusters: [{{name: stand-in, cluster: {{server: \"{url}\"{trust}}}}}]\n\
             contexts: [{{name: stand-in, context: {{cluster: stand-in, user: stand-in}}}}]\n\
             users: [{{name: stand-in, user: {{tokenFile: {}}}}}]\n",
            files.token.display()
        );
        replace(&files.kubeconfig, &text);
        files
    }

    /// Replaces the token.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn write_token(&self, token: &str) {
        replace(&self.token, token);
    }

    /// Replaces the authority's certificate.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn write_authority(&self, pem: &str) {
        replace(&self.authority, pem);
    }
}

fn replace(path: &Path, text: &str) {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text).expect("write");
    std::fs::rename(&fresh, path).expect("put in place");
}
