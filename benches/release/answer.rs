//! Just enough of HTTP/1.1 to know where an answer ends: the load generator reads hundreds of
//! thousands of them and must not be what is measured.

/// The start of an answer, understood.
#[derive(Clone, Copy)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// Where the body begins.
    pub length: usize,
    body: Body,
}

#[derive(Clone, Copy)]
enum Body {
    Sized(usize),
    Chunked,
}

impl Head {
    /// Reads a head from the start of `received`; nothing if it is not all there yet.
    ///
    /// # Errors
    /// It is not the head of an answer whose end can be known.
    pub fn parse(received: &[u8]) -> Result<Option<Self>, &'static str> {
        let mut body = None;
        let mut status = None;
        let mut at = 0;
        loop {
            let Some(end) = received[at..].iter().position(|byte| *byte == b'\n') else {
                return Ok(None);
            };
            let line = received[at..at + end].trim_ascii_end();
            at += end + 1;
            if status.is_none() {
                status = Some(parse_status(line)?);
            } else if line.is_empty() {
                break;
            } else if let Some(value) = value_of(line, b"content-length") {
                body = Some(Body::Sized(
                    parse_number(value, 10).ok_or("an unreadable length")?,
                ));
            } else if value_of(line, b"transfer-encoding").is_some() {
                body = Some(Body::Chunked);
            }
        }
        let status = status.ok_or("no status line")?;
        let body = match (status, body) {
            (204 | 304, _) => Body::Sized(0),
            (_, Some(body)) => body,
            (_, None) => return Err("an answer without an end"),
        };
        Ok(Some(Self {
            status,
            length: at,
            body,
        }))
    }

    /// Where the answer ends, when it is all in `received`.
    ///
    /// # Errors
    /// The chunks are not well formed.
    pub fn end(&self, received: &[u8]) -> Result<Option<usize>, &'static str> {
        match self.body {
            Body::Sized(size) => Ok(Some(self.length + size).filter(|end| *end <= received.len())),
            Body::Chunked => Ok(chunks(received, self.length)?.map(|(end, _)| end)),
        }
    }

    /// The body without its chunks' sizes, of an answer that is all in `received`.
    ///
    /// # Errors
    /// As [`end`](Self::end).
    pub fn content(&self, received: &[u8]) -> Result<Vec<u8>, &'static str> {
        match self.body {
            Body::Sized(size) => Ok(received[self.length..self.length + size].to_vec()),
            Body::Chunked => Ok(chunks(received, self.length)?
                .ok_or("an unfinished answer")?
                .1
                .into_iter()
                .flatten()
                .copied()
                .collect()),
        }
    }

    /// Whether the body's bytes stand as they are, so that they can be compared.
    pub fn is_sized(&self) -> bool {
        matches!(self.body, Body::Sized(_))
    }
}

type Chunks<'a> = (usize, Vec<&'a [u8]>);

/// Every chunk and where the last one ends (RFC 9112, section 7.1), without trailers.
fn chunks(received: &[u8], from: usize) -> Result<Option<Chunks<'_>>, &'static str> {
    let mut found = Vec::new();
    let mut at = from;
    loop {
        let Some(end) = received[at..].iter().position(|byte| *byte == b'\n') else {
            return Ok(None);
        };
        let line = received[at..at + end].trim_ascii();
        let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let size = parse_number(size, 16).ok_or("an unreadable chunk")?;
        let start = at + end + 1;
        at = start + size + 2;
        if at > received.len() {
            return Ok(None);
        }
        if size == 0 {
            return Ok(Some((at, found)));
        }
        found.push(&received[start..start + size]);
    }
}

fn parse_status(line: &[u8]) -> Result<u16, &'static str> {
    line.strip_prefix(b"HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|digits| parse_number(digits, 10))
        .and_then(|status| u16::try_from(status).ok())
        .ok_or("not an answer of HTTP/1.1")
}

fn parse_number(digits: &[u8], radix: u32) -> Option<usize> {
    usize::from_str_radix(std::str::from_utf8(digits).ok()?, radix)
        .ok()
        .filter(|number| *number < 1 << 30)
}

/// The value of a header line of this name (given in lower case).
pub fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}
