//! What large bundles and large deployments cost.
//!
//! `cargo bench --bench bundle` (`-- --help` for options) fills a deployment on SQLite through the
//! API, lets a worker fetch everything as one bundle, compares the rate with opening the same number
//! of values in memory on one thread, and watches the service's memory. Then it stores ten times as
//! many and looks how long a start takes and what stays resident.

#[path = "../release/answer.rs"]
mod answer;
#[allow(dead_code, reason = "the other bench uses the rest")]
#[path = "../release/certificates.rs"]
mod certificates;
mod deployment;
mod fill;
#[allow(dead_code, reason = "the other bench uses the rest")]
#[path = "../release/load.rs"]
mod load;
#[path = "../release/machine.rs"]
mod machine;
#[path = "../release/open.rs"]
mod open;
#[allow(dead_code, reason = "the other bench uses the rest")]
#[path = "../release/process.rs"]
mod process;

use std::{
    env, fs,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use deployment::Deployment;
use load::{Connection, get};
use process::{Cores, pin};

const HELP: &str = "\
What large bundles and large deployments cost, on SQLite.

cargo bench --bench bundle -- [OPTIONS]

  --credentials N     credentials in the bundle (default 10000)
  --stored N          credentials stored for start and memory; 0 leaves that out (default 100000)
  --rounds N          bundles fetched, and starts (default 7)
  --one-core          the server on one core and the load on another, as in the other bench;
                      otherwise the server uses what the machine has
  --directory DIR     where the database lies (BENCH_DIR; default /var/tmp)

BENCH_BINARY names another strongroom to measure than the one built beside the bench.";

struct Options {
    credentials: usize,
    stored: usize,
    rounds: usize,
    cores: Option<Cores>,
    directory: PathBuf,
    binary: PathBuf,
}

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let role = arguments.next();
    let result = match role.as_ref().and_then(|role| role.to_str()) {
        Some(process::BECOME) => process::turn_into(arguments).map(|never| match never {}),
        _ => options().and_then(|options| match options {
            None => {
                println!("{HELP}");
                Ok(())
            }
            Some(options) => tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| error.to_string())?
                .block_on(async {
                    // Not ended by the signal itself, so that what was started is stopped.
                    tokio::select! {
                        result = bench(&options) => result,
                        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
                    }
                }),
        }),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bundle bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Option<Options>, String> {
    let mut options = Options {
        credentials: 10_000,
        stored: 100_000,
        rounds: 7,
        cores: None,
        directory: env::var_os("BENCH_DIR").map_or("/var/tmp".into(), PathBuf::from),
        binary: env::var_os("BENCH_BINARY")
            .map_or(env!("CARGO_BIN_EXE_strongroom").into(), PathBuf::from),
    };
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        let number = |text: String| text.parse().map_err(|_| format!("not a number: {text}"));
        match argument.as_str() {
            // cargo bench says so itself.
            "--bench" => {}
            "--help" | "-h" => return Ok(None),
            "--credentials" => options.credentials = number(value()?)?,
            "--stored" => options.stored = number(value()?)?,
            "--rounds" => options.rounds = number(value()?)?.max(1),
            "--one-core" => options.cores = Cores::choose(),
            "--directory" => options.directory = value()?.into(),
            other => return Err(format!("no such option: {other}\n\n{HELP}")),
        }
    }
    Ok(Some(options))
}

async fn bench(options: &Options) -> Result<(), String> {
    if let Some(cores) = options.cores {
        pin(cores.load)?;
    }
    let workspace = tempfile::Builder::new()
        .prefix("strongroom-bench-")
        .tempdir_in(&options.directory)
        .map_err(|error| format!("{}: {error}", options.directory.display()))?;
    println!("# Large bundles and large deployments\n");
    for line in machine::describe(workspace.path(), options.cores.or(Cores::choose()))? {
        println!("- {line}");
    }
    if options.cores.is_none() {
        println!("- Not pinned: server and load share the cores as the kernel likes");
    }
    let mut deployment = Deployment::new(&options.binary, options.cores, workspace.path())?;
    deployment.start().await?;
    let begin = Instant::now();
    fill::credentials(&deployment, 0..options.credentials).await?;
    println!(
        "- {} credentials stored through the API in {:.0} s\n",
        options.credentials,
        begin.elapsed().as_secs_f64()
    );
    deployment.restart().await?;
    bundles(options, &deployment).await?;
    if options.stored > options.credentials {
        let begin = Instant::now();
        fill::credentials(&deployment, options.credentials..options.stored).await?;
        println!(
            "\n- {} credentials stored through the API, the rest in {:.0} s\n",
            options.stored,
            begin.elapsed().as_secs_f64()
        );
        starts(options, &mut deployment).await?;
    }
    println!("\nLoad after the run: {}", load_average());
    Ok(())
}

