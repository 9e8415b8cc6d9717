//! Labels and label selectors. A value that is no text makes the object invalid: without it a selector would match more.

use std::collections::BTreeMap;

use portolan_engine::model::network_policy::{LabelExpression, LabelOperator, LabelSelector};
use serde::{Deserialize, Deserializer};

use super::fault::{Fault, shortened};
use super::fields::{Fields, List};

/// Maximum length of the key of a label: prefix, slash, name.
const MAX_KEY: usize = 317;
/// Maximum length of the value of a label, in bytes.
const MAX_VALUE: usize = 63;
/// Maximum number of labels of an object, and of those that a selector names. The API server bounds only the size of the object.
const MAX_LABELS: usize = 65_536;

/// A map of texts; nothing as a value is an empty text.
#[derive(Clone, Debug, Default)]
pub struct Texts(pub BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = Option::<BTreeMap<String, Option<String>>>::deserialize(deserializer)?.unwrap_or_default();
        Ok(Self(map.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect()))
    }
}

/// Returns labels, or the labels that a selector names.
///
/// # Errors
/// If they exceed the limits of Kubernetes. Fewer labels would select other pods.
pub fn labels(path: &str, Texts(texts): Texts) -> Result<BTreeMap<String, String>, Fault> {
    if texts.len() > MAX_LABELS {
        return Err(Fault::new(path, format!("has more than {MAX_LABELS} entries")));
    }
    let too_long = |(key, value): &(&String, &String)| key.len() > MAX_KEY || value.len() > MAX_VALUE;
    if let Some((key, _)) = texts.iter().find(too_long) {
        let path = format!("{path}.{}", shortened(key));
        return Err(Fault::new(path, format!("has more than {MAX_VALUE} characters")));
    }
    // The parser may have allocated up to twice the length.
    let exact = |text: String| text.into_boxed_str().into_string();
    Ok(texts.into_iter().map(|(key, value)| (exact(key), exact(value))).collect())
}

/// `podSelector`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SelectorSpec {
    match_labels: Texts,
    match_expressions: List<Fields<ExpressionSpec>>,
}

/// One entry of `matchExpressions`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ExpressionSpec {
    key: Option<String>,
    operator: Option<String>,
    values: List<Option<String>>,
}

/// Converts a selector.
///
/// # Errors
/// As [`labels`].
pub fn selector(path: &str, spec: SelectorSpec) -> Result<LabelSelector, Fault> {
    Ok(LabelSelector {
        labels: labels(&format!("{path}.matchLabels"), spec.match_labels)?,
        expressions: spec.match_expressions.0.into_iter().map(|Fields(spec)| expression(spec)).collect(),
    })
}

/// Converts an expression. An operator that this version does not know leaves open what it matches, and so does one that lacks
/// its values.
fn expression(spec: ExpressionSpec) -> LabelExpression {
    let has_values = !spec.values.0.is_empty();
    let operator = match spec.operator.as_deref() {
        Some("In") if has_values => LabelOperator::In,
        Some("NotIn") if has_values => LabelOperator::NotIn,
        Some("Exists") => LabelOperator::Exists,
        Some("DoesNotExist") => LabelOperator::DoesNotExist,
        _ => LabelOperator::Unknown,
    };
    let key = spec.key.filter(|key| !key.is_empty());
    LabelExpression {
        operator: if key.is_some() { operator } else { LabelOperator::Unknown },
        key: key.unwrap_or_default(),
        values: spec.values.0.into_iter().map(Option::unwrap_or_default).collect(),
    }
}
