//! Label selectors in the syntax of kubectl's `-l`: `app=web,tier in (front,back),!canary`.

use std::collections::BTreeMap;
use std::fmt;

/// Maximum length of a selector in bytes. kubectl's own selectors have to fit the URL of a request.
pub const MAX_LENGTH: usize = 4096;
/// Maximum length of a label's name and of its value, as in Kubernetes.
const MAX_NAME: usize = 63;
/// Maximum length of the DNS domain before the slash of a key, as in Kubernetes.
const MAX_DOMAIN: usize = 253;
const EXPECTED: &str = "expected requirements such as app=web, app!=web, app in (a,b), app notin (a,b), app, !app, separated by commas";

/// Requirements on the labels of a pod. All of them must hold; an empty selector selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    demand: Demand,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Demand {
    Exists,
    Absent,
    In(Vec<String>),
    /// Holds also if the label is absent, as in kubectl.
    NotIn(Vec<String>),
}

/// Error of a text that is not a selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at:?}: {EXPECTED}")]
pub struct BadSelector {
    /// The wrong requirement, at most 100 characters of it.
    pub at: String,
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Requirement { key, demand }) in self.0.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            match demand {
                Demand::Exists => write!(f, "{comma}{key}"),
                Demand::Absent => write!(f, "{comma}!{key}"),
                Demand::In(values) => write!(f, "{comma}{key} in ({})", values.join(",")),
                Demand::NotIn(values) => write!(f, "{comma}{key} notin ({})", values.join(",")),
            }?;
        }
        Ok(())
    }
}

impl Selector {
    /// Returns true if there are no requirements: the selector then selects everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns true if the labels meet all requirements. `None` stands for an object without a pod, which only the empty
    /// selector selects.
    #[must_use]
    pub fn selects(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        self.is_empty()
            || labels.is_some_and(|labels| {
                self.0.iter().all(|requirement| requirement.holds(labels.get(&requirement.key)))
            })
    }

    /// Adds the requirements of another selector.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}

impl Requirement {
    fn holds(&self, value: Option<&String>) -> bool {
        match &self.demand {
            Demand::Exists => value.is_some(),
            Demand::Absent => value.is_none(),
            Demand::In(values) => value.is_some_and(|value| values.contains(value)),
            Demand::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
        }
    }
}

impl std::str::FromStr for Selector {
    type Err = BadSelector;

    fn from_str(text: &str) -> Result<Self, BadSelector> {
        if text.len() > MAX_LENGTH {
            return Err(bad(text));
        }
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        parts(text).map(requirement).collect::<Result<_, _>>().map(Self)
    }
}

/// Splits a selector at commas, except those within parentheses.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut is_inside = false;
    text.split(move |c| {
        match c {
            '(' => is_inside = true,
            ')' => is_inside = false,
            _ => {}
        }
        c == ',' && !is_inside
    })
}

fn requirement(part: &str) -> Result<Requirement, BadSelector> {
    let text = part.trim();
    let of = |key: &str, demand: Option<Demand>| {
        let key = key.trim();
        let demand = demand.filter(|_| is_key(key)).ok_or_else(|| bad(part))?;
        Ok(Requirement { key: key.to_owned(), demand })
    };
    let one = |value: &str| is_value(value.trim()).then(|| vec![value.trim().to_owned()]);
    if let Some(key) = text.strip_prefix('!') {
        return of(key, Some(Demand::Absent));
    }
    if let Some((key, value)) = text.split_once("!=") {
        return of(key, one(value).map(Demand::NotIn));
    }
    if let Some((key, value)) = text.split_once('=') {
        return of(key, one(value.strip_prefix('=').unwrap_or(value)).map(Demand::In));
    }
    if let Some((words, values)) = text.split_once('(') {
        let values = values.strip_suffix(')').and_then(list);
        return match words.split_whitespace().collect::<Vec<_>>().as_slice() {
            [key, "in"] => of(key, values.map(Demand::In)),
            [key, "notin"] => of(key, values.map(Demand::NotIn)),
            _ => Err(bad(part)),
        };
    }
    of(text, Some(Demand::Exists))
}

fn list(values: &str) -> Option<Vec<String>> {
    values.split(',').map(|value| is_value(value.trim()).then(|| value.trim().to_owned())).collect()
}

/// Returns true for a label key: `DOMAIN/NAME` or `NAME`.
fn is_key(key: &str) -> bool {
    let (domain, name) = key.split_once('/').map_or((None, key), |(domain, name)| (Some(domain), name));
    let is_domain = |domain: &str| {
        (1..=MAX_DOMAIN).contains(&domain.len())
            && domain.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.'))
    };
    !name.is_empty() && is_value(name) && domain.is_none_or(is_domain)
}

/// Returns true for a label value: at most 63 letters and digits, and `-`, `_` and `.` between them.
fn is_value(value: &str) -> bool {
    let ends = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    value.len() <= MAX_NAME
        && ends(value.chars().next())
        && ends(value.chars().next_back())
        && value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn bad(part: &str) -> BadSelector {
    BadSelector { at: part.trim().chars().take(100).collect() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Selector;

    fn check(selector: &str, labels: &[(&str, &str)], expected: bool) {
        let labels: BTreeMap<String, String> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let parsed: Selector = selector.parse().expect("a selector");
        assert_eq!(parsed.selects(Some(&labels)), expected, "{selector} on {labels:?}");
    }

    #[test]
    fn selects_as_kubectl_does() {
        let web = [("app", "web"), ("tier", "front"), ("shop.example/team", "a")];
        for (selector, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            (" app = web , tier=front ", true),
            ("app=web,tier=back", false),
            ("app!=web", false),
            ("zone!=eu", true),
            ("app in (db, web)", true),
            ("app in (db),tier", false),
            ("app notin (db,cache),tier", true),
            ("zone notin (eu)", true),
            ("tier", true),
            ("!tier", false),
            ("!zone", true),
            ("shop.example/team=a", true),
            ("app in (web,),tier", true),
            ("zone=", false),
        ] {
            check(selector, &web, expected);
        }
        check("app=", &[("app", "")], true);
    }

    #[test]
    fn without_a_pod_only_the_empty_selector_holds() {
        assert!(Selector::default().selects(None));
        assert!(!"!app".parse::<Selector>().expect("a selector").selects(None));
    }

    #[test]
    fn says_which_part_is_wrong() {
        for (text, at) in [
            ("app=web,", ""),
            ("a b", "a b"),
            ("app in (a", "app in (a"),
            ("app within (a)", "app within (a)"),
            ("app=a b,c", "app=a b"),
            ("=web", "=web"),
            ("-app", "-app"),
            ("app=\u{1b}[2J", "app=\u{1b}[2J"),
            ("Shop/app", "Shop/app"),
            ("!", "!"),
        ] {
            assert_eq!(text.parse::<Selector>().expect_err(text).at, at, "{text}");
        }
        assert!("a".repeat(5000).parse::<Selector>().is_err());
    }
}