/// Fetches everything as one bundle, several times.
async fn bundles(options: &Options, deployment: &Deployment) -> Result<(), String> {
    let peer = deployment.worker()?;
    let request = get(&peer, "/api/v1/release", "");
    let mut connection = Connection::open(&peer).await?;
    // The connection's own memory, and what a first request needs, are not the bundle's.
    connection
        .exchange(&get(&peer, "/api/v1/whoami", ""))
        .await?;
    let before = deployment.memory().resident;
    let mut times = Vec::new();
    let mut opens = Vec::new();
    let mut most = 0;
    let mut bytes = 0;
    println!(
        "| bundle | ms | server CPU ms | two opens each, one thread, ms | ratio of rates | \
         resident MiB | peak growth MiB |\n|--:|--:|--:|--:|--:|--:|--:|"
    );
    for round in 1..=options.rounds {
        // Before and after, because others may use the machine: the quicker of the two counts.
        let open = open::value()?;
        deployment.forget_peak()?;
        let used = deployment.processor_time();
        let begin = Instant::now();
        let (head, end) = connection.exchange(&request).await?;
        let time = begin.elapsed();
        let used = deployment.processor_time().saturating_sub(used);
        let memory = deployment.memory();
        let open = open.min(open::value()?);
        if head.status != 200 {
            return Err(format!("a bundle answers {}", head.status));
        }
        let body = head.content(&connection.received[..end])?;
        bytes = body.len();
        let body: serde_json::Value =
            serde_json::from_slice(&body).map_err(|_| "a bundle is not JSON")?;
        let count = body["credentials"].as_array().map_or(0, Vec::len);
        // The demonstration's own credential is in it, too.
        if count <= options.credentials || body["failed"] != serde_json::json!([]) {
            return Err(format!("a bundle of {count}"));
        }
        let open = open * u32::try_from(count).unwrap_or(u32::MAX);
        let growth = memory.peak.saturating_sub(before);
        println!(
            "| {round} | {:.1} | {:.0} | {:.1} | {:.2} | {:.1} | {:.1} |",
            millis(time),
            millis(used),
            millis(open),
            open.as_secs_f64() / time.as_secs_f64(),
            mebibytes(memory.resident),
            mebibytes(growth),
        );
        times.push(time);
        opens.push(open);
        most = most.max(growth);
    }
    let (time, open) = (median(&mut times), median(&mut opens));
    println!(
        "\nThe bundle has {bytes} bytes. Resident before: {:.1} MiB.\n",
        mebibytes(before)
    );
    let ratio = open.as_secs_f64() / time.as_secs_f64();
    verdict(
        ratio >= 0.5,
        &format!(
            "bundle of {}: {ratio:.2} of the rate of two opens (at least 0.5)",
            options.credentials
        ),
    );
    verdict(
        most < 32 * 1024,
        &format!(
            "bundle of {}: peak growth {:.1} MiB (below 32)",
            options.credentials,
            mebibytes(most)
        ),
    );
    Ok(())
}

/// Starts the service on what is stored, several times, and fetches everything once.
async fn starts(options: &Options, deployment: &mut Deployment) -> Result<(), String> {
    let mut times = Vec::new();
    for _ in 0..options.rounds {
        times.push(deployment.restart().await?);
    }
    let shown: Vec<String> = times
        .iter()
        .map(|it| format!("{:.0}", millis(*it)))
        .collect();
    println!("Starts until ready, ms: {}", shown.join(", "));
    let resident = deployment.memory().resident;
    let peer = deployment.worker()?;
    let mut connection = Connection::open(&peer).await?;
    let begin = Instant::now();
    let (head, _) = connection
        .exchange(&get(&peer, "/api/v1/release", ""))
        .await?;
    let time = begin.elapsed();
    if head.status != 200 {
        return Err(format!("a bundle answers {}", head.status));
    }
    let memory = deployment.memory();
    println!(
        "Everything as one bundle: {:.0} ms; resident {:.1} MiB before, {:.1} after, {:.1} at most\n",
        millis(time),
        mebibytes(resident),
        mebibytes(memory.resident),
        mebibytes(memory.peak),
    );
    let ready = median(&mut times);
    verdict(
        ready < Duration::from_millis(300),
        &format!(
            "{} stored: ready {:.0} ms after the start (below 300)",
            options.stored,
            millis(ready)
        ),
    );
    verdict(
        memory.resident < 96 * 1024,
        &format!(
            "{} stored: resident {:.1} MiB after all were released once (below 96)",
            options.stored,
            mebibytes(memory.resident)
        ),
    );
    Ok(())
}

fn verdict(good: bool, what: &str) {
    println!("{}  {what}", if good { "PASS" } else { "FAIL" });
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn mebibytes(kibibytes: u64) -> f64 {
    kibibytes as f64 / 1024.0
}

fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.trim().to_owned()
}
