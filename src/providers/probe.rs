//! The way through the stages: trying again where the provider says "later", within a time, and
//! reporting each stage once.

use std::time::Duration;

use super::hint::Hint;
use super::outbound::{Call, Outbound, Reply, Unanswered};
use super::verification::{
    Correlation, Outcome, ProviderCode, Stage, StageOutcome, StageReport, Surface,
};
use crate::clock::{Clock, Sleep};
use crate::model::{EmailAddress, Timestamp, words};
use crate::random::Random;

/// The most calls of one stage.
const MOST_ATTEMPTS: u32 = 12;
/// After how long an undecided verification is worth trying again when the provider did not say.
const TRY_AGAIN: Duration = Duration::from_secs(300);
/// The same for what takes people or hours to change: policies, allow lists, faults of ours.
const TRY_AGAIN_MUCH_LATER: Duration = Duration::from_secs(3600);

words! {
    /// What an interface is to the verification.
    Want {
        /// It must work.
        Required = "required",
        /// It is looked at and reported. Where none is required, one that works is enough.
        Reported = "reported",
        /// It is not looked at.
        Skipped = "skipped",
    }
}

/// What an operator allows and asks for.
#[derive(Clone, Debug)]
pub struct ProbePolicy {
    /// Microsoft Graph.
    pub graph: Want,
    /// Exchange Web Services.
    pub ews: Want,
    /// Whether a message may be sent from the test address to itself.
    pub sending: bool,
    /// The test address, where the fields name none.
    pub test_mailbox: Option<EmailAddress>,
    /// Until when a refusal may be for the reason alone that what was made is new: until then it is
    /// tried again, and stays undecided. `None`: nothing is new.
    pub settles_at: Option<Timestamp>,
    /// When the credential ends, as it was declared.
    pub declared_expiry: Option<Timestamp>,
    /// How long the verification may take.
    pub total: Duration,
}

impl Default for ProbePolicy {
    fn default() -> Self {
        Self {
            graph: Want::Reported,
            ews: Want::Reported,
            sending: false,
            test_mailbox: None,
            settles_at: None,
            declared_expiry: None,
            total: Duration::from_secs(55),
        }
    }
}

/// What verifications work with.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// Who calls the providers.
    pub outbound: &'a Outbound,
    /// What time it is.
    pub clock: &'a dyn Clock,
    /// Who waits.
    pub sleep: &'a dyn Sleep,
    /// For ids and for spreading retries.
    pub random: &'a dyn Random,
}

/// What one call works with.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub outbound: &'a Outbound,
    pub random: &'a dyn Random,
    clock: &'a dyn Clock,
    deadline: Timestamp,
}

