//! The pages as a browser sees them, over links that are made up.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode, header},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hpke::{
    Deserializable as _, Kem as _, OpModeS, Serializable as _,
    aead::AesGcm256,
    kdf::HkdfSha256,
    kem::DhP256HkdfSha256,
    rand_core::{CryptoRng, Error, RngCore},
    single_shot_seal,
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

#[tokio::test]
async fn every_page_is_whole_escaped_and_runs_nothing_of_its_own() {
    for kind in ALL {
        for at in std::iter::once(None).chain((0..STATES.len()).map(Some)) {
            let mut links = MadeUp::new(kind);
            links.needs_code = true;
            if let Some(at) = at {
                links.attempt = STATES[at].1;
            }
            let site = Site::of(links);
            for rest in ["", "?form", "/colleague", "/guide"] {
                let page = site.get(&path(rest)).await;
                assert_eq!(page.status, StatusCode::OK, "{rest}");
                let text = &page.text;
                assert!(
                    text.starts_with("<!doctype html>") && text.trim_end().ends_with("</html>")
                );
                assert!(
                    !text.contains("<script>") && !text.contains("onclick"),
                    "{rest}"
                );
                assert!(!text.contains("style="), "{rest}");
                assert_eq!(text.matches("<h1>").count(), 1, "{rest}");
                assert!(text.contains("<html lang=\"en\">"));
                assert!(!page.headers.contains_key(header::SET_COOKIE));
                let policy = page.headers[header::CONTENT_SECURITY_POLICY]
                    .to_str()
                    .unwrap();
                assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"));
                assert_eq!(page.headers[header::REFERRER_POLICY], "no-referrer");
                labels_belong_to_fields(text);
            }
            assert!(site.done().is_empty());
        }
    }
}

/// Each label has its field, each field its label and what describes it.
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

