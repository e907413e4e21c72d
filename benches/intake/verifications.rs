//! Many verifications at once, at a stand-in that takes its time.

use std::time::{Duration, Instant};

use serde_json::json;
use strongroom::standin::demonstration::{APPLICATIONS, MAILBOX, TENANT};

use crate::{
    Options,
    deployment::Deployment,
    load::Connection,
    requests::{metric, plain, tell},
    verdict,
};

/// How many clients lend them.
const CLIENTS: usize = 100;
/// How many calls one host gets at once (`providers/outbound.rs`); the stand-in is one host.
const A_HOST: usize = 32;
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Stores the values, has all of them verified, and waits until nothing is left to do.
///
/// # Errors
/// One cannot be stored, or it takes too long.
pub async fn measure(options: &Options, deployment: &Deployment) -> Result<(), String> {
    let peer = deployment.operator()?;
    let mut api = Connection::open(&peer).await?;
    for n in 0..CLIENTS {
        let body = json!({"name": format!("Client {n}"), "slug": format!("client-{n}")});
        tell(&mut api, &peer, "/clients", &body).await?;
    }
    let mut ids = Vec::new();
    let works = APPLICATIONS.first().ok_or("no application works")?;
    for n in 0..options.verifications {
        let body = json!({"client": format!("client-{}", n % CLIENTS), "label": format!("mail {n}"),
            "kind": "microsoft365", "environment": "production", "roles": ["m365-sync"]});
        let credential = tell(&mut api, &peer, "/credentials", &body).await?;
        let id = credential["id"].as_str().ok_or("no id")?.to_owned();
        let body = json!({"fields": {"tenant_id": TENANT, "client_id": works.id,
            "client_secret": works.secret, "test_mailbox": MAILBOX},
            "expires_at": "2031-01-01", "activate": {"reason": "bench"}});
        tell(
            &mut api,
            &peer,
            &format!("/credentials/{id}/versions"),
            &body,
        )
        .await?;
        ids.push(id);
    }
    plain(
        deployment.stand_in(),
        "PUT",
        "/pace",
        &options.wait.to_string(),
    )?;
    let before = deployment.memory().resident;
    deployment.forget_peak()?;
    let (used, begin) = (deployment.processor_time(), Instant::now());
    let done_before = done(deployment)?;
    for id in &ids {
        let path = format!("/credentials/{id}/versions/1/verify");
        tell(&mut api, &peer, &path, &json!({})).await?;
    }
    let wanted = done_before + options.verifications as f64;
    let at_once = wanted - done(deployment)?;
    while done(deployment)? < wanted {
        if begin.elapsed() > PATIENCE {
            return Err("the verifications do not come to their end".into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (time, used) = (
        begin.elapsed(),
        deployment.processor_time().saturating_sub(used),
    );
    let growth = deployment.memory().peak.saturating_sub(before);
    let text = plain(deployment.status(), "GET", "/metrics", "")?;
    let outcomes = ["verified", "undecided", "failed"].map(|outcome| {
        let part = format!("outcome=\"{outcome}\"");
        let count = metric(&text, "strongroom_verifications_total", &part);
        format!("{count} {outcome}")
    });
    let most: usize = plain(deployment.stand_in(), "GET", "/pace", "")?
        .trim()
        .parse()
        .map_err(|_| "the stand-in did not count")?;
    println!(
        "{} values verified at once, each answer after {} ms: {:.1} s, {:.1} ms of processor time each \
         (the stand-in's share included), {}. When the last was asked for, {at_once} were not over.\n",
        options.verifications,
        options.wait,
        time.as_secs_f64(),
        used.as_secs_f64() * 1e3 / options.verifications as f64,
        outcomes.join(", "),
    );
    verdict(
        most <= A_HOST,
        &format!("a host had {most} calls at once (at most {A_HOST})"),
    );
    let growth = growth as f64 / 1024.0;
    verdict(
        growth < 128.0,
        &format!("peak growth {growth:.1} MiB, the stand-in's included (below 128)"),
    );
    Ok(())
}

/// Attempts that came to their end.
fn done(deployment: &Deployment) -> Result<f64, String> {
    let text = plain(deployment.status(), "GET", "/metrics", "")?;
    Ok(metric(&text, "strongroom_verifications_total", ""))
}
