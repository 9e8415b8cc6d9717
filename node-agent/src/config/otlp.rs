//! Settings of the export by OTLP: endpoint, headers, signals.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::Uri;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::{ConfigError, value};
use crate::args::agent::{OtlpArgs, OtlpSignal};

/// Default port of OTLP over gRPC in the specification.
const GRPC_PORT: u16 = 4317;
/// Maximum size of a file of certificate authorities, in bytes.
const MAX_CA_FILE: u64 = 4 << 20;

/// `otlp` of the configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileOtlp {
    pub endpoint: Option<String>,
    pub headers: Option<BTreeMap<String, String>>,
    pub signals: Option<Vec<OtlpSignal>>,
    pub interval: Option<String>,
    pub ca: Option<PathBuf>,
}

/// Settings of an export that is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpConfig {
    /// Base URL of `/v1/logs` and `/v1/metrics`, http or https.
    pub endpoint: Uri,
    /// Headers of each export. All values are secret, as they may be tokens.
    pub headers: HeaderMap,
    pub signals: Vec<OtlpSignal>,
    /// Interval between two exports of the metrics.
    pub every: Duration,
    /// PEM file of the trusted certificate authorities; `None` for those of the machine.
    pub ca: Option<PathBuf>,
}

impl OtlpConfig {
    /// Merges command line and file. Returns `None` if the export is off.
    pub fn resolve(args: &OtlpArgs, file: FileOtlp) -> Result<Option<Self>, ConfigError> {
        let Some(text) = args.otlp.clone().or(file.endpoint).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let headers = match &args.otlp_headers {
            Some(typed) => typed_headers(typed)?,
            None => headers(file.headers.unwrap_or_default())?,
        };
        let signals = super::either(&args.otlp_signals, file.signals);
        let ca = args.otlp_ca.clone().or(file.ca);
        if let Some(path) = &ca {
            check_ca(path)?;
        }
        Ok(Some(Self {
            endpoint: endpoint(&text)?,
            headers,
            signals: if signals.is_empty() { vec![OtlpSignal::Logs, OtlpSignal::Metrics] } else { signals },
            every: every(args.otlp_interval.as_ref().or(file.interval.as_ref()))?,
            ca,
        }))
    }

    /// True if the port is the default of gRPC, which the agent does not speak.
    #[must_use]
    pub fn looks_like_grpc(&self) -> bool {
        self.endpoint.port_u16() == Some(GRPC_PORT)
    }
}

fn endpoint(text: &str) -> Result<Uri, ConfigError> {
    let bad = || {
        let expected = "the base URL of an OTLP/HTTP receiver, such as http://HOST:4318 or https://HOST/otlp, \
                        without user, query and /v1/…";
        // The part before `@` may contain a password.
        value::bad("--otlp", text.rsplit('@').next().unwrap_or_default(), expected)
    };
    let uri: Uri = text.parse().map_err(|_| bad())?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    let has_host = uri.host().is_some_and(|host| !host.is_empty()) && !text.contains('@');
    let is_base = uri.query().is_none() && !uri.path().contains("/v1/");
    if is_web && has_host && is_base { Ok(uri) } else { Err(bad()) }
}

fn every(given: Option<&String>) -> Result<Duration, ConfigError> {
    let Some(text) = given else { return Ok(Duration::from_secs(60)) };
    let every = value::duration("--otlp-interval", text)?;
    if every < Duration::from_secs(1) {
        return Err(value::bad("--otlp-interval", text, "a duration from 1s to 1h"));
    }
    Ok(every)
}

/// Parses `key=value,key=value`, percent-encoded, as the specification defines OTEL_EXPORTER_OTLP_HEADERS.
fn typed_headers(text: &str) -> Result<HeaderMap, ConfigError> {
    let decoded = |text: &str| percent_decode_str(text.trim()).decode_utf8().ok().map(String::from);
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=')?;
        Some((decoded(key)?, decoded(value)?))
    };
    let pairs = text.split(',').filter(|part| !part.trim().is_empty());
    let pairs: Option<Vec<(String, String)>> = pairs.map(pair).collect();
    headers(pairs.ok_or_else(|| bad_header("(secret)"))?)
}

