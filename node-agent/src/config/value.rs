//! Parses the values of options: addresses, durations, networks, limits.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use super::{ConfigError, ListenAddress};

/// Returns the error of an invalid value.
pub fn bad(option: &str, given: &str, expected: &'static str) -> ConfigError {
    ConfigError::BadValue { option: option.to_owned(), given: given.to_owned(), expected }
}

/// Parses `ADDR:PORT`, `off`, or, if `unix` is true, `unix:PATH`.
pub fn address(
    option: &str,
    given: Option<&String>,
    default: &str,
    unix: bool,
) -> Result<ListenAddress, ConfigError> {
    let text = given.map_or(default, String::as_str);
    let expected = if unix {
        "ADDR:PORT such as 127.0.0.1:9470, unix:PATH, or off"
    } else {
        "ADDR:PORT such as 0.0.0.0:9471, or off"
    };
    if text == "off" {
        return Ok(ListenAddress::Off);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        // sun_path holds 108 bytes with the trailing NUL.
        return if unix && path.starts_with('/') && path.len() < 108 {
            Ok(ListenAddress::Unix(PathBuf::from(path)))
        } else {
            Err(bad(
                option,
                text,
                if unix { "unix:PATH with an absolute path shorter than 108 bytes" } else { expected },
            ))
        };
    }
    let text_with_host = text.replace("localhost:", "127.0.0.1:");
    text_with_host.parse::<SocketAddr>().map(ListenAddress::Tcp).map_err(|_| bad(option, text, expected))
}

/// Checks the name of a cluster: one line of at most 253 characters. An empty name is none.
pub fn cluster_name(option: &str, given: Option<&String>) -> Result<Option<String>, ConfigError> {
    let Some(name) = given.map(|name| name.trim()).filter(|name| !name.is_empty()) else { return Ok(None) };
    if name.chars().count() > 253 || name.chars().any(char::is_control) {
        return Err(bad(option, name, "a name in one line of at most 253 characters"));
    }
    Ok(Some(name.to_owned()))
}

/// Parses `500ms`, `5s`, `1m`, or plain seconds, up to an hour.
pub fn duration(option: &str, given: &str) -> Result<Duration, ConfigError> {
    let expected = "a duration up to 1h, such as 5s, 500ms or 1m";
    let digits = given.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = given.get(digits.len()..).unwrap_or_default();
    let number: u64 = digits.parse().map_err(|_| bad(option, given, expected))?;
    let ms = match unit {
        "ms" => Some(number),
        "s" | "" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => None,
    };
    match ms {
        Some(ms) if ms <= 3_600_000 => Ok(Duration::from_millis(ms)),
        _ => Err(bad(option, given, expected)),
    }
}

/// Parses the directory of the state file: an absolute path, or `off`, the default.
pub fn state_dir(given: Option<&String>) -> Result<Option<PathBuf>, ConfigError> {
    match given.map(String::as_str) {
        None | Some("off") => Ok(None),
        Some(text) if Path::new(text).is_absolute() => Ok(Some(PathBuf::from(text))),
        Some(text) => Err(bad("--state-dir", text, "an absolute path such as /var/lib/portolan, or off")),
    }
}

/// Parses address ranges. An address without a prefix length is a range of one.
pub fn networks(option: &str, given: &[String]) -> Result<Vec<IpNet>, ConfigError> {
    given
        .iter()
        .map(|text| {
            text.parse::<IpNet>()
                .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
                .map(|net| net.trunc())
                .map_err(|_| bad(option, text, "an address range such as 10.244.0.0/16 or fd00::/8"))
        })
        .collect()
}

/// Validates a limit from 1 to `most`.
pub fn cap(option: &str, given: u32, most: u32) -> Result<u32, ConfigError> {
    if (1..=most).contains(&given) {
        Ok(given)
    } else {
        Err(bad(
            option,
            &given.to_string(),
            if most > 65_536 { "a number from 1 to some million" } else { "a number from 1 to 65536" },
        ))
    }
}
