//! On what the figures were measured.

use std::{
    fs,
    io::{Seek as _, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::process::Cores;

/// How often the disk is asked to keep something, for each way of writing.
const PROBES: usize = 200;

/// As much as a page of a database.
const PROBE: [u8; 4096] = [0x5a; 4096];

/// Lines for people about the machine, and about the disk that `directory` lies on.
///
/// # Errors
/// The disk cannot be written to.
pub fn describe(directory: &Path, cores: Option<Cores>) -> Result<Vec<String>, String> {
    let (filesystem, device) = filesystem_of(directory);
    let (appended, overwritten) = probe(directory)?;
    let mut lines = vec![
        format!(
            "Processor: {}, {} usable, Linux {}",
            processor_model(),
            cores.map_or(1, |cores| cores.usable),
            first_line("/proc/sys/kernel/osrelease")
        ),
        format!(
            "Memory: {:.1} GiB; load before the run: {}",
            total_memory_gib(),
            first_line("/proc/loadavg")
        ),
        format!(
            "Disk under {}: {filesystem} on {device}; 4 KiB and fdatasync, p50/p90/p99 in ms: \
             {} appended, {} overwritten",
            directory.display(),
            quantiles(&appended),
            quantiles(&overwritten),
        ),
    ];
    lines.push(match cores {
        None => "Cores: only one; servers and load share it, so the ratios are worth little".into(),
        Some(cores) => format!(
            "Cores: servers (with PostgreSQL's processes) on {}, load on {}{}",
            cores.server,
            cores.load,
            if cores.are_siblings() {
                ", two threads of one physical core"
            } else {
                ""
            }
        ),
    });
    if filesystem == "tmpfs" {
        lines.push("WARNING: this is memory, not a disk: durable writes cost nothing here".into());
    }
    Ok(lines)
}

/// How long writes took to be on the disk, in order: those that made the file longer, as a database's
/// log at first, and those that did not, as the log when it is used again.
fn probe(directory: &Path) -> Result<(Vec<Duration>, Vec<Duration>), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
    let mut file = tempfile::tempfile_in(directory).map_err(failed)?;
    let mut write_all = || -> Result<Vec<Duration>, String> {
        file.rewind().map_err(failed)?;
        let mut times = Vec::with_capacity(PROBES);
        for _ in 0..PROBES {
            let begin = Instant::now();
            file.write_all(&PROBE).map_err(failed)?;
            file.sync_data().map_err(failed)?;
            times.push(begin.elapsed());
        }
        times.sort_unstable();
        Ok(times)
    };
    Ok((write_all()?, write_all()?))
}

/// The middle, what one in ten and what one in a hundred exceeded.
fn quantiles(times: &[Duration]) -> String {
    let at = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1e3;
    format!("{:.2}/{:.2}/{:.2}", at(50), at(90), at(99))
}

/// Type and device of the mount that `directory` lies under.
fn filesystem_of(directory: &Path) -> (String, String) {
    let directory = directory
        .canonicalize()
        .unwrap_or_else(|_| directory.to_owned());
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let device = fields.next()?;
            let mount = PathBuf::from(fields.next()?);
            let filesystem = fields.next()?;
            directory.starts_with(&mount).then(|| {
                (
                    mount.components().count(),
                    (filesystem.to_owned(), device.to_owned()),
                )
            })
        })
        .max_by_key(|(depth, _)| *depth)
        .map_or(("unknown".into(), "unknown".into()), |(_, found)| found)
}

fn processor_model() -> String {
    fs::read_to_string("/proc/cpuinfo")
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|rest| rest.split_once(':'))
        .map_or("unknown".into(), |(_, model)| model.trim().to_owned())
}

fn total_memory_gib() -> f64 {
    fs::read_to_string("/proc/meminfo")
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<f64>().ok())
        .unwrap_or_default()
        / 1024.0
        / 1024.0
}

fn first_line(file: &str) -> String {
    fs::read_to_string(file)
        .unwrap_or_default()
        .lines()
        .next()
        .unwrap_or("unknown")
        .to_owned()
}
