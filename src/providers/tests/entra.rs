//! Discovery and tokens: every row of the table of Entra's errors, and what is registered.

use super::*;
use crate::standin::{Answer, Place};

/// Every number that comes when a token is asked for, with the word that it comes with, and what is said
/// of it.
const ROWS: &[(u32, End)] = &[
    (7_000_215, Failed(Hint::WrongSecret)),
    (7_000_222, Failed(Hint::SecretExpired)),
    (700_016, Failed(Hint::UnknownApplication)),
    (7_000_112, Failed(Hint::ApplicationDisabled)),
    (70_001, Failed(Hint::ApplicationDisabled)),
    (7_000_216, Undecided(Hint::OurRequest)),
    (7_000_218, Undecided(Hint::OurRequest)),
    (700_025, Failed(Hint::PublicClient)),
    (700_027, Failed(Hint::CertificateRejected)),
    (50_012, Failed(Hint::CertificateRejected)),
    (50_048, Undecided(Hint::OurRequest)),
    (500_133, Undecided(Hint::OurClock)),
    (700_030, Failed(Hint::CertificateRejected)),
    (53_003, Undecided(Hint::PolicyBlocked)),
    (530_032, Undecided(Hint::PolicyBlocked)),
    (500_011, Failed(Hint::ServiceMissing)),
    (650_052, Failed(Hint::ServiceMissing)),
    (650_057, Failed(Hint::PermissionMissing)),
    (65_001, Failed(Hint::ConsentMissing)),
    (650_056, Failed(Hint::ConsentMissing)),
    (50_034, Undecided(Hint::Unknown)),
    (70_011, Undecided(Hint::OurRequest)),
    (1_002_012, Undecided(Hint::OurRequest)),
    (700_022, Undecided(Hint::OurRequest)),
    (28_002, Undecided(Hint::OurRequest)),
    (90_033, Undecided(Hint::ProviderUnavailable)),
    (90_006, Undecided(Hint::ProviderUnavailable)),
    (90_024, Undecided(Hint::ProviderUnavailable)),
    (50_033, Undecided(Hint::ProviderUnavailable)),
    (90_012, Undecided(Hint::ProviderUnavailable)),
    (90_090, Undecided(Hint::ProviderUnavailable)),
    (90_055, Undecided(Hint::Throttled)),
    (50_196, Undecided(Hint::Throttled)),
    // Nobody knows the number: the word `invalid_client` decides, and the number is kept.
    (99_999_999, Failed(Hint::WrongSecret)),
];

/// Every number that comes when a directory is asked for.
const TENANT_ROWS: &[(u32, End)] = &[
    (90_002, Failed(Hint::UnknownTenant)),
    (900_023, Failed(Hint::MalformedTenant)),
    (90_038, Failed(Hint::OtherCloud)),
    (900_382, Failed(Hint::OtherCloud)),
    (90_033, Undecided(Hint::ProviderUnavailable)),
    (90_055, Undecided(Hint::Throttled)),
];

#[tokio::test]
async fn every_number_leads_to_its_hint() {
    let bench = Bench::new().await;
    let all = [
        (Place::Token, Stage::Token, ROWS),
        (Place::Discovery, Stage::Tenant, TENANT_ROWS),
    ];
    for (place, stage, rows) in all {
        for (number, expected) in rows {
            bench.set(|world| world.force(place, 100, Answer::Aadsts(*number)));
            let (verdict, reports) = bench.verify(&by_secret(), &ProbePolicy::default()).await;
            assert_eq!(end(verdict.outcome), *expected, "{number}");
            let told = reports.iter().find(|it| it.stage == stage).unwrap();
            let (outcome, hint) = match *expected {
                Failed(hint) => (StageOutcome::Failed, hint),
                Undecided(hint) => (StageOutcome::Undecided, hint),
                other => panic!("{other:?}"),
            };
            assert_eq!((told.outcome, told.hint), (outcome, Some(hint)), "{number}");
            assert_eq!(told.code, Some(ProviderCode::Aadsts(*number)));
            assert!(told.correlation.trace_id.is_some());
            assert!(told.correlation.correlation_id.is_some());
        }
    }
    println!("rows of Entra's table: {}", ROWS.len() + TENANT_ROWS.len());
}

