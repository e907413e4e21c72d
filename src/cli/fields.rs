//! The fields of a new version: from files or standard input, never from the argument list.

use std::{
    io::{IsTerminal, Read},
    path::Path,
};

use clap::Args;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{
    error::CliError,
    wiping::{WipingBuffer, WipingJson},
};

/// Fields that are names, not secrets, and so may be written on the command line.
const PUBLIC_FIELDS: &[&str] = &[
    "tenant_id",
    "client_id",
    "test_mailbox",
    "service_account",
    "delegated_user",
];

/// The largest input that is read, in bytes.
const LARGEST_INPUT: u64 = 1024 * 1024;

/// Where the fields come from.
#[derive(Args, Clone, Debug, Default)]
#[group(required = true, multiple = true)]
pub struct FieldArguments {
    /// JSON object of all fields: a file, or - for standard input
    #[arg(long, value_name = "FILE")]
    pub fields: Option<String>,
    /// One field: NAME=@FILE or NAME=- (standard input); NAME=VALUE only for fields that are no
    /// secrets: tenant_id, client_id, test_mailbox, service_account, delegated_user
    #[arg(long = "field", value_name = "NAME=SOURCE")]
    pub field: Vec<String>,
}

/// Where the value of one field comes from.
#[derive(Debug, PartialEq, Eq)]
enum Source<'a> {
    File(&'a str),
    Stdin,
    Literal(&'a str),
}

/// Splits `NAME=SOURCE`. The error never repeats the value: it may be the secret itself.
fn parse_field(argument: &str) -> Result<(&str, Source<'_>), CliError> {
    let Some((name, source)) = argument
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
    else {
        return Err(CliError::local("--field must be NAME=@FILE or NAME=-"));
    };
    let source = match source {
        "-" => Source::Stdin,
        _ => match source.strip_prefix('@') {
            Some("") => return Err(CliError::local(format!("--field {name}=@ names no file"))),
            Some(file) => Source::File(file),
            None if PUBLIC_FIELDS.contains(&name) => Source::Literal(source),
            None => {
                return Err(CliError::local(format!(
                    "--field {name}: a value is not taken from the command line, because every \
                     user of this machine can read argument lists and the shell remembers them; \
                     put it into a file and give {name}=@FILE, or give {name}=- and type or pipe it"
                )));
            }
        },
    };
    Ok((name, source))
}

/// What standard input is, so that a test can stand in for it.
pub trait Input {
    /// Everything that is on it; asks without echo when somebody types.
    ///
    /// # Errors
    /// It cannot be read.
    fn read(&mut self, prompt: &str) -> Result<Zeroizing<Vec<u8>>, CliError>;
}

/// The process's own standard input.
pub struct Stdin;

impl Input for Stdin {
    fn read(&mut self, prompt: &str) -> Result<Zeroizing<Vec<u8>>, CliError> {
        if std::io::stdin().is_terminal() {
            return rpassword::prompt_password(format!("{prompt}: "))
                .map(|typed| Zeroizing::new(typed.into_bytes()))
                .map_err(|error| CliError::local(format!("cannot read the terminal: {error}")));
        }
        bounded(std::io::stdin().lock(), "standard input")
    }
}

fn bounded(source: impl Read, name: &str) -> Result<Zeroizing<Vec<u8>>, CliError> {
    // The whole capacity is there from the beginning, so that nothing is left behind by growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LARGEST_INPUT as usize + 32));
    source
        .take(LARGEST_INPUT + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| CliError::local(format!("cannot read {name}: {error}")))?;
    if bytes.len() as u64 > LARGEST_INPUT {
        return Err(CliError::local(format!("{name} is larger than 1 MiB")));
    }
    Ok(bytes)
}

fn read_file(path: &str) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let file = std::fs::File::open(Path::new(path))
        .map_err(|error| CliError::local(format!("cannot read {path}: {error}")))?;
    bounded(file, path)
}

/// All fields, by name, in the order given.
struct Fields(Vec<(String, WipingJson)>);

impl Fields {
    fn add(&mut self, name: &str, value: WipingJson) -> Result<(), CliError> {
        if self.0.iter().any(|(known, _)| known == name) {
            return Err(CliError::local(format!("the field {name} is given twice")));
        }
        self.0.push((name.to_owned(), value));
        Ok(())
    }
}

/// A JSON object in which no name stands twice.
struct ObjectOnce(Vec<(String, WipingJson)>);

impl<'de> serde::Deserialize<'de> for ObjectOnce {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = ObjectOnce;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<ObjectOnce, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    fields.push((name, WipingJson(value)));
                }
                Ok(ObjectOnce(fields))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// The body of the request that adds a version: the fields, and the already encoded `members`
