//! What is inside a backup: the bytes under the age encryption.
//!
//! ```text
//! strongroom-backup/1 prod-01…          one line: what it is, the version of the form, which deployment
//! frames: kind (1 byte), length (4 bytes, big endian), body
//!   'T'  a table begins: JSON of its name and columns
//!   'R'  a row of it: one value for each column
//!   'F'  a file: length of the name (4), name, content
//!   'M'  the manifest: a signed note, see manifest.rs
//!   'Z'  the end; nothing follows
//! ```
//!
//! A value is a byte that says what it is (0 nothing, 1 a number of 8 bytes, 2 text, 3 bytes), and
//! for the last two a length of 4 bytes before the content. There is one form for each row. What
//! the database holds sealed stays sealed: a backup has ciphertexts, encrypted once more.

use std::io::{self, Read};

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use crate::store::{Column, ColumnType, Value};

/// The version of the form.
pub const VERSION: u32 = 1;

/// The longest body of a frame: far more than a row can have.
const MAX_BODY: usize = 32 * 1024 * 1024;
/// The longest first line.
const MAX_LINE: usize = 256;

/// A backup cannot be read. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The outside cannot be opened.
    #[error(transparent)]
    Envelope(#[from] crate::crypto::EnvelopeError),
    /// It opened, but holds something else.
    #[error("the file is encrypted with age, but it is not a backup of Strongroom")]
    NotABackup,
    /// Its form is of a newer version of this program.
    #[error("the backup was made by a newer version of strongroom: use that version")]
    Newer,
    /// It ends too early, or was changed on the way.
    #[error("the backup is cut off or damaged: it cannot be used")]
    Broken,
    /// It is whole, but says what no backup says.
    #[error("the backup is damaged: {0}")]
    Damaged(&'static str),
    /// The manifest is not one that the deployment's audit key signed.
    #[error("the manifest of the backup is not in order: {0}")]
    Manifest(crate::audit::NoteError),
    /// The file cannot be read.
    #[error("the backup cannot be read: {0}")]
    Io(io::Error),
}

impl From<io::Error> for BackupError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => Self::Broken,
            _ => Self::Io(error),
        }
    }
}

/// The name of a table and its columns, as a backup has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableHead {
    /// The table.
    pub table: String,
    /// Its columns, in the order of the values of a row.
    pub columns: Vec<Column>,
}

impl TableHead {
    /// The place of a column.
    pub fn place(&self, column: &str) -> Result<usize, BackupError> {
        let place = self.columns.iter().position(|it| it.name == column);
        place.ok_or(BackupError::Damaged("a column is missing"))
    }
}

/// One part of a backup, as the manifest lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// The table, or `file:` and the name of a file.
    pub name: String,
    /// How many rows it has; 1 for a file.
    pub rows: u64,
    /// SHA-256 of its frames, in hexadecimal.
    pub sha256: String,
}

/// The first line.
pub fn first_line(deployment: &str) -> Vec<u8> {
    format!("strongroom-backup/{VERSION} {deployment}\n").into_bytes()
}

/// Adds up the parts of a backup while they are written or read.
#[derive(Default)]
pub struct Sections {
    done: Vec<Section>,
    open: Option<(String, u64, Context)>,
}

impl Sections {
    fn begin(&mut self, name: String) {
        self.close();
        self.open = Some((name, 0, Context::new(&SHA256)));
    }

    fn frame(&mut self, head: &[u8], body: &[u8], rows: u64) {
        if let Some((_, count, hash)) = &mut self.open {
            hash.update(head);
            hash.update(body);
            *count += rows;
        }
    }

    fn close(&mut self) {
        if let Some((name, rows, hash)) = self.open.take() {
            let sha256 = hex::encode(hash.finish());
            self.done.push(Section { name, rows, sha256 });
        }
    }

    /// All of them.
    pub fn finish(mut self) -> Vec<Section> {
        self.close();
        self.done
    }
}

/// Makes frames.
#[derive(Default)]
pub struct Writer {
    /// What was written so far.
    pub sections: Sections,
}

