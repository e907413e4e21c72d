//! What commands print: tables for people, JSON as it came for programs.

use std::io::Write;

use clap::ValueEnum;
use comfy_table::{Table, presets::NOTHING};
use serde_json::{Value, json};

use super::error::{CliError, printable};

/// For whom a command prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables, for people.
    #[default]
    Table,
    /// JSON as the server gave it, for programs.
    Json,
}

/// One column: its heading, and what it shows of an item.
pub struct Column(pub &'static str, pub Cell);

/// What a column shows of an item.
pub enum Cell {
    /// The value at this JSON pointer.
    At(&'static str),
    /// What a function makes of the item.
    By(fn(&Value) -> String),
}

/// Shorthand for the common column.
pub const fn at(heading: &'static str, pointer: &'static str) -> Column {
    Column(heading, Cell::At(pointer))
}

/// Shorthand for a computed column.
pub const fn by(heading: &'static str, show: fn(&Value) -> String) -> Column {
    Column(heading, Cell::By(show))
}

impl Column {
    fn show(&self, item: &Value) -> String {
        match &self.1 {
            Cell::At(pointer) => item.pointer(pointer).map_or_else(|| "-".into(), show),
            Cell::By(show) => printable(&show(item)),
        }
    }
}

/// A value as text for a cell.
pub fn show(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => printable(text),
        Value::Array(items) if items.is_empty() => "-".into(),
        Value::Array(items) => items.iter().map(show).collect::<Vec<_>>().join(", "),
        Value::Object(map) => ["name", "id", "number"]
            .iter()
            .find_map(|key| map.get(*key))
            .map_or_else(|| "-".into(), show),
    }
}

/// Where a command's results go.
pub struct Output {
    format: Format,
    stdout: Box<dyn Write + Send>,
}

impl Output {
    /// Prints in `format` to `stdout`.
    pub fn new(format: Format, stdout: Box<dyn Write + Send>) -> Self {
        Self { format, stdout }
    }

    /// Whether it prints for people.
    pub fn is_table(&self) -> bool {
        self.format == Format::Table
    }

    /// Prints a list.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn list(&mut self, items: &[Value], columns: &[Column]) -> Result<(), CliError> {
        match self.format {
            Format::Json => self.json(&json!({"items": items, "next": null})),
            Format::Table => self.table(items, columns),
        }
    }

    /// Prints one resource, a line for each property.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn one(&mut self, item: &Value, columns: &[Column]) -> Result<(), CliError> {
        if self.format == Format::Json {
            return self.json(item);
        }
        let mut table = empty_table();
        for column in columns {
            table.add_row([column.0.to_owned(), column.show(item)]);
        }
        self.line(&table.trim_fmt())
    }

    /// Prints a table, whatever the format; for parts of a resource below its properties.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn table(&mut self, items: &[Value], columns: &[Column]) -> Result<(), CliError> {
        let mut table = empty_table();
        table.set_header(columns.iter().map(|column| column.0.to_uppercase()));
        for item in items {
            table.add_row(columns.iter().map(|column| column.show(item)));
        }
        self.line(&table.trim_fmt())
    }

    /// Says that something was done: a sentence for people, the answer for programs.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn done(&mut self, answer: &Value, sentence: &str) -> Result<(), CliError> {
        match self.format {
            Format::Json if answer.is_null() => Ok(()),
            Format::Json => self.json(answer),
            Format::Table => self.line(sentence),
        }
    }

    /// Prints one line, or several.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn line(&mut self, text: &str) -> Result<(), CliError> {
        self.bytes(text.as_bytes())?;
        self.bytes(b"\n")
    }

    /// Prints bytes as they are.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.stdout
            .write_all(bytes)
            .and_then(|()| self.stdout.flush())
            .map_err(|error| CliError::local(format!("cannot write to standard output: {error}")))
    }

    fn json(&mut self, value: &Value) -> Result<(), CliError> {
        self.line(&format!("{value:#}"))
    }
}

fn empty_table() -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_words() {
        assert_eq!(show(&json!(["a", {"id": "x", "name": "b"}])), "a, b");
        assert_eq!(show(&json!([])), "-");
        assert_eq!(show(&json!(true)), "yes");
        assert_eq!(show(&json!("a\u{1b}[31m")), "a\u{FFFD}[31m");
        let column = at("Client", "/client/name");
        assert_eq!(
            column.show(&json!({"client": {"name": "Example"}})),
            "Example"
        );
        assert_eq!(column.show(&json!({})), "-");
    }
}
