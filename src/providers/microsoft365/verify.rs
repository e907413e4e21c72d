//! The stages for an app registration, top to bottom.

use super::app::{App, Proof};
use super::claims::Claims;
use super::{ews, graph, tenant, token};
use crate::model::{EmailAddress, Timestamp};
use crate::providers::hint::Hint;
use crate::providers::hosts::Endpoint;
use crate::providers::probe::{Asking, Cause, Halt, Reading, Run, Want};
use crate::providers::verification::{
    Outcome, Stage, StageOutcome, Surface, SurfaceOutcome, Verdict,
};
use crate::providers::{Fields, words};
use crate::secret::Secret;

/// How far the provider's date may lie from the declared one, in seconds: people enter days.
const SAME_DATE_SECS: i64 = 86_400;

/// After how long it is worth looking again where a test address is missing, in seconds: somebody has to
/// enter one.
const WITHOUT_MAILBOX_SECS: u64 = 3600;

/// Which application permissions make a surface work: of each group, one.
const GRAPH_CONTACTS: &[&str] = &["Contacts.Read", "Contacts.ReadWrite"];
const GRAPH_CALENDAR: &[&str] = &["Calendars.Read", "Calendars.ReadWrite"];
const GRAPH_SENDING: &[&str] = &["Mail.Send"];
const EWS_ALL: &[&str] = &["full_access_as_app"];

/// How an interface came out.
enum End {
    /// A token was given for it, and with it this came of the rest.
    Entered(Secret, Result<(), Halt>),
    /// It gives no token, which says nothing about the other one.
    Closed(Halt),
    /// The sign-in itself does not work, or nobody knows: the other one need not be asked.
    Stop(Halt),
}

pub(in crate::providers) async fn verify(fields: &Fields, run: &mut Run<'_>) -> Verdict {
    let app = match shape(fields, run) {
        Ok(app) => app,
        Err(Halt(outcome)) => return Verdict::plain(outcome),
    };
    let tenant_id = match find_tenant(&app, run).await {
        Ok(tenant_id) => tenant_id,
        Err(Halt(outcome)) => return Verdict::plain(outcome),
    };
    let mut verdict = Verdict {
        tenant_id,
        ..Verdict::plain(Outcome::ByOperator)
    };
    let wants = [
        (Surface::Graph, run.policy.graph),
        (Surface::Ews, run.policy.ews),
    ];
    let wanted = wants.into_iter().filter(|(_, want)| *want != Want::Skipped);
    let mut graph_token = None;
    let mut stopped = false;
    for (surface, _) in wanted {
        if stopped {
            run.skip(Stage::Token, Some(surface), None);
            continue;
        }
        let result = match through(surface, &app, run).await {
            End::Entered(token, result) => {
                if surface == Surface::Graph {
                    graph_token = Some(token);
                }
                result
            }
            End::Closed(halt) => Err(halt),
            End::Stop(halt) => {
                stopped = true;
                Err(halt)
            }
        };
        let outcome = result.map_or_else(|Halt(outcome)| outcome, |()| Outcome::Verified);
        verdict.surfaces.push(SurfaceOutcome { surface, outcome });
    }
    verdict.outcome = overall(&verdict.surfaces, &wants);
    verdict.expires_at = find_expiry(&app, graph_token.as_ref(), run).await;
    verdict
}

/// What the interfaces come to together: those that must work decide; where none must, one that works
/// is enough, and one that nobody could decide keeps the question open.
fn overall(surfaces: &[SurfaceOutcome], wants: &[(Surface, Want)]) -> Outcome {
    let must = |surface| wants.contains(&(surface, Want::Required));
    let required: Vec<Outcome> = surfaces
        .iter()
        .filter(|it| must(it.surface))
        .map(|it| it.outcome)
        .collect();
    let undecided = |outcome: &&Outcome| matches!(outcome, Outcome::Undecided { .. });
    let failed = |outcome: &&Outcome| matches!(outcome, Outcome::Failed(_));
    if !required.is_empty() {
        let failed = required.iter().find(failed);
        return *failed
            .or_else(|| required.iter().find(undecided))
            .unwrap_or(&Outcome::Verified);
    }
    let outcomes: Vec<Outcome> = surfaces.iter().map(|it| it.outcome).collect();
    if outcomes.contains(&Outcome::Verified) {
        return Outcome::Verified;
    }
    let undecided = outcomes.iter().find(undecided);
    *undecided
        .or_else(|| outcomes.iter().find(failed))
        .unwrap_or(&Outcome::ByOperator)
}

fn shape<'a>(fields: &'a Fields, run: &mut Run<'_>) -> Result<App<'a>, Halt> {
    let attempts = run.begin(Stage::Shape, None)?;
    let problems = super::check(fields);
    let is_id = fields
        .text("client_secret")
        .is_some_and(crate::providers::fields::is_guid);
    let app = match problems.is_empty() {
        true => App::from_fields(fields, run.now()),
        false if is_id => Err(Hint::SecretIdPasted),
        false if problems.iter().all(|it| it.field == "tenant_id") => Err(Hint::MalformedTenant),
        false => Err(Hint::ShapeInvalid),
    };
    match app {
        Ok(app) => {
            run.note(Stage::Shape, None, StageOutcome::Passed, None);
            Ok(app)
        }
        Err(hint) => Err(run.refused(&attempts, Cause::of(hint))),
    }
}

