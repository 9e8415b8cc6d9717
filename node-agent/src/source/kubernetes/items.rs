//! Splits the JSON of a list into items as the bytes arrive, so that a list of any length needs the memory of one object.
//! Does no IO and does not parse the items.

/// Maximum bytes of a list beside its items.
const MAX_HEAD: usize = 64 * 1024;
/// Largest buffer that is reused, in bytes.
const KEEP: usize = 256 * 1024;

/// Why a text is no list of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Uncuttable {
    #[error("it has more than {MAX_HEAD} bytes beside its items")]
    HeadTooLong,
    #[error("an item is not an object")]
    NotAnObject,
    #[error("a bracket too many")]
    Unbalanced,
}

/// Part of the text that the cutter is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Head,
    BetweenItems,
    /// `depth`: number of open brackets within the item.
    Item {
        depth: usize,
    },
}

/// Collects whole items from pieces of the text.
#[derive(Debug)]
pub struct ItemCutter {
    max_item: usize,
    part: Part,
    /// The text without the items.
    head: Vec<u8>,
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// Start and end in `head` of the last string at the top level.
    string: (usize, usize),
    item: Vec<u8>,
    /// The item is longer than `max_item`; its bytes are dropped.
    oversized: bool,
    /// Number of items that were dropped.
    pub skipped: u64,
}

impl ItemCutter {
    #[must_use]
    pub fn new(max_item: usize) -> Self {
        Self {
            max_item,
            part: Part::Head,
            head: Vec::new(),
            depth: 0,
            in_string: false,
            escaped: false,
            string: (0, 0),
            item: Vec::new(),
            oversized: false,
            skipped: 0,
        }
    }

