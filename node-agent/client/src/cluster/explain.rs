//! `kubectl portolan explain`: each agent knows the pods of its own node, so the paths of every node that has some are shown.

use portolan_engine::read::explain::target::Target;
use portolan_report::escape::terminal;
use portolan_report::wire::SCHEMA;
use serde_json::{Value, json};

use super::args::{ClusterArgs, ExplainArgs};
use super::error::ClusterError;
use super::fleet::{Answers, Fleet, Question};
use crate::args::Format;
use crate::exit::Exit;
use crate::query::console::Console;
use crate::query::error::QueryError;
use crate::query::explain::{PATH, width};
use crate::query::{show, url};

/// Asks all agents. Shows the explanations of the nodes with a pod at the end of a path, or else the explanation of one node.
pub(super) async fn explain(
    cluster: &ClusterArgs,
    args: &ExplainArgs,
    console: &mut Console<'_>,
) -> Result<Exit, ClusterError> {
    let target = Target::parse(&args.target, args.namespace.as_deref()).map_err(QueryError::BadTarget)?;
    let question = Question::Object(url::with_query(PATH, &[("target", target.to_string())]));
    let mut answers = Fleet::find(cluster).await?.ask_named(&question).await?;
    let ends =
        |answer: &Value| answer.get("ends").and_then(Value::as_array).is_some_and(|ends| !ends.is_empty());
    let has_ends = answers.items.iter().any(ends);
    if has_ends {
        answers.items.retain(ends);
    } else {
        answers.items.truncate(1);
    }
    if !answers.items.is_empty() {
        console.write(&text(&answers, args.output).map_err(ClusterError::NotUnderstood)?)?;
    }
    let is_partial = answers.report_missing(console)?;
    if answers.items.is_empty() && !is_partial {
        let detail = format!("no agent knows {target}: no such target in this cluster");
        return Err(QueryError::NoTarget { detail }.into());
    }
    let reasons = answers.items.iter().filter_map(|answer| answer.get("partial")?.as_array()).flatten();
    let reasons: Vec<&str> = reasons.filter_map(Value::as_str).filter(|_| !has_ends).collect();
    for reason in &reasons {
        console.message(&format!("the answer is partial: {}", terminal(reason)))?;
    }
    Ok(if is_partial || !reasons.is_empty() { Exit::Partial } else { Exit::Fine })
}

fn text(answers: &Answers, output: Format) -> Result<String, show::FormatError> {
    match output {
        Format::Json => Ok(show::pretty(&json!({ "schema": SCHEMA, "items": answers.items }))),
        Format::Yaml => show::yaml(&json!({ "schema": SCHEMA, "items": answers.items })),
        Format::Name | Format::Table | Format::Wide => {
            let mut text = String::new();
            for answer in &answers.items {
                if answers.items.len() > 1 && output != Format::Name {
                    let node = answer.get("node").and_then(Value::as_str).unwrap_or_default();
                    text.push_str(&format!("── node {}\n", terminal(node)));
                }
                text.push_str(&show::explanation(answer, output, width())?);
            }
            Ok(text)
        }
    }
}
