//! What a release costs, beside a bare server that sends the same bytes over the same connections.
//!
//! `cargo bench --bench release` (`-- --help` for options) starts, each in a process of its own: a
//! bare axum and rustls server, the service on SQLite, and the service on a PostgreSQL server made
//! for the run. Servers share one core, the load has another. They are measured by turns, and what
//! counts are the ratios: the absolute figures are the machine's.

mod answer;
mod bare;
mod certificates;
mod load;
mod machine;
mod measure;
mod micro;
mod open;
mod options;
#[path = "../../tests/support/postgres.rs"]
mod postgres;
mod process;
mod report;
mod service;

use std::{env, net::SocketAddr, path::Path, process::ExitCode};

use rustls::pki_types::ServerName;

use load::{Exchange, Peer, get};
use measure::Subject;
use options::{Options, Wish};
use postgres::Postgres;
use process::{Cores, on_server_core, pin};
use report::label;
use service::Service;

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let role = arguments.next();
    let result = match role.as_ref().and_then(|role| role.to_str()) {
        Some(process::BECOME) => process::turn_into(arguments).map(|never| match never {}),
        Some(bare::ROLE) => {
            let directory = arguments.next().unwrap_or_default();
            bare::serve(Path::new(&directory)).map(|never| match never {})
        }
        _ => Wish::read().and_then(|wish| match wish {
            Wish::Help => {
                println!("{}", options::HELP);
                Ok(())
            }
            Wish::Measure(options) => tokio::runtime::Builder::new_current_thread()
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
            eprintln!("release bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn bench(options: &Options) -> Result<(), String> {
    let cores = options.cores;
    if let Some(cores) = cores {
        pin(cores.load)?;
    }
    let workspace = tempfile::Builder::new()
        .prefix("strongroom-bench-")
        .tempdir_in(&options.directory)
        .map_err(|error| format!("{}: {error}", options.directory.display()))?;
    println!("# A release beside a bare server\n");
    for line in machine::describe(workspace.path(), cores)? {
        println!("- {line}");
    }

    // In this order, so that a service is dropped before its database server.
    let database = if options.postgres && !options.bare_only {
        start_postgres(&options.directory, cores)
    } else {
        None
    };
    let services = if options.bare_only {
        Services::none()
    } else {
        Services::start(options, workspace.path(), database.as_ref(), cores).await?
    };

    let directory = workspace.path().join("bare");
    std::fs::create_dir(&directory).map_err(|error| error.to_string())?;
    certificates::write(&directory)?;
    let made_up = bare::made_up_answer();
    let answer = services
        .sqlite
        .as_ref()
        .map_or(&made_up, |service| &service.release);
    bare::write_answer(&directory, answer)?;
    let (bare_server, port) = bare::start(&directory, cores)?;
    let peer = Peer {
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        name: ServerName::try_from("localhost").map_err(|error| error.to_string())?,
        tls: certificates::caller(&directory)?,
    };
    let bare = Subject {
        label: label::BARE,
        exchange: expect(&peer, bare::PATH, "", 200).await?,
        peer,
        server: bare_server.id(),
        database: None,
        audited: None,
    };
    let subjects = services.subjects(database.as_ref()).await?;

    println!(
        "- Load: {} kept-alive connections (HTTP/1.1, TLS 1.3, client certificates), each with one \
         request under way; {} rounds of {:.1} s a measurement; medians\n\
         - The answer: {} bytes of body\n",
        options.connections,
        options.rounds,
        options.measure.as_secs_f64(),
        bare.exchange.body.len(),
    );
    let all = measure::alternate(&bare, &subjects, options).await?;
    println!("{}", report::tables(&all));
    println!("{}", micro::table(workspace.path()).await?);
    println!("{}", report::verdicts(&all));
    Ok(())
}

/// PostgreSQL on the servers' core; without it the run goes on.
fn start_postgres(directory: &Path, cores: Option<Cores>) -> Option<Postgres> {
    let started = on_server_core(cores, || Postgres::start_under(directory));
    match started {
        Ok(server) => {
            let version = server.version().unwrap_or_default();
            println!("- PostgreSQL {version}, settings as installed, fsync on");
            Some(server)
        }
        Err(error) => {
            println!("- PostgreSQL is left out: {error}");
            None
        }
    }
}

/// The service, as often as there are databases.
struct Services {
    sqlite: Option<Service>,
    postgres: Option<Service>,
}

impl Services {
    fn none() -> Self {
        Self {
            sqlite: None,
            postgres: None,
        }
    }

    async fn start(
        options: &Options,
        workspace: &Path,
        database: Option<&Postgres>,
        cores: Option<Cores>,
    ) -> Result<Self, String> {
        let binary = &options.binary;
        let sqlite = Service::start(binary, &workspace.join("sqlite"), None, cores).await?;
        let postgres = match database {
            None => None,
            Some(database) => {
                let url = database.create_database("bench")?;
                let directory = workspace.join("postgres");
                Some(Service::start(binary, &directory, Some(&url), cores).await?)
            }
        };
        Ok(Self {
            sqlite: Some(sqlite),
            postgres,
        })
    }

    async fn subjects(&self, database: Option<&Postgres>) -> Result<Vec<Subject>, String> {
        let mut subjects = Vec::new();
        if let Some(service) = &self.sqlite {
            let etag = service
                .release
                .header("etag")
                .ok_or("a release without ETag")?;
            let condition = format!("if-none-match: {etag}\r\n");
            let path = service.path.as_str();
            for (label, path, headers, status) in [
                (label::SQLITE, path, "", 200),
                (label::WHOAMI, "/api/v1/whoami", "", 200),
                (label::UNCHANGED, path, condition.as_str(), 304),
            ] {
                subjects.push(Subject {
                    label,
                    peer: service.peer.clone(),
                    exchange: expect(&service.peer, path, headers, status).await?,
                    server: service.process(),
                    database: None,
                    audited: (label == label::SQLITE).then(|| service.status()),
                });
            }
        }
        if let Some(service) = &self.postgres {
            subjects.push(Subject {
                label: label::POSTGRES,
                peer: service.peer.clone(),
                exchange: expect(&service.peer, &service.path, "", 200).await?,
                server: service.process(),
                database: database.map(Postgres::main_process).transpose()?,
                audited: Some(service.status()),
            });
        }
        Ok(subjects)
    }
}

/// Asks once, to know what every answer must be.
async fn expect(
    peer: &Peer,
    path: &str,
    more_headers: &str,
    status: u16,
) -> Result<Exchange, String> {
    let request = get(peer, path, more_headers);
    let answer = load::once(peer, &request).await?;
    if answer.status != status {
        return Err(format!(
            "{path} answers {} instead of {status}",
            answer.status
        ));
    }
    Ok(Exchange {
        request,
        status,
        body: answer.body.into(),
    })
}
