//! In which form the caller wants a release (RFC 9110 section 12.5.1).

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

use crate::vault::Form;

/// The media type of a binary age file.
pub const AGE: &str = "application/age";
/// The media type of JSON.
pub const JSON: &str = "application/json";

/// What to do when only age is taken and there is no recipient.
pub const NO_RECIPIENT: &str = "Ask for application/json, or have an age recipient registered for \
    this workload and ask for application/age.";

/// The form that the caller likes best of those that there are; JSON when it likes both alike, or
/// says nothing. `None` if it takes none of them.
///
/// The most specific range that fits a media type decides about it, whatever stands before. Other
/// parameters than `q` are not looked at, since neither type has any; a range that is malformed fits
/// nothing.
pub fn preferred(headers: &HeaderMap, has_age: bool) -> Option<Form> {
    let mut ranges = Vec::new();
    for value in headers.get_all(ACCEPT) {
        let elements = value.to_str().unwrap_or("?").split(',');
        ranges.extend(elements.map(str::trim).filter(|text| !text.is_empty()));
    }
    if ranges.is_empty() {
        return Some(Form::Json);
    }
    let ranges: Vec<Range> = ranges.into_iter().filter_map(Range::parse).collect();
    let json = quality(&ranges, "json");
    let age = if has_age { quality(&ranges, "age") } else { 0 };
    match (json, age) {
        (0, 0) => None,
        (json, age) if age > json => Some(Form::Age),
        _ => Some(Form::Json),
    }
}

/// One element of `Accept`.
struct Range {
    /// In lower case; `*` for any.
    subtype: String,
    /// How much it says: 2 for a media type, 1 for `application/*`, 0 for `*/*`.
    specific: u8,
    /// The weight in thousandths.
    quality: u16,
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next()?.to_ascii_lowercase();
        let subtype = match media.split_once('/')? {
            ("application", subtype) => subtype,
            ("*", "*") => "*",
            _ => return None,
        };
        let specific = match media.as_str() {
            "*/*" => 0,
            "application/*" => 1,
            _ => 2,
        };
        let mut quality = 1000;
        for parameter in parts {
            if let Some((name, value)) = parameter.split_once('=')
                && name.trim_end().eq_ignore_ascii_case("q")
            {
                quality = thousandths(value.trim_start())?;
            }
        }
        Some(Self {
            subtype: subtype.to_owned(),
            specific,
            quality,
        })
    }
}

/// A weight: 0 to 1 with at most three decimals (RFC 9110 section 12.4.2).
fn thousandths(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = decimals.len() <= 3 && decimals.bytes().all(|byte| byte.is_ascii_digit());
    let decimals: u16 = format!("{decimals:0<3}").parse().ok().filter(|_| digits)?;
    match whole {
        "0" => Some(decimals),
        "1" if decimals == 0 => Some(1000),
        _ => None,
    }
}

/// How much `application/<subtype>` is wanted; 0 if not at all.
fn quality(ranges: &[Range], subtype: &str) -> u16 {
    ranges
        .iter()
        .filter(|range| range.subtype == "*" || range.subtype == subtype)
        .max_by_key(|range| (range.specific, range.quality))
        .map_or(0, |range| range.quality)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn wanted(accept: &[&str], has_age: bool) -> Option<Form> {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT, HeaderValue::from_str(value).unwrap());
        }
        preferred(&headers, has_age)
    }

    #[test]
    fn the_form_that_is_liked_best_is_given() {
        let (json, age) = (Some(Form::Json), Some(Form::Age));
        let nothing: &[&str] = &[];
        for (accept, with, without) in [
            (nothing, json, json),
            (&[""], json, json),
            (&["application/json"], json, json),
            (&["Application/JSON; charset=utf-8"], json, json),
            (&["*/*"], json, json),
            (&["application/*"], json, json),
            (&["application/age"], age, None),
            (&["application/AGE;q=0.001"], age, None),
            (&["application/age, application/json"], json, json),
            (&["application/age", "application/json"], json, json),
            (&["application/age, application/json;q=0.9"], age, json),
            (&["application/age, */*;q=0.1"], age, json),
            (
                &["application/age ; q = 0.5, application/*;q=0.6"],
                json,
                json,
            ),
            (&["application/json;q=0, */*"], age, None),
            (&["*/*, application/json;q=0"], age, None),
            (&["application/age;q=0, application/*"], json, json),
            (&["application/age;q=0"], None, None),
            (&["text/csv"], None, None),
            (&["text/*, image/png"], None, None),
            (&["*/*;q=0"], None, None),
            (&["application/json;q=2"], None, None),
            (&["application/json;q=0.0001"], None, None),
            (&["application/json;q=+1"], None, None),
            (&["application/json;q=1.001"], None, None),
            (&["application/json;q="], None, None),
            (&["application/json;q=1.000"], json, json),
            (&["application/jso", "*/json", "json"], None, None),
            (&["text/csv, application/json;q=0.1"], json, json),
        ] {
            assert_eq!(wanted(accept, true), with, "{accept:?}");
            assert_eq!(wanted(accept, false), without, "{accept:?}");
        }
    }
}
