//! Checks the size of files and functions, and the header of each file.

use super::rust_source::functions;
use super::{Complaint, TextFile};

/// Maximum number of lines in a file.
const FILE_LINES: usize = 500;
/// Maximum number of lines in a function.
const FUNCTION_LINES: usize = 60;
/// Maximum number of lines in the header of a file, enough for three sentences.
const HEADER_LINES: usize = 8;

pub fn check(file: &TextFile, code: &str) -> Vec<Complaint> {
    let complain = |line, what: String| Complaint { file: file.path.clone(), line, what };
    let mut complaints = Vec::new();
    let lines = file.text.lines().count();
    if lines > FILE_LINES {
        complaints.push(complain(0, format!("{lines} lines, more than {FILE_LINES}: cut it in two")));
    }
    for function in functions(code).into_iter().filter(|function| function.lines > FUNCTION_LINES) {
        let what = format!("fn {} has {} lines, more than {FUNCTION_LINES}", function.name, function.lines);
        complaints.push(complain(function.line, what));
    }
    let header = file.text.lines().take_while(|line| line.starts_with("//!")).count();
    if header == 0 {
        complaints.push(complain(
            1,
            "begins without `//!`: say what the file is and why it stands alone".to_owned(),
        ));
    }
    if header > HEADER_LINES {
        complaints.push(complain(1, format!("a header of {header} lines: three sentences are enough")));
    }
    complaints
}
