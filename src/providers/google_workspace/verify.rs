//! The stages for a service account, top to bottom.

use super::account::Account;
use super::{api, token};
use crate::providers::Fields;
use crate::providers::hint::Hint;
use crate::providers::probe::{Asking, Cause, Halt, Reading, Run};
use crate::providers::verification::{Outcome, Stage, StageOutcome, Verdict};
use crate::secret::Secret;

/// What is asked for, one scope at a time ("OAuth 2.0 Scopes for Google APIs").
const SCOPES: [(Stage, &str); 3] = [
    (Stage::Contacts, "https://www.googleapis.com/auth/contacts"),
    (Stage::Calendar, "https://www.googleapis.com/auth/calendar"),
    (Stage::Sending, "https://www.googleapis.com/auth/gmail.send"),
];

/// One scope, and the token for it or why there is none.
struct Scoped {
    stage: Stage,
    scope: &'static str,
    token: Result<Secret, Cause>,
}

pub(in crate::providers) async fn verify(fields: &Fields, run: &mut Run<'_>) -> Verdict {
    Verdict::plain(match stages(fields, run).await {
        Ok(()) => Outcome::Verified,
        Err(Halt(outcome)) => outcome,
    })
}

async fn stages(fields: &Fields, run: &mut Run<'_>) -> Result<(), Halt> {
    let account = shape(fields, run)?;
    let mut scopes = obtain(&account, run).await?;
    let mut first = permissions(&account, &mut scopes, run).await.err();
    for scoped in &scopes {
        let done = match &scoped.token {
            Ok(token) => probe(scoped.stage, token, run).await,
            Err(cause) => match run.begin(scoped.stage, None) {
                Ok(attempts) => Err(run.refused(&attempts, cause.clone())),
                Err(halt) => Err(halt),
            },
        };
        first = first.or(done.err());
    }
    if !run.policy.sending {
        run.skip(Stage::Sending, None, None);
    }
    // Reading it needs a permission in the project that nobody is asked for.
    run.skip(Stage::Expiry, None, Some(Hint::ExpiryNotReadable));
    first.map_or(Ok(()), Err)
}

fn shape(fields: &Fields, run: &mut Run<'_>) -> Result<Account, Halt> {
    let attempts = run.begin(Stage::Shape, None)?;
    let problems = super::check(fields);
    let about_key = problems.iter().any(|it| it.field == "service_account_key");
    let account = match problems.is_empty() {
        true => Account::from_fields(fields),
        false if super::names_another_host(fields) => Err(Hint::TokenUriNotGoogle),
        false if about_key => Err(Hint::KeyFileUnusable),
        false => Err(Hint::ShapeInvalid),
    };
    match account {
        Ok(account) => {
            run.note(Stage::Shape, None, StageOutcome::Passed, None);
            Ok(account)
        }
        Err(hint) => Err(run.refused(&attempts, Cause::of(hint))),
    }
}

/// Whether a refusal is about one scope, so that another may be granted.
const fn is_about_scope(hint: Hint) -> bool {
    matches!(
        hint,
        Hint::ScopeMissing | Hint::DelegationMissing | Hint::DelegationWrongId
    )
}

/// Asks for a token for each scope. One is enough to know that the key and the user are good.
async fn obtain(account: &Account, run: &mut Run<'_>) -> Result<Vec<Scoped>, Halt> {
    let mut attempts = run.begin(Stage::Token, None)?;
    loop {
        let reading = each(account, run.around, run.policy.sending).await;
        if let Some(done) = run.settle(&mut attempts, reading).await {
            return done;
        }
    }
}

async fn each(account: &Account, around: Asking<'_>, sending: bool) -> Reading<Vec<Scoped>> {
    let mut scopes = Vec::with_capacity(SCOPES.len());
    for (stage, scope) in SCOPES {
        if stage == Stage::Sending && !sending {
            continue;
        }
        let token = match token::request(around, account, scope).await {
            Reading::Good(token) | Reading::Remarked(token, _) => Ok(token),
            Reading::Refused(cause) if is_about_scope(cause.hint) => Err(cause),
            Reading::Refused(cause) | Reading::Sporadic(cause) => return Reading::Refused(cause),
            Reading::Later(cause, after) | Reading::Unclear(cause, after) => {
                return Reading::Later(cause, after);
            }
        };
        scopes.push(Scoped {
            stage,
            scope,
            token,
        });
    }
    let granted = scopes.iter().any(|it| it.token.is_ok());
    match scopes.iter().find_map(|it| it.token.as_ref().err()) {
        Some(cause) if !granted => Reading::Refused(cause.clone()),
        _ => {
            // Where one is granted, the delegation is there: what is missing is the scope.
            for cause in scopes.iter_mut().filter_map(|it| it.token.as_mut().err()) {
                cause.hint = Hint::ScopeMissing;
            }
            Reading::Good(scopes)
        }
    }
}

/// Whether every scope is granted. Those that are not are asked for again while that may help.
async fn permissions(
    account: &Account,
    scopes: &mut [Scoped],
    run: &mut Run<'_>,
) -> Result<(), Halt> {
    let mut attempts = run.begin(Stage::Permissions, None)?;
    loop {
        let missing = scopes.iter().find_map(|it| it.token.as_ref().err());
        let reading = match missing {
            None => Reading::Good(()),
            Some(cause) => Reading::Refused(cause.clone()),
        };
        if let Some(done) = run.settle(&mut attempts, reading).await {
            return done;
        }
        for scoped in scopes.iter_mut().filter(|it| it.token.is_err()) {
            let reading = token::request(run.around, account, scoped.scope).await;
            if let Reading::Good(token) = reading {
                scoped.token = Ok(token);
            }
        }
    }
}

async fn probe(stage: Stage, token: &Secret, run: &mut Run<'_>) -> Result<(), Halt> {
    let mut attempts = run.begin(stage, None)?;
    loop {
        let reading = match stage {
            Stage::Contacts => api::contacts(run.around, token).await,
            Stage::Calendar => api::calendars(run.around, token).await,
            // Nothing can be read with this scope alone, and nothing is to be sent: that there is a
            // token for it is the proof.
            _ => Reading::Good(()),
        };
        if let Some(done) = run.settle(&mut attempts, reading).await {
            return done;
        }
    }
}
