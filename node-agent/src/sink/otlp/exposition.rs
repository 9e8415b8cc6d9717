//! Metrics in OTLP, converted from the OpenMetrics text: `/metrics` and the export contain the same values from one list of
//! metrics. `prometheus-client` shows its registry to encoders only; decision 0030 has the cost of its protobuf encoder.

use std::collections::BTreeMap;

use super::attributes::Attributes;
use super::messages::{
    CUMULATIVE, Gauge, Histogram, HistogramPoint, KeyValue, Metric, Number, NumberPoint, Points, Sum,
};

/// Start of counting and time of reading, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub start: u64,
    pub now: u64,
}

/// A metric family of the text.
#[derive(Debug, Default)]
struct Family<'a> {
    name: &'a str,
    help: String,
    kind: &'a str,
    unit: &'a str,
    samples: Vec<Sample<'a>>,
}

/// A sample line of the text.
#[derive(Debug)]
struct Sample<'a> {
    /// Name with suffixes such as `_total`.
    name: &'a str,
    labels: Vec<(&'a str, String)>,
    value: &'a str,
}

/// Converts every family with at least one sample. `portolan_lost_total` becomes `portolan.lost`: OTLP names have no type
/// suffix, and a translation back to Prometheus adds it.
#[must_use]
pub fn metrics(text: &str, span: Span) -> Vec<Metric> {
    families(text).into_iter().filter(|family| !family.samples.is_empty()).map(|f| f.metric(span)).collect()
}

fn families(text: &str) -> Vec<Family<'_>> {
    let mut families: Vec<Family<'_>> = Vec::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (Some(what), Some(name)) = (words.next(), words.next()) else { continue };
            let rest = words.next().unwrap_or_default();
            if families.last().is_none_or(|family| family.name != name) {
                families.push(Family { name, ..Family::default() });
            }
            let Some(family) = families.last_mut() else { continue };
            match what {
                "HELP" => family.help = unescaped(rest),
                "TYPE" => family.kind = rest,
                "UNIT" => family.unit = rest,
                _ => {}
            }
        } else if let (Some(family), Some(sample)) = (families.last_mut(), sample(line)) {
            family.samples.push(sample);
        }
    }
    families
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at_checked(end)?;
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inner) => labels(inner)?,
        None => (Vec::new(), rest),
    };
    let value = rest.split_whitespace().next()?;
    Some(Sample { name, labels, value })
}

type Labels<'a> = Vec<(&'a str, String)>;

/// Parses the labels up to the closing brace. Returns them and the rest of the line.
fn labels(mut rest: &str) -> Option<(Labels<'_>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.strip_prefix(',').unwrap_or(rest);
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((labels, behind));
        }
        let (key, value) = rest.split_once("=\"")?;
        let end = closing_quote(value)?;
        let (inner, behind) = value.split_at_checked(end)?;
        labels.push((key, unescaped(inner)));
        rest = behind.strip_prefix('"')?;
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' if !is_escaped => return Some(at),
            _ => is_escaped = c == '\\' && !is_escaped,
        }
    }
    None
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => plain.push('\n'),
                Some(other) => plain.push(other),
                None => plain.push('\\'),
            },
            (c, false) => plain.push(c),
        }
    }
    plain
}

impl Family<'_> {
    fn metric(&self, span: Span) -> Metric {
        let (unit, suffix) = match self.unit {
            "" => ("", String::new()),
            "seconds" => ("s", "_seconds".to_owned()),
            "bytes" => ("By", "_bytes".to_owned()),
            other => (other, format!("_{other}")),
        };
        let bare = self.name.strip_suffix(suffix.as_str()).unwrap_or(self.name);
        let bare = bare.strip_prefix("portolan_").unwrap_or(bare);
        let info = if self.kind == "info" { "_info" } else { "" };
        let points = match self.kind {
            "counter" => {
                Points::Sum(Sum { points: self.numbers(span), temporality: CUMULATIVE, is_monotonic: true })
            }
            "histogram" => {
                Points::Histogram(Histogram { points: self.histograms(span), temporality: CUMULATIVE })
            }
            _ => Points::Gauge(Gauge { points: self.numbers(Span { start: 0, ..span }) }),
        };
        Metric {
            name: format!("portolan.{bare}{info}"),
            description: self.help.clone(),
            unit: unit.to_owned(),
            points: Some(points),
        }
    }

    fn numbers(&self, span: Span) -> Vec<NumberPoint> {
        let point = |sample: &Sample<'_>| NumberPoint {
            start_time_unix_nano: span.start,
            time_unix_nano: span.now,
            value: Some(number(sample.value)),
            attributes: attributes(&sample.labels),
        };
        self.samples.iter().map(point).collect()
    }

    /// Returns a point for each set of labels other than `le`. Buckets are cumulative in the text, but not in OTLP.
    fn histograms(&self, span: Span) -> Vec<HistogramPoint> {
        let mut points: BTreeMap<Vec<(&str, &str)>, HistogramPoint> = BTreeMap::new();
        for sample in &self.samples {
            let others = sample.labels.iter().filter(|(key, _)| *key != "le");
            let key: Vec<(&str, &str)> = others.map(|(key, value)| (*key, value.as_str())).collect();
            let point = points.entry(key).or_insert_with_key(|key| HistogramPoint {
                start_time_unix_nano: span.start,
                time_unix_nano: span.now,
                attributes: attributes(key),
                ..HistogramPoint::default()
            });
            match sample.name.rsplit_once('_') {
                Some((_, "sum")) => point.sum = sample.value.parse().ok(),
                Some((_, "count")) => point.count = sample.value.parse().unwrap_or(0),
                Some((_, "bucket")) => {
                    let total: u64 = sample.value.parse().unwrap_or(0);
                    let below: u64 = point.bucket_counts.iter().sum();
                    point.bucket_counts.push(total.saturating_sub(below));
                    let bound = sample.labels.iter().find(|(key, _)| *key == "le").map(|(_, bound)| bound);
                    let bound = bound.and_then(|bound| bound.parse::<f64>().ok());
                    point.explicit_bounds.extend(bound.filter(|bound| bound.is_finite()));
                }
                _ => {}
            }
        }
        points.into_values().collect()
    }
}

fn attributes<V: AsRef<str>>(labels: &[(&str, V)]) -> Vec<KeyValue> {
    let mut all = Attributes::default();
    for (key, value) in labels {
        let value = value.as_ref();
        match *key {
            // The same attribute as on log records.
            "namespace" => all.text("k8s.namespace.name", value),
            key => all.text(key, value),
        }
    }
    all.into_list()
}

fn number(text: &str) -> Number {
    match text.parse::<i64>() {
        Ok(whole) => Number::Int(whole),
        Err(_) => Number::Double(text.parse().unwrap_or(f64::NAN)),
    }
}
