//! What the pages of intake cost, and a thousand verifications at once.
//!
//! `cargo bench --bench intake` (`-- --help` for options) asks `strongroom dev` for pages and compares
//! the processor time of one with that of a bare server which sends the same bytes. Then it has as many
//! stored values verified at once as asked for, at a stand-in whose answers take their time, and looks
//! at time, memory, and how many calls the stand-in had to bear.

#[path = "../release/answer.rs"]
mod answer;
#[allow(dead_code, reason = "the other benches use the rest")]
#[path = "../release/bare.rs"]
mod bare;
#[path = "../release/certificates.rs"]
mod certificates;
#[allow(dead_code, reason = "the other benches use the rest")]
#[path = "../bundle/deployment.rs"]
mod deployment;
#[allow(dead_code, reason = "the other benches use the rest")]
#[path = "../release/load.rs"]
mod load;
#[path = "../release/machine.rs"]
mod machine;
mod pages;
#[allow(dead_code, reason = "the other benches use the rest")]
#[path = "../release/process.rs"]
mod process;
mod requests;
mod verifications;

use std::{env, fs, path::Path, path::PathBuf, process::ExitCode};

use deployment::Deployment;
use process::Cores;

const HELP: &str = "\
What the pages of intake cost, and many verifications at once, on SQLite.

cargo bench --bench intake -- [OPTIONS]

  --pages N           pages asked for in a round (default 2000)
  --rounds N          rounds (default 5)
  --verifications N   values verified at once; 0 leaves that out (default 1000)
  --wait MS           milliseconds that each answer of the stand-in takes (default 100)
  --directory DIR     where the database lies (BENCH_DIR; default /var/tmp)

BENCH_BINARY names another strongroom to measure than the one built beside the bench.";

struct Options {
    pages: usize,
    rounds: usize,
    verifications: usize,
    wait: usize,
    cores: Option<Cores>,
    directory: PathBuf,
    binary: PathBuf,
}

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let role = arguments.next();
    let result = match role.as_ref().and_then(|role| role.to_str()) {
        Some(process::BECOME) => process::turn_into(arguments).map(|never| match never {}),
        Some(bare::ROLE) => {
            let directory = arguments.next().unwrap_or_default();
            bare::serve(Path::new(&directory)).map(|never| match never {})
        }
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
            eprintln!("intake bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Option<Options>, String> {
    let mut options = Options {
        pages: 2000,
        rounds: 5,
        verifications: 1000,
        wait: 100,
        cores: None,
        directory: env::var_os("BENCH_DIR").map_or("/var/tmp".into(), PathBuf::from),
        binary: env::var_os("BENCH_BINARY")
            .map_or(env!("CARGO_BIN_EXE_strongroom").into(), PathBuf::from),
    };
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        let number = |text: String| {
            text.parse::<usize>()
                .map_err(|_| format!("not a number: {text}"))
        };
        match argument.as_str() {
            // cargo bench says so itself.
            "--bench" => {}
            "--help" | "-h" => return Ok(None),
            "--pages" => options.pages = number(value()?)?.max(1),
            "--rounds" => options.rounds = number(value()?)?.max(1),
            "--verifications" => options.verifications = number(value()?)?,
            "--wait" => options.wait = number(value()?)?,
            "--directory" => options.directory = value()?.into(),
            other => return Err(format!("no such option: {other}\n\n{HELP}")),
        }
    }
    Ok(Some(options))
}

async fn bench(options: &Options) -> Result<(), String> {
    let workspace = tempfile::Builder::new()
        .prefix("strongroom-bench-")
        .tempdir_in(&options.directory)
        .map_err(|error| format!("{}: {error}", options.directory.display()))?;
    println!("# Pages of intake, and verifications\n");
    for line in machine::describe(workspace.path(), Cores::choose())? {
        println!("- {line}");
    }
    println!("- Not pinned: server and load share the cores as the kernel likes\n");
    let mut deployment = Deployment::new(&options.binary, options.cores, workspace.path())?;
    deployment.start().await?;
    pages::measure(options, &deployment, workspace.path()).await?;
    if options.verifications > 0 {
        verifications::measure(options, &deployment).await?;
    }
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("\nLoad after the run: {}", load.trim());
    Ok(())
}

fn verdict(good: bool, what: &str) {
    println!("{}  {what}", if good { "PASS" } else { "FAIL" });
}
