//! Links that are good or not, and forms that are taken or not.

use super::*;

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
        // No text at all (RFC 3986 allows the bytes).
        "/i/%ff".to_owned(),
        "/i/%ff/guide".to_owned(),
        "/i/%00".to_owned(),
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
    let page = site.post("/i/%ff", filled(SECRET)).await;
    assert_eq!((page.status, page.text), (first.status, first.text));
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

#[tokio::test]
async fn a_form_whose_browser_hides_where_it_comes_from_is_refused() {
    let site = Site::new(CredentialKind::Microsoft365);
    let send = async |headers: &[(&str, &str)]| {
        let mut request = Request::post(path(""))
            .header(header::HOST, "pages.example")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(filled("x"))).unwrap();
        site.ask(request).await.status
    };
    let null = ("origin", "null");
    assert_eq!(send(&[null]).await, StatusCode::FORBIDDEN);
    assert_eq!(
        send(&[null, ("sec-fetch-site", "cross-site")]).await,
        StatusCode::FORBIDDEN
    );
    assert!(site.done().is_empty());
    // What our own page sends by a browser of today.
    assert_eq!(
        send(&[null, ("sec-fetch-site", "same-origin")]).await,
        StatusCode::SEE_OTHER
    );
    // No browser at all.
    assert_eq!(send(&[]).await, StatusCode::SEE_OTHER);
}