async fn find_tenant(app: &App<'_>, run: &mut Run<'_>) -> Result<Option<String>, Halt> {
    let mut attempts = run.begin(Stage::Tenant, None)?;
    loop {
        let reading = tenant::find(run.around, app.tenant).await;
        if let Some(done) = run.settle(&mut attempts, reading).await {
            return done;
        }
    }
}

/// Goes through one interface.
async fn through(surface: Surface, app: &App<'_>, run: &mut Run<'_>) -> End {
    let resource = match surface {
        Surface::Graph => Endpoint::Graph,
        Surface::Ews => Endpoint::Exchange,
    };
    let mut token = match obtain(surface, resource, app, run).await {
        Ok(token) => token,
        Err(halt) if is_about_resource(halt) => return End::Closed(halt),
        Err(halt) => return End::Stop(halt),
    };
    let mailbox = app.test_mailbox.clone();
    let Some(mailbox) = mailbox.or_else(|| run.policy.test_mailbox.clone()) else {
        let result = without_mailbox(surface, resource, app, &mut token, run).await;
        return End::Entered(token, result);
    };
    let suspected = suspect(surface, &token, run);
    let remark = |missing: Option<Hint>| match missing {
        // What is granted in Exchange itself does not stand in the token, so the probes decide.
        Some(hint) => (StageOutcome::Undecided, Some(hint)),
        None => (StageOutcome::Passed, None),
    };
    match suspected {
        Some(missing) => {
            let (outcome, hint) = remark(missing);
            run.note(Stage::Permissions, Some(surface), outcome, hint);
        }
        None => run.skip(Stage::Permissions, Some(surface), None),
    }
    let mut first: Option<Halt> = None;
    for stage in [Stage::Contacts, Stage::Calendar, Stage::Sending] {
        let unwanted = stage == Stage::Sending && !run.policy.sending;
        let pointless =
            first.is_some_and(|Halt(it)| it != Outcome::Failed(Hint::PermissionMissing));
        if unwanted || pointless {
            run.skip(stage, Some(surface), None);
            continue;
        }
        let probed = probe(stage, surface, resource, app, &mailbox, &mut token, run).await;
        first = first.or(probed.err());
    }
    End::Entered(token, first.map_or(Ok(()), Err))
}

/// Whether it is the resource that there is no token for: everything else is about the application.
const fn is_about_resource(Halt(outcome): Halt) -> bool {
    let (Outcome::Failed(hint) | Outcome::Undecided { hint, .. }) = outcome else {
        return false;
    };
    matches!(
        hint,
        Hint::ServiceMissing | Hint::PermissionMissing | Hint::ConsentMissing
    )
}

async fn obtain(
    surface: Surface,
    resource: Endpoint,
    app: &App<'_>,
    run: &mut Run<'_>,
) -> Result<Secret, Halt> {
    let mut attempts = run.begin(Stage::Token, Some(surface))?;
    loop {
        let reading = token::request(run.around, app, resource).await;
        if let Some(done) = run.settle(&mut attempts, reading).await {
            return done;
        }
    }
}

/// What the token lacks by its own words: `None` if it cannot be read.
fn suspect(surface: Surface, token: &Secret, run: &Run<'_>) -> Option<Option<Hint>> {
    let claims = Claims::of(token)?;
    Some(match surface {
        Surface::Ews => claims.missing(&[EWS_ALL]),
        Surface::Graph if run.policy.sending => {
            claims.missing(&[GRAPH_CONTACTS, GRAPH_CALENDAR, GRAPH_SENDING])
        }
        Surface::Graph => claims.missing(&[GRAPH_CONTACTS, GRAPH_CALENDAR]),
    })
}

/// Without a test address the token's own words are all that there is. What it does not say may be
/// granted in Exchange itself, where only a probe of a mailbox would show it: so nothing fails here.
async fn without_mailbox(
    surface: Surface,
    resource: Endpoint,
    app: &App<'_>,
    token: &mut Secret,
    run: &mut Run<'_>,
) -> Result<(), Halt> {
    let mut attempts = run.begin(Stage::Permissions, Some(surface))?;
    let granted = loop {
        let reading = match suspect(surface, token, run) {
            Some(None) => Reading::Good(()),
            missing => {
                let hint = missing.flatten().unwrap_or(Hint::NoTestMailbox);
                Reading::Unclear(Cause::of(hint), Some(WITHOUT_MAILBOX_SECS))
            }
        };
        if let Some(done) = run.settle(&mut attempts, reading).await {
            break done;
        }
        renew(token, resource, app, run.around).await;
    };
    for stage in [Stage::Contacts, Stage::Calendar, Stage::Sending] {
        run.skip(stage, Some(surface), Some(Hint::NoTestMailbox));
    }
    granted.map_err(|Halt(outcome)| match outcome {
        Outcome::Undecided { retry_after, .. } => Halt(Outcome::Undecided {
            hint: Hint::NoTestMailbox,
            retry_after,
        }),
        outcome => Halt(outcome),
    })
}