/// beside them.
///
/// # Errors
/// A source cannot be read, is used twice, or breaks a rule. No text repeats a value.
pub fn version_body(
    arguments: &FieldArguments,
    input: &mut dyn Input,
    members: &[(&str, Value)],
) -> Result<WipingBuffer, CliError> {
    // Every argument is checked before anything is read, so that nobody types in vain.
    let singles = arguments
        .field
        .iter()
        .map(|argument| parse_field(argument))
        .collect::<Result<Vec<_>, _>>()?;
    let from_stdin = singles
        .iter()
        .filter(|(_, source)| *source == Source::Stdin)
        .count()
        + usize::from(arguments.fields.as_deref() == Some("-"));
    if from_stdin > 1 {
        return Err(CliError::local("standard input (-) can be used once"));
    }
    let mut fields = Fields(Vec::new());
    if let Some(source) = arguments.fields.as_deref() {
        let bytes = match source {
            "-" => input.read("fields, as one line of JSON")?,
            path => read_file(path)?,
        };
        let object: ObjectOnce = serde_json::from_slice(&bytes)
            .map_err(|_| CliError::local("--fields is not a JSON object of fields"))?;
        for (name, value) in object.0 {
            fields.add(&name, value)?;
        }
    }
    for (name, source) in singles {
        let bytes = match source {
            Source::File(path) => read_file(path)?,
            Source::Stdin => input.read(name)?,
            Source::Literal(text) => Zeroizing::new(text.as_bytes().to_vec()),
        };
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| CliError::local(format!("the field {name} is not UTF-8 text")))?;
        // Editors and `echo` end a file with a line feed that is not part of the value.
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            return Err(CliError::local(format!("the field {name} is empty")));
        }
        fields.add(name, WipingJson(Value::String(text.to_owned())))?;
    }
    encode(&fields, members).map_err(|_| CliError::local("the fields cannot be written as JSON"))
}

fn encode(fields: &Fields, members: &[(&str, Value)]) -> serde_json::Result<WipingBuffer> {
    let mut body = WipingBuffer::with_capacity(16 * 1024);
    body.extend(b"{\"fields\":{");
    for (index, (name, value)) in fields.0.iter().enumerate() {
        if index > 0 {
            body.extend(b",");
        }
        serde_json::to_writer(&mut body, name)?;
        body.extend(b":");
        serde_json::to_writer(&mut body, &value.0)?;
    }
    body.extend(b"}");
    for (name, value) in members {
        body.extend(b",");
        serde_json::to_writer(&mut body, name)?;
        body.extend(b":");
        serde_json::to_writer(&mut body, value)?;
    }
    body.extend(b"}");
    Ok(body)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Typed(&'static str);

    impl Input for Typed {
        fn read(&mut self, _: &str) -> Result<Zeroizing<Vec<u8>>, CliError> {
            Ok(Zeroizing::new(self.0.as_bytes().to_vec()))
        }
    }

    fn body(fields: Option<&str>, singles: &[&str], stdin: &'static str) -> Result<Value, String> {
        let arguments = FieldArguments {
            fields: fields.map(str::to_owned),
            field: singles.iter().map(|single| (*single).to_owned()).collect(),
        };
        version_body(
            &arguments,
            &mut Typed(stdin),
            &[("expires_at", json!("2028-11-20"))],
        )
        .map(|body| serde_json::from_slice(body.expose_secret()).unwrap())
        .map_err(|error| error.to_string())
    }

    #[test]
    fn fields_come_from_files_stdin_and_public_arguments() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        std::fs::write(&file, "hunter2\n").unwrap();
        let single = format!("client_secret=@{}", file.display());
        assert_eq!(
            body(None, &["tenant_id=t", &single, "note=-"], "typed\r\n"),
            Ok(json!({
                "fields": {"tenant_id": "t", "client_secret": "hunter2", "note": "typed"},
                "expires_at": "2028-11-20",
            }))
        );
        assert_eq!(
            body(Some("-"), &[], r#"{"a":"1","b":{"c":2}}"#).unwrap()["fields"],
            json!({"a": "1", "b": {"c": 2}})
        );
    }

    #[test]
    fn a_literal_secret_is_refused_and_not_repeated() {
        for argument in [
            "client_secret=hunter2",
            "private_key=hunter2",
            "x=hunter2",
            "hunter2",
            "=hunter2",
        ] {
            let error = body(None, &[argument], "").unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
        for name in PUBLIC_FIELDS {
            assert!(body(None, &[&format!("{name}=x")], "").is_ok());
        }
    }

    #[test]
    fn nothing_is_given_twice() {
        assert!(
            body(None, &["a=-", "b=-"], "x")
                .unwrap_err()
                .contains("once")
        );
        assert!(
            body(Some("-"), &["b=-"], "{}")
                .unwrap_err()
                .contains("once")
        );
        assert!(
            body(None, &["tenant_id=a", "tenant_id=b"], "")
                .unwrap_err()
                .contains("twice")
        );
        assert!(
            body(Some("-"), &[], r#"{"a":"1","a":"2"}"#)
                .unwrap_err()
                .contains("twice")
        );
        assert!(
            body(Some("-"), &["client_id=x"], r#"{"client_id":"1"}"#)
                .unwrap_err()
                .contains("twice")
        );
    }

    #[test]
    fn what_is_no_object_is_refused_and_not_repeated() {
        for text in [
            "\"hunter2\"",
            "[\"hunter2\"]",
            "hunter2",
            "{\"a\":\"hunter2\"",
        ] {
            let error = body(Some("-"), &[], text).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(body(None, &["a=-"], "\n").unwrap_err().contains("empty"));
    }
}
