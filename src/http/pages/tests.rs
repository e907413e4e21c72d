//! The pages as a browser sees them, over links that are made up.

mod forms;
mod sealed;
mod shown;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode, header},
};
use tower::ServiceExt as _;

use super::link::{Asked, Links};
use crate::{
    clock::SystemClock,
    crypto::{IntakeKey, intake_info},
    http::server::Connection,
    model::{CredentialKind, InviteAnswer, InviteId, Sealing, SubmissionState, Timestamp},
    providers::{self, Hint, Stage, StageOutcome, Surface},
    random::{Random as _, SystemRandom},
    secret::{Secret, SecretKey},
    vault::{
        Colleague, FieldError, LinkError, LinkToken, LinkView, Received, SealTo, StageView,
        SubmissionView, SubmitError, Submitted, VerificationView,
    },
};

const GOOD: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
const OTHER: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHhA";
const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const CLIENT: &str = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";
const SECRET: &str = "canary~secret~value";

/// Two links, of two clients, and what was done by them.
struct MadeUp {
    kind: CredentialKind,
    attempt: Option<SubmissionState>,
    needs_code: bool,
    may_forward: bool,
    key: IntakeKey,
    done: Mutex<Vec<String>>,
}

impl MadeUp {
    fn new(kind: CredentialKind) -> Self {
        Self {
            kind,
            attempt: None,
            needs_code: false,
            may_forward: true,
            key: IntakeKey::derive(&SecretKey::from_slice(&[7; 32]).unwrap()),
            done: Mutex::default(),
        }
    }

    fn note(&self, what: String) {
        self.done.lock().unwrap().push(what);
    }

    fn view(&self, token: &LinkToken) -> Result<LinkView, LinkError> {
        let name = [GOOD, OTHER]
            .into_iter()
            .find(|it| LinkToken::parse(it).unwrap().sha256() == token.sha256())
            .ok_or(LinkError::Gone)?;
        Ok(LinkView {
            invite: InviteId::from_bytes([1; 16]),
            client: "<script>alert('x')</script> & Co".to_owned(),
            label: "mail sync".to_owned(),
            kind: self.kind,
            environment: "production".to_owned(),
            contact: "Ada".to_owned(),
            locale: "en".to_owned(),
            expires_at: time("2028-11-20T10:00:00Z"),
            ended_as: None,
            answer: None,
            known: Vec::new(),
            needs_code: self.needs_code,
            may_forward: self.may_forward,
            seal_to: SealTo {
                key: *self.key.public(),
                info: intake_info("dev-x", name, 1),
                aad: b"form".to_vec(),
            },
            submission: self.attempt.map(attempt),
            ends_at: Some(time("2029-11-20T00:00:00Z")),
        })
    }
}

impl Links for MadeUp {
    fn link<'a>(&'a self, token: &'a LinkToken) -> Asked<'a, Result<LinkView, LinkError>> {
        Box::pin(async { self.view(token) })
    }

    fn open_form(&self, link: &LinkView, sealed: &[u8]) -> Option<Secret> {
        let SealTo { info, aad, .. } = &link.seal_to;
        self.key.open(info, aad, sealed).ok()
    }

    fn submit<'a>(
        &'a self,
        token: &'a LinkToken,
        form: Submitted,
    ) -> Asked<'a, Result<Received, SubmitError>> {
        Box::pin(async move {
            let link = self.view(token)?;
            if self.needs_code
                && form
                    .code
                    .is_none_or(|code| code.expose_secret() != b"12345678")
            {
                return Err(SubmitError::Code);
            }
            let broken = providers::check(link.kind, &form.fields);
            if !broken.is_empty() {
                let broken = broken.into_iter().map(|it| FieldError {
                    field: format!("fields.{}", it.field).into(),
                    rule: it.rule.into(),
                });
                return Err(SubmitError::Invalid(broken.collect()));
            }
            let json = form.fields.to_canonical_json();
            self.note(format!(
                "{} {:?} sealed={}",
                String::from_utf8_lossy(json.expose_secret()),
                form.expires_at,
                form.enc_sha256.is_some()
            ));
            let odd_expiry = form.expires_at.as_deref() == Some("2099-01-01");
            let submission = attempt(SubmissionState::Verifying);
            Ok(Received {
                submission,
                odd_expiry,
            })
        })
    }

    fn check_again<'a>(
        &'a self,
        token: &'a LinkToken,
    ) -> Asked<'a, Result<SubmissionView, SubmitError>> {
        Box::pin(async {
            self.view(token)?;
            self.note("check".to_owned());
            Ok(attempt(SubmissionState::Verifying))
        })
    }

    fn forward<'a>(
        &'a self,
        token: &'a LinkToken,
        colleague: Colleague,
    ) -> Asked<'a, Result<(), SubmitError>> {
        Box::pin(async move {
            self.view(token)?;
            self.note(format!("forward {} {}", colleague.name, colleague.email));
            Ok(())
        })
    }

    fn answer<'a>(
        &'a self,
        token: &'a LinkToken,
        answer: InviteAnswer,
    ) -> Asked<'a, Result<(), SubmitError>> {
        Box::pin(async move {
            self.view(token)?;
            self.note(format!("answer {answer:?}"));
            Ok(())
        })
    }
}

