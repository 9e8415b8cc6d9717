//! Updates of one kind of Kubernetes object.

/// An update of one kind of object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listing<T> {
    /// Every object. An object that is not listed is gone.
    All(Vec<T>),
    /// One object that is new or differs.
    Changed(Box<T>),
    /// One object that is gone.
    Gone {
        /// Namespace of the object; empty for kinds without namespaces.
        namespace: String,
        /// Name of the object.
        name: String,
    },
    /// The kind is forbidden or not watched, so facts that need it are unknown. The initial state, until the first
    /// `All`.
    Unavailable,
}
