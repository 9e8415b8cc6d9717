//! Faults on demand: rules that say which requests fail, how, and how often.

/// Which requests a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum On {
    Everything,
    /// Lists and watches of a kind, by its plural.
    Kind(&'static str),
    Lists(&'static str),
    /// Watches, streamed lists too.
    Watches(&'static str),
    /// What makes or changes objects of a kind.
    Writes(&'static str),
    /// The same, in one namespace.
    WritesIn(&'static str, &'static str),
}

/// How a request fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An answer of this status, with the object that belongs to it.
    Status(u16),
    /// Status 429 with this Retry-After in seconds.
    TooMany(u64),
    /// The request is taken, and nothing comes.
    Stall,
    /// The head of a good answer comes, and nothing after it.
    Silence,
    /// The answer ends after so many bytes, without the end that HTTP wants.
    Cut(usize),
    /// This text comes instead of the answer, and the answer ends.
    Say(String),
    /// The answer ends at once, in order.
    Empty,
}

/// A fault for some requests.
#[derive(Clone, Debug)]
pub struct Rule {
    pub on: On,
    pub fault: Fault,
    /// `None`: until it is healed.
    pub times: Option<u32>,
}

/// What a server does about `sendInitialEvents`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamedLists {
    #[default]
    Served,
    /// As a server whose feature is off: status 422.
    Refused,
    /// As a server that is older than the parameter: taken for a plain watch.
    Unknown,
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// One object, or many.
    List,
    Watch,
    Write,
}

/// All rules in force.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Vec<Rule>,
}

impl Faults {
    pub fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    pub fn heal(&mut self) {
        self.rules.clear();
    }

    /// The fault of a request; uses up one of a rule's times.
    pub fn take(&mut self, plural: &str, namespace: Option<&str>, doing: Doing) -> Option<Fault> {
        let hit = self.rules.iter().position(|rule| {
            let on = match rule.on {
                On::Everything => true,
                On::Kind(kind) => kind == plural,
                On::Lists(kind) => kind == plural && doing == Doing::List,
                On::Watches(kind) => kind == plural && doing == Doing::Watch,
                On::Writes(kind) => kind == plural && doing == Doing::Write,
                On::WritesIn(kind, within) => {
                    kind == plural && namespace == Some(within) && doing == Doing::Write
                }
            };
            on && rule.times != Some(0)
        })?;
        let rule = &mut self.rules[hit];
        rule.times = rule.times.map(|times| times - 1);
        Some(rule.fault.clone())
    }
}
