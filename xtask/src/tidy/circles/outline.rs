//! Reads one source file as far as imports need it: modules, items, `use` declarations and paths.

use super::tokens::{Token, tokens};

/// Path of an inline module within its file; empty for the file's own module.
pub type Inline = Vec<String>;

/// A `mod name;` declaration.
#[derive(Debug, PartialEq, Eq)]
pub struct Declaration {
    pub within: Inline,
    pub name: String,
    pub line: usize,
}

/// A path in a `use` declaration or in the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub within: Inline,
    /// Segments as written, `crate`, `super` and `self` included; a glob import has no last segment for its `*`.
    pub path: Vec<String>,
    pub line: usize,
}

/// A name that a `use` declaration at the top of a module imports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    pub within: Inline,
    /// `None`: a glob.
    pub name: Option<String>,
    pub path: Vec<String>,
}

/// The outline of one file, without items that only tests compile.
#[derive(Debug, Default)]
pub struct Outline {
    pub declared: Vec<Declaration>,
    pub inline: Vec<Inline>,
    pub items: Vec<(Inline, String)>,
    pub imports: Vec<Import>,
    pub named: Vec<Named>,
}

/// Keywords that are followed by the name of an item.
const ITEMS: [&str; 8] = ["fn", "struct", "enum", "union", "trait", "type", "const", "static"];
/// Words that can begin an item. An attribute before any other word belongs to a field, a match arm or a statement.
const ITEM_STARTS: [&str; 16] = [
    "fn",
    "struct",
    "enum",
    "union",
    "trait",
    "type",
    "const",
    "static",
    "mod",
    "use",
    "pub",
    "impl",
    "unsafe",
    "async",
    "extern",
    "macro_rules",
];

/// Reads code whose comments and literals are blanked.
pub fn outline(code: &str) -> Outline {
    let mut reader =
        Reader { tokens: tokens(code), at: 0, depth: 0, modules: Vec::new(), outline: Outline::default() };
    while reader.step().is_some() {}
    reader.outline
}

struct Reader<'a> {
    tokens: Vec<(Token<'a>, usize)>,
    at: usize,
    /// Open braces.
    depth: usize,
    /// Inline modules that are open, each with the depth of its braces.
    modules: Vec<(String, usize)>,
    outline: Outline,
}

