//! Checking a backup without a database and without any key of the deployment: that it is whole,
//! that the deployment's audit key signed for it, and that the audit logs in it are what was signed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, Write};

use serde::Serialize;

use super::format::{BackupError, Frame, Reader, TableHead};
use super::manifest::Manifest;
use crate::audit::export::{self, StoredRecord};
use crate::audit::{self, Origin, VerifierKey};
use crate::crypto::{Identity, decrypting};
use crate::store::Value;

/// What was found in a backup.
#[derive(Serialize)]
pub struct BackupReport {
    /// What it says of itself.
    pub manifest: Manifest,
    /// What its audit logs prove.
    pub logs: Vec<audit::Report>,
}

impl BackupReport {
    /// Whether nothing is wrong with it.
    pub fn is_ok(&self) -> bool {
        self.logs.iter().all(audit::Report::is_ok)
    }
}

/// The head of a log.
struct Head {
    size: u64,
    checkpoint: String,
}

type LogName = (String, i64);

/// Reads a backup to its end. Holds a row, the heads of the logs and what [`audit::verify()`] holds;
/// the checkpoints lie in a file without a name meanwhile.
///
/// # Errors
/// It cannot be read, is not whole, or `keys` did not sign it.
pub fn verify_backup(
    input: impl BufRead,
    identities: &[Identity],
    keys: &[VerifierKey],
) -> Result<BackupReport, BackupError> {
    let mut reader = Reader::new(BufReader::new(decrypting(input, identities)?))?;
    let deployment = reader.deployment().to_owned();
    let mut heads: BTreeMap<LogName, Head> = BTreeMap::new();
    let mut kept = Spool::new()?;
    let mut logs = Vec::new();
    while let Some(frame) = reader.next()? {
        match frame {
            Frame::Table(head) if head.table == "audit_checkpoints" => {
                let places = LogPlaces::of(&head, "size", &["note"])?;
                while let Some(row) = reader.next_row()? {
                    let (name, size) = places.name(&row)?;
                    kept.add(name, size, places.text(&row, 0)?)?;
                }
            }
            Frame::Table(head) if head.table == "audit_logs" => {
                let places = LogPlaces::of(&head, "size", &["checkpoint"])?;
                while let Some(row) = reader.next_row()? {
                    let (name, size) = places.name(&row)?;
                    let checkpoint = places.text(&row, 0)?.to_owned();
                    heads.insert(name, Head { size, checkpoint });
                }
            }
            Frame::Table(head) if head.table == "audit_records" => {
                let places = LogPlaces::of(&head, "seq", &["leaf", "record"])?;
                logs = verify_logs(&mut reader, &places, &heads, &mut kept, keys, &deployment)?;
            }
            Frame::Manifest(note, sections) => {
                let manifest = Manifest::open(&note, keys, &deployment, &sections)?;
                return Ok(BackupReport { manifest, logs });
            }
            Frame::Table(_) | Frame::Row(_) | Frame::File(..) => {}
        }
    }
    Err(BackupError::Broken)
}

/// Where the columns are that every table of the logs has.
struct LogPlaces {
    node: usize,
    epoch: usize,
    number: usize,
    more: Vec<usize>,
}

impl LogPlaces {
    fn of(head: &TableHead, number: &str, more: &[&str]) -> Result<Self, BackupError> {
        let more: Result<_, _> = more.iter().map(|name| head.place(name)).collect();
        Ok(Self {
            node: head.place("node")?,
            epoch: head.place("epoch")?,
            number: head.place(number)?,
            more: more?,
        })
    }

    /// Which log a row is of, and its number in it.
    fn name(&self, row: &[Value]) -> Result<(LogName, u64), BackupError> {
        let read = || {
            let node = row[self.node].text()?.to_owned();
            let number = u64::try_from(row[self.number].integer()?).ok()?;
            Some(((node, row[self.epoch].integer()?), number))
        };
        read().ok_or(BackupError::Damaged("a row of an audit log"))
    }

    fn text<'a>(&self, row: &'a [Value], which: usize) -> Result<&'a str, BackupError> {
        let text = row[self.more[which]].text();
        text.ok_or(BackupError::Damaged("a row of an audit log"))
    }

    fn record(&self, row: &[Value], seq: u64) -> Option<StoredRecord> {
        Some(StoredRecord {
            seq,
            leaf: row[self.more[0]].bytes()?.try_into().ok()?,
            record: row[self.more[1]].bytes()?.to_vec(),
        })
    }
}

