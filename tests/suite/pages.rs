//! The listener of the pages: what stands in front of every page, over real TLS.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;

use crate::support::http::Tls;
use crate::support::{Backend, Client, Deployment, Request, Service, on_both};

on_both!(
    a_link_that_is_not_there_is_one_page,
    production_shows_pages_where_it_is_told_to,
);

const UNKNOWN: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// Notes whether the server asks for a certificate.
#[derive(Debug, Default)]
struct Asked(AtomicBool);

impl ResolvesClientCert for Asked {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, Ordering::SeqCst);
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn a_link_that_is_not_there_is_one_page(backend: Backend) {
    let service = Service::dev_with(&backend, &["--log", "debug"]);
    let asked = Arc::new(Asked::default());
    let resolver = Arc::<Asked>::clone(&asked);
    let tls = Tls::anonymous(&service.ca());
    let tls = tls.changed(|config| config.client_auth_cert_resolver = resolver);
    let pages = Client::new(service.pages(), tls.clone());

    let first = pages.get(&format!("/i/{UNKNOWN}")).expect(404);
    assert!(first.text().contains("This link cannot be used"));
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(first.header(name), Some(value), "{name}");
    }
    let policy = first.header("content-security-policy").expect("a policy");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"));
    assert!(first.header("set-cookie").is_none());
    // In trying out there is no name that a browser should remember.
    assert!(first.header("strict-transport-security").is_none());

    // Whatever else is asked for: not even the API is here.
    for target in [
        "/i/short",
        "/",
        "/api/v1/whoami",
        "/api/v1/openapi.json",
        "/metrics",
    ] {
        let page = pages.get(target).expect(404);
        assert_eq!(page.text(), first.text(), "{target}");
    }
    for rest in ["", "/check", "/colleague", "/answer"] {
        let form = Request::new("POST", &format!("/i/{UNKNOWN}{rest}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("sec-fetch-site", "same-origin")
            .bytes(b"client_secret=canary".to_vec());
        let page = pages.send(&form).expect(404);
        assert_eq!(page.text(), first.text(), "{rest}");
        let elsewhere = form.header("origin", "https://elsewhere.example");
        assert_eq!(
            pages.send(&elsewhere).status,
            404,
            "the browser's word counts first"
        );
        let elsewhere = Request::new("POST", &format!("/i/{UNKNOWN}{rest}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("sec-fetch-site", "cross-site")
            .bytes(b"client_secret=canary".to_vec());
        pages.send(&elsewhere).expect(403);
    }
    let style = pages.get("/assets/style.css").expect(200);
    assert_eq!(
        style.header("content-type"),
        Some("text/css; charset=utf-8")
    );

    assert!(
        !asked.0.load(Ordering::SeqCst),
        "the pages ask for a certificate"
    );
    let api = Client::new(service.address(), tls);
    api.get("/api/v1/openapi.json").expect(200);
    assert!(asked.0.load(Ordering::SeqCst), "the test would see it");

    // A link is a secret, even one that is not there: it may be a mistyped one.
    let said = String::from_utf8_lossy(&service.all_output()).into_owned();
    let metrics = service.status("/metrics").text();
    assert!(metrics.contains("/i/{token}"), "{metrics}");
    assert!(!said.contains(&UNKNOWN[..16]) && !metrics.contains(&UNKNOWN[..16]));
    assert!(!said.contains("canary"));

    // Guessing ends.
    let guesses = (0..120).map(|_| pages.get(&format!("/i/{UNKNOWN}")).status);
    let guesses: Vec<u16> = guesses.collect();
    assert_eq!(guesses.last(), Some(&429));
    assert!(guesses.iter().all(|status| [404, 429].contains(status)));
}

fn production_shows_pages_where_it_is_told_to(backend: Backend) {
    let deployment = Deployment::new(&backend, "node-a");
    let settings = deployment.settings();
    // Nothing said, no pages.
    let service = Service::serve(&deployment.config());
    let ready = service.status("/readyz").json();
    assert!(!ready.to_string().contains("pages-certificate"));
    drop(service);
    let pages = "[pages]\nlisten = \"127.0.0.1:0\"\nurl = \"https://intake.example\"\n";
    let settings = settings.replacen("[pages]\n", pages, 1);
    fs::write(deployment.config(), settings).expect("the settings");
    let service = Service::serve(&deployment.config());
    let client = Client::new(service.pages(), Tls::anonymous(&service.ca()));
    let page = client.get(&format!("/i/{UNKNOWN}")).expect(404);
    assert!(page.header("strict-transport-security").is_some());
    let ready = service.status("/readyz").json();
    assert!(ready.to_string().contains("pages-certificate"), "{ready}");
    let metrics = service.status("/metrics").text();
    let current = "strongroom_server_certificate_current{listener=\"pages\"} 1";
    assert!(metrics.contains(current), "{metrics}");
}