impl<'a> Reader<'a> {
    fn peek(&self, ahead: usize) -> Option<Token<'a>> {
        self.tokens.get(self.at + ahead).map(|(token, _)| *token)
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).map_or(0, |(_, line)| *line)
    }

    fn within(&self) -> Inline {
        self.modules.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Reads the construct at the current token. Returns `None` at the end.
    fn step(&mut self) -> Option<()> {
        match (self.peek(0)?, self.peek(1)) {
            (Token::Sign('#'), Some(Token::Sign('['))) => self.attribute(),
            (Token::Sign('{'), _) => {
                self.depth += 1;
                self.at += 1;
            }
            (Token::Sign('}'), _) => {
                self.depth = self.depth.saturating_sub(1);
                self.at += 1;
                if self.modules.last().is_some_and(|(_, depth)| *depth > self.depth) {
                    self.modules.pop();
                }
            }
            (Token::Word("mod"), Some(Token::Word(name))) => self.module(name),
            (Token::Word("use"), _) => self.import(),
            (Token::Word("macro_rules"), Some(Token::Sign('!'))) => {
                self.at += 2;
                self.item();
            }
            // A constant function: its name follows `fn`.
            (Token::Word("const"), Some(Token::Word("fn" | "unsafe" | "async" | "extern"))) => self.at += 1,
            (Token::Word("static"), Some(Token::Word("mut"))) => {
                self.at += 2;
                self.item();
            }
            (Token::Word(word), Some(Token::Word(_))) if ITEMS.contains(&word) => {
                self.at += 1;
                self.item();
            }
            (Token::Word(_), Some(Token::PathSeparator)) => self.path(),
            _ => self.at += 1,
        }
        Some(())
    }

    /// Skips an attribute; if it limits an item to tests, skips the item too.
    fn attribute(&mut self) {
        let start = self.at;
        self.at += 2;
        self.skip_to_closing('[', ']');
        let words: Vec<_> = self.tokens.iter().take(self.at).skip(start).map(|(token, _)| *token).collect();
        let test = [
            [Token::Word("cfg"), Token::Sign('('), Token::Word("test")].as_slice(),
            &[Token::Word("all"), Token::Sign('('), Token::Word("test")],
        ];
        if !test.iter().any(|test| words.windows(test.len()).any(|window| window == *test)) {
            return;
        }
        while (self.peek(0), self.peek(1)) == (Some(Token::Sign('#')), Some(Token::Sign('['))) {
            self.at += 2;
            self.skip_to_closing('[', ']');
        }
        if matches!(self.peek(0), Some(Token::Word(word)) if ITEM_STARTS.contains(&word)) {
            self.skip_item();
        }
    }

    /// Skips to the end of a bracketed group. The opening bracket has been read.
    fn skip_to_closing(&mut self, opening: char, closing: char) {
        let mut open = 1_usize;
        while let (true, Some(token)) = (open > 0, self.peek(0)) {
            if token == Token::Sign(opening) {
                open += 1;
            } else if token == Token::Sign(closing) {
                open -= 1;
            }
            self.at += 1;
        }
    }

    fn skip_item(&mut self) {
        let use_item = matches!(self.peek(0), Some(Token::Word("use")));
        while let Some(token) = self.peek(0) {
            self.at += 1;
            match token {
                Token::Sign(';') => return,
                Token::Sign('{') => {
                    self.skip_to_closing('{', '}');
                    if !use_item && self.peek(0) != Some(Token::Sign(';')) {
                        return;
                    }
                }
                _ => {}
            }
        }
    }

    fn module(&mut self, name: &str) {
        let (within, line) = (self.within(), self.line());
        match self.peek(2) {
            Some(Token::Sign(';')) => {
                self.outline.declared.push(Declaration { within, name: name.to_owned(), line });
            }
            Some(Token::Sign('{')) => {
                self.depth += 1;
                self.modules.push((name.to_owned(), self.depth));
                self.outline.inline.push(self.within());
            }
            _ => {}
        }
        self.at += 3;
    }

    /// Records the name of an item, which is the current token.
    fn item(&mut self) {
        if let Some(Token::Word(name)) = self.peek(0) {
            self.outline.items.push((self.within(), name.to_owned()));
            self.at += 1;
        }
    }

    /// Reads `use …;`.
    fn import(&mut self) {
        self.at += 1;
        // `use<'a>` in a bound is no import.
        if self.peek(0) == Some(Token::Sign('<')) {
            return;
        }
        let top = self.depth == self.modules.last().map_or(0, |(_, depth)| *depth);
        self.tree(&[], top);
    }

    /// Reads one tree of a `use` declaration. `before` is the path up to the tree.
    fn tree(&mut self, before: &[String], top: bool) {
        let mut path = before.to_vec();
        let line = self.line();
        let mut name = None;
        loop {
            match self.peek(0) {
                Some(Token::PathSeparator) => self.at += 1,
                Some(Token::Word("as")) => {
                    if let Some(Token::Word(alias)) = self.peek(1) {
                        name = Some(alias.to_owned());
                    }
                    self.at += 2;
                }
                Some(Token::Word(word)) => {
                    if word != "self" || path.is_empty() {
                        path.push(word.to_owned());
                    }
                    self.at += 1;
                }
                Some(Token::Sign('{')) => return self.branches(&path, top),
                Some(Token::Sign('*')) => {
                    self.at += 1;
                    return self.imported(None, path, line, top);
                }
                _ => break,
            }
        }
        if !path.is_empty() {
            let name = name.or_else(|| path.last().cloned());
            self.imported(name, path, line, top);
        }
    }

    fn branches(&mut self, path: &[String], top: bool) {
        self.at += 1;
        while let Some(token) = self.peek(0) {
            match token {
                Token::Sign('}') => {
                    self.at += 1;
                    return;
                }
                Token::Sign(',') => self.at += 1,
                Token::Sign(';') => return,
                _ => self.tree(path, top),
            }
        }
    }

    fn imported(&mut self, name: Option<String>, path: Vec<String>, line: usize, top: bool) {
        let within = self.within();
        if top {
            self.outline.imports.push(Import { within: within.clone(), name, path: path.clone() });
        }
        self.outline.named.push(Named { within, path, line });
    }

    /// Reads a path in the code.
    fn path(&mut self) {
        let (within, line) = (self.within(), self.line());
        let mut path = Vec::new();
        while let Some(Token::Word(word)) = self.peek(0) {
            path.push(word.to_owned());
            self.at += 1;
            if self.peek(0) != Some(Token::PathSeparator) {
                break;
            }
            self.at += 1;
        }
        self.outline.named.push(Named { within, path, line });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(code: &str) -> Vec<String> {
        outline(code).named.into_iter().map(|named| named.path.join("::")).collect()
    }

    #[test]
    fn reads_imports_of_every_shape() {
        let code =
            "use crate::a::{self, b::C as D, e::*};\npub(crate) use super::f;\nfn g() { self::h::i(); }";
        assert_eq!(named(code), ["crate::a", "crate::a::b::C", "crate::a::e", "super::f", "self::h::i"]);
        let names: Vec<_> = outline(code).imports.into_iter().map(|import| import.name).collect();
        assert_eq!(names, [Some("a"), Some("D"), None, Some("f")].map(|name| name.map(str::to_owned)));
    }

    #[test]
    fn what_only_tests_compile_is_left_out() {
        let code = "#[cfg(test)]\nmod tests { use super::a; fn b() {} }\n#[cfg(test)]\nuse crate::{c, d};\n\
                    #[cfg(test)]\n#[path = \"\"]\nmod e;\nuse crate::f;";
        assert_eq!(named(code), ["crate::f"]);
        assert!(outline(code).declared.is_empty());
    }

    #[test]
    fn a_module_within_a_file_has_its_own_paths() {
        let outline = outline("mod a { mod b; use super::c; }\nuse self::d;\nmod e;");
        let within: Vec<_> = outline.named.iter().map(|named| named.within.join("::")).collect();
        assert_eq!(within, ["a", ""]);
        let declared: Vec<_> =
            outline.declared.iter().map(|d| (d.within.join("::"), d.name.as_str())).collect();
        assert_eq!(declared, [("a".to_owned(), "b"), (String::new(), "e")]);
    }

    #[test]
    fn lines_and_items_are_noted() {
        let outline = outline(
            "\nstruct A;\nfn b() -> crate::c::D {}\nmacro_rules! e { () => {} }\nconst fn f() {}\nconst G: u8 = 0;",
        );
        assert_eq!(outline.named.iter().map(|named| named.line).collect::<Vec<_>>(), [3]);
        assert_eq!(
            outline.items.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(),
            ["A", "b", "e", "f", "G"]
        );
    }
}