#[tokio::test]
async fn the_word_decides_where_no_number_is_known() {
    let bench = Bench::new().await;
    for (status, error, expected) in [
        (401, "invalid_client", Failed(Hint::WrongSecret)),
        (400, "unauthorized_client", Failed(Hint::ApplicationRefused)),
        (400, "invalid_grant", Failed(Hint::ApplicationRefused)),
        (400, "invalid_tenant", Failed(Hint::UnknownTenant)),
        (400, "invalid_resource", Failed(Hint::ServiceMissing)),
        (400, "invalid_scope", Undecided(Hint::OurRequest)),
        (400, "invalid_request", Undecided(Hint::OurRequest)),
        (400, "access_denied", Undecided(Hint::PolicyBlocked)),
        (400, "interaction_required", Undecided(Hint::PolicyBlocked)),
        (
            400,
            "temporarily_unavailable",
            Undecided(Hint::ProviderUnavailable),
        ),
        (400, "something_new", Undecided(Hint::Unknown)),
    ] {
        let body = json!({"error": error}).to_string();
        let answer = Answer::Raw(status, Vec::new(), body);
        bench.set(|world| world.force(Place::Token, 100, answer));
        let (verdict, reports) = bench.verify(&by_secret(), &ProbePolicy::default()).await;
        assert_eq!(end(verdict.outcome), expected, "{error}");
        let token = reports.iter().find(|it| it.stage == Stage::Token).unwrap();
        assert_eq!(token.code, ProviderCode::word(error));
    }
    // What cannot be read blames nobody.
    for body in ["", "<html>", "[]", "{\"error\":3}", "{\"error\":{}}"] {
        let answer = Answer::Raw(400, Vec::new(), body.to_owned());
        bench.set(|world| world.force(Place::Token, 100, answer));
        let (verdict, _) = bench.verify(&by_secret(), &ProbePolicy::default()).await;
        assert_eq!(
            undecided_hint(verdict.outcome),
            Some(Hint::Unknown),
            "{body}"
        );
    }
    let answer = Answer::Raw(200, Vec::new(), "{}".to_owned());
    bench.set(|world| world.force(Place::Token, 100, answer));
    let (verdict, _) = bench.verify(&by_secret(), &ProbePolicy::default()).await;
    assert_eq!(
        undecided_hint(verdict.outcome),
        Some(Hint::ProviderUnavailable)
    );
}

#[tokio::test]
async fn a_number_takes_blame_away_and_never_adds_it() {
    let bench = Bench::new().await;
    let (wrong_secret, expired, unknown_tenant) = (7_000_215, 7_000_222, 90_002);
    let (conditional_access, our_request) = (53_003, 7_000_218);
    let (transient, throttled, for_users) = (90_033, 90_055, 50_034);
    for (word, number, expected) in [
        // It chooses among what the word blames the client for, and takes the blame away.
        ("invalid_client", expired, Failed(Hint::SecretExpired)),
        ("unauthorized_client", expired, Failed(Hint::SecretExpired)),
        (
            "invalid_client",
            conditional_access,
            Undecided(Hint::PolicyBlocked),
        ),
        (
            "invalid_grant",
            conditional_access,
            Undecided(Hint::PolicyBlocked),
        ),
        ("invalid_client", our_request, Undecided(Hint::OurRequest)),
        (
            "invalid_client",
            transient,
            Undecided(Hint::ProviderUnavailable),
        ),
        ("invalid_grant", for_users, Undecided(Hint::Unknown)),
        // Trouble stays trouble.
        (
            "temporarily_unavailable",
            wrong_secret,
            Undecided(Hint::ProviderUnavailable),
        ),
        (
            "temporarily_unavailable",
            for_users,
            Undecided(Hint::ProviderUnavailable),
        ),
        ("server_error", throttled, Undecided(Hint::Throttled)),
        // A policy stays one.
        (
            "access_denied",
            wrong_secret,
            Undecided(Hint::PolicyBlocked),
        ),
        (
            "interaction_required",
            expired,
            Undecided(Hint::PolicyBlocked),
        ),
        ("access_denied", our_request, Undecided(Hint::PolicyBlocked)),
        // So does a fault of ours, and what nobody knows.
        (
            "invalid_request",
            unknown_tenant,
            Undecided(Hint::OurRequest),
        ),
        ("invalid_scope", wrong_secret, Undecided(Hint::OurRequest)),
        ("invalid_request", throttled, Undecided(Hint::Throttled)),
        ("something_new", wrong_secret, Undecided(Hint::Unknown)),
        (
            "something_new",
            conditional_access,
            Undecided(Hint::PolicyBlocked),
        ),
        ("", wrong_secret, Undecided(Hint::Unknown)),
    ] {
        let body = json!({"error": word, "error_codes": [number]}).to_string();
        let answer = Answer::Raw(400, Vec::new(), body);
        bench.set(|world| world.force(Place::Token, 100, answer));
        let (verdict, reports) = bench.verify(&by_secret(), &ProbePolicy::default()).await;
        assert_eq!(end(verdict.outcome), expected, "{word} {number}");
        // Whatever is said, the number is kept for who looks into it.
        let token = reports.iter().find(|it| it.stage == Stage::Token).unwrap();
        assert_eq!(token.code, Some(ProviderCode::Aadsts(number)));
    }
}

