//! The web page: its files, and the headers that must go with them. An agent serves them for its node, and
//! `kubectl portolan ui` for all nodes. Both answer the same requests, so that one page fits both.

/// Content security policy of the page: nothing but its own files and its own host, so that text that a pod chose cannot run
/// as a script.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                                           base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Headers of every file.
pub const HEADERS: [(&str, &str); 6] = [
    ("content-security-policy", CONTENT_SECURITY_POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("vary", "accept-encoding"),
    // Another agent, or another version, can serve the same address later.
    ("cache-control", "no-store"),
];

/// A file of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageFile {
    /// Name below `/ui/`.
    pub name: &'static str,
    /// Value of `content-type`.
    pub content_type: &'static str,
    /// Content.
    pub text: &'static str,
    /// Content, compressed by gzip.
    pub gzip: &'static [u8],
}

impl PageFile {
    /// Returns the body of an answer to a request with this `accept-encoding`, and the value of `content-encoding`; `None` if
    /// the body is not compressed.
    #[must_use]
    pub fn body(&self, accept_encoding: &str) -> (&'static [u8], Option<&'static str>) {
        let admits = |coding: &str| {
            let mut parts = coding.split(';').map(str::trim);
            let refused = |weight: &str| weight.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
            parts.next() == Some("gzip") && !parts.any(refused)
        };
        if accept_encoding.split(',').any(admits) {
            (self.gzip, Some("gzip"))
        } else {
            (self.text.as_bytes(), None)
        }
    }
}

/// Describes a file of a folder of this crate.
macro_rules! page_file {
    ($folder:literal, $name:literal, $content_type:literal) => {
        PageFile {
            name: $name,
            content_type: concat!($content_type, "; charset=utf-8"),
            text: include_str!(concat!("../", $folder, $name)),
            gzip: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".gz")),
        }
    };
}

macro_rules! script {
    ($name:literal) => {
        page_file!("js/", $name, "text/javascript")
    };
}

macro_rules! style {
    ($name:literal) => {
        page_file!("css/", $name, "text/css")
    };
}

/// The page itself, served at `/`.
pub const PAGE: PageFile = page_file!("", "page.html", "text/html");

/// The files that the page loads, served at `/ui/{name}`.
pub const FILES: &[PageFile] = &[
    script!("first.js"),
    script!("main.js"),
    script!("dom.js"),
    script!("words.js"),
    script!("marks.js"),
    script!("filter.js"),
    script!("state.js"),
    script!("stream.js"),
    script!("tabs.js"),
    script!("rows.js"),
    script!("feed.js"),
    script!("header.js"),
    script!("strip.js"),
    script!("filters.js"),
    script!("popup.js"),
    script!("menus.js"),
    script!("agents.js"),
    script!("help.js"),
    script!("export.js"),
    script!("keyboard.js"),
    script!("announce.js"),
    script!("states.js"),
    script!("model.js"),
    script!("layout.js"),
    script!("chart.js"),
    script!("list.js"),
    script!("table.js"),
    script!("detail.js"),
    style!("page.css"),
    style!("chart.css"),
    style!("list.css"),
];

/// Returns the file with this name below `/ui/`.
#[must_use]
pub fn file(name: &str) -> Option<&'static PageFile> {
    FILES.iter().find(|file| file.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Maximum size in bytes of what a browser fetches: all files, compressed.
    const MAX_BYTES: usize = 120 * 1024;

    #[test]
    fn the_files_are_small() {
        let bytes: usize = FILES.iter().chain([&PAGE]).map(|file| file.gzip.len()).sum();
        assert!(bytes <= MAX_BYTES, "{bytes} bytes of at most {MAX_BYTES}");
    }

    #[test]
    fn a_browser_that_takes_gzip_gets_it_and_no_other() {
        for (accepted, is_compressed) in [
            ("gzip, deflate, br", true),
            ("br;q=1.0, gzip;q=0.8", true),
            ("", false),
            ("identity", false),
            ("gzip;q=0", false),
            ("gzip; q=0.0", false),
            ("xgzip", false),
        ] {
            let (body, encoding) = PAGE.body(accepted);
            assert_eq!(encoding.is_some(), is_compressed, "{accepted}");
            assert_eq!(body.starts_with(&[0x1f, 0x8b]), is_compressed, "{accepted}");
        }
    }

    #[test]
    fn every_file_of_the_folders_is_served() {
        for folder in ["js", "css"] {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
            for entry in std::fs::read_dir(path).expect("the folder") {
                let name = entry.expect("an entry").file_name().into_string().expect("a name");
                assert!(file(&name).is_some(), "{folder}/{name} is not in FILES");
            }
        }
    }

    #[test]
    fn the_page_loads_every_file_at_once() {
        for file in FILES {
            assert!(
                PAGE.text.contains(&format!("\"/ui/{}\"", file.name)),
                "page.html does not name {}",
                file.name
            );
        }
    }

    #[test]
    fn no_file_parses_text_as_markup_or_loads_anything_else() {
        for file in FILES.iter().chain([&PAGE]) {
            for word in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "@import",
                "url(http",
                " style=",
            ] {
                assert!(!file.text.contains(word), "{}: {word}", file.name);
            }
        }
    }
}
