//! From the tree to a typed value.

use std::{marker::PhantomData, rc::Rc};

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::{
    error::{Segment, ShapeError, listed},
    tree::Node,
};

/// Where the values came from: a query string has only texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A JSON body.
    Json,
    /// The parameters of a query string.
    Query,
}

pub(super) fn read<T: DeserializeOwned>(node: Node, source: Source) -> Result<T, ShapeError> {
    read_with(PhantomData::<T>, node, source)
}

/// Reads one value with `seed`, and looks at the error, if there is one, once more.
fn read_with<'de, S: DeserializeSeed<'de>>(
    seed: S,
    node: Node,
    source: Source,
) -> Result<S::Value, ShapeError> {
    let text = match &node {
        Node::Text(text) => Some(Rc::clone(text)),
        _ => None,
    };
    seed.deserialize(Reader { node, source })
        .map_err(|error| match text {
            Some(text) => error.without(&text),
            None => error,
        })
}

struct Reader {
    node: Node,
    source: Source,
}

impl Reader {
    fn wrong(expected: &'static str) -> ShapeError {
        ShapeError::new(expected)
    }

    /// The text of a query parameter, where numbers and truth values come as text.
    fn query_text(&self) -> Option<&str> {
        match &self.node {
            Node::Text(text) if self.source == Source::Query => Some(text),
            _ => None,
        }
    }
}

macro_rules! integers {
    ($($method:ident $type:ident $visit:ident;)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
            let number: Option<$type> = match &self.node {
                Node::Unsigned(number) => (*number).try_into().ok(),
                Node::Signed(number) => (*number).try_into().ok(),
                _ => self
                    .query_text()
                    .filter(|text| !text.starts_with('+'))
                    .and_then(|text| text.parse().ok()),
            };
            match number {
                Some(number) => visitor.$visit(number),
                None => Err(ShapeError::new(format!(
                    "must be a whole number from {} to {}",
                    $type::MIN,
                    $type::MAX
                ))),
            }
        }
    )+};
}