impl Writer {
    /// A table begins.
    pub fn table(&mut self, table: &str, columns: &[Column], out: &mut Vec<u8>) {
        self.sections.begin(table.to_owned());
        let head = TableHead {
            table: table.to_owned(),
            columns: columns.to_vec(),
        };
        // Names and words always serialise.
        let body = serde_json::to_vec(&head).unwrap_or_default();
        self.frame(b'T', &body, 0, out);
    }

    /// A row of the table that began last.
    pub fn row(&mut self, row: &[Value], out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(256);
        for value in row {
            let (kind, content): (u8, &[u8]) = match value {
                Value::Null => {
                    body.push(0);
                    continue;
                }
                Value::Integer(number) => {
                    body.push(1);
                    body.extend(number.to_be_bytes());
                    continue;
                }
                Value::Text(text) => (2, text.as_bytes()),
                Value::Bytes(bytes) => (3, bytes),
            };
            body.push(kind);
            body.extend(length_of(content));
            body.extend(content);
        }
        self.frame(b'R', &body, 1, out);
    }

    /// A file.
    pub fn file(&mut self, name: &str, content: &[u8], out: &mut Vec<u8>) {
        self.sections.begin(format!("file:{name}"));
        let mut body = length_of(name.as_bytes()).to_vec();
        body.extend(name.as_bytes());
        body.extend(content);
        self.frame(b'F', &body, 1, out);
    }

    /// The manifest and the end.
    pub fn finish(mut self, manifest: &str, out: &mut Vec<u8>) {
        self.sections.close();
        self.frame(b'M', manifest.as_bytes(), 0, out);
        self.frame(b'Z', b"", 0, out);
    }

    fn frame(&mut self, kind: u8, body: &[u8], rows: u64, out: &mut Vec<u8>) {
        let mut head = vec![kind];
        head.extend(length_of(body));
        self.sections.frame(&head, body, rows);
        out.extend(head);
        out.extend(body);
    }
}

/// Nothing in a backup is 4 GiB long.
fn length_of(content: &[u8]) -> [u8; 4] {
    u32::try_from(content.len())
        .unwrap_or(u32::MAX)
        .to_be_bytes()
}

/// A part of a backup as it is read.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// A table begins.
    Table(TableHead),
    /// A row of it.
    Row(Vec<Value>),
    /// A file.
    File(String, Vec<u8>),
    /// The manifest, with everything before it.
    Manifest(String, Vec<Section>),
}

/// Reads a backup, strictly and in order.
pub struct Reader<R> {
    input: R,
    deployment: String,
    sections: Sections,
    columns: Option<Vec<ColumnType>>,
    seen: std::collections::BTreeSet<String>,
    back: Option<Frame>,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Begins with the first line of what was decrypted.
    ///
    /// # Errors
    /// It is another file, or of a newer version.
    pub fn new(mut input: R) -> Result<Self, BackupError> {
        let mut line = Vec::new();
        let mut byte = [0];
        while byte[0] != b'\n' {
            // An error is age's: the file was cut off. An end is that of something else.
            if input.read(&mut byte)? == 0 || line.len() == MAX_LINE {
                return Err(BackupError::NotABackup);
            }
            line.push(byte[0]);
        }
        let line = std::str::from_utf8(&line).map_err(|_| BackupError::NotABackup)?;
        let rest = line.trim_end().strip_prefix("strongroom-backup/");
        let (version, deployment) = rest
            .and_then(|rest| rest.split_once(' '))
            .ok_or(BackupError::NotABackup)?;
        match version.parse::<u32>() {
            Ok(VERSION) => {}
            Ok(version) if version > VERSION => return Err(BackupError::Newer),
            _ => return Err(BackupError::NotABackup),
        }
        if !crate::config::is_deployment_id(deployment) {
            return Err(BackupError::NotABackup);
        }
        Ok(Self {
            deployment: deployment.to_owned(),
            input,
            sections: Sections::default(),
            columns: None,
            seen: std::collections::BTreeSet::new(),
            back: None,
            ended: false,
        })
    }

    /// The deployment that it says it is of.
    pub fn deployment(&self) -> &str {
        &self.deployment
    }

