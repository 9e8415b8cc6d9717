//! Reads Rust as far as the house checks need it: blanks comments and literals, and finds functions by their braces.

/// Returns the source with comments, strings and character literals blanked. Line breaks are kept.
pub fn without_prose(source: &str) -> String {
    let mut rest = source;
    let mut code = String::with_capacity(source.len());
    while let Some(first) = rest.chars().next() {
        let prose = prose_at(rest, code.chars().next_back());
        let length = if prose == 0 { first.len_utf8() } else { prose };
        let Some((piece, after)) = rest.split_at_checked(length) else { break };
        if prose == 0 {
            code.push_str(piece);
        } else {
            code.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
        rest = after;
    }
    code
}

/// Returns the length in bytes of the comment or literal that starts here. 0: none starts here.
fn prose_at(rest: &str, before: Option<char>) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return rest.find("*/").map_or(rest.len(), |end| end + 2);
    }
    if rest.starts_with('"') {
        return quoted(rest, '"');
    }
    if rest.starts_with('\'') {
        return character(rest);
    }
    let word_before = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with('r') && !word_before { raw(rest) } else { 0 }
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// Returns the length of a character literal. 0: a lifetime.
fn character(rest: &str) -> usize {
    let mut inner = rest.chars().skip(1);
    match (inner.next(), inner.next()) {
        (Some('\\'), _) => quoted(rest, '\''),
        (Some(c), Some('\'')) => c.len_utf8() + 2,
        _ => 0,
    }
}

fn raw(rest: &str) -> usize {
    let hashes = rest.chars().skip(1).take_while(|c| *c == '#').count();
    let opening = 1 + hashes;
    if !rest.get(opening..).is_some_and(|inner| inner.starts_with('"')) {
        return 0;
    }
    let closing = format!("\"{}", "#".repeat(hashes));
    let inner = rest.get(opening + 1..).unwrap_or_default();
    inner.find(&closing).map_or(rest.len(), |at| opening + 1 + at + closing.len())
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    /// Line of its `fn`, from 1.
    pub line: usize,
    /// Number of lines from `fn` to the closing brace.
    pub lines: usize,
}

/// Returns every function with a body. Comments and literals must be blanked before.
pub fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    let mut line = 1;
    for (at, c) in code.char_indices() {
        if c == '\n' {
            line += 1;
        }
        let before = code.get(..at).and_then(|text| text.chars().next_back());
        let starts_word = before.is_none_or(|c| !c.is_alphanumeric() && c != '_');
        let Some(rest) = code.get(at..).and_then(|rest| rest.strip_prefix("fn ")).filter(|_| starts_word)
        else {
            continue;
        };
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if let (false, Some(lines)) = (name.is_empty(), body_lines(rest)) {
            found.push(Function { name, line, lines });
        }
    }
    found
}

/// Returns the number of lines up to the end of the body. `None`: a declaration without a body.
fn body_lines(rest: &str) -> Option<usize> {
    let (mut braces, mut brackets, mut lines) = (0_usize, 0_usize, 1);
    for c in rest.chars() {
        match c {
            '\n' => lines += 1,
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            ';' if braces == 0 && brackets == 0 => return None,
            '{' => braces += 1,
            '}' if braces <= 1 => return Some(lines),
            '}' => braces -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_comments_and_literals_only() {
        let code = without_prose(
            "let a = \"fn {\\\" x\"; // aya\nlet b = 'x'; let c: &'a str = r#\"{\"#; /* tokio */ end",
        );
        assert!(
            !code.contains("fn") && !code.contains("aya") && !code.contains("tokio") && !code.contains('{')
        );
        assert!(code.contains("let c: &'a str =") && code.ends_with("end"));
        assert_eq!(code.lines().count(), 2);
    }

    #[test]
    fn measures_functions_from_fn_to_closing_brace() {
        let source = "trait T { fn none(a: [u8; 2]); }\nfn one() {}\npub async fn three(x: [u8; 3]) -> [u8; 3] {\n    { x }\n}\n";
        let found: Vec<_> = functions(source).into_iter().map(|f| (f.name, f.line, f.lines)).collect();
        assert_eq!(found, [("one".to_owned(), 2, 1), ("three".to_owned(), 3, 3)]);
    }
}
