//! Numbers that a run of the suite reports: how much was tried.

use std::io::Write as _;

/// Adds to a figure; `scripts/test` shows the sums.
pub fn note(what: &str, count: usize) {
    println!("{what}: {count}");
    let Some(file) = std::env::var_os("STRONGROOM_TEST_FIGURES") else {
        return;
    };
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(file);
    file.and_then(|mut file| file.write_all(format!("{count}\t{what}\n").as_bytes()))
        .expect("the file of figures");
}
