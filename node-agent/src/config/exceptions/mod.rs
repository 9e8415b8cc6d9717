//! `exceptions:` of the configuration file: rules that suppress known findings. Validated strictly, because a rule that
//! matches more than its author meant would hide other findings.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use portolan_engine::model::exception::{Match, Pattern, PortRange, Rule};
use portolan_engine::model::finding::Suppression;
use portolan_engine::model::finding_code::FindingCode;
use portolan_engine::model::identity::{BootTime, Protocol};
use portolan_engine::model::listener::Exposure;
use portolan_report::exception_rule::{MAX_NAME, MAX_REASON, expiry, plain, reason, short};
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::ConfigError;

/// Maximum number of rules in one file.
const MAX_RULES: usize = 4096;
/// Maximum number of values in one field of a rule.
const MAX_VALUES: usize = 1024;
/// Prefix of the names of rules that come from annotations.
const RESERVED: &str = "annotation/";

/// One valid rule. Its expiry is a wall-clock time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    pub suppression: Arc<Suppression>,
    pub matches: Match,
    pub expires: Option<Timestamp>,
}

impl Exception {
    /// Converts the rule for the engine. `to_boot` converts its wall-clock time.
    #[must_use]
    pub fn rule(&self, to_boot: impl Fn(Timestamp) -> BootTime) -> Rule {
        Rule {
            suppression: Arc::clone(&self.suppression),
            matches: self.matches.clone(),
            expires: self.expires.map(to_boot),
        }
    }
}

/// One entry of `exceptions:`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileRule {
    name: Option<String>,
    reason: Option<String>,
    expires: Option<String>,
    #[serde(rename = "match")]
    matches: Option<FileMatch>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileMatch {
    namespace: Option<Values>,
    pod: Option<Values>,
    labels: Option<BTreeMap<String, Values>>,
    workload: Option<FileWorkload>,
    container: Option<Values>,
    image: Option<Values>,
    process: Option<Values>,
    port: Option<Values>,
    protocol: Option<Values>,
    exposure: Option<Values>,
    code: Option<Values>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileWorkload {
    kind: Option<Values>,
    name: Option<Values>,
}

/// Values of a field, which may be a single value or a list.
#[derive(Debug, Default)]
struct Values(Vec<String>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMany { in_list: false })
    }
}

/// Reads a value or a list of values.
struct OneOrMany {
    /// True within a list, which must not contain lists.
    in_list: bool,
}

