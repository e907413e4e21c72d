//! The memory of a running process: everything that it can write to, stacks included.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;

use super::marks::Search;

/// What was looked at.
pub struct Looked {
    pub bytes: usize,
    /// Where canaries are, by the names of the mappings.
    pub found: Vec<String>,
}

/// How much of one mapping is looked at together, in bytes.
const PIECE: usize = 4 << 20;

/// By how much two pieces overlap: longer than any form of a mark.
const OVERLAP: usize = 512;

const PAGE: usize = 4096;

/// Looks through the memory of a process. The service is not dumpable, so only root may.
///
/// # Errors
/// The process is gone, or this one may not look into it.
pub fn look_into(pid: u32, search: &Search) -> io::Result<Looked> {
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut looked = Looked {
        bytes: 0,
        found: Vec::new(),
    };
    for line in fs::read_to_string(format!("/proc/{pid}/maps"))?.lines() {
        let Some((begins, ends)) = writable(line) else {
            continue;
        };
        let mut at = begins;
        while at < ends {
            let to = ends.min(at + PIECE);
            let bytes = read(&memory, at, to);
            looked.bytes += bytes.len();
            let found = search.find(&bytes);
            looked
                .found
                .extend(found.iter().map(|found| format!("{line}: {found}")));
            at = if to == ends { ends } else { to - OVERLAP };
        }
    }
    Ok(looked)
}

/// Where a mapping begins and ends, if the process can write to it.
fn writable(line: &str) -> Option<(usize, usize)> {
    let (range, rest) = line.split_once(' ')?;
    let (begins, ends) = range.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    rest.starts_with("rw")
        .then_some((number(begins)?, number(ends)?))
}

/// The bytes of a range; pages that are gone or are only reserved are zeros.
fn read(memory: &File, begins: usize, ends: usize) -> Vec<u8> {
    let mut bytes = vec![0; ends - begins];
    if memory.read_exact_at(&mut bytes, begins as u64).is_err() {
        bytes.fill(0);
        for (n, page) in bytes.chunks_mut(PAGE).enumerate() {
            if memory
                .read_exact_at(page, (begins + n * PAGE) as u64)
                .is_err()
            {
                page.fill(0);
            }
        }
    }
    bytes
}

/// Whether this process may look into others at all; if not, says so where it is seen.
pub fn may_look(pid: u32) -> bool {
    match File::open(format!("/proc/{pid}/mem")) {
        Ok(_) => true,
        Err(error) => {
            // Only root may look, which is a protection of its own; a sandbox may forbid it to root.
            eprintln!("SKIPPED: the service's memory cannot be looked into: {error}");
            crate::support::figures::note("memory searches skipped for want of permission", 1);
            false
        }
    }
}