fn headers(pairs: impl IntoIterator<Item = (String, String)>) -> Result<HeaderMap, ConfigError> {
    let mut headers = HeaderMap::new();
    for (key, value) in pairs {
        let name: HeaderName = key.parse().map_err(|_| bad_header(&key))?;
        let mut value: HeaderValue = value.parse().map_err(|_| bad_header(&key))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// The error of a header. Names its key only, because values are secret.
fn bad_header(key: &str) -> ConfigError {
    value::bad("--otlp-headers", key, "KEY=VALUE,KEY=VALUE, percent-encoded, such as x-api-key=abc")
}

fn check_ca(path: &Path) -> Result<(), ConfigError> {
    let expected = "a readable PEM file with certificates";
    let bad = || value::bad("--otlp-ca", &path.display().to_string(), expected);
    let size = std::fs::metadata(path).map_err(|_| bad())?;
    if !size.is_file() || size.len() > MAX_CA_FILE {
        return Err(bad());
    }
    let text = std::fs::read(path).map_err(|_| bad())?;
    let mark = b"-----BEGIN CERTIFICATE-----";
    if text.windows(mark.len()).any(|window| window == mark) { Ok(()) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(endpoint: &str, headers: Option<&str>) -> Result<OtlpConfig, String> {
        let args = OtlpArgs {
            otlp: Some(endpoint.to_owned()),
            otlp_headers: headers.map(str::to_owned),
            ..OtlpArgs::default()
        };
        let config = OtlpConfig::resolve(&args, FileOtlp::default()).map_err(|e| e.to_string())?;
        Ok(config.expect("on"))
    }

    #[test]
    fn it_is_off_unless_an_endpoint_is_given() {
        let headers = OtlpArgs { otlp_headers: Some("nonsense".to_owned()), ..OtlpArgs::default() };
        assert_eq!(OtlpConfig::resolve(&headers, FileOtlp::default()), Ok(None));
        let config = resolved("http://collector:4318", None).expect("valid");
        assert_eq!((config.every, config.signals.len()), (Duration::from_secs(60), 2));
        assert!(!config.looks_like_grpc());
        assert!(resolved("http://collector:4317", None).expect("valid").looks_like_grpc());
    }

    #[test]
    fn the_command_line_beats_the_file() {
        let text =
            "otlp:\n  endpoint: http://file:1\n  headers: {a: b=c}\n  signals: [logs]\n  interval: 5s\n";
        let file = || crate::config::file::parse("p.yaml", text).expect("valid").otlp.expect("otlp");
        let written = OtlpConfig::resolve(&OtlpArgs::default(), file()).expect("valid").expect("on");
        assert_eq!((written.endpoint.host(), written.every), (Some("file"), Duration::from_secs(5)));
        assert_eq!(written.signals, [OtlpSignal::Logs]);
        assert_eq!(written.headers.get("a").map(HeaderValue::as_bytes), Some(&b"b=c"[..]));
        let args = OtlpArgs {
            otlp: Some("http://typed:1".to_owned()),
            otlp_headers: Some("x=y".to_owned()),
            otlp_signals: vec![OtlpSignal::Metrics],
            otlp_interval: Some("2m".to_owned()),
            otlp_ca: None,
        };
        let typed = OtlpConfig::resolve(&args, file()).expect("valid").expect("on");
        assert_eq!((typed.endpoint.host(), typed.every), (Some("typed"), Duration::from_secs(120)));
        assert_eq!((typed.signals.as_slice(), typed.headers.len()), (&[OtlpSignal::Metrics][..], 1));
        let off = OtlpArgs { otlp: Some(String::new()), ..OtlpArgs::default() };
        assert_eq!(OtlpConfig::resolve(&off, file()), Ok(None));
    }

    #[test]
    fn what_is_asked_of_the_export_must_make_sense() {
        for (interval, ca, then) in [
            (Some("10ms"), None, "--otlp-interval: \"10ms\" is not valid: expected a duration from 1s to 1h"),
            (None, Some("/nowhere"), "--otlp-ca: \"/nowhere\" is not valid: expected a readable PEM file"),
            (None, Some("/proc/version"), "--otlp-ca: "),
        ] {
            let args = OtlpArgs {
                otlp: Some("http://c".to_owned()),
                otlp_interval: interval.map(str::to_owned),
                otlp_ca: ca.map(PathBuf::from),
                ..OtlpArgs::default()
            };
            let error = OtlpConfig::resolve(&args, FileOtlp::default()).expect_err(then).to_string();
            assert!(error.starts_with(then), "{error}");
        }
    }

    #[test]
    fn headers_are_decoded_and_secret() {
        let config =
            resolved("https://c/otlp", Some("authorization=Bearer%20a%3Db, x-key = 1")).expect("valid");
        assert_eq!(config.headers.get("authorization").map(HeaderValue::as_bytes), Some(&b"Bearer a=b"[..]));
        assert_eq!(config.headers.get("x-key").map(HeaderValue::as_bytes), Some(&b"1"[..]));
        assert!(!format!("{config:?}").contains("Bearer"));
    }

    #[test]
    fn what_is_wrong_is_said_without_secrets() {
        for endpoint in
            ["collector:4318", "ftp://c", "http://", "http://c/v1/logs", "http://c?x=1", "http://me:pass@c:1"]
        {
            let error = resolved(endpoint, None).expect_err(endpoint);
            assert!(error.starts_with("--otlp: ") && error.contains("http://HOST:4318"), "{error}");
            assert!(!error.contains("pass"), "{error}");
        }
        for headers in ["secret", "a=%ff", "a b=secret", "a=secret%0a"] {
            let error = resolved("http://c", Some(headers)).expect_err(headers);
            assert!(error.starts_with("--otlp-headers: ") && !error.contains("secret\""), "{error}");
        }
    }
}
