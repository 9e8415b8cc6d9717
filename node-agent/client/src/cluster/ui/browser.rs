//! Opens the browser of the user, where there is one.

use std::io::{self, IsTerminal};

/// Opens a URL in the user's browser. Returns why it was not opened, or `None` if it was.
pub(super) fn open_url(url: &str) -> Option<String> {
    if !io::stderr().is_terminal() {
        return Some("this is no terminal".to_owned());
    }
    if !has_display() {
        return Some("there is no display".to_owned());
    }
    // Detached: a browser that is started by this outlives the command, and writes nothing to its terminal.
    open::that_detached(url).err().map(|error| error.to_string())
}

/// Without a display, a text browser could be started in this terminal.
fn has_display() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    cfg!(any(windows, target_os = "macos"))
        || ["DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"].into_iter().any(is_set)
}