impl<'de> Visitor<'de> for OneOrMany {
    type Value = Values;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or a list of values")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Values, E> {
        Ok(Values(vec![text.to_owned()]))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Values, E> {
        Ok(Values(vec![number.to_string()]))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Values, E> {
        Ok(Values(vec![number.to_string()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Values, A::Error> {
        if self.in_list {
            return Err(de::Error::custom("expected a value, not a list in a list"));
        }
        let mut all = Vec::new();
        while let Some(Scalar(value)) = seq.next_element()? {
            all.push(value);
        }
        Ok(Values(all))
    }
}

/// One value of a list: a text, or a number as text.
struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Values(mut one) = deserializer.deserialize_any(OneOrMany { in_list: true })?;
        one.pop().map(Self).ok_or_else(|| de::Error::custom("expected a value"))
    }
}

/// Validates all rules of the file at `path`, which is for messages.
pub fn check(path: &str, rules: &[Spanned<FileRule>]) -> Result<Vec<Exception>, ConfigError> {
    let mut checked: Vec<Exception> = Vec::new();
    let mut names: BTreeMap<String, u64> = BTreeMap::new();
    for (index, spanned) in rules.iter().enumerate() {
        let line = spanned.referenced.line();
        let error = |reason: String| {
            let rule = match &spanned.value.name {
                Some(name) => format!("exceptions[{index}] {:?}", short(name)),
                None => format!("exceptions[{index}]"),
            };
            ConfigError::InFile { path: path.to_owned(), line, reason: format!("{rule}: {reason}") }
        };
        if index >= MAX_RULES {
            return Err(error(format!(
                "more than {MAX_RULES} rules: use globs or lists to say more with fewer"
            )));
        }
        let rule = exception(&spanned.value).map_err(error)?;
        if let Some(first) = names.insert(rule.suppression.rule.clone(), line) {
            return Err(error(format!("the name is taken by the rule of line {first}: give each its own")));
        }
        checked.push(rule);
    }
    Ok(checked)
}

fn exception(rule: &FileRule) -> Result<Exception, String> {
    let name = rule.name.as_deref().map(str::trim).filter(|name| !name.is_empty());
    let name = name.ok_or("name is missing: expected a name of its own, which findings show")?;
    plain("name", name, MAX_NAME)?;
    if name.starts_with(RESERVED) {
        return Err(format!("names that begin with {RESERVED:?} are those of annotations: choose another"));
    }
    let reason = reason(rule.reason.as_deref().unwrap_or_default())?;
    let expires = rule.expires.as_deref().map(expiry).transpose()?;
    let empty = "match is empty: it would suppress every finding; say at least one of namespace, pod, labels, \
                 workload, container, image, port, protocol, exposure, code";
    let matches = matches(rule.matches.as_ref().ok_or(empty)?)?;
    if matches == Match::default() {
        return Err(empty.to_owned());
    }
    if (Match { process: Vec::new(), ..matches.clone() }) == Match::default() {
        return Err("match has process only, and every process may call itself so: say also where, such as \
                    namespace, workload or image"
            .to_owned());
    }
    let suppression = Arc::new(Suppression { rule: name.to_owned(), reason: reason.to_owned() });
    Ok(Exception { suppression, matches, expires })
}

fn matches(file: &FileMatch) -> Result<Match, String> {
    let labels = file.labels.iter().flatten();
    let labels =
        labels.map(|(key, values)| Ok((key.clone(), patterns(&format!("labels.{key}"), Some(values))?)));
    let workload = file.workload.as_ref();
    if workload.is_some_and(|workload| workload.kind.is_none() && workload.name.is_none()) {
        return Err("match.workload is empty: expected kind, name, or both".to_owned());
    }
    if file.labels.as_ref().is_some_and(BTreeMap::is_empty) {
        return Err("match.labels is empty: expected at least one label".to_owned());
    }
    Ok(Match {
        namespace: patterns("namespace", file.namespace.as_ref())?,
        pod: patterns("pod", file.pod.as_ref())?,
        labels: labels.collect::<Result<_, String>>()?,
        workload_kind: patterns("workload.kind", workload.and_then(|w| w.kind.as_ref()))?,
        workload_name: patterns("workload.name", workload.and_then(|w| w.name.as_ref()))?,
        container: patterns("container", file.container.as_ref())?,
        image: patterns("image", file.image.as_ref())?,
        process: patterns("process", file.process.as_ref())?,
        port: parsed("port", file.port.as_ref(), PortRange::parse, || {
            "a port from 1 to 65535, a range such as 8000-8010 with the lower port first, or one of these with a \
             protocol such as 53/UDP"
                .to_owned()
        })?,
        protocol: parsed("protocol", file.protocol.as_ref(), protocol, || "TCP, UDP or SCTP".to_owned())?,
        exposure: parsed("exposure", file.exposure.as_ref(), exposure, || {
            "loopback, pod or host".to_owned()
        })?,
        code: parsed("code", file.code.as_ref(), code, || {
            format!("one of {}", FindingCode::ALL.map(FindingCode::as_str).join(", "))
        })?,
        never_ephemeral: false,
    })
}

fn patterns(field: &str, values: Option<&Values>) -> Result<Vec<Pattern>, String> {
    let read = |text: &str| Some(Pattern(text.to_owned())).filter(|_| !text.is_empty());
    parsed(field, values, read, || "a name, in which * stands for any text".to_owned())
}

/// Parses each value of a field.
fn parsed<T>(
    field: &str,
    values: Option<&Values>,
    read: impl Fn(&str) -> Option<T>,
    expected: impl Fn() -> String,
) -> Result<Vec<T>, String> {
    let Some(Values(values)) = values else { return Ok(Vec::new()) };
    if values.is_empty() || values.len() > MAX_VALUES {
        return Err(format!("match.{field} has {} values: expected 1 to {MAX_VALUES}", values.len()));
    }
    let one = |text: &String| {
        let problem = || format!("match.{field}: {:?} is not valid: expected {}", short(text), expected());
        plain(field, text, MAX_REASON)?;
        read(text).ok_or_else(problem)
    };
    values.iter().map(one).collect()
}

fn protocol(text: &str) -> Option<Protocol> {
    Protocol::ALL.into_iter().find(|protocol| protocol.as_str().eq_ignore_ascii_case(text))
}

fn exposure(text: &str) -> Option<Exposure> {
    [Exposure::Loopback, Exposure::Pod, Exposure::Host].into_iter().find(|one| one.as_str() == text)
}

fn code(text: &str) -> Option<FindingCode> {
    FindingCode::ALL.into_iter().find(|code| code.as_str() == text)
}

#[cfg(test)]
mod tests;
