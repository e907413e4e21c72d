//! Faults of a disk, made between the program and the C library: see `shim.c`, which is compiled here.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use super::service::Service;

static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mine = directory.join(format!("faults.{}.so", std::process::id()));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/support/shim.c");
    let compiled = Command::new("cc")
        .args(["-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o"])
        .args([&mine, &source])
        .arg("-ldl")
        .output()
        .expect("a C compiler, which SQLite needs as well");
    let said = String::from_utf8_lossy(&compiled.stderr);
    assert!(compiled.status.success(), "{said}");
    // One file for all runs, never half of one.
    let library = directory.join("faults.so");
    fs::rename(mine, &library).expect("the library in its place");
    library
});

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The process is killed in front of a call that changes a file.
    Kill = 1,
    /// The same, and of what a write was to write, half is written.
    Tear = 2,
    /// Nothing becomes durable: EIO of fsync.
    Sync = 3,
    /// EIO of each write.
    Write = 4,
    /// ENOSPC of each write.
    Full = 5,
    /// EIO of each read.
    Read = 6,
}

/// The disk below a service's data directory.
pub struct Disk(File);

impl Disk {
    /// Puts one below a service that has not been started yet.
    pub fn below(service: &mut Service) -> Self {
        let path = service.home().join("faults");
        fs::write(&path, [0; 12]).expect("a file");
        service.set("LD_PRELOAD", &LIBRARY);
        service.set("FAULTS_CONTROL", &path);
        service.set("FAULTS_BELOW", &service.data());
        let file = OpenOptions::new().read(true).write(true).open(path);
        Self(file.expect("the file"))
    }

    /// From the `n`th call on (the first is 1).
    pub fn fails(&self, fault: Fault, n: i32) {
        let numbers = [fault as i32, n, 0].map(i32::to_ne_bytes).concat();
        // The mode last, or it would count with the countdown of before.
        self.0.write_all_at(&numbers[4..], 4).expect("a write");
        self.0.write_all_at(&numbers[..4], 0).expect("a write");
    }

    /// Everything works again.
    pub fn works(&self) {
        self.0.write_all_at(&[0; 4], 0).expect("a write");
    }

    /// How many calls there were since [`fails`](Self::fails) that the fault is about.
    pub fn hits(&self) -> i32 {
        let mut bytes = [0; 4];
        self.0.read_exact_at(&mut bytes, 8).expect("a read");
        i32::from_ne_bytes(bytes)
    }
}
