//! Templates: a text of the operator's with values put in.
//!
//! The language is that of Jinja with nothing in it that could reach out: no files, no functions,
//! no macros, three filters. What a template asks for and does not get is an error that names the
//! line and the field; there is no way to say "or else nothing".

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior,
    syntax::SyntaxConfig,
    value::{Enumerator, Object, ObjectRepr, Value, ValueKind},
};

use super::{
    document::{Document, Entry, Selector},
    dotenv,
};
use crate::cli::{
    error::{CliError, printable},
    wiping::WipingBuffer,
};

/// How many steps a template may take: more than any of use needs, few enough to end.
const FUEL: u64 = 10_000_000;
/// The largest text, in bytes.
const LARGEST: usize = 64 * 1024 * 1024;

/// What was asked for and is not there, in words; the last one counts.
#[derive(Clone, Debug, Default)]
struct Misses(Arc<Mutex<Option<String>>>);

impl Misses {
    fn note(&self, text: String) -> Option<Value> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
        None
    }

    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Gives the value of a key, or says what is not there.
type Find = dyn Fn(&str) -> Result<Value, String> + Send + Sync;

/// A map in which what is not there is noted.
struct Strict {
    find: Box<Find>,
    keys: Vec<String>,
    misses: Misses,
}

// What is printed for debugging must not show values.
impl std::fmt::Debug for Strict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(values)")
    }
}

impl Object for Strict {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let Some(key) = key.as_str() else {
            return self.misses.note("a key that is not text".to_owned());
        };
        (self.find)(key).map_or_else(|miss| self.misses.note(miss), Some)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(
            self.keys
                .iter()
                .map(|key| Value::from(key.as_str()))
                .collect(),
        )
    }

    fn render(self: &Arc<Self>, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(values)")
    }
}

fn strict(
    keys: Vec<String>,
    misses: &Misses,
    find: impl Fn(&str) -> Result<Value, String> + Send + Sync + 'static,
) -> Value {
    Value::from_object(Strict {
        find: Box::new(find),
        keys,
        misses: misses.clone(),
    })
}

/// An entry as the template sees it.
fn shown(document: &Arc<Document>, index: usize, misses: &Misses) -> Value {
    const KEYS: [&str; 9] = [
        "id",
        "client",
        "label",
        "kind",
        "environment",
        "role",
        "version",
        "state",
        "expires_at",
    ];
    let (documents, inner) = (Arc::clone(document), misses.clone());
    let mut keys: Vec<String> = KEYS.map(str::to_owned).to_vec();
    keys.push("fields".to_owned());
    strict(keys, misses, move |key| {
        let Some(entry) = documents.entries.get(index) else {
            return Err("that credential".to_owned());
        };
        match key {
            "fields" => Ok(fields(&documents, index, &inner)),
            "client" => Ok(client(entry, &inner)),
            key if KEYS.contains(&key) => Ok(plain(&entry.whole.0[key])),
            key => Err(format!(
                "{} has no {key}; its values are in .fields",
                entry.id
            )),
        }
    })
}

fn client(entry: &Entry, misses: &Misses) -> Value {
    let client = ["id", "name", "slug"].map(|key| (key, plain(&entry.whole.0["client"][key])));
    let keys = client.iter().map(|(key, _)| (*key).to_owned()).collect();
    strict(keys, misses, move |key| {
        let known = client.iter().find(|(known, _)| *known == key);
        known
            .map(|(_, value)| value.clone())
            .ok_or_else(|| format!("a client has no {key}"))
    })
}

fn fields(document: &Arc<Document>, index: usize, misses: &Misses) -> Value {
    let document = Arc::clone(document);
    let keys = match document.entries.get(index).map(|it| &it.whole.0["fields"]) {
        Some(serde_json::Value::Object(fields)) => fields.keys().cloned().collect(),
        _ => Vec::new(),
    };
    strict(keys, misses, move |key| {
        let entry = document.entries.get(index);
        let entry = entry.ok_or_else(|| "that credential".to_owned())?;
        match &entry.whole.0["fields"][key] {
            serde_json::Value::Null => Err(entry.no_field(key)),
            value => Ok(plain(value)),
        }
    })
}

fn plain(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Number(number) => number
            .as_i64()
            .map_or_else(|| Value::from(number.to_string()), Value::from),
        serde_json::Value::Bool(truth) => Value::from(*truth),
        serde_json::Value::Null => Value::from(""),
        other => Value::from(other.to_string()),
    }
}