    /// Adds the next piece of the text; calls `each` with every item that is complete now.
    ///
    /// # Errors
    /// When the text cannot be a list of objects.
    pub fn push(&mut self, piece: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), Uncuttable> {
        for byte in piece {
            match self.part {
                Part::Head => self.head_byte(*byte)?,
                Part::BetweenItems => self.between(*byte)?,
                Part::Item { depth } => {
                    if self.item_byte(*byte, depth) {
                        self.finish_item(&mut each);
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the text without the items, once the whole text was pushed.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// True if the byte is part of a string, so that it opens or closes no bracket.
    fn string_holds(&mut self, byte: u8) -> bool {
        if !self.in_string {
            self.in_string = byte == b'"';
            return self.in_string;
        }
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => self.in_string = false,
            _ => {}
        }
        true
    }

    fn head_byte(&mut self, byte: u8) -> Result<(), Uncuttable> {
        if self.head.len() >= MAX_HEAD {
            return Err(Uncuttable::HeadTooLong);
        }
        let was_string = self.in_string;
        self.head.push(byte);
        if self.string_holds(byte) {
            if self.depth == 1 && !was_string {
                self.string = (self.head.len(), self.head.len());
            } else if self.depth == 1 && !self.in_string {
                self.string.1 = self.head.len() - 1;
            }
            return Ok(());
        }
        match byte {
            b'[' if self.depth == 1 && self.key() == b"items" => self.part = Part::BetweenItems,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.checked_sub(1).ok_or(Uncuttable::Unbalanced)?,
            b',' if self.depth == 1 => self.string = (0, 0),
            _ => {}
        }
        Ok(())
    }

    fn key(&self) -> &[u8] {
        self.head.get(self.string.0..self.string.1).unwrap_or_default()
    }

    fn between(&mut self, byte: u8) -> Result<(), Uncuttable> {
        match byte {
            b'{' => {
                self.item.push(byte);
                self.part = Part::Item { depth: 1 };
            }
            b']' => {
                self.head.push(byte);
                self.string = (0, 0);
                self.part = Part::Head;
            }
            b',' | b' ' | b'\n' | b'\r' | b'\t' => {}
            _ => return Err(Uncuttable::NotAnObject),
        }
        Ok(())
    }

    /// Adds a byte to the item; true if the item is complete.
    fn item_byte(&mut self, byte: u8, depth: usize) -> bool {
        if self.item.len() >= self.max_item {
            self.oversized = true;
            self.item = Vec::new();
        }
        if !self.oversized {
            self.item.push(byte);
        }
        if self.string_holds(byte) {
            return false;
        }
        let depth = match byte {
            b'{' | b'[' => depth.saturating_add(1),
            b'}' | b']' => depth.saturating_sub(1),
            _ => depth,
        };
        self.part = Part::Item { depth };
        depth == 0
    }

    fn finish_item(&mut self, each: &mut impl FnMut(&[u8])) {
        self.part = Part::BetweenItems;
        if std::mem::take(&mut self.oversized) {
            self.skipped += 1;
        } else {
            each(&self.item);
        }
        if self.item.capacity() > KEEP {
            self.item = Vec::new();
        }
        self.item.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn cut(text: &str, piece: usize, max: usize) -> Result<(Vec<String>, String, u64), Uncuttable> {
        let mut cutter = ItemCutter::new(max);
        let mut items = Vec::new();
        for piece in text.as_bytes().chunks(piece.max(1)) {
            cutter.push(piece, |item| items.push(String::from_utf8_lossy(item).into_owned()))?;
        }
        Ok((items, String::from_utf8_lossy(cutter.head()).into_owned(), cutter.skipped))
    }

    #[test]
    fn items_come_whole_and_the_head_stays() {
        let text = r#"{"kind":"PodList","metadata":{"items":[1],"continue":"a]}\"["},"items":[{"a":[{}]}, {"b":"}]\\\""}],"x":1}"#;
        for piece in [1, 2, 7, 1000] {
            let (items, head, _) = cut(text, piece, 1000).expect("cuts");
            assert_eq!(items, [r#"{"a":[{}]}"#, r#"{"b":"}]\\\""}"#]);
            assert_eq!(
                head,
                r#"{"kind":"PodList","metadata":{"items":[1],"continue":"a]}\"["},"items":[],"x":1}"#
            );
        }
    }

    #[test]
    fn a_huge_item_is_let_go_and_the_rest_stays() {
        let text = format!(r#"{{"items":[{{"a":"{}"}},{{"b":1}}]}}"#, "x".repeat(5000));
        let (items, head, skipped) = cut(&text, 100, 1000).expect("cuts");
        assert_eq!((items, head.as_str(), skipped), (vec![r#"{"b":1}"#.to_owned()], r#"{"items":[]}"#, 1));
    }

    #[test]
    fn what_is_no_list_is_refused_or_has_no_items() {
        assert_eq!(cut(r#"{"items":null}"#, 3, 10).expect("cuts").0, Vec::<String>::new());
        assert_eq!(cut(r#"{"items":[1]}"#, 3, 10), Err(Uncuttable::NotAnObject));
        assert_eq!(cut("}}}", 3, 10), Err(Uncuttable::Unbalanced));
        assert_eq!(cut(&"x".repeat(MAX_HEAD + 1), 999, 10), Err(Uncuttable::HeadTooLong));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[\\\\\"\\[\\]{},:a-zä ]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[\\\\\"a-z{]{0,5}|items", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn cuts_as_a_parser_would(
            items in proptest::collection::vec(value(), 0..5),
            metadata in value(),
            piece in 1usize..40,
            pretty in any::<bool>(),
        ) {
            let items: Vec<Value> = items.into_iter().map(|item| json!({ "items": item })).collect();
            let list = json!({"metadata": metadata, "items": items, "zzz": metadata});
            let text = if pretty { serde_json::to_string_pretty(&list) } else { serde_json::to_string(&list) };
            let (found, head, _) = cut(&text.expect("json"), piece, 1 << 20).expect("cuts");
            let found: Vec<Value> = found.iter().map(|item| serde_json::from_str(item).expect("whole")).collect();
            prop_assert_eq!(found, items);
            let head: Value = serde_json::from_str(&head).expect("whole");
            prop_assert_eq!(head, json!({"metadata": metadata, "items": [], "zzz": metadata}));
        }

        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..300), piece in 1usize..9) {
            let mut cutter = ItemCutter::new(64);
            for piece in text.chunks(piece) {
                if cutter.push(piece, |_| {}).is_err() { break }
            }
        }
    }
}
