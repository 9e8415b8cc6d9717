//! Updates of one kind of Kubernetes object.

/// What a source says of one kind of object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listing<T> {
    /// All of them: what is not listed is gone.
    All(Vec<T>),
    Changed(Box<T>),
    /// The object of that name is gone; the namespace is empty for objects that live in none.
    Gone {
        namespace: String,
        name: String,
    },
    /// Forbidden, or not asked for: facts that need it are unknown. The default until the first `All`.
    Unavailable,
}
