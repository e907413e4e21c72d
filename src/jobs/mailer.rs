//! Sends what lies in the outbox.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::mail::{Rendered, Sender, Transport};
use crate::vault::{MailJob, Vault, VaultError};

/// How often it looks for mails that are due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many looks there are between two counts of what waits.
const COUNT_EVERY: u32 = 15;
/// How many mails are on their way at once: servers mind more.
const AT_ONCE: usize = 4;
/// How long the service waits for mails that are on their way when it stops.
const LAST_WAIT: Duration = Duration::from_secs(15);
/// How often it is tried to keep what came of an attempt, a second apart.
const KEEP_TRIES: u32 = 120;

/// Sends mails until it is told to stop. Without a server they wait and are counted.
pub async fn run(
    vault: Arc<Vault>,
    server: Option<(Sender, Transport)>,
    mut stop: watch::Receiver<bool>,
) {
    let server = server.map(Arc::new);
    let (mut sending, mut looks, mut at_start) = (JoinSet::new(), 0_u32, true);
    loop {
        let looked = match vault.settle_lapsed_mails(at_start).await {
            Err(error) => Err(error),
            Ok(()) => {
                at_start = false;
                look(&vault, server.as_ref(), &mut sending).await
            }
        };
        if let Err(error) = looked {
            tracing::debug!(%error, "the outbox could not be looked at; it is tried again");
        }
        if looks.is_multiple_of(COUNT_EVERY) {
            let _ = vault.measure_mails().await;
        }
        looks = looks.wrapping_add(1);
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            Some(_) = sending.join_next() => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    // What is cut off here is unknown at the next start.
    let last = async { while sending.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LAST_WAIT, last).await;
}

async fn look(
    vault: &Arc<Vault>,
    server: Option<&Arc<(Sender, Transport)>>,
    sending: &mut JoinSet<()>,
) -> Result<(), VaultError> {
    let Some(server) = server else {
        return Ok(());
    };
    while sending.len() < AT_ONCE {
        let Some((job, message)) = vault.claim_mail(&server.0).await? else {
            return Ok(());
        };
        sending.spawn(send(Arc::clone(vault), Arc::clone(server), job, message));
    }
    Ok(())
}

async fn send(
    vault: Arc<Vault>,
    server: Arc<(Sender, Transport)>,
    mut job: MailJob,
    message: Rendered,
) {
    let (id, transport) = (job.id(), &server.1);
    let begin = async || vault.mail_begins(&mut job).await.unwrap_or(false);
    let outcome = transport.send(id, &message, begin).await;
    for _ in 0..KEEP_TRIES {
        match vault.mail_ended(&job, outcome).await {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(mail = %id, %error, "what came of a mail could not be kept yet");
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }
}