impl<'de> Deserializer<'de> for Reader {
    type Error = ShapeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        match self.node {
            Node::Null => visitor.visit_unit(),
            Node::Bool(value) => visitor.visit_bool(value),
            Node::Unsigned(value) => visitor.visit_u64(value),
            Node::Signed(value) => visitor.visit_i64(value),
            Node::Float(value) => visitor.visit_f64(value),
            Node::Text(text) => visitor.visit_str(&text),
            Node::List(items) => visitor.visit_seq(Items {
                items: items.into_iter(),
                source: self.source,
                index: 0,
            }),
            Node::Object(members) => visitor.visit_map(Members::new(members, &[], self.source)),
        }
    }

    integers! {
        deserialize_u8 u8 visit_u8;
        deserialize_u16 u16 visit_u16;
        deserialize_u32 u32 visit_u32;
        deserialize_u64 u64 visit_u64;
        deserialize_i8 i8 visit_i8;
        deserialize_i16 i16 visit_i16;
        deserialize_i32 i32 visit_i32;
        deserialize_i64 i64 visit_i64;
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        let value = match &self.node {
            Node::Bool(value) => Some(*value),
            _ => self.query_text().and_then(|text| text.parse().ok()),
        };
        match value {
            Some(value) => visitor.visit_bool(value),
            None => Err(Self::wrong("must be true or false")),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        match self.node {
            Node::Unsigned(_) | Node::Signed(_) | Node::Float(_) => self.deserialize_any(visitor),
            _ => Err(Self::wrong("must be a number")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        match self.node {
            Node::Text(_) => self.deserialize_any(visitor),
            _ => Err(Self::wrong("must be a string")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        match self.node {
            Node::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        match self.node {
            Node::Null => visitor.visit_unit(),
            _ => Err(Self::wrong("must be null")),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ShapeError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ShapeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        match self.node {
            Node::List(_) => self.deserialize_any(visitor),
            _ => Err(Self::wrong("must be an array")),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, ShapeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, ShapeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        match self.node {
            Node::Object(_) => self.deserialize_any(visitor),
            _ => Err(Self::wrong("must be an object")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ShapeError> {
        let Node::Object(members) = self.node else {
            return Err(Self::wrong("must be an object"));
        };
        // Whether or not the type asks for it: a field that nobody reads is a mistake of the
        // caller, and silence would let it pass for having been heard.
        if members
            .iter()
            .any(|(name, _)| !fields.contains(&name.as_str()))
        {
            let what = match self.source {
                Source::Json => "has a field that is not known; known fields are: ",
                Source::Query => "has a parameter that is not known; known parameters are: ",
            };
            return Err(ShapeError::new(format!("{what}{}", listed(fields))));
        }
        visitor.visit_map(Members::new(members, fields, self.source))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ShapeError> {
        let unknown = || ShapeError::new(format!("must be one of: {}", listed(variants)));
        let (name, content) = match self.node {
            Node::Text(text) => (text.as_str().to_owned(), None),
            Node::Object(members) => match <[_; 1]>::try_from(members) {
                Ok([(name, content)]) => (name, Some(content)),
                Err(_) => return Err(unknown()),
            },
            _ => return Err(unknown()),
        };
        let variant = variants
            .iter()
            .find(|variant| **variant == name)
            .ok_or_else(unknown)?;
        visitor.visit_enum(Choice {
            variant,
            content,
            source: self.source,
        })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! { bytes byte_buf }
}

struct Items {
    items: std::vec::IntoIter<Node>,
    source: Source,
    index: usize,
}

impl<'de> SeqAccess<'de> for Items {
    type Error = ShapeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ShapeError> {
        let Some(node) = self.items.next() else {
            return Ok(None);
        };
        let index = self.index;
        self.index += 1;
        read_with(seed, node, self.source)
            .map(Some)
            .map_err(|error| error.under(Segment::Index(index)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Members {
    members: std::vec::IntoIter<(String, Node)>,
    /// The names that are ours; empty for a map, whose names are the caller's.
    fields: &'static [&'static str],
    source: Source,
    value: Option<(Segment, Node)>,
}

impl Members {
    fn new(members: Vec<(String, Node)>, fields: &'static [&'static str], source: Source) -> Self {
        Self {
            members: members.into_iter(),
            fields,
            source,
            value: None,
        }
    }
}

impl<'de> MapAccess<'de> for Members {
    type Error = ShapeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ShapeError> {
        let Some((name, node)) = self.members.next() else {
            return Ok(None);
        };
        let segment = self
            .fields
            .iter()
            .find(|field| **field == name)
            .map_or(Segment::Chosen, |field| Segment::Field(field));
        match read_with(seed, Node::text(name), self.source) {
            Ok(key) => {
                self.value = Some((segment, node));
                Ok(Some(key))
            }
            Err(error) => Err(error.under(segment)),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, ShapeError> {
        let (segment, node) = self
            .value
            .take()
            .ok_or_else(|| ShapeError::new("is not valid"))?;
        read_with(seed, node, self.source).map_err(|error| error.under(segment))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.members.len())
    }
}

struct Choice {
    variant: &'static str,
    content: Option<Node>,
    source: Source,
}

impl Choice {
    fn content(self) -> Result<Reader, ShapeError> {
        match self.content {
            Some(node) => Ok(Reader {
                node,
                source: self.source,
            }),
            None => Err(ShapeError::new("needs a value")),
        }
    }
}

impl<'de> EnumAccess<'de> for Choice {
    type Error = ShapeError;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self), ShapeError> {
        let name = de::value::StrDeserializer::<ShapeError>::new(self.variant);
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Choice {
    type Error = ShapeError;

    fn unit_variant(self) -> Result<(), ShapeError> {
        match self.content {
            None | Some(Node::Null) => Ok(()),
            Some(_) => {
                Err(ShapeError::new("must have no value").under(Segment::Field(self.variant)))
            }
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<S::Value, ShapeError> {
        let segment = Segment::Field(self.variant);
        self.content()
            .and_then(|reader| read_with(seed, reader.node, reader.source))
            .map_err(|error| error.under(segment))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ShapeError> {
        let segment = Segment::Field(self.variant);
        self.content()
            .and_then(|reader| reader.deserialize_seq(visitor))
            .map_err(|error| error.under(segment))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ShapeError> {
        let segment = Segment::Field(self.variant);
        self.content()
            .and_then(|reader| reader.deserialize_struct("", fields, visitor))
            .map_err(|error| error.under(segment))
    }
}