async fn probe(
    stage: Stage,
    surface: Surface,
    resource: Endpoint,
    app: &App<'_>,
    mailbox: &EmailAddress,
    token: &mut Secret,
    run: &mut Run<'_>,
) -> Result<(), Halt> {
    let mut attempts = run.begin(stage, Some(surface))?;
    loop {
        let mut reading = match (surface, stage) {
            (Surface::Graph, Stage::Contacts) => {
                graph::find(run.around, token, mailbox, &["contacts"]).await
            }
            (Surface::Graph, Stage::Calendar) => {
                graph::find(run.around, token, mailbox, &["calendar", "events"]).await
            }
            (Surface::Graph, _) => {
                let (subject, text) = words::probe_message();
                graph::send(run.around, token, mailbox, subject, text).await
            }
            (Surface::Ews, Stage::Contacts) => {
                ews::find(run.around, token, mailbox, "contacts").await
            }
            (Surface::Ews, Stage::Calendar) => {
                ews::find(run.around, token, mailbox, "calendar").await
            }
            (Surface::Ews, _) => {
                let (subject, text) = words::probe_message();
                ews::send(run.around, token, mailbox, subject, text).await
            }
        };
        if stage == Stage::Sending {
            reading = reading.once();
        }
        if let Reading::Refused(cause) = &mut reading
            && cause.hint == Hint::PermissionMissing
            && suspect(surface, token, run) == Some(Some(Hint::ConsentMissing))
        {
            cause.hint = Hint::ConsentMissing;
        }
        let refused = matches!(reading, Reading::Refused(_));
        if let Some(done) = run.settle(&mut attempts, reading).await {
            return done;
        }
        // A consent that was given in between is not in the old token.
        if refused {
            renew(token, resource, app, run.around).await;
        }
    }
}

async fn renew(token: &mut Secret, resource: Endpoint, app: &App<'_>, around: Asking<'_>) {
    if let Reading::Good(newer) = token::request(around, app, resource).await {
        *token = newer;
    }
}

/// When the credential really ends. Never fails a verification, and says why it is not known.
async fn find_expiry(
    app: &App<'_>,
    graph_token: Option<&Secret>,
    run: &mut Run<'_>,
) -> Option<Timestamp> {
    let declared = run.policy.declared_expiry;
    let remark = |end: Timestamp| {
        let differs = declared.is_some_and(|it| (end.secs() - it.secs()).abs() > SAME_DATE_SECS);
        differs.then_some(Hint::ExpiryDiffers)
    };
    let secret = match &app.proof {
        Proof::Secret(secret) => secret,
        // It stands there, so that nobody need be asked.
        Proof::Certificate(certificate) => {
            let end = certificate.not_after;
            run.note(Stage::Expiry, None, StageOutcome::Passed, remark(end));
            return Some(end);
        }
    };
    let Some(token) = graph_token else {
        run.skip(Stage::Expiry, None, None);
        return None;
    };
    let mut attempts = run.begin(Stage::Expiry, None).ok()?;
    loop {
        let reading = match graph::secret_end(run.around, token, app.client_id, secret).await {
            Reading::Refused(cause) if cause.hint == Hint::ExpiryNotReadable => {
                run.pass_over(&mut attempts, cause);
                return None;
            }
            Reading::Good(end) => match remark(end) {
                Some(hint) => Reading::Remarked(end, Cause::of(hint)),
                None => Reading::Good(end),
            },
            reading => reading,
        };
        if let Some(done) = run.settle(&mut attempts, reading).await {
            return done.ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_must_work_decides_and_otherwise_one_that_works_is_enough() {
        let verified = Outcome::Verified;
        let failed = Outcome::Failed(Hint::ConsentMissing);
        let undecided = Outcome::Undecided {
            hint: Hint::EwsBlocked,
            retry_after: Duration::from_secs(1),
        };
        let (must, may) = (Want::Required, Want::Reported);
        for (graph, ews, wants, expected) in [
            (verified, undecided, (may, may), verified),
            (failed, verified, (may, may), verified),
            (failed, undecided, (may, may), undecided),
            (failed, failed, (may, may), failed),
            (verified, undecided, (may, must), undecided),
            (verified, failed, (may, must), failed),
            (failed, undecided, (must, must), failed),
            (verified, verified, (must, must), verified),
            (failed, verified, (may, must), verified),
        ] {
            let surfaces = [(Surface::Graph, graph), (Surface::Ews, ews)]
                .map(|(surface, outcome)| SurfaceOutcome { surface, outcome });
            let wants = [(Surface::Graph, wants.0), (Surface::Ews, wants.1)];
            assert_eq!(overall(&surfaces, &wants), expected);
        }
        assert_eq!(overall(&[], &[]), Outcome::ByOperator);
    }
}
