//! What the tier measures, printed at its end for a person to judge. No case fails because of a time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
static TIMES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The measurements of all cases.
pub struct Report;

impl Report {
    /// Notes a measurement.
    pub fn note(line: String) {
        LINES.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// Notes how long a case took.
    pub fn took(case: &str, time: Duration) {
        let line = format!("time: {case} {:.3} s", time.as_secs_f64());
        TIMES.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// Prints the measurements in order, and the times of the cases for `cargo xtask test`.
    pub fn print() {
        let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
        lines.sort();
        for line in lines.iter() {
            println!("measured: {line}");
        }
        for line in TIMES.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            println!("{line}");
        }
    }
}
