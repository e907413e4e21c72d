//! Google: every row of the table of its errors, and what is registered.

use super::*;
use crate::standin::{Answer, GoogleKey, Place, ServiceAccount};

const EMAIL: &str = "sync@project.iam.gserviceaccount.com";
const USER: &str = "admin@client.example";
const CONTACTS: &str = "https://www.googleapis.com/auth/contacts";
const CALENDAR: &str = "https://www.googleapis.com/auth/calendar";
const SEND: &str = "https://www.googleapis.com/auth/gmail.send";

/// A private key, PKCS#8, and its public half, both PEM, made once.
static KEY: LazyLock<(String, String)> = LazyLock::new(|| {
    let private = openssl(
        &[
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
        ],
        b"",
    );
    let public = openssl(&["pkey", "-pubout"], &private);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(private), text(public))
});

fn accounts() -> Vec<ServiceAccount> {
    vec![ServiceAccount {
        email: EMAIL.into(),
        keys: vec![GoogleKey {
            id: "key-1".into(),
            public_key: KEY.1.clone(),
            disabled: false,
        }],
        delegated_scopes: [CONTACTS, CALENDAR, SEND].map(str::to_owned).to_vec(),
        users: vec![USER.into()],
        ..ServiceAccount::default()
    }]
}

fn key_file() -> Value {
    json!({
        "type": "service_account", "project_id": "project", "private_key_id": "key-1",
        "private_key": KEY.0, "client_email": EMAIL, "client_id": "1234567890",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": "https://oauth2.googleapis.com/token",
    })
}

fn fields_of(key: &Value) -> Value {
    json!({"service_account_key": key.to_string(), "delegated_user": USER})
}

async fn check(bench: &Bench, fields: &Value, policy: &ProbePolicy) -> (Verdict, Vec<StageReport>) {
    bench
        .verify_kind(CredentialKind::GoogleWorkspace, fields, policy)
        .await
}

fn set(bench: &Bench, change: impl FnOnce(&mut ServiceAccount)) {
    let mut accounts = accounts();
    change(&mut accounts[0]);
    bench.set(|world| world.service_accounts = accounts);
}

#[tokio::test]
async fn everything_works_one_scope_at_a_time() {
    let bench = Bench::new().await;
    set(&bench, |_| {});
    let policy = ProbePolicy {
        sending: true,
        ..ProbePolicy::default()
    };
    let (verdict, reports) = check(&bench, &fields_of(&key_file()), &policy).await;
    assert_eq!(verdict.outcome, Outcome::Verified, "{:?}", short(&reports));
    let stages = [
        "shape passed",
        "token passed",
        "permissions passed",
        "contacts passed",
        "calendar passed",
        "sending passed",
        "expiry skipped expiry-not-readable",
    ];
    assert_eq!(short(&reports), stages);
    let calls = bench.stand_in.change(|world| world.calls.clone());
    assert_eq!(calls[&Place::GoogleToken], 3);
    // Without leave to send, the scope for it is not asked for.
    set(&bench, |account| account.delegated_scopes.truncate(2));
    let (verdict, reports) = check(&bench, &fields_of(&key_file()), &ProbePolicy::default()).await;
    assert_eq!(verdict.outcome, Outcome::Verified);
    assert!(short(&reports).contains(&"sending skipped".to_owned()));
}

#[tokio::test]
async fn the_scope_that_is_missing_is_named() {
    let bench = Bench::new().await;
    let policy = ProbePolicy {
        sending: true,
        ..ProbePolicy::default()
    };
    for (missing, stage) in [
        (CONTACTS, "contacts"),
        (CALENDAR, "calendar"),
        (SEND, "sending"),
    ] {
        set(&bench, |account| {
            account.delegated_scopes.retain(|it| it != missing)
        });
        let (verdict, reports) = check(&bench, &fields_of(&key_file()), &policy).await;
        assert_eq!(verdict.outcome, Outcome::Failed(Hint::ScopeMissing));
        let failed: Vec<String> = short(&reports)
            .into_iter()
            .filter(|it| it.contains("failed"))
            .collect();
        let expected = [
            "permissions failed scope-missing".to_owned(),
            format!("{stage} failed scope-missing"),
        ];
        assert_eq!(failed, expected);
    }
}

