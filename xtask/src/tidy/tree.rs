//! Checks the contents of the tree: file names, binary files, paths of one machine, and links.

use std::path::Path;

use super::{Complaint, TextFile};

/// Words in file names that do not describe the contents.
const EMPTY_NAMES: [&str; 12] = [
    "util",
    "utils",
    "helper",
    "helpers",
    "common",
    "misc",
    "manager",
    "handler",
    "processor",
    "data",
    "info",
    "stuff",
];
/// Extensions of generated files.
const GENERATED: [&str; 10] = [".o", ".ko", ".so", ".a", ".bc", ".deb", ".tar", ".gz", ".xz", ".profraw"];
/// Binary files that may be in the tree.
const PICTURES: [&str; 3] = [".png", ".ico", ".woff2"];
/// Parts of paths and hosts that belong to one machine. Split in two, so that this file does not contain them.
const OF_ONE_MACHINE: [(&str, &str); 9] = [
    ("/wo", "rk/"),
    ("/tmp", "/w"),
    ("/root", "/.cargo"),
    ("/ho", "me/"),
    ("deb.deb", "ian.org"),
    ("snapshot.deb", "ian.org"),
    ("static.crates", ".io"),
    ("index.crates", ".io"),
    ("registry.npm", "js"),
];

/// Checks the names of all files.
pub fn names(paths: &[String]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for path in paths {
        let empty = path.split(['/', '_', '-', '.']).find(|word| EMPTY_NAMES.contains(word));
        if let Some(word) = empty {
            complaints.push(about(
                path,
                0,
                format!("`{word}` says nothing: name the file after what is in it"),
            ));
        }
        if GENERATED.iter().any(|ending| path.ends_with(ending)) {
            complaints.push(about(path, 0, "is made, not written: keep it out of git".to_owned()));
        }
        let (stem, is_rust) = path.strip_suffix(".rs").map_or((path.as_str(), false), |stem| (stem, true));
        if is_rust && paths.iter().any(|other| *other == format!("{stem}/mod.rs")) {
            complaints.push(about(
                path,
                0,
                "stands beside a folder of its name: move it to its mod.rs".to_owned(),
            ));
        }
    }
    for wanted in ["CHANGELOG.md", "README.md", "LICENSE", "CONTRIBUTING.md", "SECURITY.md", ".ci/run"] {
        if !paths.iter().any(|path| path == wanted) {
            complaints.push(about(wanted, 0, "is missing".to_owned()));
        }
    }
    complaints
}

/// Checks a file that is not text. Only pictures and fonts are allowed.
pub fn binary(path: &str) -> Option<Complaint> {
    let picture = PICTURES.iter().any(|ending| path.ends_with(ending));
    (!picture).then(|| about(path, 0, "is binary: keep it out of git, or make it in the build".to_owned()))
}

/// Checks a text file for paths and hosts of one machine, and for leftovers of merges and templates.
pub fn contents(file: &TextFile) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    if file.path == "Cargo.lock" {
        return complaints;
    }
    for (number, line) in file.text.lines().enumerate() {
        for (start, end) in OF_ONE_MACHINE {
            if line.contains(&format!("{start}{end}")) {
                let what = format!("names `{start}{end}`, which belongs to one machine");
                complaints.push(about(&file.path, number + 1, what));
            }
        }
        if line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ") {
            complaints.push(about(&file.path, number + 1, "a merge that is not finished".to_owned()));
        }
        if file.path.ends_with(".md") && line.contains("@@") {
            complaints.push(about(&file.path, number + 1, "a placeholder that nobody filled".to_owned()));
        }
    }
    complaints
}

/// Checks that the relative links of a Markdown file have a target.
pub fn links(file: &TextFile, root: &Path) -> Vec<Complaint> {
    let folder = root.join(Path::new(&file.path).parent().unwrap_or(Path::new("")));
    let mut complaints = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split(['#', ' ']).next().unwrap_or_default();
            let elsewhere = path.is_empty() || path.contains("://") || path.starts_with("mailto:");
            if !elsewhere && !folder.join(path).exists() {
                complaints.push(about(
                    &file.path,
                    number + 1,
                    format!("links to `{path}`, which does not exist"),
                ));
            }
        }
    }
    complaints
}

fn about(file: &str, line: usize, what: String) -> Complaint {
    Complaint { file: file.to_owned(), line, what }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(complaints: &[Complaint]) -> Vec<&str> {
        complaints.iter().map(|complaint| complaint.file.as_str()).collect()
    }

    #[test]
    fn names_that_say_nothing_are_refused() {
        let mut paths: Vec<String> =
            ["CHANGELOG.md", "README.md", "LICENSE", "CONTRIBUTING.md", "SECURITY.md", ".ci/run"]
                .map(str::to_owned)
                .into();
        assert_eq!(names(&paths), []);
        paths.extend(["a/net_utils.rs".to_owned(), "a/database.rs".to_owned(), "a/data/x.rs".to_owned()]);
        assert_eq!(whats(&names(&paths)), ["a/net_utils.rs", "a/data/x.rs"]);
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let text = "[a](Cargo.toml) [b](nowhere.md#x) [c](https://example.org) [d](#here)".to_owned();
        let file = TextFile { path: "README.md".to_owned(), text };
        let found = links(&file, Path::new(env!("CARGO_MANIFEST_DIR")));
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
