//! Faults on demand: rules that say which requests fail, how, and how often.

/// Requests that a rule applies to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum On {
    Everything,
    /// Lists and watches of a kind, by its plural.
    Kind(&'static str),
    Lists(&'static str),
    /// Watches, streamed lists too.
    Watches(&'static str),
    /// Creations and changes of objects of a kind.
    Writes(&'static str),
    /// Creations and changes of objects of a kind in one namespace.
    WritesIn(&'static str, &'static str),
}

/// How a request fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A response with this status code and its `Status` object.
    Status(u16),
    /// Status 429 with this Retry-After in seconds.
    TooMany(u64),
    /// The request is read, and no response is sent.
    Stall,
    /// The head of a good response is sent, and nothing after it.
    Silence,
    /// The response is cut off after so many bytes, without the end that HTTP requires.
    Cut(usize),
    /// This text is sent as a complete response.
    Say(String),
    /// An empty, complete response.
    Empty,
}

/// Injects a fault into matching requests.
#[derive(Clone, Debug)]
pub struct FaultRule {
    pub on: On,
    pub fault: Fault,
    /// Number of requests that are still to fail; `None` is unlimited.
    pub times: Option<u32>,
}

/// How the server handles `sendInitialEvents`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamedLists {
    #[default]
    Served,
    /// Status 422, as a server whose WatchList feature is off.
    Refused,
    /// Handled as a plain watch, as by servers that are older than the parameter.
    Unknown,
    /// Status 500, as a server whose etcd is 3.4.
    NoProgress,
}

/// Kind of access to objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Reads one object or many.
    List,
    Watch,
    Write,
}

/// The rules in force, in the order of their injection.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Vec<FaultRule>,
}

impl Faults {
    pub fn add(&mut self, rule: FaultRule) {
        self.rules.push(rule);
    }

    pub fn heal(&mut self) {
        self.rules.clear();
    }

    /// Returns the fault of the first rule that matches, and counts that use.
    pub fn take(&mut self, plural: &str, namespace: Option<&str>, verb: Verb) -> Option<Fault> {
        let hit = self.rules.iter().position(|rule| {
            let on = match rule.on {
                On::Everything => true,
                On::Kind(kind) => kind == plural,
                On::Lists(kind) => kind == plural && verb == Verb::List,
                On::Watches(kind) => kind == plural && verb == Verb::Watch,
                On::Writes(kind) => kind == plural && verb == Verb::Write,
                On::WritesIn(kind, within) => {
                    kind == plural && namespace == Some(within) && verb == Verb::Write
                }
            };
            on && rule.times != Some(0)
        })?;
        let rule = &mut self.rules[hit];
        rule.times = rule.times.map(|times| times - 1);
        Some(rule.fault.clone())
    }
}
