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

use super::link::{
    Answer, Asked, Attempt, AttemptState, Colleague, LinkError, LinkView, Links, StageLine,
    SubmitError, Submitted, Taken,
};
use crate::{
    clock::SystemClock,
    crypto::{IntakeKey, intake_info},
    http::server::Connection,
    model::CredentialKind,
    providers::{self, Hint, Stage, StageOutcome, Surface},
    random::{Random as _, SystemRandom},
    secret::{Secret, SecretKey},
    vault::LinkToken,
};

const GOOD: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
const OTHER: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHhA";
const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const CLIENT: &str = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";
const SECRET: &str = "canary~secret~value";

type MakeAttempt = fn() -> Option<Attempt>;

/// Two links, of two clients, and what was done by them.
struct MadeUp {
    kind: CredentialKind,
    attempt: MakeAttempt,
    needs_code: bool,
    key: IntakeKey,
    done: Mutex<Vec<String>>,
}

impl MadeUp {
    fn new(kind: CredentialKind) -> Self {
        Self {
            kind,
            attempt: || None,
            needs_code: false,
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
            client: "<script>alert('x')</script> & Co".to_owned(),
            label: "mail sync".to_owned(),
            kind: self.kind,
            environment: "production".to_owned(),
            expires_at: "2028-11-20T10:00:00Z".parse().unwrap(),
            known: Vec::new(),
            needs_code: self.needs_code,
            key: *self.key.public(),
            info: intake_info("dev-x", name, 1),
            aad: b"form".to_vec(),
            answered: false,
            may_forward: true,
            attempt: (self.attempt)(),
        })
    }
}

impl Links for MadeUp {
    fn link<'a>(&'a self, token: &'a LinkToken) -> Asked<'a, Result<LinkView, LinkError>> {
        Box::pin(async { self.view(token) })
    }

    fn open(&self, link: &LinkView, sealed: &[u8]) -> Option<Secret> {
        self.key.open(&link.info, &link.aad, sealed).ok()
    }

    fn submit<'a>(
        &'a self,
        token: &'a LinkToken,
        form: Submitted,
    ) -> Asked<'a, Result<Taken, SubmitError>> {
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
                let broken = broken.into_iter();
                return Err(SubmitError::Refused(
                    broken
                        .map(|it| (it.field.into_owned(), it.rule.to_owned()))
                        .collect(),
                ));
            }
            let json = form.fields.to_canonical_json();
            self.note(format!(
                "{} {:?} sealed={}",
                String::from_utf8_lossy(json.expose_secret()),
                form.expires_at,
                form.enc_sha256.is_some()
            ));
            let odd_expiry = form.expires_at.as_deref() == Some("2099-01-01");
            Ok(Taken { odd_expiry })
        })
    }

    fn check_again<'a>(&'a self, token: &'a LinkToken) -> Asked<'a, Result<(), SubmitError>> {
        Box::pin(async {
            self.view(token)?;
            self.note("check".to_owned());
            Ok(())
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
        answer: Answer,
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

fn stages() -> Vec<StageLine> {
    let line = |stage, surface, outcome, hint| StageLine {
        stage,
        surface,
        outcome,
        hint,
    };
    vec![
        line(Stage::Token, None, StageOutcome::Passed, None),
        line(
            Stage::Permissions,
            Some(Surface::Graph),
            StageOutcome::Failed,
            Some(Hint::ConsentMissing),
        ),
    ]
}

fn attempt(state: AttemptState) -> Option<Attempt> {
    Some(Attempt {
        number: 2,
        state,
        hint: Some(Hint::ConsentMissing),
        stages: stages(),
        may_check_again: state == AttemptState::Failed,
        ends_at: Some("2028-11-20T00:00:00Z".parse().unwrap()),
    })
}

const STATES: [(AttemptState, MakeAttempt, &str); 6] = [
    (
        AttemptState::Verifying,
        || attempt(AttemptState::Verifying),
        "We are checking it",
    ),
    (
        AttemptState::Verified,
        || attempt(AttemptState::Verified),
        "It works",
    ),
    (
        AttemptState::Failed,
        || attempt(AttemptState::Failed),
        "One step is missing",
    ),
    (
        AttemptState::Undecided,
        || attempt(AttemptState::Undecided),
        "We could not check it yet",
    ),
    (
        AttemptState::Waiting,
        || attempt(AttemptState::Waiting),
        "Somebody looks at it",
    ),
    (
        AttemptState::Closed,
        || attempt(AttemptState::Closed),
        "This attempt was ended",
    ),
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