#[tokio::test]
async fn every_row_leads_to_its_hint() {
    type Row = (u16, &'static str, &'static str, End);
    const ROWS: &[Row] = &[
        (
            401,
            "unauthorized_client",
            "Unauthorized client or scope in request.",
            Failed(Hint::DelegationMissing),
        ),
        (
            401,
            "unauthorized_client",
            "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the scopes requested.",
            Failed(Hint::DelegationWrongId),
        ),
        (
            403,
            "access_denied",
            "Requested client not authorized.",
            Failed(Hint::ScopeMissing),
        ),
        (
            400,
            "admin_policy_enforced",
            "",
            Undecided(Hint::PolicyBlocked),
        ),
        (
            400,
            "invalid_grant",
            "Not a valid email",
            Failed(Hint::DelegatedUserMissing),
        ),
        (
            400,
            "invalid_grant",
            "Invalid email or User ID",
            Failed(Hint::DelegatedUserMissing),
        ),
        (
            400,
            "invalid_grant",
            "Invalid JWT Signature.",
            Failed(Hint::KeyRejected),
        ),
        (
            400,
            "invalid_grant",
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.",
            Undecided(Hint::OurClock),
        ),
        (
            400,
            "invalid_grant",
            "Something new.",
            Failed(Hint::KeyRejected),
        ),
        (400, "invalid_scope", "", Undecided(Hint::OurRequest)),
        (401, "disabled_client", "", Failed(Hint::ClientDisabled)),
        (401, "deleted_client", "", Failed(Hint::ClientDeleted)),
        (401, "invalid_client", "", Failed(Hint::KeyRejected)),
        (403, "org_internal", "", Undecided(Hint::PolicyBlocked)),
        (400, "something_new", "", Undecided(Hint::Unknown)),
    ];
    let bench = Bench::new().await;
    for (status, error, description, expected) in ROWS {
        set(&bench, |_| {});
        let answer = Answer::Google(*status, (*error).into(), (*description).into());
        bench
            .stand_in
            .change(|world| world.force(Place::GoogleToken, 100, answer));
        let (verdict, reports) =
            check(&bench, &fields_of(&key_file()), &ProbePolicy::default()).await;
        assert_eq!(end(verdict.outcome), *expected, "{error} {description}");
        assert_eq!(reports.last().unwrap().code, ProviderCode::word(error));
    }
    println!("rows of Google's table: {}", ROWS.len());
}

#[tokio::test]
async fn what_is_registered_decides() {
    type Change = fn(&mut ServiceAccount);
    let rows: &[(&str, Change, End)] = &[
        (
            "no delegation",
            |it| it.delegated_scopes.clear(),
            Failed(Hint::DelegationMissing),
        ),
        (
            "entered wrongly",
            |it| it.delegated_wrongly = true,
            Failed(Hint::DelegationWrongId),
        ),
        (
            "other scopes",
            |it| it.delegated_scopes = vec![SEND.into()],
            Failed(Hint::ScopeMissing),
        ),
        (
            "no such user",
            |it| it.users.clear(),
            Failed(Hint::DelegatedUserMissing),
        ),
        (
            "key disabled",
            |it| it.keys[0].disabled = true,
            Failed(Hint::KeyRejected),
        ),
        (
            "key deleted",
            |it| it.keys.clear(),
            Failed(Hint::KeyRejected),
        ),
        (
            "account disabled",
            |it| it.disabled = true,
            Failed(Hint::ClientDisabled),
        ),
        (
            "account deleted",
            |it| it.deleted = true,
            Failed(Hint::ClientDeleted),
        ),
        (
            "account unknown",
            |it| it.email = "other".into(),
            Failed(Hint::KeyRejected),
        ),
        (
            "People switched off",
            |it| it.disabled_apis = vec!["people".into()],
            Failed(Hint::ApiDisabled),
        ),
        (
            "Calendar switched off",
            |it| it.disabled_apis = vec!["calendar".into()],
            Failed(Hint::ApiDisabled),
        ),
    ];
    let bench = Bench::new().await;
    for (what, change, expected) in rows {
        set(&bench, change);
        let (verdict, reports) =
            check(&bench, &fields_of(&key_file()), &ProbePolicy::default()).await;
        let told = short(&reports);
        assert_eq!(end(verdict.outcome), *expected, "{what}: {told:?}");
    }
}

