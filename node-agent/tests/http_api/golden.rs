//! Comparison with files beside the tests; PORTOLAN_BLESS=1 writes them instead.

use std::path::PathBuf;

/// Fails unless `text` is what the file `name` holds.
pub fn check(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/http_api/golden").join(name);
    check_file(&path, text);
}

/// The same for any file.
pub fn check_file(path: &std::path::Path, text: &str) {
    if std::env::var_os("PORTOLAN_BLESS").is_some() {
        std::fs::write(path, text).expect("writes");
        return;
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        expected == text,
        "{} differs; if this is meant, run again with PORTOLAN_BLESS=1\n--- expected\n{expected}\n--- got\n{text}",
        path.display()
    );
}
