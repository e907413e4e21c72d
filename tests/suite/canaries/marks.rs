//! Values that occur nowhere else, and the search for them in whatever form they hide.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use memchr::memmem;

/// What every canary begins and ends with: a piece of one is found by either end.
const HEAD: &str = "Cq7ZxKp94VwT";
const TAIL: &str = "mJ3nRy8LdBs6";
/// What those begin with that have to look like a GUID.
const GUID: &str = "5ca1ab1e-c0de-4f00-9b3d";

/// Canary number `n`.
pub fn text(n: usize) -> String {
    format!("{HEAD}{n:05}{TAIL}")
}

/// Canary number `n` in lower-case letters and digits.
pub fn lower(n: usize) -> String {
    text(n).to_lowercase()
}

/// Canary number `n` as a GUID.
pub fn guid(n: usize) -> String {
    format!("{GUID}-{n:012}")
}

/// The forms in which one of the three marks can stand in a larger text.
fn forms(mark: &str) -> Vec<Vec<u8>> {
    let mut forms: Vec<String> = vec![
        mark.to_owned(),
        mark.to_lowercase(),
        mark.to_uppercase(),
        hex::encode(mark),
        hex::encode_upper(mark),
        mark.bytes().map(|byte| format!("%{byte:02x}")).collect(),
        mark.bytes().map(|byte| format!("%{byte:02X}")).collect(),
        mark.bytes().map(|byte| format!("\\u{byte:04x}")).collect(),
        mark.bytes().map(|byte| format!("\\x{byte:02x}")).collect(),
        // As a list of numbers, which is how a debug form shows bytes.
        mark.bytes().map(|byte| format!("{byte}, ")).collect(),
    ];
    // What base64 makes of a text depends on how many bytes stand before it; its ends depend on what
    // is beside them, so they are left out.
    for before in 0..3 {
        let text = format!("{}{mark}", &"..."[..before]);
        for encoded in [STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
            forms.push(encoded[4..encoded.len() - 4].to_owned());
        }
    }
    forms.sort();
    forms.dedup();
    let mut forms: Vec<Vec<u8>> = forms.into_iter().map(String::into_bytes).collect();
    forms.push(mark.bytes().flat_map(|byte| [byte, 0]).collect());
    forms
}

/// Looks for canaries.
pub struct Search(Vec<memmem::Finder<'static>>);

impl Search {
    pub fn new() -> Self {
        Self::of(&[HEAD, TAIL, GUID])
    }

    /// A search for these texts, which are long enough to stand nowhere else.
    pub fn of(marks: &[&str]) -> Self {
        let forms = marks.iter().flat_map(|mark| forms(mark));
        Self(
            forms
                .map(|form| memmem::Finder::new(&form).into_owned())
                .collect(),
        )
    }

    /// A search for a short text, as it is.
    pub fn exactly(text: &str) -> Self {
        Self(vec![memmem::Finder::new(text).into_owned()])
    }

    /// Where canaries are, with what stands around them: nothing, if all is well.
    pub fn find(&self, bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for finder in &self.0 {
            for at in finder.find_iter(bytes).take(3) {
                let around = &bytes[at.saturating_sub(60)..bytes.len().min(at + 60)];
                found.push(format!("at {at}: {}", around.escape_ascii()));
            }
        }
        found
    }

    /// Whether there is one.
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        self.0.iter().any(|finder| finder.find(bytes).is_some())
    }

    /// Fails if there is one.
    #[track_caller]
    pub fn none_in(&self, place: &str, bytes: &[u8]) {
        let found = self.find(bytes);
        assert!(found.is_empty(), "{place} holds {found:#?}");
    }
}

/// A search that finds nothing proves nothing unless it finds what is there.
#[test]
fn the_search_finds_every_form() {
    let search = Search::new();
    for canary in [text(0), text(99_999), lower(7), guid(123)] {
        for before in ["", "a", "ab", "abc", "abcd"] {
            let text = format!("{before}{canary}{before}z");
            let texts = [
                text.clone(),
                text.to_uppercase(),
                STANDARD_NO_PAD.encode(&text),
                URL_SAFE_NO_PAD.encode(&text),
                hex::encode(&text),
                hex::encode_upper(&text),
                format!("{:?}", text.as_bytes()),
            ];
            // The forms of lower-case letters are looked for as they are only.
            let texts = if canary == lower(7) {
                &texts[..2]
            } else {
                &texts[..]
            };
            for text in texts {
                assert!(search.is_in(text.as_bytes()), "{text}");
                assert!(!search.find(text.as_bytes()).is_empty());
            }
        }
    }
    // A part of one, as a buffer that was overwritten in part has it.
    assert!(search.is_in(&text(3).as_bytes()[..14]));
    assert!(search.is_in(&text(3).as_bytes()[16..]));
    assert!(!search.is_in(b"nothing of the kind"));
    let caught = std::panic::catch_unwind(|| Search::new().none_in("this", text(1).as_bytes()));
    assert!(caught.is_err());
}
