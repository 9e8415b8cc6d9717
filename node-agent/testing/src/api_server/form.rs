//! Negotiates the form of an answer as the real server does: the first media type of the Accept header that it knows wins,
//! even where that form cannot carry the answer.

use hyper::Response;

use crate::api_server::body::{Body, refused};
use crate::api_server::store::Version;

/// Media types of the real server, in the words of its refusal.
const NOT_ACCEPTABLE: &str = "only the following media types are accepted: application/json, application/yaml, \
                              application/vnd.kubernetes.protobuf, application/cbor";
/// Refusal of a single object in the form of a list: 406, or the ERROR event of a watch.
pub const NOT_A_LIST: &str = "requested PartialObjectMetadataList, but the requested object is not a list";

/// Part of each object that the client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Whole,
    /// The metadata of a single object.
    Metadata,
    /// The metadata of the objects of a list.
    MetadataList,
}

impl Form {
    /// Returns the form of the first media type that the server can write, or the refusal (406). A Table is not known here,
    /// as the real server does not know one of a version to come: the next media type counts.
    pub fn of(accept: &str) -> Result<Self, Box<Response<Body>>> {
        if accept.trim().is_empty() {
            return Ok(Self::Whole);
        }
        let form = accept.split(',').find_map(Self::of_media_type);
        form.ok_or_else(|| Box::new(refused(406, "NotAcceptable", NOT_ACCEPTABLE)))
    }

    fn of_media_type(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        if !matches!(parts.next(), Some("application/json" | "application/*" | "*/*")) {
            return None;
        }
        let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
        let value = |key: &str| parameters.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
        match (value("as"), value("g"), value("v")) {
            (None, ..) => Some(Self::Whole),
            (Some("PartialObjectMetadata"), Some("meta.k8s.io"), Some("v1")) => Some(Self::Metadata),
            (Some("PartialObjectMetadataList"), Some("meta.k8s.io"), Some("v1")) => Some(Self::MetadataList),
            _ => None,
        }
    }

    /// Returns the refusal (406) if a single object cannot have this form.
    pub fn for_object(self) -> Result<(), Box<Response<Body>>> {
        if self == Self::MetadataList {
            return Err(Box::new(refused(406, "NotAcceptable", NOT_A_LIST)));
        }
        Ok(())
    }

    /// Returns the refusal (406) if a list of this kind cannot have this form.
    pub fn for_list(self, kind: &str) -> Result<(), Box<Response<Body>>> {
        if self == Self::Metadata {
            let message = format!(
                "you requested PartialObjectMetadata, but the requested object is a list (*v1.{kind}List)"
            );
            return Err(Box::new(refused(406, "NotAcceptable", &message)));
        }
        Ok(())
    }

    pub fn text(self, version: &Version) -> &str {
        match self {
            Self::Whole => &version.whole,
            Self::Metadata | Self::MetadataList => &version.metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(accept: &str) -> Result<Form, u16> {
        Form::of(accept).map_err(|refused| refused.status().as_u16())
    }

    #[test]
    fn the_first_media_type_that_is_known_wins() {
        let list = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        let one = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        for (accept, form) in [
            ("", Ok(Form::Whole)),
            ("*/*", Ok(Form::Whole)),
            ("application/json", Ok(Form::Whole)),
            (list, Ok(Form::MetadataList)),
            (&format!("{list},{one},application/json"), Ok(Form::MetadataList)),
            (&format!("{one}, {list}"), Ok(Form::Metadata)),
            (&format!("{table},application/json"), Ok(Form::Whole)),
            (&format!("application/vnd.kubernetes.protobuf,{one}"), Ok(Form::Metadata)),
            ("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v9", Err(406)),
            ("text/html", Err(406)),
        ] {
            assert_eq!(status(accept), form, "{accept}");
        }
    }
}
