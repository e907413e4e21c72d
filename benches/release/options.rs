//! What the command line and the environment ask for.

use std::{env, path::PathBuf, time::Duration};

use crate::process::Cores;

/// Shown for `--help`.
pub const HELP: &str = "\
What a release costs beside a bare server, on SQLite and on PostgreSQL.

cargo bench --bench release -- [OPTIONS]

  --quick             one second a measurement, one round: to see that it works
  --seconds N         length of one measurement (BENCH_SECONDS; default 4)
  --rounds N          rounds; every figure is the median over them (BENCH_ROUNDS; default 5)
  --connections N     kept-alive connections (default 64)
  --no-postgres       leave PostgreSQL out
  --bare-only         measure the bare server alone, with an answer made up
  --directory DIR     where the databases lie, on a disk that keeps what it is told
                      (BENCH_DIR; default /var/tmp)

BENCH_BINARY names another strongroom to measure than the one built beside the bench.";

/// The settings of one run.
pub struct Options {
    /// Length of one measurement.
    pub measure: Duration,
    /// How long each server is loaded before a measurement begins.
    pub warm_up: Duration,
    /// How often everything is measured.
    pub rounds: usize,
    /// How many connections are kept open at once.
    pub connections: usize,
    /// Whether PostgreSQL is measured too.
    pub postgres: bool,
    /// Whether only the bare server is measured.
    pub bare_only: bool,
    /// Where temporary files lie.
    pub directory: PathBuf,
    /// The program to measure.
    pub binary: PathBuf,
    /// Where servers and load run; nothing when there is only one core.
    pub cores: Option<Cores>,
}

/// What to do.
pub enum Wish {
    /// Measure.
    Measure(Options),
    /// Print the help.
    Help,
}

impl Wish {
    /// Reads the command line of a bench.
    ///
    /// # Errors
    /// An option that there is none of, or a number that is none.
    pub fn read() -> Result<Self, String> {
        let from_environment = |name| env::var(name).ok();
        let mut options = Options {
            measure: seconds(&from_environment("BENCH_SECONDS").unwrap_or("4".into()))?,
            warm_up: Duration::from_secs(1),
            rounds: number(&from_environment("BENCH_ROUNDS").unwrap_or("5".into()))?,
            connections: 64,
            postgres: true,
            bare_only: false,
            directory: env::var_os("BENCH_DIR").map_or("/var/tmp".into(), PathBuf::from),
            binary: env::var_os("BENCH_BINARY")
                .map_or(env!("CARGO_BIN_EXE_strongroom").into(), PathBuf::from),
            cores: Cores::choose(),
        };
        let mut arguments = env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .ok_or_else(|| format!("{argument} needs a value"))
            };
            match argument.as_str() {
                // cargo bench says so itself.
                "--bench" => {}
                "--help" | "-h" => return Ok(Self::Help),
                "--quick" => {
                    options.measure = Duration::from_secs(1);
                    options.warm_up = Duration::from_millis(500);
                    options.rounds = 1;
                }
                "--seconds" => options.measure = seconds(&value()?)?,
                "--rounds" => options.rounds = number(&value()?)?,
                "--connections" => options.connections = number(&value()?)?,
                "--no-postgres" => options.postgres = false,
                "--bare-only" => options.bare_only = true,
                "--directory" => options.directory = value()?.into(),
                other => return Err(format!("no such option: {other}\n\n{HELP}")),
            }
        }
        Ok(Self::Measure(options))
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("not a number of seconds: {text}")),
    }
}

fn number(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|number| (1..=10_000).contains(number))
        .ok_or_else(|| format!("not a number from 1 to 10000: {text}"))
}
