//! What the tier measures, printed at its end for a person to judge. No case fails because of a time.

use std::sync::{Mutex, PoisonError};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The measurements of all cases.
pub struct Report;

impl Report {
    /// Notes a measurement.
    pub fn note(line: String) {
        LINES.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// Prints the measurements in order.
    pub fn print() {
        let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
        lines.sort();
        for line in lines.iter() {
            println!("measured: {line}");
        }
    }
}