#[tokio::test]
async fn the_interfaces_have_troubles_of_their_own() {
    let bench = Bench::new().await;
    for (answer, expected) in [
        (Answer::Throttled(900), Undecided(Hint::Throttled)),
        (
            Answer::Unavailable(None),
            Undecided(Hint::ProviderUnavailable),
        ),
        (
            Answer::GoogleApi(403, "PERMISSION_DENIED".into(), "rateLimitExceeded".into()),
            Undecided(Hint::Throttled),
        ),
        (
            Answer::GoogleApi(
                403,
                "PERMISSION_DENIED".into(),
                "accessNotConfigured".into(),
            ),
            Failed(Hint::ApiDisabled),
        ),
        (
            Answer::GoogleApi(
                403,
                "PERMISSION_DENIED".into(),
                "insufficientPermissions".into(),
            ),
            Failed(Hint::ScopeMissing),
        ),
        (
            Answer::GoogleApi(403, "PERMISSION_DENIED".into(), "domainPolicy".into()),
            Undecided(Hint::PolicyBlocked),
        ),
        (
            Answer::GoogleApi(401, "UNAUTHENTICATED".into(), "authError".into()),
            Undecided(Hint::TokenRejected),
        ),
        (
            Answer::Raw(404, Vec::new(), String::new()),
            Undecided(Hint::Unknown),
        ),
    ] {
        for place in [Place::People, Place::Calendar] {
            set(&bench, |_| {});
            bench
                .stand_in
                .change(|world| world.force(place, 100, answer.clone()));
            let (verdict, reports) =
                check(&bench, &fields_of(&key_file()), &ProbePolicy::default()).await;
            let told = short(&reports);
            assert_eq!(end(verdict.outcome), expected, "{answer:?}: {told:?}");
        }
    }
}

#[tokio::test]
async fn a_key_file_is_checked_before_anybody_is_asked_and_chooses_no_host() {
    let bench = Bench::new().await;
    set(&bench, |_| {});
    for (member, value, hint) in [
        (
            "token_uri",
            "https://attacker.example/token",
            Hint::TokenUriNotGoogle,
        ),
        ("type", "authorized_user", Hint::KeyFileUnusable),
        (
            "private_key",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            Hint::KeyFileUnusable,
        ),
        ("client_email", "", Hint::KeyFileUnusable),
    ] {
        let mut key = key_file();
        key[member] = value.into();
        let (verdict, reports) = check(&bench, &fields_of(&key), &ProbePolicy::default()).await;
        assert_eq!(verdict.outcome, Outcome::Failed(hint), "{member}");
        assert_eq!(reports.len(), 1);
    }
    let mut fields = fields_of(&key_file());
    fields["delegated_user"] = "nobody".into();
    let (verdict, _) = check(&bench, &fields, &ProbePolicy::default()).await;
    assert_eq!(verdict.outcome, Outcome::Failed(Hint::ShapeInvalid));
    assert!(bench.stand_in.change(|world| world.calls.is_empty()));
}

#[tokio::test]
async fn a_delegation_that_has_not_arrived_everywhere_is_waited_for() {
    let bench = Bench::new().await;
    set(&bench, |_| {});
    let words = "Unauthorized client or scope in request.";
    let answer = Answer::Google(401, "unauthorized_client".into(), words.into());
    bench
        .stand_in
        .change(|world| world.force(Place::GoogleToken, 4, answer));
    let policy = ProbePolicy {
        settles_at: Some(bench.clock.now().plus_secs(3600)),
        ..ProbePolicy::default()
    };
    let (verdict, reports) = check(&bench, &fields_of(&key_file()), &policy).await;
    assert_eq!(verdict.outcome, Outcome::Verified, "{:?}", short(&reports));
    assert_eq!(reports[1].attempts, 3);
}

#[tokio::test]
async fn a_scope_that_may_be_on_its_way_has_failed_nowhere() {
    let bench = Bench::new().await;
    set(&bench, |account| {
        account.delegated_scopes.retain(|it| it != CONTACTS);
    });
    let mut policy = ProbePolicy {
        settles_at: Some(bench.clock.now().plus_secs(3600)),
        ..ProbePolicy::default()
    };
    let (verdict, reports) = check(&bench, &fields_of(&key_file()), &policy).await;
    assert_eq!(end(verdict.outcome), Undecided(Hint::ScopeMissing));
    assert_eq!(
        short(&reports)[2..5],
        [
            "permissions undecided scope-missing",
            "contacts undecided scope-missing",
            "calendar passed",
        ]
    );
    // Asked for again once only: the stage that is named for it says what is known by then.
    assert_eq!(reports[3].attempts, 0);
    policy.settles_at = Some(bench.clock.now());
    let (verdict, reports) = check(&bench, &fields_of(&key_file()), &policy).await;
    assert_eq!(end(verdict.outcome), Failed(Hint::ScopeMissing));
    assert_eq!(short(&reports)[3], "contacts failed scope-missing");
}
