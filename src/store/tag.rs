//! The keyed tag of a registry row, and what happens to a row without a right one (promise 4).
//!
//! The tag is HMAC-SHA256 under a service key over the table's name and every other column, each
//! length-prefixed. It stops a writer of the database from making or editing a row. It does not stop
//! putting an older row of the same table back whole: that is a rollback, named among what is not
//! promised in `docs/architecture.md`.

use std::sync::Mutex;

use crate::model::Timestamp;

/// Makes and checks tags. The store does not know the key.
pub trait Tagger: Send + Sync {
    /// The tag of `message`.
    fn tag(&self, message: &[u8]) -> [u8; 32];

    /// Whether `tag` is the tag of `message`, in constant time.
    fn verify(&self, message: &[u8], tag: &[u8]) -> bool;
}

/// A row with a tag.
pub trait Tagged {
    /// The table, which is part of the message: a row does not fit another table.
    const TABLE: &'static str;

    /// Adds every column but `mac`, in the order of the table.
    fn fields(&self, fields: &mut Fields);

    /// The stored tag.
    fn mac(&self) -> &[u8];

    /// Sets the tag; used before a row is written.
    fn set_mac(&mut self, mac: Vec<u8>);

    /// What to name in an alarm: the id, or ids, of the row.
    fn name(&self) -> String;
}

/// Builds the message of a tag: each field with its length, absent fields marked as such.
pub struct Fields(Vec<u8>);

impl Fields {
    /// The whole message for `row`.
    pub fn message<T: Tagged>(row: &T) -> Vec<u8> {
        let mut fields = Self(Vec::with_capacity(256));
        fields.bytes(T::TABLE.as_bytes());
        row.fields(&mut fields);
        fields.0
    }

    /// A field of bytes.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        // No column can hold 4 GiB, so the length always fits.
        let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
        self.0.push(1);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(value);
        self
    }

    /// A field that is shown as text.
    pub fn text(&mut self, value: impl std::fmt::Display) -> &mut Self {
        use std::io::Write;
        self.0.push(1);
        let at = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        // Writing into a Vec cannot fail.
        let _ = write!(self.0, "{value}");
        let length = u32::try_from(self.0.len() - at - 4).unwrap_or(u32::MAX);
        self.0[at..at + 4].copy_from_slice(&length.to_be_bytes());
        self
    }

    /// A whole number.
    pub fn int(&mut self, value: i64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// A moment.
    pub fn time(&mut self, value: Timestamp) -> &mut Self {
        self.int(value.micros())
    }

    /// A moment that may be absent.
    pub fn opt_time(&mut self, value: Option<Timestamp>) -> &mut Self {
        match value {
            Some(value) => self.time(value),
            None => self.absent(),
        }
    }

    /// A text that may be absent.
    pub fn opt_text(&mut self, value: Option<impl std::fmt::Display>) -> &mut Self {
        match value {
            Some(value) => self.text(value),
            None => self.absent(),
        }
    }

    /// Bytes that may be absent.
    pub fn opt_bytes(&mut self, value: Option<&[u8]>) -> &mut Self {
        match value {
            Some(value) => self.bytes(value),
            None => self.absent(),
        }
    }

    fn absent(&mut self) -> &mut Self {
        self.0.push(0);
        self
    }
}

/// Rows that were refused since they were last taken: the table and the row's ids.
#[derive(Default)]
pub struct Refusals(Mutex<Vec<(&'static str, String)>>);

impl Refusals {
    /// More than this many are counted by the metric only.
    const MOST: usize = 64;

    /// Reports one refused row: a log line, a metric, and an entry for the audit log.
    pub fn report(&self, table: &'static str, name: String) {
        metrics::counter!("strongroom_registry_rows_refused_total", "table" => table).increment(1);
        let mut waiting = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if waiting.len() < Self::MOST && !waiting.iter().any(|(t, n)| *t == table && *n == name) {
            tracing::error!(table, row = %name, "a row was not written by this service: treated as absent");
            waiting.push((table, name));
        }
    }

    /// Whether something was reported since it was last taken.
    pub fn are_waiting(&self) -> bool {
        !self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .is_empty()
    }

    /// Keeps what was taken and could not be recorded.
    pub fn put_back(&self, refused: Vec<(&'static str, String)>) {
        let mut waiting = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        waiting.extend(refused);
        waiting.truncate(Self::MOST);
    }

    /// Takes what was reported since the last call.
    pub fn take(&self) -> Vec<(&'static str, String)> {
        std::mem::take(
            &mut self
                .0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }
}
