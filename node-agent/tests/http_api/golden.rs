//! Compares output with golden files. PORTOLAN_BLESS=1 writes the files instead.

use std::path::PathBuf;

/// Fails unless `text` equals the golden file `name`.
pub fn check(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/http_api/golden").join(name);
    check_file(&path, text);
}

/// Fails unless `text` equals the file at `path`.
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