/// The pages of one such pair of links.
struct Site {
    links: Arc<MadeUp>,
    router: Router,
}

struct Page {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Page {
    fn location(&self) -> &str {
        self.headers[header::LOCATION].to_str().unwrap()
    }
}

impl Site {
    fn of(links: MadeUp) -> Self {
        let links = Arc::new(links);
        let router = super::router(
            Arc::<MadeUp>::clone(&links),
            None,
            Arc::new(SystemClock),
            Arc::new(SystemRandom::new()),
        );
        Self { links, router }
    }

    fn new(kind: CredentialKind) -> Self {
        Self::of(MadeUp::new(kind))
    }

    async fn ask(&self, request: Request<Body>) -> Page {
        let mut request = request;
        let peer: SocketAddr = "192.0.2.1:7".parse().unwrap();
        let connection = Arc::new(Connection::new(peer, Arc::new([])));
        request.extensions_mut().insert(connection);
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        Page {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    async fn get(&self, path: &str) -> Page {
        self.ask(Request::get(path).body(Body::empty()).unwrap())
            .await
    }

    async fn post(&self, path: &str, body: impl Into<Vec<u8>>) -> Page {
        let request = Request::post(path)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("sec-fetch-site", "same-origin")
            .body(Body::from(body.into()))
            .unwrap();
        self.ask(request).await
    }

    fn done(&self) -> Vec<String> {
        self.links.done.lock().unwrap().clone()
    }
}

fn path(rest: &str) -> String {
    format!("/i/{GOOD}{rest}")
}

fn filled(secret: &str) -> String {
    format!(
        "tenant_id=+{TENANT}&client_id={CLIENT}&client_secret={secret}&certificate=\
         &certificate_private_key=&test_mailbox=&expires_at=2028-11-20"
    )
}

const ALL: [CredentialKind; 3] = [
    CredentialKind::Microsoft365,
    CredentialKind::GoogleWorkspace,
    CredentialKind::Generic,
];

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn stage(stage: Stage, outcome: StageOutcome) -> StageView {
    StageView {
        stage,
        surface: Some(Surface::Graph),
        outcome,
        started_at: time("2028-01-01T00:00:00Z"),
        millis: 1,
        attempts: 1,
        hint: (outcome == StageOutcome::Failed).then_some(Hint::ConsentMissing),
        says: None,
        code: None,
        correlation: Vec::new(),
    }
}

/// The second attempt by a link, as the vault tells it.
fn attempt(state: SubmissionState) -> SubmissionView {
    let now = time("2028-01-01T00:00:00Z");
    let credential = crate::model::CredentialId::from_bytes([2; 16]);
    let run = VerificationView {
        id: crate::model::VerificationId::from_bytes([3; 16]),
        credential,
        version: 2,
        submission: None,
        cause: crate::model::RunCause::Submission,
        state: crate::model::RunState::Done,
        due_at: now,
        tries: 1,
        started_at: Some(now),
        finished_at: None,
        outcome: None,
        hint: None,
        says: None,
        step: None,
        stages: vec![
            stage(Stage::Token, StageOutcome::Passed),
            stage(Stage::Permissions, StageOutcome::Failed),
        ],
        created_at: now,
    };
    SubmissionView {
        id: crate::model::SubmissionId::from_bytes([4; 16]),
        invite: InviteId::from_bytes([1; 16]),
        credential,
        version: 2,
        number: 2,
        received_at: now,
        sealing: Sealing::Browser,
        state,
        hint: Some(Hint::ConsentMissing),
        says: None,
        step: None,
        can_check_again: state == SubmissionState::Failed,
        finished_at: None,
        verification: Some(run),
    }
}

const STATES: [(SubmissionState, &str); 7] = [
    (SubmissionState::Verifying, "We are checking it"),
    (SubmissionState::Verified, "It works"),
    (SubmissionState::Failed, "One step is missing"),
    (SubmissionState::Undecided, "We could not check it yet"),
    (SubmissionState::Waiting, "Somebody looks at it"),
    (SubmissionState::Superseded, "This attempt was ended"),
    (SubmissionState::Closed, "This attempt was ended"),
];

fn labels_belong_to_fields(text: &str) {
    let all = |before: &str| -> Vec<String> {
        let pieces = text.split(before).skip(1);
        pieces
            .map(|piece| piece.split('"').next().unwrap().to_owned())
            .collect()
    };
    let ids = all(" id=\"");
    for id in all("<label for=\"").into_iter().chain(
        all("aria-describedby=\"")
            .iter()
            .flat_map(|it| it.split(' '))
            .map(str::to_owned),
    ) {
        assert!(ids.contains(&id), "{id}");
    }
    for fragment in all("href=\"#") {
        assert!(ids.contains(&fragment), "{fragment}");
    }
    assert_eq!(
        all("<label for=\"").len(),
        text.matches("<input").count() + text.matches("<textarea").count()
    );
}
