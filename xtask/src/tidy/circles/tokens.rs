//! Splits Rust code into words, `::` and other signs, each with its line. Comments and literals must be blanked before.

/// A word (identifier, keyword or number), `::`, or any other single character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    Word(&'a str),
    PathSeparator,
    Sign(char),
}

/// Returns the tokens of `code`, each with its line, from 1.
pub fn tokens(code: &str) -> Vec<(Token<'_>, usize)> {
    let mut tokens = Vec::new();
    let mut rest = code;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let (token, length) = if is_word(first) {
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            (rest.get(..length).map(Token::Word), length)
        } else if rest.starts_with("::") {
            (Some(Token::PathSeparator), 2)
        } else {
            line += usize::from(first == '\n');
            ((!first.is_whitespace()).then_some(Token::Sign(first)), first.len_utf8())
        };
        tokens.extend(token.map(|token| (token, line)));
        rest = rest.get(length..).unwrap_or_default();
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
