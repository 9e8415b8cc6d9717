//! The ports of well-known programs, as data: debuggers, administration, databases, metrics and cluster components. They make
//! messages and names of ports better. No verdict and no severity depends on them.

use std::fmt;

use crate::model::identity::Protocol;
use crate::model::process::Process;

/// Purpose of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Debuggers and profilers.
    Debug,
    /// Administration of a program.
    Admin,
    /// Databases, caches and queues.
    Database,
    /// Numbers for monitoring.
    Metrics,
    /// Components of a cluster.
    Cluster,
}

impl Purpose {
    /// Returns the name that documentation uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Admin => "admin",
            Self::Database => "database",
            Self::Metrics => "metrics",
            Self::Cluster => "cluster",
        }
    }
}

/// The ports of one well-known program.
#[derive(Debug, PartialEq, Eq)]
pub struct WellKnownPort {
    /// What serves the ports, as it is called in messages.
    pub what: &'static str,
    /// Name for the port in a manifest.
    pub name: &'static str,
    /// Purpose of the ports.
    pub purpose: Purpose,
    /// Protocol.
    pub protocol: Protocol,
    /// Port numbers.
    pub ports: &'static [u16],
    /// Programs that serve the ports, by process name or executable; a version may follow (`python3.12`).
    pub programs: &'static [&'static str],
    /// True if the number alone is a hint, whatever the program is called.
    pub by_number: bool,
    /// What a caller can do, after "callers can".
    pub allows: &'static str,
}

/// Declares a row of the table.
macro_rules! row {
    ($purpose:ident, $what:literal, $name:literal, $ports:expr, $programs:expr, $allows:literal, $by_number:literal) => {
        WellKnownPort {
            what: $what,
            name: $name,
            purpose: Purpose::$purpose,
            protocol: Protocol::Tcp,
            ports: &$ports,
            programs: &$programs,
            by_number: $by_number,
            allows: $allows,
        }
    };
}

/// Declares a row that only a program of a fitting name makes likely.
macro_rules! by_program {
    ($purpose:ident, $what:literal, $name:literal, $ports:expr, $programs:expr, $allows:literal) => {
        row!($purpose, $what, $name, $ports, $programs, $allows, false)
    };
}

/// Declares a row whose port number alone is a hint.
macro_rules! by_number {
    ($purpose:ident, $what:literal, $name:literal, $ports:expr, $programs:expr, $allows:literal) => {
        row!($purpose, $what, $name, $ports, $programs, $allows, true)
    };
}

