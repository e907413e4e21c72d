//! Processes: on which core they run, what they used, and that none is left behind.

use std::{
    convert::Infallible,
    env,
    ffi::OsString,
    fs,
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// How long one unit of the times in /proc is. Linux shows them in hundredths of a second on all
/// common architectures, whatever it counts in (proc_pid_stat(5), USER_HZ).
const TICK: Duration = Duration::from_millis(10);

/// The two cores of a run.
#[derive(Clone, Copy)]
pub struct Cores {
    /// Where the servers run.
    pub server: usize,
    /// Where the load generator runs.
    pub load: usize,
    /// How many this process may use in all.
    pub usable: usize,
}

impl Cores {
    /// The first core that this process may use, and the first that is not another thread of the
    /// same physical core. Nothing when there is only one.
    pub fn choose() -> Option<Self> {
        let allowed = sched_getaffinity(None).ok()?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let server = cores.next()?;
        let others: Vec<usize> = cores.collect();
        let load = others
            .iter()
            .find(|core| !share_a_core(server, **core))
            .or(others.first())?;
        Some(Self {
            server,
            load: *load,
            usable: others.len() + 1,
        })
    }

    /// Whether both are threads of one physical core, as far as the kernel knows.
    pub fn are_siblings(self) -> bool {
        share_a_core(self.server, self.load)
    }
}

fn share_a_core(one: usize, other: usize) -> bool {
    let core_of = |cpu: usize| {
        let file =
            |name| fs::read_to_string(format!("/sys/devices/system/cpu/cpu{cpu}/topology/{name}"));
        Some((file("physical_package_id").ok()?, file("core_id").ok()?))
    };
    core_of(one).is_some_and(|core| core_of(other) == Some(core))
}

/// Puts the calling thread, and what it starts from now on, on one core.
///
/// # Errors
/// The kernel does not want to.
pub fn pin(core: usize) -> Result<(), String> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).map_err(|error| format!("no pinning to core {core}: {error}"))
}

/// Calls `start` on the server's core, so that the processes it starts stay there.
///
/// # Errors
/// There is no pinning, or `start` failed.
pub fn on_server_core<T>(
    cores: Option<Cores>,
    start: impl FnOnce() -> Result<T, String>,
) -> Result<T, String> {
    let Some(Cores { server, load, .. }) = cores else {
        return start();
    };
    pin(server)?;
    let started = start();
    pin(load)?;
    started
}

/// The first argument that makes this program [turn into](turn_into) another one.
pub const BECOME: &str = "become";

/// Turns this process into another program, on the given core, that is killed when the process that
/// started it ends. Arguments: the core (or `-`), the program, and what it gets.
///
/// # Errors
/// It cannot be done.
pub fn turn_into(mut arguments: impl Iterator<Item = OsString>) -> Result<Infallible, String> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| error.to_string())?;
    let core = arguments.next().ok_or("no core")?;
    if let Some(core) = core.to_str().and_then(|core| core.parse().ok()) {
        pin(core)?;
    }
    let program = arguments.next().ok_or("no program")?;
    let mut command = Command::new(&program);
    Err(format!(
        "{} cannot be started: {}",
        program.display(),
        command.args(arguments).exec()
    ))
}

/// A command that runs `program` on the server's core and no longer than this process.
///
/// # Errors
/// This program does not know its own file.
pub fn command(program: &Path, cores: Option<Cores>) -> Result<Command, String> {
    let own = env::current_exe().map_err(|error| format!("no file of this program: {error}"))?;
    let core = cores.map_or("-".to_owned(), |cores| cores.server.to_string());
    let mut command = Command::new(own);
    command.arg(BECOME).arg(core).arg(program);
    Ok(command)
}

/// A server that is ended with this value.
pub struct Server {
    child: Child,
}

