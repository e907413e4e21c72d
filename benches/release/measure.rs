//! One measurement of one subject, and several of them against the bare server.

use std::{net::SocketAddr, process, time::Duration};

use crate::{
    load::{self, Exchange, Peer},
    options::Options,
    process::{Cores, Memory, memory, processor_time, processor_time_of_family, time_of_cores},
    service::Counters,
};

/// What is measured.
pub struct Subject {
    /// Its name in the tables.
    pub label: &'static str,
    /// Whom the requests go to.
    pub peer: Peer,
    /// What is sent and expected.
    pub exchange: Exchange,
    /// The server's process.
    pub server: u32,
    /// The main process of the database server, when there is one.
    pub database: Option<u32>,
    /// Where to read the counters of durable records; none if each answer is not one.
    pub audited: Option<SocketAddr>,
}

/// What one measurement says. Times are in microseconds, for one request.
#[derive(Clone, Copy)]
pub struct Figures {
    /// Answers in a second.
    pub throughput: f64,
    /// Latency that half of the answers did not exceed.
    pub p50: f64,
    /// Latency that 99 of 100 did not exceed.
    pub p99: f64,
    /// Processor time of the server's process.
    pub server_cpu: f64,
    /// Processor time of the database server's processes.
    pub database_cpu: f64,
    /// Share of the measured time that the servers' core was used by them.
    pub servers_busy: f64,
    /// The same of the load's core.
    pub load_busy: f64,
    /// Share of the two cores' time that somebody else used.
    pub disturbed: f64,
    /// The server's memory at the end.
    pub memory: Memory,
    /// Intents for each durable commit, and for each answer.
    pub audit: Option<Audit>,
}

/// How answers were recorded.
#[derive(Clone, Copy)]
pub struct Audit {
    /// Intents for each durable commit.
    pub intents_per_commit: f64,
    /// Intents for each answer: never below one.
    pub intents_per_answer: f64,
}

impl Figures {
    /// Processor time of the server and its database server together.
    pub fn cpu(&self) -> f64 {
        self.server_cpu + self.database_cpu
    }
}

/// All measurements of one subject.
pub struct Series {
    /// Its name.
    pub label: &'static str,
    /// In the order they were taken.
    pub figures: Vec<Figures>,
    /// For each of them, throughput as a share of the bare server's just before and after it.
    pub throughput_ratios: Vec<f64>,
    /// For each of them, processor time as a multiple of the bare server's just before and after.
    pub cpu_ratios: Vec<f64>,
}

impl Series {
    fn new(label: &'static str) -> Self {
        Self {
            label,
            figures: Vec::new(),
            throughput_ratios: Vec::new(),
            cpu_ratios: Vec::new(),
        }
    }

    /// The median of one figure.
    pub fn median(&self, figure: impl Fn(&Figures) -> f64) -> f64 {
        median(self.figures.iter().map(figure).collect())
    }

    /// The median throughput as a share of the bare server's.
    pub fn throughput_ratio(&self) -> f64 {
        median(self.throughput_ratios.clone())
    }

    /// The median processor time as a multiple of the bare server's.
    pub fn cpu_ratio(&self) -> f64 {
        median(self.cpu_ratios.clone())
    }
}

/// The middle value; between two the mean of them.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// Measures `bare` and the subjects by turns: bare, first, bare, second, …, bare. Each is compared
/// with the mean of the two measurements of the bare server around it, so that a machine that gets
/// faster or slower during the run does not show in the ratios. The first series is the bare one.
///
/// # Errors
/// A measurement failed.
pub async fn alternate(
    bare: &Subject,
    subjects: &[Subject],
    options: &Options,
) -> Result<Vec<Series>, String> {
    let mut all = vec![Series::new(bare.label)];
    all.extend(subjects.iter().map(|subject| Series::new(subject.label)));
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        if subjects.is_empty() {
            all[0].figures.push(measure(bare, options).await?);
        }
        for (subject, series) in subjects.iter().zip(1..) {
            let before = measure(bare, options).await?;
            all[0].figures.push(before);
            all[series].figures.push(measure(subject, options).await?);
        }
    }
    if !subjects.is_empty() {
        all[0].figures.push(measure(bare, options).await?);
    }
    let bare = all[0].figures.clone();
    for (position, series) in all.iter_mut().skip(1).enumerate() {
        let around = bare.windows(2).skip(position).step_by(subjects.len());
        for (figures, around) in series.figures.iter().zip(around) {
            let of_bare =
                |figure: fn(&Figures) -> f64| f64::midpoint(figure(&around[0]), figure(&around[1]));
            series
                .throughput_ratios
                .push(figures.throughput / of_bare(|f| f.throughput));
            series
                .cpu_ratios
                .push(figures.cpu() / of_bare(Figures::cpu));
        }
    }
    Ok(all)
}

/// One measurement.
async fn measure(subject: &Subject, options: &Options) -> Result<Figures, String> {
    let failed = |error| format!("{}: {error}", subject.label);
    let counters = || subject.audited.map(Counters::read).transpose();
    let counted_before = counters().map_err(failed)?;
    let mut edges = Vec::with_capacity(2);
    let seen = load::run(
        &subject.peer,
        &subject.exchange,
        options.connections,
        options.warm_up,
        options.measure,
        || edges.push(Used::now(subject, options.cores)),
    )
    .await
    .map_err(failed)?;
    let counted_after = counters().map_err(failed)?;
    let [begin, end] = edges.as_slice() else {
        return Err(failed("not measured".to_owned()));
    };
    if seen.answers == 0 {
        return Err(failed("no answers".to_owned()));
    }
    let answers = count(seen.answers);
    let audit = counted_before.zip(counted_after).map(|(before, after)| {
        let counted = after.since(before);
        Audit {
            intents_per_commit: counted.intents / counted.commits,
            intents_per_answer: counted.intents / count(seen.all_answers),
        }
    });
    let server = end.server.saturating_sub(begin.server);
    let database = end.database.saturating_sub(begin.database);
    let load = end.load.saturating_sub(begin.load);
    let cores = end.cores.saturating_sub(begin.cores);
    let others = cores.saturating_sub(server + database + load);
    let figures = Figures {
        throughput: answers / seen.time.as_secs_f64(),
        p50: microseconds(seen.quantile(0.5)),
        p99: microseconds(seen.quantile(0.99)),
        server_cpu: microseconds(server) / answers,
        database_cpu: microseconds(database) / answers,
        servers_busy: (server + database).div_duration_f64(seen.time),
        load_busy: load.div_duration_f64(seen.time),
        disturbed: others.div_duration_f64(seen.time * 2),
        memory: memory(subject.server),
        audit,
    };
    eprintln!(
        "  {}: {:.0} requests/s, {:.1} µs of processor time each",
        subject.label,
        figures.throughput,
        figures.cpu()
    );
    Ok(figures)
}

/// Processor time used until now.
struct Used {
    server: Duration,
    database: Duration,
    load: Duration,
    cores: Duration,
}

impl Used {
    fn now(subject: &Subject, cores: Option<Cores>) -> Self {
        Self {
            cores: cores.map(time_of_cores).unwrap_or_default(),
            server: processor_time(subject.server),
            database: subject
                .database
                .map(processor_time_of_family)
                .unwrap_or_default(),
            load: processor_time(process::id()),
        }
    }
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn count(number: usize) -> f64 {
    number as f64
}