#[tokio::test]
async fn whatever_is_wrong_with_a_link_the_answer_is_one() {
    let site = Site::new(CredentialKind::Microsoft365);
    let unknown = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHgA";
    let first = site.get(&format!("/i/{unknown}")).await;
    assert_eq!(first.status, StatusCode::NOT_FOUND);
    assert!(first.text.contains("This link cannot be used"));
    let short = "/i/abc".to_owned();
    for path in [
        short,
        format!("/i/{GOOD}x"),
        "/".to_owned(),
        "/i/".to_owned(),
    ] {
        let page = site.get(&path).await;
        assert_eq!(
            (page.status, page.text),
            (first.status, first.text.clone()),
            "{path}"
        );
    }
    for rest in ["/guide", "/colleague", "/setup.sh", "/setup.ps1"] {
        let page = site.get(&format!("/i/{unknown}{rest}")).await;
        assert_eq!(
            (page.status, page.text),
            (first.status, first.text.clone()),
            "{rest}"
        );
    }
    for rest in ["", "/check", "/colleague", "/answer"] {
        let page = site
            .post(&format!("/i/{unknown}{rest}"), filled(SECRET))
            .await;
        assert_eq!(
            (page.status, page.text),
            (first.status, first.text.clone()),
            "{rest}"
        );
    }
    assert!(site.done().is_empty());
    // Until there were too many.
    for _ in 0..60 {
        site.get(&format!("/i/{unknown}")).await;
    }
    let page = site.get(&format!("/i/{unknown}")).await;
    assert_eq!(page.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(page.headers.contains_key(header::RETRY_AFTER));
    // Which ends nobody's own link.
    assert_eq!(site.get(&path("")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_form_is_taken_once_and_answered_with_where_to_look() {
    let site = Site::new(CredentialKind::Microsoft365);
    let page = site
        .post(&path(""), filled("canary%7Esecret%7Evalue"))
        .await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
    assert_eq!(page.location(), path(""));
    assert_eq!(
        site.done(),
        [format!(
            "{{\"client_id\":\"{CLIENT}\",\"client_secret\":\"{SECRET}\",\"tenant_id\":\"{TENANT}\"}} \
             Some(\"2028-11-20\") sealed=false"
        )]
    );
    let odd = filled("x").replace("2028-11-20", "2099-01-01");
    let page = site.post(&path(""), odd).await;
    assert_eq!(page.location(), path("?odd-date"));
}

#[tokio::test]
async fn what_is_wrong_is_said_at_its_field_and_no_secret_comes_back() {
    let site = Site::new(CredentialKind::Microsoft365);
    let guid = "99999999-2222-3333-4444-555555555555";
    let page = site.post(&path(""), filled(guid)).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.text.contains("id=\"client_secret-error\""));
    assert!(page.text.contains("secret&#39;s ID"), "{}", page.text);
    assert!(!page.text.contains(guid));
    assert!(page.text.contains(TENANT) && page.text.contains("2028-11-20"));
    labels_belong_to_fields(&page.text);
    // A scanner that presses the button.
    for body in ["", "tenant_id=&client_id=&client_secret=&expires_at="] {
        let page = site.post(&path(""), body).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(page.text.contains("The form is empty"));
    }
    assert!(site.done().is_empty());
}

#[tokio::test]
async fn a_code_is_asked_for_where_there_is_one() {
    let mut links = MadeUp::new(CredentialKind::Microsoft365);
    links.needs_code = true;
    let site = Site::of(links);
    for code in ["", "&code=", "&code=87654321"] {
        let page = site.post(&path(""), format!("{}{code}", filled("x"))).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(page.text.contains("id=\"code-error\""));
        assert!(!page.text.contains("87654321"));
    }
    let page = site
        .post(&path(""), format!("{}&code=+12345678", filled("x")))
        .await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
    assert_eq!(site.done().len(), 1);
}

#[tokio::test]
async fn what_no_browser_sends_from_here_changes_nothing() {
    let form = "application/x-www-form-urlencoded";
    let cases: [(&str, &str, Vec<u8>, StatusCode); 8] = [
        (
            "application/json",
            "same-origin",
            b"{}".to_vec(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        (
            "multipart/form-data; boundary=x",
            "same-origin",
            filled("x").into(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        (
            "application/x-www-form-urlencoded; charset=utf-16",
            "same-origin",
            filled("x").into(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        (
            form,
            "same-origin",
            b"client_secret=%ff".to_vec(),
            StatusCode::BAD_REQUEST,
        ),
        (
            form,
            "same-origin",
            b"canary=1".to_vec(),
            StatusCode::BAD_REQUEST,
        ),
        (
            form,
            "same-origin",
            format!("{}&tenant_id=x", filled("x")).into(),
            StatusCode::BAD_REQUEST,
        ),
        (
            form,
            "same-origin",
            vec![b'a'; 64 * 1024 + 1],
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
        (
            form,
            "cross-site",
            filled("x").into(),
            StatusCode::FORBIDDEN,
        ),
    ];
    for (kind, site_of, body, expected) in cases {
        // The limit of a link is not what is looked at here.
        let site = Site::new(CredentialKind::Microsoft365);
        for rest in ["", "/check", "/colleague", "/answer"] {
            let request = Request::post(path(rest))
                .header(header::CONTENT_TYPE, kind)
                .header("sec-fetch-site", site_of)
                .body(Body::from(body.clone()))
                .unwrap();
            let page = site.ask(request).await;
            assert_eq!(page.status, expected, "{kind} {rest}");
            assert!(!page.text.contains("canary"));
        }
        assert!(site.done().is_empty());
    }
}

struct TestRandom;

impl RngCore for TestRandom {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_be_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_be_bytes(bytes)
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        SystemRandom::new().fill(out).unwrap();
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(out);
        Ok(())
    }
}

impl CryptoRng for TestRandom {}

/// As `form.mjs` does, from what stands in the page.
fn seal_for(page: &str, form: &str) -> String {
    let data = |name: &str| {
        let rest = page.split(&format!("data-{name}=\"")).nth(1).unwrap();
        URL_SAFE_NO_PAD
            .decode(rest.split('"').next().unwrap())
            .unwrap()
    };
    let key = <DhP256HkdfSha256 as hpke::Kem>::PublicKey::from_bytes(&data("key")).unwrap();
    let (enc, sealed) = single_shot_seal::<AesGcm256, HkdfSha256, DhP256HkdfSha256, _>(
        &OpModeS::Base,
        &key,
        &data("info"),
        form.as_bytes(),
        &data("aad"),
        &mut TestRandom,
    )
    .unwrap();
    let whole = [enc.to_bytes().as_slice(), &sealed].concat();
    format!("sealed={}", URL_SAFE_NO_PAD.encode(whole))
}

#[tokio::test]
async fn a_sealed_form_is_the_same_form_and_good_for_its_own_link_alone() {
    assert_eq!(DhP256HkdfSha256::KEM_ID, 0x10);
    let site = Site::new(CredentialKind::Microsoft365);
    let page = site.get(&path("")).await;
    let sealed = seal_for(&page.text, &filled("canary%7Esecret%7Evalue"));
    assert_eq!(
        site.post(&path(""), sealed.clone()).await.status,
        StatusCode::SEE_OTHER
    );
    assert_eq!(site.done().len(), 1);
    assert!(site.done()[0].contains(SECRET) && site.done()[0].ends_with("sealed=true"));
    // Another client's link; a changed byte; cut short.
    let stolen = site.post(&format!("/i/{OTHER}"), sealed.clone()).await;
    assert_eq!(stolen.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(stolen.text.contains("sealed for another page"));
    let mut changed = sealed.clone();
    changed.replace_range(200..201, if &sealed[200..201] == "A" { "B" } else { "A" });
    assert_eq!(
        site.post(&path(""), changed).await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    assert_eq!(
        site.post(&path(""), sealed[..60].to_owned()).await.status,
        StatusCode::BAD_REQUEST
    );
    // With something beside it.
    assert_eq!(
        site.post(&path(""), format!("{sealed}&tenant_id=x"))
            .await
            .status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(site.done().len(), 1);
    // What is inside is read as strictly as what is not sealed.
    for inside in ["canary=1", "client_secret=%ff"] {
        let sealed = seal_for(&page.text, inside);
        assert_eq!(
            site.post(&path(""), sealed).await.status,
            StatusCode::BAD_REQUEST
        );
    }
    let sealed = seal_for(&page.text, "");
    let empty = site.post(&path(""), sealed).await;
    assert!(empty.text.contains("The form is empty"));
    assert_eq!(site.done().len(), 1);
}

#[tokio::test]
async fn each_state_says_what_there_is_to_do() {
    for (state, make, title) in STATES {
        let mut links = MadeUp::new(CredentialKind::Microsoft365);
        links.attempt = make;
        let site = Site::of(links);
        let page = site.get(&path("")).await;
        assert!(
            page.text.contains(&format!("<h1>{title}</h1>")),
            "{state:?}"
        );
        assert!(
            page.text.contains("Attempt 2") && page.text.contains("The permissions are granted")
        );
        let waits = matches!(state, AttemptState::Verifying | AttemptState::Undecided);
        assert_eq!(page.text.contains("http-equiv=\"refresh\""), waits);
        let failed = state == AttemptState::Failed;
        assert_eq!(page.text.contains("/guide#grant-consent"), failed);
        assert_eq!(page.text.contains("/check\""), failed);
        assert_eq!(
            page.text.contains("2028-11-20"),
            state == AttemptState::Verified
        );
        // What is under way or done is not corrected.
        let form = site.get(&path("?form")).await;
        let corrects = failed || matches!(state, AttemptState::Undecided | AttemptState::Closed);
        assert_eq!(form.text.contains("data-key="), corrects, "{state:?}");
        let odd = site.get(&path("?odd-date")).await;
        assert!(
            odd.text
                .contains("The end date that you entered is unusual")
        );
    }
}

#[tokio::test]
async fn other_answers_and_the_way_to_a_colleague() {
    let site = Site::new(CredentialKind::Microsoft365);
    let page = site.post(&path("/check"), "").await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
    let page = site.post(&path("/answer"), "answer=free-gmail").await;
    assert!(page.text.contains("Thank you for telling us"));
    assert_eq!(
        site.post(&path("/answer"), "answer=canary").await.status,
        StatusCode::BAD_REQUEST
    );
    for body in ["", "name=A&email=canary", "name=&email=a@b.example"] {
        let page = site.post(&path("/colleague"), body).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        labels_belong_to_fields(&page.text);
    }
    let page = site
        .post(&path("/colleague"), "name=Ada+L&email=ada%40example.com")
        .await;
    assert!(page.text.contains("Your colleague gets a link"));
    assert_eq!(
        site.done(),
        ["check", "answer FreeGmail", "forward Ada L ada@example.com"]
    );
}

#[tokio::test]
async fn scripts_and_assets_are_what_they_say() {
    let site = Site::new(CredentialKind::Microsoft365);
    let page = site.get(&path("/setup.sh")).await;
    assert!(page.text.starts_with("#!/usr/bin/env bash"));
    assert!(
        page.headers[header::CONTENT_DISPOSITION]
            .to_str()
            .unwrap()
            .contains("setup.sh")
    );
    assert!(
        site.get(&path("/setup.ps1"))
            .await
            .text
            .contains("Connect-MgGraph")
    );
    for (name, kind) in [
        ("style.css", "text/css"),
        ("seal.mjs", "text/javascript"),
        ("form.mjs", "text/javascript"),
        ("progress.mjs", "text/javascript"),
    ] {
        let page = site.get(&format!("/assets/{name}")).await;
        assert!(
            page.headers[header::CONTENT_TYPE]
                .to_str()
                .unwrap()
                .starts_with(kind)
        );
        assert!(!page.text.is_empty());
    }
    assert_eq!(
        site.get("/assets/other").await.status,
        StatusCode::NOT_FOUND
    );
}