    /// The next part; nothing after the manifest.
    ///
    /// # Errors
    /// The backup cannot be read.
    pub fn next(&mut self) -> Result<Option<Frame>, BackupError> {
        if let Some(frame) = self.back.take() {
            return Ok(Some(frame));
        }
        if self.ended {
            return Ok(None);
        }
        let (kind, body) = self.frame()?;
        match kind {
            b'T' => {
                let head: TableHead = serde_json::from_slice(&body)
                    .map_err(|_| BackupError::Damaged("the head of a table"))?;
                self.begin(head.table.clone(), &body, b'T', 0)?;
                self.columns = Some(head.columns.iter().map(|column| column.holds).collect());
                Ok(Some(Frame::Table(head)))
            }
            b'R' => {
                let columns = self.columns.as_deref();
                let columns = columns.ok_or(BackupError::Damaged("a row without a table"))?;
                let row = read_row(columns, &body).ok_or(BackupError::Damaged("a row"))?;
                self.add(b'R', &body, 1);
                Ok(Some(Frame::Row(row)))
            }
            b'F' => {
                let (name, content) = split(&body).ok_or(BackupError::Damaged("a file"))?;
                let name = std::str::from_utf8(name).map_err(|_| BackupError::Damaged("a file"))?;
                let (name, content) = (name.to_owned(), content.to_vec());
                self.begin(format!("file:{name}"), &body, b'F', 1)?;
                self.columns = None;
                Ok(Some(Frame::File(name, content)))
            }
            b'M' => {
                let note = String::from_utf8(body).map_err(|_| BackupError::Damaged("manifest"))?;
                let (end, body) = self.frame()?;
                if end != b'Z' || !body.is_empty() || self.input.read(&mut [0])? != 0 {
                    return Err(BackupError::Damaged("it does not end with its manifest"));
                }
                self.ended = true;
                let sections = std::mem::take(&mut self.sections).finish();
                Ok(Some(Frame::Manifest(note, sections)))
            }
            _ => Err(BackupError::Damaged("a part of an unknown kind")),
        }
    }

    /// The next row of the present table; nothing at its end.
    ///
    /// # Errors
    /// The backup cannot be read.
    pub fn next_row(&mut self) -> Result<Option<Vec<Value>>, BackupError> {
        match self.next()? {
            Some(Frame::Row(row)) => Ok(Some(row)),
            other => {
                self.back = other;
                Ok(None)
            }
        }
    }

    fn frame(&mut self) -> Result<(u8, Vec<u8>), BackupError> {
        let mut head = [0; 5];
        self.input.read_exact(&mut head)?;
        let [kind, length @ ..] = head;
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_BODY {
            return Err(BackupError::Damaged("a part is too long"));
        }
        // Memory is taken as the bytes come, not as their number is claimed.
        let mut body = Vec::new();
        (&mut self.input)
            .take(length as u64)
            .read_to_end(&mut body)?;
        if body.len() < length {
            return Err(BackupError::Broken);
        }
        Ok((kind, body))
    }

    fn begin(&mut self, name: String, body: &[u8], kind: u8, rows: u64) -> Result<(), BackupError> {
        if !self.seen.insert(name.clone()) {
            return Err(BackupError::Damaged("a part comes twice"));
        }
        self.sections.begin(name);
        self.add(kind, body, rows);
        Ok(())
    }

    fn add(&mut self, kind: u8, body: &[u8], rows: u64) {
        let mut head = vec![kind];
        head.extend(length_of(body));
        self.sections.frame(&head, body, rows);
    }
}

/// Four bytes of length, so much content, and the rest.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

fn read_row(columns: &[ColumnType], body: &[u8]) -> Option<Vec<Value>> {
    let mut rest = body;
    let mut row = Vec::with_capacity(columns.len());
    for column in columns {
        let (kind, after) = rest.split_first()?;
        rest = after;
        row.push(match (kind, column) {
            (0, _) => Value::Null,
            (1, ColumnType::Integer) => {
                let (number, after) = rest.split_first_chunk()?;
                rest = after;
                Value::Integer(i64::from_be_bytes(*number))
            }
            (2, ColumnType::Text) => {
                let (text, after) = split(rest)?;
                rest = after;
                Value::Text(std::str::from_utf8(text).ok()?.to_owned())
            }
            (3, ColumnType::Bytes) => {
                let (bytes, after) = split(rest)?;
                rest = after;
                Value::Bytes(bytes.to_vec())
            }
            _ => return None,
        });
    }
    rest.is_empty().then_some(row)
}