impl Asking<'_> {
    /// Calls once, and waits no longer than there is time, or a second.
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Reply, Unanswered> {
        let left = self.deadline.millis().saturating_sub(self.now().millis());
        let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
        let within = left.max(Duration::from_secs(1));
        self.outbound.call(call, within).await
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Why an answer is not the one that was hoped for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cause {
    pub hint: Hint,
    pub code: Option<ProviderCode>,
    pub correlation: Correlation,
}

impl Cause {
    /// With nothing but the hint.
    pub(super) fn of(hint: Hint) -> Self {
        Self {
            hint,
            code: None,
            correlation: Correlation::default(),
        }
    }
}

/// What one answer says.
#[derive(Debug)]
pub(super) enum Reading<T> {
    /// What was hoped for.
    Good(T),
    /// What was hoped for, with a remark.
    Remarked(T, Cause),
    /// No. Whether that counts against the client is for the hint to say; whether it may come right
    /// by itself, as well.
    Refused(Cause),
    /// No, but this answer is known to come by mistake: once more.
    Sporadic(Cause),
    /// Come back later: after so many seconds, or nobody knows.
    Later(Cause, Option<u64>),
    /// Neither yes nor no, and to ask once more would not help or do harm, unless time mends it.
    Unclear(Cause, Option<u64>),
}

impl<T> Reading<T> {
    /// The same for no answer at all.
    pub(super) fn unanswered(error: Unanswered) -> Self {
        Self::Later(Cause::of(error.hint()), None)
    }

    /// The same of a call that must not be made twice: only where it is certain that nothing was done,
    /// it may be asked again. A provider that asks for time has done nothing; one that broke off, or
    /// says that it is out of order, may have.
    pub(super) fn once(self) -> Self {
        match self {
            Self::Later(cause, after)
                if matches!(cause.hint, Hint::ProviderUnavailable | Hint::TlsFailed) =>
            {
                Self::Unclear(cause, after)
            }
            reading => reading,
        }
    }

    /// An answer that is the provider's trouble whatever it says: 429, 5xx. `None` for others.
    pub(super) fn trouble(reply: &Reply, now: Timestamp) -> Option<Self> {
        let hint = match reply.status {
            429 => Hint::Throttled,
            500.. => Hint::ProviderUnavailable,
            _ => return None,
        };
        let cause = Cause {
            hint,
            code: Some(ProviderCode::Status(reply.status)),
            correlation: reply.correlation(),
        };
        Some(Self::Later(cause, reply.retry_after(now)))
    }
}

/// A verification cannot go on, or not on this interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Halt(pub Outcome);

/// The calls of one stage.
pub(super) struct Attempts {
    stage: Stage,
    surface: Option<Surface>,
    started_at: Timestamp,
    count: u32,
}

/// One verification under way.
pub(super) struct Run<'a> {
    pub around: Asking<'a>,
    pub policy: &'a ProbePolicy,
    sleep: &'a dyn Sleep,
    report: &'a mut (dyn FnMut(StageReport) + Send),
}

