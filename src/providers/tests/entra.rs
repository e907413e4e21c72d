//! Discovery and tokens: every row of the table of Entra's errors, and what is registered.

use super::*;
use crate::standin::{Answer, Place};

/// Every number, and what is said of it.
const ROWS: &[(u32, Hint)] = &[
    (7_000_215, Hint::WrongSecret),
    (7_000_222, Hint::SecretExpired),
    (700_016, Hint::UnknownApplication),
    (90_002, Hint::UnknownTenant),
    (900_023, Hint::MalformedTenant),
    (90_038, Hint::OtherCloud),
    (900_382, Hint::OtherCloud),
    (7_000_112, Hint::ApplicationDisabled),
    (70_001, Hint::ApplicationDisabled),
    (7_000_216, Hint::OurRequest),
    (7_000_218, Hint::OurRequest),
    (700_025, Hint::PublicClient),
    (700_027, Hint::CertificateRejected),
    (50_012, Hint::CertificateRejected),
    (50_048, Hint::OurRequest),
    (500_133, Hint::OurClock),
    (700_030, Hint::CertificateRejected),
    (53_003, Hint::PolicyBlocked),
    (530_032, Hint::PolicyBlocked),
    (500_011, Hint::ServiceMissing),
    (650_052, Hint::ServiceMissing),
    (650_057, Hint::PermissionMissing),
    (65_001, Hint::ConsentMissing),
    (650_056, Hint::ConsentMissing),
    (50_034, Hint::Unknown),
    (70_011, Hint::OurRequest),
    (1_002_012, Hint::OurRequest),
    (700_022, Hint::OurRequest),
    (28_002, Hint::OurRequest),
    (90_033, Hint::ProviderUnavailable),
    (90_006, Hint::ProviderUnavailable),
    (90_024, Hint::ProviderUnavailable),
    (50_033, Hint::ProviderUnavailable),
    (90_012, Hint::ProviderUnavailable),
    (90_090, Hint::ProviderUnavailable),
    (90_055, Hint::Throttled),
    (50_196, Hint::Throttled),
    // Nobody knows the number: the word `invalid_client` decides, and the number is kept.
    (99_999_999, Hint::WrongSecret),
];

#[tokio::test]
async fn every_number_leads_to_its_hint() {
    let bench = Bench::new().await;
    for (number, hint) in ROWS {
        bench.set(|world| world.force(Place::Token, 100, Answer::Aadsts(*number)));
        let (verdict, reports) = bench.verify(&by_secret(), &ProbePolicy::default()).await;
        assert!(expected(*hint, verdict.outcome), "{number}: {verdict:?}");
        let token = reports.iter().find(|it| it.stage == Stage::Token).unwrap();
        assert_eq!(token.hint, Some(*hint), "{number}");
        assert_eq!(token.code, Some(ProviderCode::Aadsts(*number)));
        assert!(token.correlation.trace_id.is_some());
        assert!(token.correlation.correlation_id.is_some());
        assert_eq!(token.outcome == StageOutcome::Failed, hint.is_for_client());
    }
    println!("rows of Entra's table: {}", ROWS.len());
}

#[tokio::test]
async fn the_word_decides_where_no_number_is_known() {
    let bench = Bench::new().await;
    for (status, error, hint) in [
        (401, "invalid_client", Hint::WrongSecret),
        (400, "unauthorized_client", Hint::ApplicationRefused),
        (400, "invalid_tenant", Hint::UnknownTenant),
        (400, "invalid_resource", Hint::ServiceMissing),
        (400, "invalid_scope", Hint::OurRequest),
        (400, "invalid_request", Hint::OurRequest),
        (400, "access_denied", Hint::PolicyBlocked),
        (400, "interaction_required", Hint::PolicyBlocked),
        (400, "temporarily_unavailable", Hint::ProviderUnavailable),
        (400, "something_new", Hint::Unknown),
    ] {
        let body = json!({"error": error}).to_string();
        let answer = Answer::Raw(status, Vec::new(), body);
        bench.set(|world| world.force(Place::Token, 100, answer));
        let (verdict, reports) = bench.verify(&by_secret(), &ProbePolicy::default()).await;
        assert!(expected(hint, verdict.outcome), "{error}: {verdict:?}");
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
async fn a_word_of_trouble_is_not_turned_into_blame_by_a_number() {
    let bench = Bench::new().await;
    let body = json!({"error": "temporarily_unavailable", "error_codes": [7_000_215]}).to_string();
    bench.set(|world| world.force(Place::Token, 100, Answer::Raw(400, Vec::new(), body)));
    let (verdict, _) = bench.verify(&by_secret(), &ProbePolicy::default()).await;
    assert_eq!(
        undecided_hint(verdict.outcome),
        Some(Hint::ProviderUnavailable)
    );
}

#[tokio::test]
async fn what_is_registered_decides() {
    type Change = fn(&mut World);
    let rows: &[(&str, Change, Hint)] = &[
        (
            "another tenant",
            |w| w.tenants[0].id = CLIENT.into(),
            Hint::UnknownTenant,
        ),
        (
            "another cloud",
            |w| w.tenants[0].other_cloud = true,
            Hint::OtherCloud,
        ),
        (
            "another application",
            |w| w.tenants[0].applications[0].id = TENANT.into(),
            Hint::UnknownApplication,
        ),
        (
            "disabled",
            |w| w.tenants[0].applications[0].disabled = true,
            Hint::ApplicationDisabled,
        ),
        (
            "public",
            |w| w.tenants[0].applications[0].public = true,
            Hint::PublicClient,
        ),
        (
            "another secret",
            |w| w.tenants[0].applications[0].secrets[0].value = "x".into(),
            Hint::WrongSecret,
        ),
        (
            "expired",
            |w| w.tenants[0].applications[0].secrets[0].expires_at = Timestamp::from_secs(1),
            Hint::SecretExpired,
        ),
        (
            "blocked",
            |w| w.tenants[0].blocked = true,
            Hint::PolicyBlocked,
        ),
        (
            "two secrets",
            |w| {
                let app = &mut w.tenants[0].applications[0];
                let mut other = app.secrets[0].clone();
                other.expires_at = Timestamp::from_secs(1);
                app.secrets = vec![other];
            },
            Hint::SecretExpired,
        ),
    ];
    let bench = Bench::new().await;
    for (what, change, hint) in rows {
        bench.set(change);
        let (verdict, reports) = bench.verify(&by_secret(), &ProbePolicy::default()).await;
        assert!(
            expected(*hint, verdict.outcome),
            "{what}: {:?}",
            short(&reports)
        );
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
    assert_eq!(
        reports.last().unwrap().code,
        None,
        "the other interface is skipped"
    );
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
