//! A moment as whole microseconds since 1970-01-01T00:00:00Z.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::{Date, OffsetDateTime, format_description::well_known::Rfc3339};

use super::credential::Precision;

/// Microseconds since the Unix epoch, UTC. Both databases hold it as a 64-bit integer, because a
/// time with nanoseconds does not come back equal from PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub struct Timestamp(i64);

/// The text is neither an RFC 3339 time nor a date.
#[derive(Debug, thiserror::Error)]
#[error("must be an RFC 3339 time such as 2028-11-20T00:00:00Z, or a date such as 2028-11-20")]
pub struct ParseTimestampError;

impl Timestamp {
    /// From microseconds since the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From whole seconds since the Unix epoch, saturating.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the Unix epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Whole milliseconds since the Unix epoch, rounded down.
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// This moment and `secs` seconds more (negative: earlier), saturating.
    #[must_use]
    pub const fn plus_secs(self, secs: i64) -> Self {
        Self(self.0.saturating_add(secs.saturating_mul(1_000_000)))
    }

    /// Parses an RFC 3339 time, or a date without a time: that is 00:00 UTC of the day and keeps
    /// the precision `day`.
    ///
    /// # Errors
    /// The text is neither, or the moment lies outside the years 1970 to 9999.
    pub fn parse_with_precision(text: &str) -> Result<(Self, Precision), ParseTimestampError> {
        const DAY: &[time::format_description::BorrowedFormatItem<'_>] =
            time::macros::format_description!("[year]-[month]-[day]");
        let (moment, precision) = if text.len() == 10 {
            let day = Date::parse(text, DAY).map_err(|_| ParseTimestampError)?;
            (day.midnight().assume_utc(), Precision::Day)
        } else {
            let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| ParseTimestampError)?;
            (moment, Precision::Second)
        };
        let nanos = moment.unix_timestamp_nanos();
        let micros = i64::try_from(nanos.div_euclid(1_000)).map_err(|_| ParseTimestampError)?;
        if micros < 0 {
            return Err(ParseTimestampError);
        }
        Ok((Self(micros), precision))
    }
}

impl std::str::FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse_with_precision(text).map(|(moment, _)| moment)
    }
}

/// RFC 3339 in UTC, with microseconds only when there are any.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(moment) = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000)
        else {
            return write!(f, "@{}us", self.0);
        };
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
            moment.year(),
            u8::from(moment.month()),
            moment.day(),
            moment.hour(),
            moment.minute(),
            moment.second()
        )?;
        let micros = moment.microsecond();
        if micros != 0 {
            write!(f, ".{micros:06}")?;
        }
        f.write_str("Z")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(
                utoipa::openapi::KnownFormat::DateTime,
            )))
            .into()
    }
}

impl utoipa::ToSchema for Timestamp {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_without_a_time_is_midnight_utc_and_keeps_its_precision() {
        let (moment, precision) = Timestamp::parse_with_precision("2028-11-20").unwrap();
        assert_eq!(moment.to_string(), "2028-11-20T00:00:00Z");
        assert_eq!(precision, Precision::Day);
        let (moment, precision) =
            Timestamp::parse_with_precision("2028-11-20T01:00:00+01:00").unwrap();
        assert_eq!(moment.to_string(), "2028-11-20T00:00:00Z");
        assert_eq!(precision, Precision::Second);
    }

    #[test]
    fn impossible_dates_are_refused() {
        for text in [
            "2028-02-30",
            "2028-13-01",
            "20281120",
            "",
            "1969-12-31",
            "2028-11-20T25:00:00Z",
        ] {
            assert!(Timestamp::parse_with_precision(text).is_err(), "{text}");
        }
    }
}