fn root(document: &Arc<Document>, misses: &Misses) -> Value {
    let (all, inner) = (Arc::clone(document), misses.clone());
    let keys = vec!["credentials".to_owned(), "all".to_owned()];
    strict(keys, misses, move |key| match key {
        "credentials" => Ok(credentials(&all, &inner)),
        "all" => Ok((0..all.entries.len())
            .map(|index| shown(&all, index, &inner))
            .collect()),
        key => Err(format!(
            "a template has `credentials` and `all`, not `{key}`"
        )),
    })
}

fn credentials(document: &Arc<Document>, misses: &Misses) -> Value {
    let (document, inner) = (Arc::clone(document), misses.clone());
    let keys = document
        .entries
        .iter()
        .map(|it| it.id.to_string())
        .collect();
    strict(keys, misses, move |key| {
        let selector: Selector = key
            .parse()
            .map_err(|rule: &str| format!("`{key}` {rule}"))?;
        let entry = document
            .find(&selector)
            .map_err(|error| error.to_string())?;
        let index = document.entries.iter().position(|it| it.id == entry.id);
        Ok(shown(&document, index.unwrap_or(usize::MAX), &inner))
    })
}

/// What a template wrote so far, with an end to it.
struct Bounded(WipingBuffer);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LARGEST {
            return Err(io::Error::other("too large"));
        }
        self.0.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    // A line that holds only a tag leaves no empty line behind; the last line keeps its end.
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build();
    if let Ok(syntax) = syntax {
        environment.set_syntax(syntax);
    }
    environment.set_fuel(Some(FUEL));
    environment.add_filter("json", |text: String| {
        serde_json::to_string(&text).unwrap_or_default()
    });
    environment.add_filter("base64", |text: String| STANDARD.encode(text));
    environment.add_filter("sh", |text: String| {
        let mut out = WipingBuffer::with_capacity(text.len() * 2 + 2);
        dotenv::quote(&text, &mut out);
        String::from_utf8_lossy(out.expose_secret()).into_owned()
    });
    // A whole map in the text is a slip, not a wish.
    environment.set_formatter(|out, state, value| match value.kind() {
        ValueKind::Map | ValueKind::Seq | ValueKind::Iterable | ValueKind::Plain => {
            Err(Error::new(
                ErrorKind::InvalidOperation,
                "only single values can be written",
            ))
        }
        _ => minijinja::escape_formatter(out, state, value),
    });
    environment
}

/// Puts the values of `document` into the template `source`, which is called `name` in errors.
///
/// # Errors
/// The template is not one, takes too long, becomes too large, or asks for what is not there. The
/// text names the line, and the field or credential; never a value.
pub fn render(
    name: &str,
    source: &str,
    document: &Arc<Document>,
) -> Result<WipingBuffer, CliError> {
    let misses = Misses::default();
    let environment = environment();
    let at = |error: &Error| match error.line() {
        Some(line) => format!("{name} line {line}"),
        None => name.to_owned(),
    };
    // Nothing has a value yet, so that the engine's own words can be shown.
    let template = environment.template_from_str(source).map_err(|error| {
        let said = error.detail().unwrap_or("not a template");
        CliError::local(format!("{}: {}", at(&error), printable(said)))
    })?;
    let mut out = Bounded(WipingBuffer::with_capacity(16 * 1024));
    let result = template
        .render_captured_to(root(document, &misses), &mut out)
        .map(drop);
    let missed = misses.take();
    match (result, missed) {
        (Ok(()), None) => Ok(out.0),
        (Err(error), Some(missed)) => Err(CliError::local(format!("{}: {missed}", at(&error)))),
        (Ok(()), Some(missed)) => Err(CliError::local(format!("{name}: {missed}"))),
        // From here on the engine's words could quote a value.
        (Err(error), None) => {
            let what = match error.kind() {
                ErrorKind::OutOfFuel => "takes too many steps",
                ErrorKind::WriteFailure => "writes more than 64 MiB",
                ErrorKind::UndefinedError => "uses something that is not there",
                ErrorKind::UnknownFilter => "uses a filter other than json, base64 and sh",
                ErrorKind::UnknownTest => "uses a test, of which there are none",
                ErrorKind::UnknownFunction | ErrorKind::UnknownMethod => {
                    "calls a function, of which there are none"
                }
                _ => {
                    "does something with a value that cannot be done; only single values can be written"
                }
            };
            Err(CliError::local(format!("{}: {what}", at(&error))))
        }
    }
}

#[cfg(test)]
mod tests;
