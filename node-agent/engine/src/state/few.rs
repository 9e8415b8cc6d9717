//! A list that mostly has one element. That one lies in the list itself: a vector would take a block of the heap for it, which
//! is four times as large as a socket cookie.

use std::ops::Deref;

/// A list that mostly has one element.
#[derive(Clone, Debug)]
pub(crate) enum Few<T> {
    /// The only element.
    One(T),
    /// None or several.
    #[expect(
        clippy::box_collection,
        reason = "a vector is three times as large as the pointer to it, and rare"
    )]
    Many(Option<Box<Vec<T>>>),
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self::Many(None)
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::One(element) => std::slice::from_ref(element),
            Self::Many(elements) => elements.as_deref().map_or(&[], Vec::as_slice),
        }
    }
}

impl<T> From<Vec<T>> for Few<T> {
    fn from(mut elements: Vec<T>) -> Self {
        match elements.pop() {
            Some(element) if elements.is_empty() => Self::One(element),
            Some(element) => {
                elements.push(element);
                elements.shrink_to_fit();
                Self::Many(Some(Box::new(elements)))
            }
            None => Self::default(),
        }
    }
}

impl<T: PartialEq> PartialEq for Few<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq> Eq for Few<T> {}

impl<T> Few<T> {
    /// Changes the list as a vector.
    pub(crate) fn edit(&mut self, edit: impl FnOnce(&mut Vec<T>)) {
        match self {
            Self::Many(Some(elements)) => {
                edit(elements);
                if elements.len() <= 1 {
                    *self = std::mem::take(&mut **elements).into();
                }
            }
            Self::One(_) | Self::Many(None) => {
                let mut elements = match std::mem::take(self) {
                    Self::One(element) => vec![element],
                    Self::Many(_) => Vec::new(),
                };
                edit(&mut elements);
                *self = elements.into();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_list_whatever_its_length() {
        let mut few = Few::default();
        for length in [0_u64, 1, 2, 3] {
            assert_eq!(*few, (0..length).collect::<Vec<_>>());
            assert_eq!(few, Few::from((0..length).collect::<Vec<_>>()));
            few.edit(|elements| elements.push(length));
        }
        for _ in 0..4 {
            few.edit(|elements| _ = elements.pop());
        }
        assert!(few.is_empty() && few == Few::default());
        assert_eq!(size_of::<Few<u64>>(), 16);
    }
}
