//! The result of all checks, and its table.

use portolan_report::escape::terminal;
use serde::Serialize;

use super::check::{Check, CheckState, NeededBy};

/// Maximum width of the table, in columns.
const COLUMNS: u16 = 100;

/// What can run on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ability {
    Agent,
    ScanOnly,
    Nothing,
}

impl Ability {
    /// Describes the ability in one sentence.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Agent => "this node can run the agent",
            Self::ScanOnly => "this node can run `portolan scan` only",
            Self::Nothing => "this node can run neither the agent nor a scan",
        }
    }
}

/// All checks, and the ability that follows from them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    pub ability: Ability,
    pub checks: Vec<Check>,
}

impl Diagnosis {
    /// Derives the ability from the checks.
    #[must_use]
    pub fn of(checks: Vec<Check>) -> Self {
        let fails =
            |needed| checks.iter().any(|check| check.state == CheckState::Fail && check.needed == needed);
        let ability = match (fails(NeededBy::Scan), fails(NeededBy::Agent)) {
            (true, _) => Ability::Nothing,
            (false, true) => Ability::ScanOnly,
            (false, false) => Ability::Agent,
        };
        Self { ability, checks }
    }

    /// Formats the checks as a table of at most [`COLUMNS`] columns. The correction is below what was found.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = comfy_table::Table::new();
        table
            .load_style(comfy_table::presets::NOTHING)
            .set_content_arrangement(comfy_table::ContentArrangement::Dynamic)
            .set_width(COLUMNS)
            .set_header(["CHECK", "STATE", "FOUND, AND WHAT TO DO"]);
        for (column, is_last) in table.column_iter_mut().zip([false, false, true]) {
            column.set_padding((0, if is_last { 0 } else { 2 }));
            if !is_last {
                column.set_constraint(comfy_table::ColumnConstraint::ContentWidth);
            }
        }
        for check in &self.checks {
            let state = match check.state {
                CheckState::Ok => "ok",
                CheckState::Warn => "warn",
                CheckState::Fail => "FAIL",
            };
            let found = terminal(&check.found);
            let words =
                if check.fix.is_empty() { found } else { format!("{found}\n→ {}", terminal(&check.fix)) };
            table.add_row([check.name.as_str(), state, words.as_str()]);
        }
        format!("{}\n\n{}", table.trim_fmt(), self.ability.sentence())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::{check, problem};

    #[test]
    fn failures_add_up_to_what_can_be_run() {
        let fail = |needed| check("x", needed, Err(problem("bad", "fix it")));
        assert_eq!(Diagnosis::of(vec![fail(NeededBy::Nothing)]).ability, Ability::Agent);
        assert_eq!(Diagnosis::of(vec![fail(NeededBy::Agent)]).ability, Ability::ScanOnly);
        assert_eq!(
            Diagnosis::of(vec![fail(NeededBy::Agent), fail(NeededBy::Scan)]).ability,
            Ability::Nothing
        );
        let table = Diagnosis::of(vec![fail(NeededBy::Agent)]).table();
        assert!(table.contains("fix it") && table.contains("FAIL") && table.contains("scan"), "{table}");
    }

    #[test]
    fn the_table_fits_a_hundred_columns_and_advice_stands_beneath_what_was_found() {
        let long = |word: &str| vec![word; 60].join(" ");
        let row = check("a check with a long name", NeededBy::Agent, Err(problem(long("found"), long("do"))));
        let table = Diagnosis::of(vec![row, check("b", NeededBy::Nothing, Ok(String::new()))]).table();
        assert!(table.lines().all(|line| line.chars().count() <= usize::from(COLUMNS)), "{table}");
        assert_eq!(table.matches("found").count(), 60, "{table}");
        let arrow = table.lines().position(|line| line.contains("→ do")).expect("advice");
        assert!(arrow > 3 && table.lines().nth(arrow).is_some_and(|line| line.starts_with("   ")), "{table}");
        assert!(table.lines().any(|line| line.starts_with("b ")), "also one without words: {table}");
    }
}
