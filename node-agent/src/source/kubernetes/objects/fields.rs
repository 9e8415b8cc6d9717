//! Types of single fields: each accepts what the API server accepts, with its default, and refuses everything else.

use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU16;

use portolan_engine::model::identity::Protocol;
use portolan_engine::model::pod::PortRef;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::fault::shortened;

/// Maximum length of a name in Kubernetes, in bytes.
pub const MAX_NAME: usize = 253;
/// Maximum length of a port's name, in bytes; Kubernetes allows 15.
const MAX_PORT_NAME: usize = 63;
const PORT: &str = "a number from 1 to 65535";
const PORT_OR_NAME: &str = "a number from 1 to 65535 or a port's name";

/// Number of parts of objects that were left out because they exceed a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cuts(pub u64);

impl Cuts {
    /// Counts the entries beyond a limit.
    pub fn beyond(&mut self, count: usize, most: usize) {
        self.0 += u64::try_from(count.saturating_sub(most)).unwrap_or(u64::MAX);
    }

    /// Returns the text, or counts it and returns `None` if it is longer than `most` bytes.
    pub fn short(&mut self, text: String, most: usize) -> Option<String> {
        if text.len() > most {
            self.0 += 1;
            return None;
        }
        // The parser may have allocated up to twice the length.
        Some(text.into_boxed_str().into_string())
    }
}

/// The fields of a type. Nothing (`null`) has none of them; a list is refused, from which serde would fill them in order.
#[derive(Clone, Debug, Default)]
pub struct Fields<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Fields<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldsVisitor(PhantomData)).map(Self)
    }
}

struct FieldsVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for FieldsVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("keys with values")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        let none = std::iter::empty::<(&str, &str)>();
        T::deserialize(serde::de::value::MapDeserializer::new(none))
    }
}

/// A list; nothing is an empty one.
#[derive(Clone, Debug)]
pub struct List<T>(pub Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<Vec<T>>::deserialize(deserializer).map(|list| Self(list.unwrap_or_default()))
    }
}

impl<T> List<T> {
    /// Returns at most `most` entries; counts the others in `cuts`.
    pub fn within(self, most: usize, cuts: &mut Cuts) -> impl Iterator<Item = T> + use<T> {
        cuts.beyond(self.0.len(), most);
        self.0.into_iter().take(most)
    }
}

/// The containers of a pod: at least one.
#[derive(Clone, Debug, Default)]
pub struct AtLeastOne<T>(pub Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for AtLeastOne<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not through `Option`, for which serde takes a missing field for an empty one.
        deserializer.deserialize_any(AtLeastOneVisitor(PhantomData)).map(Self)
    }
}

struct AtLeastOneVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for AtLeastOneVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<T>, A::Error> {
        let list = Vec::deserialize(SeqAccessDeserializer::new(list))?;
        if list.is_empty() { self.visit_unit() } else { Ok(list) }
    }

    fn visit_unit<E: Error>(self) -> Result<Vec<T>, E> {
        Err(E::custom("is empty: expected at least one container"))
    }
}

/// A name that has to be there.
#[derive(Clone, Debug, Default)]
pub struct Name(pub String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Scalar::deserialize(deserializer)? {
            Scalar::Text(name) if name.len() > MAX_NAME => {
                Err(D::Error::custom(format!("has more than {MAX_NAME} characters")))
            }
            Scalar::Text(name) if !name.is_empty() => Ok(Self(name.into_boxed_str().into_string())),
            scalar => Err(scalar.instead_of("a name")),
        }
    }
}

/// A port that has to be there.
#[derive(Clone, Copy, Debug)]
pub struct PortNumber(pub NonZeroU16);

impl<'de> Deserialize<'de> for PortNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let scalar = Scalar::deserialize(deserializer)?;
        scalar.port().map(Self).ok_or_else(|| scalar.instead_of(PORT))
    }
}

/// A port that may be missing, for which Go's zero value may stand.
#[derive(Clone, Copy, Debug, Default)]
pub struct OptionalPort(pub Option<NonZeroU16>);

impl<'de> Deserialize<'de> for OptionalPort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Scalar::deserialize(deserializer)? {
            Scalar::Number(0) | Scalar::Nothing => Ok(Self(None)),
            scalar => match scalar.port() {
                Some(port) => Ok(Self(Some(port))),
                None => Err(scalar.instead_of(PORT)),
            },
        }
    }
}

/// A port by number, also by a text of digits as kubelet accepts it, or by name.
#[derive(Clone, Debug)]
pub struct NumberOrName(pub PortRef);

impl<'de> Deserialize<'de> for NumberOrName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let scalar = Scalar::deserialize(deserializer)?;
        scalar.port_ref().map(Self).ok_or_else(|| scalar.instead_of(PORT_OR_NAME))
    }
}