/// The table. Of several rows for a port, the first that fits best is used.
#[rustfmt::skip]
pub const WELL_KNOWN_PORTS: &[WellKnownPort] = &[
    by_number!(Debug, "Go pprof", "pprof", [6060], [], "read memory and slow the program down"),
    by_number!(Debug, "the Java debugger (JDWP)", "jdwp", [5005], ["java"], "run code in the program"),
    by_number!(Debug, "the Node.js inspector", "inspector", [9229], ["node"], "run code in the program"),
    by_number!(Debug, "the Go debugger Delve", "delve", [2345, 40_000], ["dlv"], "run code in the program"),
    by_program!(Debug, "the Python debugger debugpy", "debugpy", [5678], ["python"], "run code in the program"),
    by_program!(Debug, "the Ruby debugger", "rdbg", [12_345, 1234], ["ruby", "rdbg"], "run code in the program"),
    by_number!(Admin, "Java management (JMX)", "jmx", [1099, 7091, 9010], ["java"], "control the program, often without a password"),
    by_program!(Admin, "Spring Boot actuator", "actuator", [8081, 9001], ["java"], "read settings and memory"),
    by_number!(Admin, "Docker's API", "docker", [2375, 2376], ["dockerd", "docker"], "control the node if no certificate is asked for"),
    by_number!(Admin, "Erlang's port mapper (epmd)", "epmd", [4369], ["epmd", "beam.smp"], "find Erlang nodes and attack their cookie"),
    by_number!(Admin, "RabbitMQ management", "rabbitmq-admin", [15_672], ["beam.smp", "rabbitmq-server"], "control the queues with a password"),
    by_program!(Admin, "Jupyter", "jupyter", [8888], ["jupyter", "python"], "run code if no token is set"),
    by_number!(Admin, "Envoy's admin interface", "envoy-admin", [15_000], ["envoy", "pilot-agent"], "read settings and stop the proxy"),
    by_program!(Admin, "Envoy's admin interface", "envoy-admin", [9901, 9902, 19_000], ["envoy"], "read settings and stop the proxy"),
    by_program!(Admin, "Istio's agent", "istio-agent", [15_004, 15_020, 15_021, 15_090], ["pilot-agent", "envoy"], "read health and metrics"),
    by_program!(Admin, "Linkerd's proxy administration", "linkerd-admin", [4191], ["linkerd2-proxy"], "read metrics and change the log level"),
    by_program!(Admin, "PHP-FPM", "php-fpm", [9000], ["php-fpm", "php"], "run PHP files of the container"),
    by_program!(Admin, "nginx status", "nginx-status", [8081, 8090, 18_080], ["nginx", "nginx-ingress-c"], "read the state of the server"),
    by_number!(Database, "Redis", "redis", [6379], ["redis-server", "valkey-server", "redis-sentinel", "dragonfly", "keydb-server"], "read and change all data if no password is set"),
    by_program!(Database, "Redis Sentinel", "redis-sentinel", [26_379], ["redis-sentinel", "redis-server", "valkey-sentinel"], "change which server is the main one"),
    by_number!(Database, "memcached", "memcached", [11_211], ["memcached"], "read and change all data"),
    by_number!(Database, "PostgreSQL", "postgres", [5432], ["postgres", "postmaster", "pgbouncer"], "log in with a password"),
    by_number!(Database, "MySQL", "mysql", [3306, 33_060], ["mysqld", "mariadbd"], "log in with a password"),
    by_number!(Database, "MongoDB", "mongodb", [27_017], ["mongod", "mongos"], "read and change all data if no password is set"),
    by_number!(Database, "Elasticsearch", "elasticsearch", [9200, 9300], ["java", "opensearch"], "read and change all data if no password is set"),
    by_number!(Database, "ZooKeeper", "zookeeper", [2181], ["java"], "read and change all data if no password is set"),
    by_number!(Database, "Kafka", "kafka", [9092], ["java"], "read and write topics if no password is set"),
    by_number!(Database, "RabbitMQ", "amqp", [5672], ["beam.smp", "rabbitmq-server"], "log in with a password"),
    by_program!(Cluster, "Consul", "consul", [8500], ["consul"], "read and change services and keys if no token is asked for"),
    by_program!(Cluster, "Vault", "vault", [8200], ["vault"], "ask for secrets with a token"),
    by_number!(Cluster, "kubelet", "kubelet", [10_250], ["kubelet"], "run commands in pods with credentials"),
    by_number!(Cluster, "kubelet's read-only port", "kubelet-ro", [10_255], ["kubelet"], "read the pods of the node"),
    by_number!(Cluster, "etcd", "etcd", [2379, 2380], ["etcd"], "read and change the cluster if no certificate is asked for"),
    by_program!(Cluster, "kube-proxy", "kube-proxy", [10_249, 10_256], ["kube-proxy"], "read health and metrics"),
    by_program!(Metrics, "Prometheus", "http-metrics", [9090], ["prometheus"], "read all metrics"),
    by_program!(Metrics, "node-exporter", "http-metrics", [9100], ["node_exporter"], "read metrics of the node"),
    by_program!(Metrics, "cAdvisor", "http-metrics", [8080], ["cadvisor"], "read metrics of the containers"),
    by_program!(Metrics, "Calico's Felix", "http-metrics", [9091], ["calico-node", "calico-felix"], "read metrics of the node's network"),
];

/// Maximum length of a process name in the kernel, in bytes.
const MAX_COMM: usize = 15;

/// What a served port likely is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Likely {
    /// The row of the table.
    pub row: &'static WellKnownPort,
    /// True if the program fits as well as the number.
    pub by_program: bool,
    port: u16,
}

impl fmt::Display for Likely {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WellKnownPort { what, allows, .. } = self.row;
        if self.by_program {
            write!(f, "this is likely {what}: callers can {allows}")
        } else {
            write!(f, "port {} is often {what}: callers can {allows}", self.port)
        }
    }
}

/// Returns the names under which a process may be known: its own, and that of its executable.
pub fn programs(process: &Process) -> impl Iterator<Item = &str> {
    names(&process.name, process.executable.as_deref())
}

/// Returns the names under which a process may be known: its own, and the last part of its executable's path.
pub fn names<'a>(name: &'a str, executable: Option<&'a str>) -> impl Iterator<Item = &'a str> {
    let executable = executable.map(|path| path.rsplit('/').next().unwrap_or(path));
    std::iter::once(name).chain(executable)
}