#[tokio::test]
async fn what_is_registered_decides() {
    type Change = fn(&mut World);
    let rows: &[(&str, Change, End)] = &[
        (
            "another tenant",
            |w| w.tenants[0].id = CLIENT.into(),
            Failed(Hint::UnknownTenant),
        ),
        (
            "another cloud",
            |w| w.tenants[0].other_cloud = true,
            Failed(Hint::OtherCloud),
        ),
        (
            "another application",
            |w| w.tenants[0].applications[0].id = TENANT.into(),
            Failed(Hint::UnknownApplication),
        ),
        (
            "disabled",
            |w| w.tenants[0].applications[0].disabled = true,
            Failed(Hint::ApplicationDisabled),
        ),
        (
            "public",
            |w| w.tenants[0].applications[0].public = true,
            Failed(Hint::PublicClient),
        ),
        (
            "another secret",
            |w| w.tenants[0].applications[0].secrets[0].value = "x".into(),
            Failed(Hint::WrongSecret),
        ),
        (
            "expired",
            |w| w.tenants[0].applications[0].secrets[0].expires_at = Timestamp::from_secs(1),
            Failed(Hint::SecretExpired),
        ),
        (
            "blocked",
            |w| w.tenants[0].blocked = true,
            Undecided(Hint::PolicyBlocked),
        ),
        (
            "two secrets",
            |w| {
                let app = &mut w.tenants[0].applications[0];
                let mut other = app.secrets[0].clone();
                other.expires_at = Timestamp::from_secs(1);
                app.secrets = vec![other];
            },
            Failed(Hint::SecretExpired),
        ),
    ];
    let bench = Bench::new().await;
    for (what, change, expected) in rows {
        bench.set(change);
        let (verdict, reports) = bench.verify(&by_secret(), &ProbePolicy::default()).await;
        let told = short(&reports);
        assert_eq!(end(verdict.outcome), *expected, "{what}: {told:?}");
    }
    // A bad secret is not tried a second time for the other interface.
    let calls = bench.stand_in.change(|world| world.calls.clone());
    assert_eq!(calls[&Place::Token], 1);
    let mut fields = by_secret();
    fields["tenant_id"] = "nobody.example".into();
    let (verdict, reports) = bench.verify(&fields, &ProbePolicy::default()).await;
    assert_eq!(verdict.outcome, Outcome::Failed(Hint::UnknownTenant));
    assert_eq!(
        short(&reports),
        ["shape passed", "tenant failed unknown-tenant"]
    );
    let answer = Answer::Raw(404, Vec::new(), String::new());
    bench.set(|world| world.force(Place::Discovery, 1, answer));
    let (verdict, _) = bench.verify(&by_secret(), &ProbePolicy::default()).await;
    assert_eq!(verdict.outcome, Outcome::Failed(Hint::UnknownTenant));
}

#[tokio::test]
async fn a_certificate_is_checked_here_and_there() {
    let bench = Bench::new().await;
    let policy = ProbePolicy::default();
    bench.set(|world| {
        let app = &mut world.tenants[0].applications[0];
        app.certificates = vec![OTHER_CERTIFICATE.1.clone()];
    });
    let (verdict, reports) = bench.verify(&by_certificate(), &policy).await;
    assert_eq!(verdict.outcome, Outcome::Failed(Hint::CertificateRejected));
    // The other interface is not asked for; the date stands in the certificate.
    assert_eq!(
        short(&reports)[2..],
        [
            "graph token failed certificate-rejected",
            "ews token skipped",
            "expiry passed"
        ]
    );
    assert!(verdict.expires_at.is_some());
    let mut fields = by_certificate();
    fields["certificate"] = OTHER_CERTIFICATE.1.clone().into();
    let (verdict, _) = bench.verify(&fields, &policy).await;
    assert_eq!(
        verdict.outcome,
        Outcome::Failed(Hint::CertificateKeyMismatch)
    );
    let elliptic = openssl(
        &[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ],
        b"",
    );
    let mut fields = by_certificate();
    fields["certificate_private_key"] = String::from_utf8(elliptic).unwrap().into();
    let (verdict, _) = bench.verify(&fields, &policy).await;
    assert_eq!(
        verdict.outcome,
        Outcome::Failed(Hint::CertificateKeyUnusable)
    );
    bench.clock.advance(31 * 86_400);
    let (verdict, _) = bench.verify(&by_certificate(), &policy).await;
    assert_eq!(verdict.outcome, Outcome::Failed(Hint::CertificateExpired));
}

#[tokio::test]
async fn the_form_is_checked_before_anybody_is_asked() {
    let bench = Bench::new().await;
    for (field, value, hint) in [
        (
            "client_secret",
            "99999999-2222-3333-4444-555555555555",
            Hint::SecretIdPasted,
        ),
        ("client_secret", " spaces ", Hint::ShapeInvalid),
        ("tenant_id", "our company", Hint::MalformedTenant),
        ("client_id", "my app", Hint::ShapeInvalid),
    ] {
        let mut fields = by_secret();
        fields[field] = value.into();
        let (verdict, reports) = bench.verify(&fields, &ProbePolicy::default()).await;
        assert_eq!(verdict.outcome, Outcome::Failed(hint));
        assert_eq!(short(&reports), [format!("shape failed {hint}")]);
    }
    assert!(bench.stand_in.change(|world| world.calls.is_empty()));
}
