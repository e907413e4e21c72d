//! What each page says, and that nothing in it runs by itself.

use super::*;

#[tokio::test]
async fn every_page_is_whole_escaped_and_runs_nothing_of_its_own() {
    for kind in ALL {
        for at in std::iter::once(None).chain(STATES.map(|(state, _)| Some(state))) {
            let mut links = MadeUp::new(kind);
            links.needs_code = true;
            links.attempt = at;
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

#[tokio::test]
async fn each_state_says_what_there_is_to_do() {
    for (state, title) in STATES {
        let mut links = MadeUp::new(CredentialKind::Microsoft365);
        links.attempt = Some(state);
        let site = Site::of(links);
        let page = site.get(&path("")).await;
        assert!(
            page.text.contains(&format!("<h1>{title}</h1>")),
            "{state:?}"
        );
        assert!(
            page.text.contains("Attempt 2") && page.text.contains("The permissions are granted")
        );
        let waits = matches!(
            state,
            SubmissionState::Verifying | SubmissionState::Undecided
        );
        assert_eq!(page.text.contains("http-equiv=\"refresh\""), waits);
        let failed = state == SubmissionState::Failed;
        assert_eq!(page.text.contains("/guide#grant-consent"), failed);
        assert_eq!(page.text.contains("/check\""), failed);
        assert_eq!(
            page.text.contains("2029-11-20"),
            state == SubmissionState::Verified
        );
        // What is under way or done is not corrected.
        let form = site.get(&path("?form")).await;
        let corrects = failed
            || matches!(
                state,
                SubmissionState::Undecided | SubmissionState::Superseded | SubmissionState::Closed
            );
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
    for body in [
        "",
        "name=A&email=canary",
        "name=&email=a@b.example",
        "name=A%0d%0aBcc&email=a@b.example",
        "name=A&email=a@b.example%0d%0aBcc:c@d.example",
    ] {
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
    // Where no mail can be sent, it is not offered.
    let mut links = MadeUp::new(CredentialKind::Microsoft365);
    links.may_forward = false;
    let site = Site::of(links);
    assert!(!site.get(&path("")).await.text.contains("/colleague"));
    let body = "name=Ada&email=ada%40example.com";
    for page in [
        site.get(&path("/colleague")).await,
        site.post(&path("/colleague"), body).await,
    ] {
        assert_eq!(page.status, StatusCode::NOT_FOUND);
    }
    assert!(site.done().is_empty());
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
