//! The web page: its files, and the headers that must go with them. An agent serves them for its node, and
//! `kubectl portolan ui` for all nodes. Both answer the same requests, so that one page fits both.

/// Content security policy of the page: nothing but its own files and its own host, so that text that a pod chose cannot run
/// as a script.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                                           base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Headers of every file.
pub const HEADERS: [(&str, &str); 4] = [
    ("content-security-policy", CONTENT_SECURITY_POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
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
}

/// The page itself, served at `/`.
pub const PAGE: PageFile = PageFile {
    name: "page.html",
    content_type: "text/html; charset=utf-8",
    text: include_str!("../page.html"),
};

const fn script(name: &'static str, text: &'static str) -> PageFile {
    PageFile { name, content_type: "text/javascript; charset=utf-8", text }
}

const fn style(name: &'static str, text: &'static str) -> PageFile {
    PageFile { name, content_type: "text/css; charset=utf-8", text }
}

/// The files that the page loads, served at `/ui/{name}`.
pub const FILES: &[PageFile] = &[
    script("main.js", include_str!("../js/main.js")),
    script("dom.js", include_str!("../js/dom.js")),
    script("words.js", include_str!("../js/words.js")),
    script("marks.js", include_str!("../js/marks.js")),
    script("filter.js", include_str!("../js/filter.js")),
    script("state.js", include_str!("../js/state.js")),
    script("stream.js", include_str!("../js/stream.js")),
    script("tabs.js", include_str!("../js/tabs.js")),
    script("rows.js", include_str!("../js/rows.js")),
    script("data.js", include_str!("../js/data.js")),
    script("header.js", include_str!("../js/header.js")),
    script("strip.js", include_str!("../js/strip.js")),
    script("filters.js", include_str!("../js/filters.js")),
    script("popup.js", include_str!("../js/popup.js")),
    script("menus.js", include_str!("../js/menus.js")),
    script("agents.js", include_str!("../js/agents.js")),
    script("help.js", include_str!("../js/help.js")),
    script("export.js", include_str!("../js/export.js")),
    script("keyboard.js", include_str!("../js/keyboard.js")),
    script("announce.js", include_str!("../js/announce.js")),
    script("states.js", include_str!("../js/states.js")),
    script("model.js", include_str!("../js/model.js")),
    script("layout.js", include_str!("../js/layout.js")),
    script("chart.js", include_str!("../js/chart.js")),
    script("list.js", include_str!("../js/list.js")),
    script("table.js", include_str!("../js/table.js")),
    script("detail.js", include_str!("../js/detail.js")),
    style("page.css", include_str!("../css/page.css")),
    style("chart.css", include_str!("../css/chart.css")),
    style("list.css", include_str!("../css/list.css")),
];

/// Returns the file with this name below `/ui/`.
#[must_use]
pub fn file(name: &str) -> Option<&'static PageFile> {
    FILES.iter().find(|file| file.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Maximum size of all files in bytes, as they are served. Compressed, they are a third of it.
    const MAX_BYTES: usize = 224 * 1024;

    #[test]
    fn the_files_are_small() {
        let bytes: usize = FILES.iter().chain([&PAGE]).map(|file| file.text.len()).sum();
        assert!(bytes <= MAX_BYTES, "{bytes} bytes of at most {MAX_BYTES}");
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
