//! Options of the verbs that ask all nodes what `portolan` asks one. Doc comments of fields are the help texts.

use clap::Args;

use crate::args::{DraftArgs, Format, RuleArgs};

/// Options of `kubectl portolan status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// How to show it
    #[arg(short, long, default_value = "table")]
    pub output: Format,
}

/// Options of `kubectl portolan baseline`.
#[derive(Debug, Args)]
pub struct BaselineArgs {
    /// The rules, and the findings that they are for.
    #[command(flatten)]
    pub rules: RuleArgs,
}

/// Options of `kubectl portolan policy`.
#[derive(Debug, Args)]
pub struct PolicyArgs {
    /// Target and form of the policy.
    #[command(flatten)]
    pub draft: DraftArgs,
}

/// Options of `kubectl portolan doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// How to show it: table, json or yaml
    #[arg(short, long, default_value = "table")]
    pub output: Format,
}

/// Options of `kubectl portolan ui`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kubectl portolan ui
  kubectl portolan ui 'severity=critical,high&namespace=shop'
  kubectl portolan ui --port 8470 --no-browser    # behind `ssh -L 8470:127.0.0.1:8470`

The page listens on 127.0.0.1 only. The printed URL has a key that opens it once, for one browser: other users of this machine,
and other pages in the browser, cannot read the page then. The browser gets the URL as an argument, which other users of this
machine can see in the list of processes (`ps`) while it starts. The command says when the page was opened: if it was not you,
end it. With --no-browser, only the terminal has the URL. Ctrl-C ends the page.")]
pub struct UiArgs {
    /// View to open: a URL of the page, as its `Copy link` gives it, or what is behind its question mark
    #[arg(value_name = "QUERY")]
    pub query: Option<String>,
    /// Port on 127.0.0.1; 0 takes any that is free
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub port: u16,
    /// Only print the URL
    #[arg(long)]
    pub no_browser: bool,
}
