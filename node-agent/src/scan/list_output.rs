//! Writes findings as a JSON list. Threads render parts of the list side by side, a few parts ahead of the output, so that the text
//! of a long list is never in memory as a whole.

use std::io::{self, Write};
use std::sync::mpsc::sync_channel;
use std::thread::{self, Builder};

use portolan_report::json_list;
use portolan_report::wire::{Finding as WireFinding, Report};

/// Number of findings of a part: some 180 KiB of text.
const PART: usize = 64;
/// Maximum number of threads. One thread renders faster than most readers read.
const MAX_THREADS: usize = 4;

/// Writes findings as a list of the API, each with its `kind`.
///
/// # Errors
/// The error of `out`, or of a thread that cannot be started.
pub fn write_json<T: Sync>(
    out: impl Write,
    findings: &[T],
    convert: impl Fn(&T) -> WireFinding + Sync,
) -> io::Result<()> {
    let reports = |part: &[T]| json_list::part(part.iter().map(|finding| Report::Finding(convert(finding))));
    let parts: Vec<&[T]> = findings.chunks(PART).collect();
    let threads = thread::available_parallelism().map_or(1, |cpus| cpus.get().min(MAX_THREADS));
    let (parts, reports) = (&parts, &reports);
    thread::scope(|scope| {
        let mut rendered = Vec::new();
        for first in 0..threads.min(parts.len()) {
            let (sender, receiver) = sync_channel(1);
            // A send fails once the reader of the list is gone.
            let render = move || {
                parts.iter().skip(first).step_by(threads).try_for_each(|part| sender.send(reports(part)))
            };
            Builder::new().name("output".to_owned()).spawn_scoped(scope, render)?;
            rendered.push(receiver);
        }
        let in_turn = rendered.iter().cycle().take(parts.len());
        let texts = in_turn.map(|receiver| receiver.recv().map_err(io::Error::other)?);
        json_list::list_of_parts(out, texts)
    })
}
