//! The processor time of one page.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use rustls::pki_types::ServerName;
use serde_json::json;

use crate::{
    Options, bare, certificates,
    deployment::Deployment,
    load::{self, Connection, Peer, get},
    process, requests, verdict,
};

/// How many forms a round sends: fewer than one link takes before it says that it is too many.
const FORMS: usize = 15;

/// A form whose tenant has the wrong shape, so that it is shown again.
const WRONG: &str = "tenant_id=nonsense+here&client_id=66666666-7777-4888-9999-aaaaaaaaaaaa\
     &client_secret=made~up&expires_at=2031-01-01&test_mailbox=";

/// Asks for pages, and a bare server for the same bytes, by turns.
///
/// # Errors
/// A page is not what it should be.
pub async fn measure(
    options: &Options,
    deployment: &Deployment,
    workspace: &Path,
) -> Result<(), String> {
    let operator = deployment.operator()?;
    let mut api = Connection::open(&operator).await?;
    let peer = deployment.browser()?;
    let link = invite(&mut api, &operator, 0).await?;
    let form = load::once(&peer, &get(&peer, &link, "")).await?;
    if form.status != 200 {
        return Err(format!("the form answers {}", form.status));
    }

    let directory = workspace.join("bare");
    fs::create_dir(&directory).map_err(|error| error.to_string())?;
    certificates::write(&directory)?;
    bare::write_answer(&directory, &form)?;
    let (bare_server, port) = bare::start(&directory, None)?;
    let bare_peer = Peer {
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        name: ServerName::try_from("localhost").map_err(|error| error.to_string())?,
        tls: certificates::caller(&directory)?,
    };

    println!(
        "The form has {} bytes. Processor time of the server, in microseconds a request; medians of {} \
         rounds of {} pages, or {FORMS} forms, over one kept-alive connection.\n",
        form.body.len(),
        options.rounds,
        options.pages
    );
    let (mut shown, mut told, mut again, mut bares) = (vec![], vec![], vec![], vec![]);
    let guide = format!("{link}/guide");
    for round in 0..options.rounds {
        let service = || deployment.scheduled_time();
        let pages = options.pages;
        bares.push(
            ask(&bare_peer, bare::PATH, pages, || {
                process::scheduled_time(bare_server.id())
            })
            .await?,
        );
        shown.push(ask(&peer, &link, pages, service).await?);
        told.push(ask(&peer, &guide, pages, service).await?);
        // One address may send sixty forms, and one more every other second.
        if round < 3 {
            let link = invite(&mut api, &operator, round + 1).await?;
            again.push(send(deployment, &peer, &link).await?);
        }
    }
    let bare = median(&mut bares);
    println!("| page | CPU µs | ÷ bare |\n|---|--:|--:|");
    println!("| bare server, same bytes | {bare:.0} | |");
    let mut worst = 0.0_f64;
    for (name, times) in [
        ("GET the form", &mut shown),
        ("GET the guide", &mut told),
        ("POST a form of the wrong shape", &mut again),
    ] {
        let time = median(times);
        worst = worst.max(time);
        println!("| {name} | {time:.0} | {:.1} |", time / bare);
    }
    println!();
    verdict(
        worst < 5000.0,
        &format!(
            "a page costs at most {:.2} ms of processor time (below 5)",
            worst / 1000.0
        ),
    );
    println!();
    Ok(())
}

/// A new credential with its invitation: the path of the link.
async fn invite(api: &mut Connection, operator: &Peer, n: usize) -> Result<String, String> {
    let body = json!({"contact": "ada@example-realty.example", "no_mail": true,
        "new": {"client": "example-realty", "label": format!("bench {n}"), "kind": "microsoft365",
                "environment": "production", "roles": ["m365-sync"]}});
    let invited = requests::tell(api, operator, "/invites", &body).await?;
    let link = invited["link"].as_str().ok_or("no link")?;
    let at = link.find("/i/").ok_or("no link")?;
    Ok(link[at..].to_owned())
}

async fn ask(
    peer: &Peer,
    path: &str,
    count: usize,
    time: impl Fn() -> Duration,
) -> Result<f64, String> {
    let request = get(peer, path, "");
    let mut connection = Connection::open(peer).await?;
    connection.exchange(&request).await?;
    let before = time();
    for _ in 0..count {
        let (head, _) = connection.exchange(&request).await?;
        if head.status != 200 {
            return Err(format!("a page answers {}", head.status));
        }
    }
    Ok(each(time().saturating_sub(before), count))
}

async fn send(deployment: &Deployment, peer: &Peer, link: &str) -> Result<f64, String> {
    let mut connection = Connection::open(peer).await?;
    connection.exchange(&get(peer, link, "")).await?;
    let before = deployment.scheduled_time();
    for _ in 0..FORMS {
        let kind = "application/x-www-form-urlencoded";
        let (status, _) = requests::post(&mut connection, peer, link, kind, WRONG).await?;
        if status != 422 {
            return Err(format!("a form of the wrong shape answers {status}"));
        }
    }
    let used = deployment.scheduled_time().saturating_sub(before);
    Ok(each(used, FORMS))
}

fn each(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e6 / count as f64
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}
