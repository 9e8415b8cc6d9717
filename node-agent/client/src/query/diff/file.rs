//! Reads the snapshots of `diff` from files, pipes and stdin.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::snapshot::Snapshot;
use crate::query::error::QueryError;

/// Maximum size of a file that is read. A list of 100,000 findings takes about 200 MB.
const MAX_FILE: u64 = 1 << 30;

/// The path that stands for stdin.
const STDIN: &str = "-";
/// What a file should hold, for messages.
const EXPECTED: &str = "expected the output of `kubectl portolan findings -o json` or `scan -o json`";
/// Bytes at the beginning of a text in UTF-8 that some programs write.
const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";

/// Returns true if both sides are stdin, which can be read once only.
pub(crate) fn are_both_stdin(old: &Path, new: Option<&Path>) -> bool {
    old == Path::new(STDIN) && new == Some(Path::new(STDIN))
}

/// Reads a snapshot from a file, or from stdin if the path is `-`.
///
/// # Errors
/// [`QueryError::BadFile`] if it cannot be read, or has no findings.
pub(crate) fn read(path: &Path, namespace: Option<&str>) -> Result<Snapshot, QueryError> {
    let is_stdin = path == Path::new(STDIN);
    let name = if is_stdin { "stdin".to_owned() } else { path.display().to_string() };
    let bad = |reason: String| QueryError::BadFile { path: name.clone(), reason };
    if path.is_dir() {
        return Err(bad(format!("it is a directory; {EXPECTED}")));
    }
    let bytes = if is_stdin { limited(io::stdin().lock()) } else { File::open(path).and_then(limited) };
    let bytes = bytes.map_err(|error| bad(format!("{error}; {EXPECTED}")))?;
    text(&bytes)
        .and_then(|text| Snapshot::parse(text, namespace).map_err(|error| format!("{error}; {EXPECTED}")))
        .map_err(bad)
}

/// Reads at most one byte more than the limit: the size of a pipe or a device is known by nobody.
fn limited(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Returns the text of the file without a byte order mark, or what is wrong with it.
fn text(bytes: &[u8]) -> Result<&str, String> {
    if u64::try_from(bytes.len()).is_ok_and(|size| size > MAX_FILE) {
        return Err(format!("it has more than {MAX_FILE} bytes, which is the most that is read"));
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err("it is UTF-16: in PowerShell write it with `| Out-File -Encoding utf8`".to_owned());
    }
    let bytes = bytes.strip_prefix(UTF8_MARK).unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|_| format!("it is not UTF-8 text; {EXPECTED}"))
}

#[cfg(test)]
mod tests {
    use super::{read, text};
    use portolan_testing::scratch::Scratch;

    #[test]
    fn a_byte_order_mark_is_skipped_and_utf16_is_named() {
        assert_eq!(text(b"\xef\xbb\xbf{}"), Ok("{}"));
        for utf16 in [&b"\xff\xfe{\0}\0"[..], b"\xfe\xff\0{\0}"] {
            let said = text(utf16).expect_err("UTF-16");
            assert!(said.contains("Out-File -Encoding utf8"), "{said}");
        }
        assert!(text(b"\xffx").is_err_and(|said| said.contains("not UTF-8")));
    }

    #[test]
    fn a_directory_and_a_missing_file_say_what_was_expected() {
        let scratch = Scratch::new("diff-file");
        for path in [scratch.directory().to_owned(), scratch.directory().join("none.json")] {
            let said = read(&path, None).expect_err("no file").to_string();
            assert!(said.contains("expected the output of `kubectl portolan findings -o json`"), "{said}");
        }
    }

    #[test]
    fn a_list_without_kinds_as_an_older_scan_writes_it_is_read() {
        let scratch = Scratch::new("diff-kinds");
        let path = scratch.write("scan.json", "{\"schema\": \"portolan/v1\", \"items\": []}");
        assert!(read(&path, None).is_ok());
    }
}
