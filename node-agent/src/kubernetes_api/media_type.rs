//! Values of the Accept header. The server takes the first media type of it whose form it knows, even where that form cannot
//! carry the answer: a list in the form of a single object is refused with 406, and a watch in the form of a list ends at its
//! first event.

/// Whole objects, of a list or a watch.
pub const WHOLE: &str = "application/json";
/// A list that has only the metadata of its objects.
pub const METADATA_LIST: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
/// A watch that sends only the metadata of each object, with or without the initial list.
pub const METADATA_WATCH: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
