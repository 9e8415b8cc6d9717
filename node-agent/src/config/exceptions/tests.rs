//! Tests of exceptions: the meaning of valid rules, and the message of each invalid one.

use super::super::file;
use super::*;

fn read(rules: &str) -> Result<Vec<Exception>, String> {
    let mut file = file::parse("p.yaml", rules).map_err(|error| error.to_string())?;
    check("p.yaml", &file.exceptions.take().unwrap_or_default()).map_err(|error| error.to_string())
}

fn rule(matches: &str) -> Result<Vec<Exception>, String> {
    read(&format!("exceptions:\n- name: a\n  reason: known\n  match: {matches}\n"))
}

#[test]
fn a_rule_with_everything_is_understood() {
    let rules = read(
        "exceptions:
- name: scraped
  reason: \"metrics; ticket 12\"
  expires: 2027-01-31
  match:
    namespace: [shop, team-*]
    labels: {app: web, tier: [front, \"*\"]}
    workload: {kind: Deployment, name: web}
    container: app
    image: registry.example/web:*
    process: [node, /usr/bin/node]
    port: [9090, 8000-8010, 53/udp]
    protocol: [TCP, udp]
    exposure: pod
    code: [undeclared-reachable, undeclared-active]
- {name: other, reason: known, expires: \"2027-01-31T12:00:00+01:00\", match: {port: 1}}
",
    )
    .expect("valid");
    let [scraped, other] = rules.as_slice() else { panic!("{rules:?}") };
    assert_eq!(
        (scraped.suppression.rule.as_str(), scraped.suppression.reason.as_str()),
        ("scraped", "metrics; ticket 12")
    );
    assert_eq!(scraped.expires.map(|at| at.to_string()).as_deref(), Some("2027-02-01T00:00:00Z"));
    assert_eq!(other.expires.map(|at| at.to_string()).as_deref(), Some("2027-01-31T11:00:00Z"));
    let matches = &scraped.matches;
    assert_eq!((matches.namespace.len(), matches.labels.len(), matches.process.len()), (2, 2, 2));
    assert_eq!((matches.port.len(), &matches.protocol), (3, &vec![Protocol::Tcp, Protocol::Udp]));
    assert_eq!((&matches.exposure, matches.code.len()), (&vec![Exposure::Pod], 2));
    assert_eq!(read("exceptions: []\n").expect("valid"), []);
    assert_eq!(read("grace: 1s\n").expect("valid"), []);
}

#[test]
fn a_match_that_is_wrong_is_said_in_one_line() {
    for (matches, then) in [
        (
            "{}",
            "p.yaml:2: exceptions[0] \"a\": match is empty: it would suppress every finding; say at least one of",
        ),
        ("", "match is empty"),
        ("{process: nginx}", "match has process only, and every process may call itself so: say also where"),
        ("{nmespace: a}", "p.yaml:4: unknown key `nmespace`: did you mean `namespace`?"),
        ("{namespace: []}", "match.namespace has 0 values: expected 1 to 1024"),
        (
            "{namespace: \"\"}",
            "match.namespace: \"\" is not valid: expected a name, in which * stands for any text",
        ),
        ("{workload: {}}", "match.workload is empty: expected kind, name, or both"),
        ("{labels: {}}", "match.labels is empty"),
        ("{labels: {app: []}}", "match.labels.app has 0 values"),
        ("{port: 0}", "match.port: \"0\" is not valid: expected a port from 1 to 65535, a range"),
        ("{port: -1}", "match.port: \"-1\" is not valid"),
        ("{port: 8010-8000}", "match.port: \"8010-8000\" is not valid"),
        ("{port: 80/ICMP}", "match.port: \"80/ICMP\" is not valid"),
        ("{port: 70000}", "match.port: \"70000\" is not valid"),
        ("{port: [[80]]}", "p.yaml:"),
        ("{port: {a: 80}}", "p.yaml:"),
        ("{port: 80, protocol: ICMP}", "match.protocol: \"ICMP\" is not valid: expected TCP, UDP or SCTP"),
        ("{exposure: world}", "match.exposure: \"world\" is not valid: expected loopback, pod or host"),
        (
            "{code: undeclared}",
            "match.code: \"undeclared\" is not valid: expected one of undeclared-external,",
        ),
        ("{namespace: \"a\\nb\"}", "namespace has control characters or several lines"),
    ] {
        let error = rule(matches).expect_err(matches);
        assert!(error.contains(then), "{matches}: {error}");
        assert!(error.starts_with("p.yaml:") && !error.contains('\n'), "{matches}: {error}");
    }
}

#[test]
fn a_rule_that_is_wrong_is_said_with_its_line() {
    let long = format!("exceptions:\n- {{name: a, reason: {}, match: {{port: 1}}}}\n", "x".repeat(501));
    for (rules, then) in [
        (
            "exceptions:\n- reason: b\n",
            "p.yaml:2: exceptions[0]: name is missing: expected a name of its own",
        ),
        ("exceptions:\n- name: \" \"\n", "name is missing"),
        (
            "exceptions:\n- name: a\n  match: {port: 1}\n",
            "p.yaml:2: exceptions[0] \"a\": reason is missing: say why",
        ),
        ("exceptions:\n- {name: a, reason: b}\n", "match is empty"),
        (
            "exceptions:\n- {name: a, reason: b, until: c}\n",
            "p.yaml:2: unknown key `until`: expected one of name,",
        ),
        ("exceptions:\n- {name: annotation/pod, reason: b, match: {port: 1}}\n", "are those of annotations"),
        (
            "exceptions:\n- {name: a, reason: b, expires: soon, match: {port: 1}}\n",
            "expires: \"soon\" is not valid",
        ),
        (
            "exceptions:\n- {name: a, reason: b, expires: 2027-02-30, match: {port: 1}}\n",
            "is not valid: expected a day",
        ),
        (
            "exceptions:\n- {name: a, reason: b, expires: \"2027-01-31T12:00:00\", match: {port: 1}}\n",
            "a time such as",
        ),
        (
            "exceptions:\n- {name: a, reason: b, match: {port: 1}}\n- {name: a, reason: c, match: {port: 2}}\n",
            "p.yaml:3: exceptions[1] \"a\": the name is taken by the rule of line 2: give each its own",
        ),
        (&long, "reason has more than 500 characters"),
        ("exceptions: {a: 1}\n", "p.yaml:1:"),
        ("exceptions: [7]\n", "p.yaml:1:"),
    ] {
        let error = read(rules).expect_err(rules);
        assert!(error.contains(then), "{rules}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
    let many: String =
        (0..=MAX_RULES).map(|n| format!("- {{name: r{n}, reason: b, match: {{port: 1}}}}\n")).collect();
    let error = read(&format!("exceptions:\n{many}")).expect_err("too many");
    assert!(error.contains("more than 4096 rules"), "{error}");
}