impl Server {
    /// Starts it; what it says goes to the file `log`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self, String> {
        let file = || fs::File::create(log).map_err(|error| format!("{}: {error}", log.display()));
        let error_file = file()?;
        let output_file = error_file
            .try_clone()
            .map_err(|error| format!("{}: {error}", log.display()))?;
        Self::spawn(command.stdout(output_file).stderr(error_file))
    }

    /// Starts it and reads the first line that it says.
    ///
    /// # Errors
    /// It cannot be started, or says nothing.
    pub fn start_and_listen(command: &mut Command) -> Result<(Self, String), String> {
        let mut server = Self::spawn(command.stdout(Stdio::piped()))?;
        let mut line = String::new();
        if let Some(output) = server.child.stdout.take() {
            let _ = BufReader::new(output).read_line(&mut line);
        }
        if line.is_empty() {
            return Err("a server ended at once".into());
        }
        Ok((server, line.trim().to_owned()))
    }

    fn spawn(command: &mut Command) -> Result<Self, String> {
        command
            .stdin(Stdio::null())
            .spawn()
            .map(|child| Self { child })
            .map_err(|error| {
                let program = command.get_program().to_string_lossy();
                format!("{program} cannot be started: {error}")
            })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// It cannot be told to, or ends badly.
    #[allow(dead_code, reason = "one of the benches starts its server once")]
    pub fn stop(mut self) -> Result<(), String> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let told = id.map(|id| kill_process(id, Signal::TERM));
        if !matches!(told, Some(Ok(()))) {
            return Err("a server cannot be told to stop".into());
        }
        match self.child.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("a server ended with {status}")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processor time, in user and kernel mode, of one process and the children it has waited for.
pub fn processor_time(id: u32) -> Duration {
    stat(id).map(|stat| stat.time).unwrap_or_default()
}

/// Processor time of all threads that process `id` has now, in nanoseconds by the scheduler's count
/// (proc(5), schedstat).
#[allow(dead_code, reason = "not every bench needs it")]
pub fn scheduled_time(id: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{id}/task"))
        .into_iter()
        .flatten();
    let nanos = tasks.flatten().filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// The same of a process and all its children.
pub fn processor_time_of_family(id: u32) -> Duration {
    let children = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(stat)
        .filter(|stat| stat.parent == id)
        .map(|stat| stat.time)
        .sum::<Duration>();
    processor_time(id) + children
}

/// Time that the two cores were used by anything at all, or taken away by a hypervisor.
pub fn time_of_cores(cores: Cores) -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    [cores.server, cores.load]
        .iter()
        .filter_map(|core| {
            let name = format!("cpu{core} ");
            text.lines().find_map(|line| line.strip_prefix(&name))
        })
        .map(|fields| {
            // user, nice, system, idle, iowait, irq, softirq, steal (proc_stat(5)); interrupts are
            // mostly our own packets and are left out.
            let fields: Vec<u32> = fields
                .split_ascii_whitespace()
                .map(|field| field.parse().unwrap_or_default())
                .collect();
            let used = [0, 1, 2, 7].iter().filter_map(|field| fields.get(*field));
            TICK * used.sum::<u32>()
        })
        .sum()
}

struct Stat {
    parent: u32,
    time: Duration,
}

fn stat(id: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The second field is the program's name in brackets, with whatever it likes in it; after it
    // come state and parent (fields 3 and 4) and from field 14 utime, stime, cutime, cstime.
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let ticks: u32 = fields
        .get(11..15)?
        .iter()
        .filter_map(|field| field.parse::<u32>().ok())
        .sum();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        time: TICK * ticks,
    })
}

/// Memory of a process, in KiB.
#[derive(Clone, Copy, Default)]
pub struct Memory {
    /// Resident now.
    pub resident: u64,
    /// Resident at most, ever.
    pub peak: u64,
}

/// The memory of process `id`.
pub fn memory(id: u32) -> Memory {
    let text = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let kib = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|value| value.trim().strip_suffix(" kB")?.parse().ok())
            .unwrap_or_default()
    };
    Memory {
        resident: kib("VmRSS:"),
        peak: kib("VmHWM:"),
    }
}