/// `targetPort` of a Service: nothing, 0 and an empty text mean the Service's own port.
#[derive(Clone, Debug, Default)]
pub struct TargetPort(pub Option<PortRef>);

impl<'de> Deserialize<'de> for TargetPort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let scalar = Scalar::deserialize(deserializer)?;
        match &scalar {
            Scalar::Nothing | Scalar::Number(0) => return Ok(Self(None)),
            Scalar::Text(text) if text.is_empty() => return Ok(Self(None)),
            _ => {}
        }
        scalar.port_ref().map(|port| Self(Some(port))).ok_or_else(|| scalar.instead_of(PORT_OR_NAME))
    }
}

/// A protocol; nothing and an empty text mean TCP.
#[derive(Clone, Copy, Debug)]
pub struct ProtocolName(pub Protocol);

impl Default for ProtocolName {
    fn default() -> Self {
        Self(Protocol::Tcp)
    }
}

impl<'de> Deserialize<'de> for ProtocolName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let scalar = Scalar::deserialize(deserializer)?;
        let known = match &scalar {
            Scalar::Nothing => Some(Protocol::Tcp),
            Scalar::Text(text) if text.is_empty() => Some(Protocol::Tcp),
            Scalar::Text(text) => Protocol::ALL.into_iter().find(|protocol| protocol.as_str() == text),
            _ => None,
        };
        known.map(Self).ok_or_else(|| scalar.instead_of("TCP, UDP or SCTP"))
    }
}

/// The name of a port; an empty one is none.
#[must_use]
pub fn port_name(name: Option<String>) -> Option<String> {
    name.filter(|name| !name.is_empty() && name.len() <= MAX_PORT_NAME)
        .map(|name| name.into_boxed_str().into_string())
}

/// A value as it was written, for fields with checks of their own.
enum Scalar {
    Nothing,
    Number(i64),
    Text(String),
    /// A value of another type, described.
    Other(String),
}

impl Scalar {
    fn port(&self) -> Option<NonZeroU16> {
        match self {
            Self::Number(number) => u16::try_from(*number).ok().and_then(NonZeroU16::new),
            _ => None,
        }
    }

    fn port_ref(&self) -> Option<PortRef> {
        match self {
            Self::Text(text) => match text.parse() {
                Ok(number) => Self::Number(number).port().map(PortRef::Number),
                Err(_) if text.is_empty() || text.len() > MAX_PORT_NAME => None,
                Err(_) => Some(PortRef::Name(text.clone())),
            },
            _ => self.port().map(PortRef::Number),
        }
    }

    fn instead_of<E: Error>(&self, expected: &str) -> E {
        let given = match self {
            Self::Nothing => "empty".to_owned(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) if text.is_empty() => "empty".to_owned(),
            Self::Text(text) => format!("{:?}", shortened(text)),
            Self::Other(described) => described.clone(),
        };
        E::custom(format!("is {given}: expected {expected}"))
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a single value")
    }

    fn visit_unit<E: Error>(self) -> Result<Scalar, E> {
        Ok(Scalar::Nothing)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar::Other(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar::Number(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Scalar, E> {
        Ok(i64::try_from(value).map_or_else(|_| Scalar::Other(value.to_string()), Scalar::Number))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar::Other(value.to_string()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Scalar, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other("a list".to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other("keys with values".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(json: &str) -> Result<Option<PortRef>, String> {
        serde_json::from_str::<TargetPort>(json).map(|port| port.0).map_err(|error| error.to_string())
    }

    #[test]
    fn zero_values_of_go_are_defaults() {
        for json in ["null", "0", "\"\""] {
            assert_eq!(target(json), Ok(None), "{json}");
        }
        assert_eq!(target("\"http\""), Ok(Some(PortRef::Name("http".to_owned()))));
        assert_eq!(target("\"80\""), target("80"));
        for json in ["70000", "-1", "80.5", "true", "[]", "{\"a\":[1]}", "18446744073709551615"] {
            assert!(
                target(json).is_err_and(|error| error.contains("expected a number from 1 to 65535")),
                "{json}"
            );
        }
        for json in ["null", "\"\"", "\"TCP\""] {
            let protocol = serde_json::from_str::<ProtocolName>(json).expect(json);
            assert_eq!(protocol.0, Protocol::Tcp);
        }
        assert!(serde_json::from_str::<ProtocolName>("\"tcp\"").is_err());
    }

    #[test]
    fn what_is_too_much_is_cut_and_counted() {
        let mut cuts = Cuts::default();
        let many: List<i64> = serde_json::from_str("[1,2,3]").expect("list");
        assert_eq!((many.within(2, &mut cuts).count(), cuts), (2, Cuts(1)));
        assert_eq!((cuts.short("abc".to_owned(), 2), cuts), (None, Cuts(2)));
    }
}
