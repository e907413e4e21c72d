//! The tree that received text is read into before its shape is looked at.

use std::{cell::Cell, fmt, rc::Rc};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

/// How deeply arrays and objects may be nested.
pub const MAX_DEPTH: usize = 16;

/// One received value. Texts are overwritten when dropped, because they may be secrets.
pub(super) enum Node {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(Rc<Zeroizing<String>>),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    pub(super) fn text(text: String) -> Self {
        Self::Text(Rc::new(Zeroizing::new(text)))
    }
}

/// The text cannot be read as JSON. Says where, never what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault} at line {line}, column {column}")]
pub struct SyntaxError {
    fault: Fault,
    line: usize,
    column: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Syntax,
    Unfinished,
    TooDeep,
    Repeated,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax => f.write_str("the body is not valid JSON"),
            Self::Unfinished => f.write_str("the JSON ends too early"),
            Self::TooDeep => write!(f, "the JSON is nested deeper than {MAX_DEPTH} levels"),
            Self::Repeated => f.write_str("an object of the JSON has the same name twice"),
        }
    }
}

/// Reads exactly one JSON value.
pub(super) fn parse(text: &[u8]) -> Result<Node, SyntaxError> {
    let fault = Cell::new(None);
    let seed = NodeSeed {
        depth: 0,
        fault: &fault,
    };
    let mut json = serde_json::Deserializer::from_slice(text);
    seed.deserialize(&mut json)
        .and_then(|node| json.end().map(|()| node))
        .map_err(|error| SyntaxError {
            fault: fault.get().unwrap_or(if error.is_eof() {
                Fault::Unfinished
            } else {
                Fault::Syntax
            }),
            line: error.line(),
            column: error.column(),
        })
}

/// An object of texts; `None` if a name comes twice.
pub(super) fn from_pairs(pairs: Vec<(String, String)>) -> Option<Node> {
    let members: Vec<_> = pairs
        .into_iter()
        .map(|(name, value)| (name, Node::text(value)))
        .collect();
    (!repeats(&members)).then_some(Node::Object(members))
}

/// Whether a name comes twice. Sorted, because comparing each with each would let one body of many
/// short names keep a core busy.
fn repeats(members: &[(String, Node)]) -> bool {
    let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.windows(2).any(|pair| pair[0] == pair[1])
}

struct NodeSeed<'a> {
    /// How many arrays and objects are around this value.
    depth: usize,
    fault: &'a Cell<Option<Fault>>,
}

impl NodeSeed<'_> {
    fn inner<E: serde::de::Error>(&self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(self.stop(Fault::TooDeep));
        }
        Ok(Self {
            depth: self.depth + 1,
            fault: self.fault,
        })
    }

    fn stop<E: serde::de::Error>(&self, fault: Fault) -> E {
        self.fault.set(Some(fault));
        E::custom("")
    }
}

impl<'de> DeserializeSeed<'de> for NodeSeed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Node, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NodeSeed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Signed(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self.inner()?)? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        let inner: Result<Self, A::Error> = self.inner();
        inner?;
        while let Some(name) = map.next_key::<String>()? {
            members.push((name, map.next_value_seed(self.inner()?)?));
        }
        if repeats(&members) {
            return Err(self.stop(Fault::Repeated));
        }
        Ok(Node::Object(members))
    }
}