/// Finds what a port likely is. A row whose program fits wins over one of which only the number does.
#[must_use]
pub fn find(protocol: Protocol, port: u16, programs: &[&str]) -> Option<Likely> {
    let rows = || WELL_KNOWN_PORTS.iter().filter(|row| row.protocol == protocol && row.ports.contains(&port));
    let fits =
        |row: &&WellKnownPort| row.programs.iter().any(|known| programs.iter().any(|one| is(one, known)));
    let by_program = rows().find(fits);
    let found = by_program.or_else(|| rows().find(|row| row.by_number))?;
    Some(Likely { row: found, by_program: by_program.is_some(), port })
}

/// Returns true if a process of this name is the known program: the names are equal, the kernel cut the name, or a version
/// follows.
fn is(name: &str, known: &str) -> bool {
    let is_cut = name.len() == MAX_COMM && known.starts_with(name);
    let version = name.strip_prefix(known);
    is_cut
        || version.is_some_and(|rest| {
            rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(port: u16, programs: &[&str]) -> String {
        find(Protocol::Tcp, port, programs).map(|likely| likely.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_fitting_program_makes_it_likely_and_the_number_alone_is_a_hint() {
        for (port, programs, then) in [
            (6379, &["redis-server"][..], "this is likely Redis"),
            (6379, &["app"], "port 6379 is often Redis"),
            (6060, &["web"], "port 6060 is often Go pprof"),
            (5005, &["java"], "this is likely the Java debugger (JDWP)"),
            (9229, &["MainThread", "node"], "this is likely the Node.js inspector"),
            (5678, &["python3.12"], "this is likely the Python debugger debugpy"),
            (5678, &["n8n"], ""),
            (9000, &["php-fpm8.2"], "this is likely PHP-FPM"),
            (9000, &["minio"], ""),
            (8081, &["java"], "this is likely Spring Boot actuator"),
            (8081, &["nginx"], "this is likely nginx status"),
            (8081, &["web"], ""),
            (9229, &["nodejs-helper"], "port 9229 is often the Node.js inspector"),
            (26_379, &["redis-sentinel"], "this is likely Redis Sentinel"),
            (8081, &["nginx-ingress-c"], "this is likely nginx status"),
            (12, &["redis-server"], ""),
        ] {
            let said = said(port, programs);
            let what = said.split(':').next().unwrap_or_default();
            assert_eq!(what, then, "{port} {programs:?}");
        }
        assert_eq!(find(Protocol::Udp, 6379, &["redis-server"]), None);
    }

    #[test]
    fn a_process_is_known_by_its_name_and_by_its_executable() {
        let all: Vec<&str> = names("MainThread", Some("/usr/local/bin/node")).collect();
        assert_eq!(all, ["MainThread", "node"]);
    }

    #[test]
    fn every_row_has_a_valid_port_name_and_short_words() {
        for row in WELL_KNOWN_PORTS {
            let name = row.name;
            assert!(name.len() <= 15 && name.bytes().any(|byte| byte.is_ascii_lowercase()), "{name}");
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
                "{name}"
            );
            assert!(!row.ports.is_empty() && (row.by_number || !row.programs.is_empty()), "{row:?}");
            assert!(row.what.len() + row.allows.len() <= 90, "{row:?}");
        }
    }

    /// Returns a row as the table of the documentation has it.
    fn documented(row: &WellKnownPort) -> String {
        let ports: Vec<String> = row.ports.iter().map(u16::to_string).collect();
        let programs: Vec<String> = row.programs.iter().map(|program| format!("`{program}`")).collect();
        let programs = if programs.is_empty() { "any".to_owned() } else { programs.join(", ") };
        let by_number = if row.by_number { "yes" } else { "no" };
        let (ports, purpose) = (ports.join(", "), row.purpose.as_str());
        let WellKnownPort { what, name, allows, .. } = row;
        format!("| {ports} | {what} | `{name}` | {purpose} | {programs} | {by_number} | {allows} |")
    }

    #[test]
    fn the_documentation_has_exactly_these_rows() {
        let page = include_str!("../../../../docs/declare.md");
        let section = page.split("## Well-known ports").nth(1).unwrap_or_default();
        let section = section.split("\n## ").next().unwrap_or_default();
        let written: Vec<&str> = section.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
        let expected: Vec<String> = WELL_KNOWN_PORTS.iter().map(documented).collect();
        assert_eq!(written, expected, "docs/declare.md, left, is not as the table of this file");
    }

    #[test]
    fn each_row_can_be_found() {
        for row in WELL_KNOWN_PORTS {
            let mut found = Vec::new();
            for port in row.ports {
                let programs = if row.programs.is_empty() { &["x"] } else { row.programs };
                found.extend(
                    programs
                        .iter()
                        .filter_map(|program| find(row.protocol, *port, &[program]))
                        .map(|one| one.row),
                );
            }
            assert!(found.contains(&row), "{row:?} is never found");
        }
    }
}