/// Verifies one log after the other. The records of each come together; in which order the logs come
/// is the database's matter, whose collation may not be that of bytes.
fn verify_logs<R: Read>(
    reader: &mut Reader<R>,
    places: &LogPlaces,
    heads: &BTreeMap<LogName, Head>,
    kept: &mut Spool,
    keys: &[VerifierKey],
    deployment: &str,
) -> Result<Vec<audit::Report>, BackupError> {
    let headless = BackupError::Damaged("records of a log that has no head, or that is torn apart");
    let mut reports = BTreeMap::new();
    let mut waiting = reader.next_row()?;
    let mut left: BTreeMap<&LogName, &Head> = heads.iter().collect();
    loop {
        let next = match &waiting {
            Some(row) => left.remove_entry(&places.name(row)?.0),
            None => left.pop_first(),
        };
        let Some((name, head)) = next else { break };
        let mut failed = None;
        let records = std::iter::from_fn(|| {
            let row = waiting.take()?;
            match places.name(&row) {
                Ok((of, seq)) if of == *name => {
                    match reader.next_row() {
                        Ok(next) => waiting = next,
                        Err(error) => failed = Some(error),
                    }
                    let record = places.record(&row, seq);
                    Some(record.ok_or_else(|| io::Error::other("a record")))
                }
                Ok(_) => {
                    waiting = Some(row);
                    None
                }
                Err(error) => {
                    failed = Some(error);
                    None
                }
            }
        });
        let checkpoints = kept.of(name)?;
        let origin = Origin {
            deployment: parsed(deployment)?,
            node: parsed(&name.0)?,
            epoch: u64::try_from(name.1).map_err(|_| BackupError::Damaged("an epoch"))?,
        };
        let lines = export::lines(&origin, None, records, checkpoints);
        // The newest checkpoint has to cover what is there, whatever the others say.
        let newest: &[String] = match head.size {
            0 => &[],
            _ => std::slice::from_ref(&head.checkpoint),
        };
        let report = audit::verify(Lines::new(lines), keys, newest);
        if let Some(error) = failed {
            return Err(error);
        }
        let report = report.map_err(|_| BackupError::Damaged("an audit log"))?;
        if head.size > 0 {
            reports.insert(name, report);
        }
    }
    match waiting {
        Some(_) => Err(headless),
        None => Ok(reports.into_values().collect()),
    }
}

fn parsed(text: &str) -> Result<crate::model::Slug, BackupError> {
    text.parse()
        .map_err(|_| BackupError::Damaged("the name of a log"))
}

/// Checkpoints of all logs, in a file that has no name and goes with the process.
struct Spool {
    file: File,
    /// Where the notes of each log begin, and how many bytes they are.
    places: BTreeMap<LogName, (u64, u64)>,
    written: u64,
}

impl Spool {
    fn new() -> io::Result<Self> {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::open(std::env::temp_dir(), flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Self {
            file: File::from(file),
            places: BTreeMap::new(),
            written: 0,
        })
    }

    fn add(&mut self, name: LogName, size: u64, note: &str) -> io::Result<()> {
        let mut entry = size.to_be_bytes().to_vec();
        entry.extend((note.len() as u64).to_be_bytes());
        entry.extend(note.as_bytes());
        self.file.write_all(&entry)?;
        let place = self.places.entry(name).or_insert((self.written, 0));
        place.1 += entry.len() as u64;
        self.written += entry.len() as u64;
        Ok(())
    }

    /// The sizes and notes of a log, in the order in which they came.
    fn of(
        &mut self,
        name: &LogName,
    ) -> io::Result<impl Iterator<Item = io::Result<(u64, String)>> + use<>> {
        let (start, length) = self.places.get(name).copied().unwrap_or((0, 0));
        let mut file = self.file.try_clone()?;
        file.seek(io::SeekFrom::Start(start))?;
        let mut input = BufReader::new(file.take(length));
        Ok(std::iter::from_fn(move || {
            let mut number = [0; 8];
            input.read_exact(&mut number).ok()?;
            let size = u64::from_be_bytes(number);
            let mut read = || {
                input.read_exact(&mut number)?;
                let mut note = vec![0; usize::try_from(u64::from_be_bytes(number)).unwrap_or(0)];
                input.read_exact(&mut note)?;
                String::from_utf8(note).map_err(io::Error::other)
            };
            Some(read().map(|note| (size, note)))
        }))
    }
}

/// Lines that are made while they are read.
struct Lines<I> {
    lines: I,
    line: Vec<u8>,
    at: usize,
}

impl<I: Iterator<Item = io::Result<Vec<u8>>>> Lines<I> {
    fn new(lines: I) -> Self {
        let line = Vec::new();
        Self { lines, line, at: 0 }
    }
}

impl<I: Iterator<Item = io::Result<Vec<u8>>>> Read for Lines<I> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut from = self.fill_buf()?;
        let read = from.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl<I: Iterator<Item = io::Result<Vec<u8>>>> BufRead for Lines<I> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.line.len() {
            self.at = 0;
            self.line = self.lines.next().transpose()?.unwrap_or_default();
        }
        Ok(&self.line[self.at..])
    }

    fn consume(&mut self, bytes: usize) {
        self.at += bytes;
    }
}
