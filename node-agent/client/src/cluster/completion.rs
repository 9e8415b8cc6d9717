//! Completion of the command line: the scripts that `completion` prints, and the answers to kubectl's questions in Cobra's
//! protocol. kubectl runs `kubectl_complete-portolan` with the words typed so far; that script runs `kubectl-portolan __complete`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_complete::engine::{self, CompletionCandidate};

use super::args::{Cli, CompletionArgs, ScriptRunner};
use super::candidates;
use crate::exit::Exit;
use crate::query::console::Console;
use crate::query::error::QueryError;

/// Name of the binary.
const BINARY: &str = "kubectl-portolan";
/// First word of a question. Cobra's programs use the same word.
const QUESTION: &str = "__complete";
/// Cobra's `ShellCompDirectiveNoSpace`: the word goes on after the candidate.
const NO_SPACE: u8 = 2;
/// Cobra's `ShellCompDirectiveNoFileComp`: the shell does not offer file names of its own.
const NO_FILES: u8 = 4;

const KUBECTL_SCRIPT: &str = "\
#!/bin/sh
# Completes `kubectl portolan`. kubectl runs this file, kubectl_complete-portolan, from a directory in PATH.
exec kubectl-portolan __complete \"$@\"
";
/// The same for Windows, where kubectl finds kubectl_complete-portolan.cmd.
const KUBECTL_SCRIPT_OF_WINDOWS: &str = "@kubectl-portolan __complete %*\r\n";

/// Prints the script for a shell or for kubectl.
pub(super) fn print(args: &CompletionArgs, console: &mut Console<'_>) -> Result<Exit, QueryError> {
    let shell = match args.runner {
        ScriptRunner::Kubectl => {
            let script = if cfg!(windows) { KUBECTL_SCRIPT_OF_WINDOWS } else { KUBECTL_SCRIPT };
            console.write(script)?;
            return Ok(Exit::Fine);
        }
        ScriptRunner::Bash => Shell::Bash,
        ScriptRunner::Elvish => Shell::Elvish,
        ScriptRunner::Fish => Shell::Fish,
        ScriptRunner::PowerShell => Shell::PowerShell,
        ScriptRunner::Zsh => Shell::Zsh,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), BINARY, &mut script);
    console.write(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Fine)
}

/// Answers on stdout if the arguments of the process are a question for candidates. Returns `None` if they are a command.
#[must_use]
pub fn answer_question(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    if arguments.next()? != QUESTION {
        return None;
    }
    let answer = answer(arguments.collect());
    // The shell may have closed the pipe: nobody reads the answer then.
    let _ = io::stdout().write_all(answer.as_bytes());
    Some(ExitCode::SUCCESS)
}

/// Returns one candidate per line, with its description behind a tab, and the directive in the last line.
fn answer(mut words: Vec<OsString>) -> String {
    let word = words.pop().unwrap_or_default().to_string_lossy().into_owned();
    let mut command = candidates::attach(Cli::command(), &words);
    let at = words.len() + 1;
    let line: Vec<OsString> = [BINARY.into()].into_iter().chain(words).chain([word.clone().into()]).collect();
    let here = std::env::current_dir().ok();
    // No candidates where the words before make no sense.
    let found = engine::complete(&mut command, line, at, here.as_deref()).unwrap_or_default();
    let offered: Vec<(String, String)> = found.iter().filter_map(|found| offer(found, &word)).collect();
    let goes_on = !offered.is_empty() && offered.iter().all(|(value, _)| value.ends_with('/'));
    let mut text: String = offered
        .into_iter()
        .map(
            |(value, help)| if help.is_empty() { format!("{value}\n") } else { format!("{value}\t{help}\n") },
        )
        .collect();
    text += &format!(":{}\n", if goes_on { NO_FILES | NO_SPACE } else { NO_FILES });
    text
}

/// Returns value and description of a candidate, or `None` if it is not offered: options are, once a hyphen is typed.
fn offer(found: &CompletionCandidate, word: &str) -> Option<(String, String)> {
    let value = found.get_value().to_str()?;
    if value.starts_with('-') && !word.starts_with('-') {
        return None;
    }
    // Cobra's scripts of the shells expect what follows the equals sign alone.
    let option = word.split_once('=').filter(|(option, _)| option.starts_with('-')).map(|(option, _)| option);
    let value = option.and_then(|option| value.strip_prefix(option)?.strip_prefix('=')).unwrap_or(value);
    let help = found.get_help().map(ToString::to_string).unwrap_or_default();
    Some((value.to_owned(), help.lines().next().unwrap_or_default().replace('\t', " ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the values that are offered, and the directive.
    fn ask(words: &[&str]) -> (Vec<String>, String) {
        let text = answer(words.iter().map(OsString::from).collect());
        let mut lines: Vec<String> =
            text.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect();
        let directive = lines.pop().expect("a directive");
        (lines, directive)
    }

    #[test]
    fn commands_options_and_values_are_offered() {
        for (words, expected) in [
            (&["fin"] as &[&str], &["findings"] as &[&str]),
            (&["findings", "--sev"], &["--severity"]),
            (&["findings", "--severity", "h"], &["high"]),
            (&["findings", "--severity", "low,cri"], &["low,critical"]),
            (&["findings", "-o", "j"], &["json", "junit"]),
            (&["findings", "--output=y"], &["yaml"]),
            (&["--context", "x", "find"], &["findings"]),
            (&["findings", "--code", "stale-decl"], &["stale-declaration"]),
            (&["completion", "k"], &["kubectl"]),
            (&["ui", "--no-b"], &["--no-browser"]),
            (&["no-such-command", "x"], &[]),
        ] {
            assert_eq!(
                ask(words),
                (expected.iter().map(ToString::to_string).collect(), ":4".to_owned()),
                "{words:?}"
            );
        }
    }

    #[test]
    fn without_a_word_the_commands_are_offered_and_described() {
        let text = answer(vec![OsString::new()]);
        let (commands, _) = ask(&[""]);
        assert!(
            ["findings", "listeners", "explain", "top"]
                .iter()
                .all(|name| commands.contains(&(*name).to_owned()))
        );
        assert!(commands.iter().all(|word| !word.starts_with('-')), "{commands:?}");
        assert!(text.contains("findings\tShow ports that are not as their manifests say"), "{text}");
        assert_eq!(answer(Vec::new()), text, "no word at all");
    }

    #[test]
    fn other_words_are_no_question() {
        for arguments in [&["kubectl-portolan"] as &[&str], &["kubectl-portolan", "findings", "__complete"]] {
            assert!(answer_question(arguments.iter().map(OsString::from)).is_none());
        }
    }

    #[test]
    fn the_scripts_ask_as_the_program_answers() {
        for script in [KUBECTL_SCRIPT, KUBECTL_SCRIPT_OF_WINDOWS] {
            assert!(script.contains(&format!("{BINARY} {QUESTION} ")), "{script}");
        }
    }
}