impl<'a> Run<'a> {
    pub(super) fn new(
        around: Surroundings<'a>,
        policy: &'a ProbePolicy,
        report: &'a mut (dyn FnMut(StageReport) + Send),
    ) -> Self {
        let micros = i64::try_from(policy.total.as_micros()).unwrap_or(i64::MAX);
        let deadline = around.clock.now().micros().saturating_add(micros);
        Self {
            around: Asking {
                outbound: around.outbound,
                random: around.random,
                clock: around.clock,
                deadline: Timestamp::from_micros(deadline),
            },
            policy,
            sleep: around.sleep,
            report,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.around.now()
    }

    /// Begins a stage, unless the time is over.
    pub(super) fn begin(
        &mut self,
        stage: Stage,
        surface: Option<Surface>,
    ) -> Result<Attempts, Halt> {
        let attempts = Attempts {
            stage,
            surface,
            started_at: self.now(),
            count: 0,
        };
        if attempts.started_at >= self.around.deadline {
            return Err(self.undecided(&attempts, Cause::of(Hint::OutOfTime), TRY_AGAIN));
        }
        Ok(attempts)
    }

    /// Takes an answer. `None`: it has waited, and the stage is to be tried again.
    pub(super) async fn settle<T>(
        &mut self,
        attempts: &mut Attempts,
        reading: Reading<T>,
    ) -> Option<Result<T, Halt>> {
        attempts.count += 1;
        match reading {
            Reading::Good(value) => {
                self.tell(attempts, StageOutcome::Passed, None);
                Some(Ok(value))
            }
            Reading::Remarked(value, cause) => {
                self.tell(attempts, StageOutcome::Passed, Some(cause));
                Some(Ok(value))
            }
            Reading::Refused(cause) => {
                if self.settling(cause.hint).is_some() && self.wait(attempts, None).await {
                    return None;
                }
                Some(Err(self.refused(attempts, cause)))
            }
            Reading::Sporadic(cause) => {
                if attempts.count == 1 && self.wait(attempts, None).await {
                    return None;
                }
                Some(Err(self.refused(attempts, cause)))
            }
            Reading::Later(cause, seconds) => {
                if self.wait(attempts, seconds).await {
                    return None;
                }
                let after = seconds.map_or(TRY_AGAIN, Duration::from_secs);
                Some(Err(self.undecided(attempts, cause, after)))
            }
            Reading::Unclear(cause, seconds) => {
                let settling = self.settling(cause.hint);
                if settling.is_some() && self.wait(attempts, None).await {
                    return None;
                }
                let asked = seconds.map(Duration::from_secs);
                let after = settling.or(asked).unwrap_or(TRY_AGAIN);
                Some(Err(self.undecided(attempts, cause, after)))
            }
        }
    }

    /// For how long yet this may be for the reason alone that something is new, 10 s at least, so that
    /// nobody comes back at once. `None`: it is not, or not any more.
    fn settling(&self, hint: Hint) -> Option<Duration> {
        let until = self.policy.settles_at.filter(|_| hint.may_settle())?;
        let rest = until.micros().saturating_sub(self.now().micros());
        let rest = u64::try_from(rest).ok().filter(|rest| *rest > 0)?;
        Some(Duration::from_micros(rest).max(Duration::from_secs(10)))
    }

    /// Reports a stage that was not looked at.
    pub(super) fn skip(&mut self, stage: Stage, surface: Option<Surface>, hint: Option<Hint>) {
        self.note(stage, surface, StageOutcome::Skipped, hint);
    }

    /// Reports a stage for which nothing was asked.
    pub(super) fn note(
        &mut self,
        stage: Stage,
        surface: Option<Surface>,
        outcome: StageOutcome,
        hint: Option<Hint>,
    ) {
        let attempts = Attempts {
            stage,
            surface,
            started_at: self.now(),
            count: 0,
        };
        self.tell(&attempts, outcome, hint.map(Cause::of));
    }

    /// Reports a stage whose answer is of no use, which is nobody's fault.
    pub(super) fn pass_over(&mut self, attempts: &mut Attempts, cause: Cause) {
        attempts.count += 1;
        self.tell(attempts, StageOutcome::Skipped, Some(cause));
    }

    /// Reports a refusal of a stage, and what it comes to: as long as it may come right by itself,
    /// nobody has failed.
    pub(super) fn refused(&mut self, attempts: &Attempts, cause: Cause) -> Halt {
        if let Some(rest) = self.settling(cause.hint) {
            return self.undecided(attempts, cause, rest);
        }
        if !cause.hint.is_for_client() {
            return self.undecided(attempts, cause, TRY_AGAIN_MUCH_LATER);
        }
        let hint = cause.hint;
        self.tell(attempts, StageOutcome::Failed, Some(cause));
        Halt(Outcome::Failed(hint))
    }

    fn undecided(&mut self, attempts: &Attempts, cause: Cause, retry_after: Duration) -> Halt {
        let hint = cause.hint;
        self.tell(attempts, StageOutcome::Undecided, Some(cause));
        Halt(Outcome::Undecided { hint, retry_after })
    }

    /// Waits before the next attempt, if there is to be one: as long as the provider asks, else longer
    /// and longer, and up to a quarter more, so that many do not come back at once.
    async fn wait(&mut self, attempts: &Attempts, seconds: Option<u64>) -> bool {
        let seconds = seconds.unwrap_or_else(|| 1 << attempts.count.clamp(1, 5));
        let mut byte = [0_u8; 1];
        let spread = self.around.random.fill(&mut byte).map_or(0, |()| byte[0]);
        let millis = seconds * 1000 + seconds * 1000 * u64::from(spread) / 1024;
        let end = self.now().millis().saturating_add_unsigned(millis);
        if attempts.count >= MOST_ATTEMPTS || end >= self.around.deadline.millis() {
            return false;
        }
        self.sleep.sleep(Duration::from_millis(millis)).await;
        true
    }

    fn tell(&mut self, attempts: &Attempts, outcome: StageOutcome, cause: Option<Cause>) {
        let (hint, code, correlation) = match cause {
            None => (None, None, Correlation::default()),
            Some(cause) => (Some(cause.hint), cause.code, cause.correlation),
        };
        let millis = self.now().millis() - attempts.started_at.millis();
        (self.report)(StageReport {
            stage: attempts.stage,
            surface: attempts.surface,
            outcome,
            started_at: attempts.started_at,
            millis: u64::try_from(millis).unwrap_or(0),
            attempts: attempts.count,
            hint,
            code,
            correlation,
        });
    }
}
