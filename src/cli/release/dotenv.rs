//! Lines of `NAME=value`, in two dialects that have little in common but the look.

use clap::ValueEnum;

use super::mapping::Resolved;
use crate::cli::{error::CliError, wiping::WipingBuffer};

/// Who will read the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Dialect {
    /// A POSIX shell (`. FILE`): values in single quotes where they need them.
    #[default]
    Sh,
    /// `docker run --env-file`, which takes each line as it is: no quotes, no line breaks.
    Docker,
}

/// Writes the lines.
///
/// # Errors
/// A value holds a character that the dialect cannot carry.
pub fn render(resolved: &[Resolved<'_>], dialect: Dialect) -> Result<WipingBuffer, CliError> {
    let mut out = WipingBuffer::with_capacity(16 * 1024);
    for one in resolved {
        if one.value.contains('\0') {
            return Err(one.refuse("holds a NUL, which no environment can carry"));
        }
        out.extend(one.mapping.name.as_bytes());
        out.extend(b"=");
        match dialect {
            Dialect::Sh => quote(&one.value, &mut out),
            Dialect::Docker => {
                if one.value.contains(['\n', '\r']) {
                    return Err(one.refuse(
                        "holds a line break, which an env-file of Docker cannot carry; mount a \
                         file instead (--format files or template)",
                    ));
                }
                out.extend(one.value.as_bytes());
            }
        }
        out.extend(b"\n");
    }
    Ok(out)
}

/// Quotes for a POSIX shell, if it has to be.
pub fn quote(text: &str, out: &mut WipingBuffer) {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return out.extend(text.as_bytes());
    }
    out.extend(b"'");
    for (number, part) in text.split('\'').enumerate() {
        if number > 0 {
            out.extend(br"'\''");
        }
        out.extend(part.as_bytes());
    }
    out.extend(b"'");
}
