//! The names of a settings type's fields, and the one that is most like a misspelt name.

use std::fmt;

use serde::{
    de::{self, DeserializeOwned, Deserializer, Visitor},
    forward_to_deserialize_any,
};

/// How much alike two names must be before one is offered for the other; a bad guess is worse than none.
pub const ALIKE: f64 = 0.4;

/// Gives the names of the fields of a struct, as serde sees them.
pub fn known<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut fields: &'static [&'static str] = &[];
    // Always an error: only the call of deserialize_struct is of interest.
    let _ = T::deserialize(Listener(&mut fields));
    fields
}

/// Finds the name that is most like `name`, if one is at least so much alike (0 to 1).
pub fn nearest(name: &str, names: &[&'static str], alike: f64) -> Option<&'static str> {
    let name = name.to_lowercase().replace('-', "_");
    names
        .iter()
        .map(|known| (strsim::normalized_damerau_levenshtein(&name, known), *known))
        .filter(|(likeness, _)| *likeness >= alike)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

/// Takes note of the fields that a struct asks for and gives it nothing.
struct Listener<'a>(&'a mut &'static [&'static str]);

#[derive(Debug)]
struct Heard;

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is nothing to deserialize")
    }
}

impl std::error::Error for Heard {}

impl de::Error for Heard {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

impl<'de> Deserializer<'de> for Listener<'_> {
    type Error = Heard;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Heard> {
        Err(Heard)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Heard> {
        *self.0 = fields;
        Err(Heard)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
