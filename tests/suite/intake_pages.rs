//! A client hands a credential in by the page that a link opens: over real TLS, checked with the
//! stand-in, until it works.

use serde_json::{Value, json};

use crate::support::http::{Response, Tls};
use crate::support::wait::until;
use crate::support::{Admin, Backend, Client, Request, Service, on_both, text};

on_both!(
    a_client_hands_in_until_it_works,
    a_link_that_was_revoked_or_answered_takes_nothing,
    a_link_that_was_handed_on_is_the_colleagues_alone,
);

pub(crate) const TENANT: &str = "11111111-2222-4333-8444-555555555555";
pub(crate) const APPLICATION: &str = "66666666-7777-4888-9999-aaaaaaaaaaaa";
pub(crate) const SECRET: &str = "demonstration~secret~opens~nothing";

fn service(backend: &Backend) -> Service {
    Service::dev_with(backend, &["--settle-seconds", "0"])
}

pub(crate) fn browser(service: &Service) -> Client {
    Client::new(service.pages(), Tls::anonymous(&service.ca()))
}

/// An invitation for a new credential of the demonstration's client.
pub(crate) fn invite(admin: &Admin, label: &str) -> Value {
    let new = json!({"client": "example-realty", "label": label, "kind": "microsoft365",
        "environment": "production", "roles": ["m365-sync"]});
    let body = json!({"new": new, "contact": "ada@example-realty.example", "no_mail": true});
    admin.create("/invites", &body)
}

/// The path of an invitation's link, which leads to the pages.
pub(crate) fn path_of<'a>(service: &Service, invited: &'a Value) -> &'a str {
    let link = text(invited, "/link");
    let path = link.strip_prefix(&format!("https://{}", service.pages()));
    path.unwrap_or_else(|| panic!("{link}"))
}

pub(crate) fn post(browser: &Client, path: &str, form: &str) -> Response {
    let form = Request::new("POST", path)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("sec-fetch-site", "same-origin")
        .bytes(form.as_bytes().to_vec());
    browser.send(&form)
}

pub(crate) fn form(secret: &str) -> String {
    format!(
        "tenant_id={TENANT}&client_id={APPLICATION}&client_secret={secret}&certificate=\
         &certificate_private_key=&test_mailbox=sync-test%40example-realty.example\
         &expires_at=2028-11-20"
    )
}

/// The page when nothing is under way any more.
pub(crate) fn settled(browser: &Client, link: &str) -> String {
    until("the check", 60, || {
        let page = browser.get(link).expect(200).text();
        (!page.contains("We are checking it")).then_some(page)
    })
}

fn a_client_hands_in_until_it_works(backend: Backend) {
    let service = service(&backend);
    let admin = Admin::of(&service);
    let browser = browser(&service);
    let invited = invite(&admin, "calendar sync");
    let link = path_of(&service, &invited);
    let submissions = || admin.list("/submissions?all=true");

    // Scanners open the link, and one presses the button of the empty form.
    for _ in 0..5 {
        let page = browser.get(link).expect(200).text();
        assert!(page.contains("client_secret"), "{page}");
    }
    post(&browser, link, "tenant_id=&client_id=&client_secret=").expect(422);
    // The id of a secret in place of the secret, and a day that is over, are told at once.
    let page = post(&browser, link, &form(APPLICATION)).expect(422).text();
    assert!(page.contains("client_secret-error"), "{page}");
    let past = form(SECRET).replace("2028-11-20", "2020-11-20");
    let page = post(&browser, link, &past).expect(422).text();
    assert!(
        page.contains("expires_at-error") && !page.contains(SECRET),
        "{page}"
    );
    assert!(submissions().is_empty());

    // A wrong secret: the step to redo, the same link, and not the same value again.
    let wrong = form("demonstration~secret~made~up~and~wrong");
    post(&browser, link, &wrong).expect(303);
    let page = settled(&browser, link);
    assert!(page.contains("One step is missing"), "{page}");
    assert!(!page.contains("made~up"));
    post(&browser, link, &wrong).expect(422);
    let handed_in = submissions();
    assert_eq!(handed_in.len(), 1, "{handed_in:#?}");
    assert_eq!(handed_in[0]["state"], "failed");

    // Corrected, it works; going back and sending again changes nothing.
    browser.get(&format!("{link}?form")).expect(200);
    post(&browser, link, &form(SECRET)).expect(303);
    let page = settled(&browser, link);
    assert!(
        page.contains("It works") && !page.contains(SECRET),
        "{page}"
    );
    let again = post(&browser, link, &form(SECRET)).status;
    assert!([303, 404].contains(&again), "{again}");
    assert_eq!(submissions().len(), 2);
    let credential = text(&invited, "/credential");
    let shown = admin.get(&format!("/credentials/{credential}"));
    let states: Vec<&str> = shown["versions"]
        .as_array()
        .expect("versions")
        .iter()
        .map(|version| text(version, "/state"))
        .collect();
    assert!(
        states.contains(&"active") && states.contains(&"rejected"),
        "{shown:#}"
    );
    // The worker has it.
    let worker = service.client("worker");
    let entry = worker.get(&format!("/api/v1/release/{credential}"));
    assert_eq!(entry.expect(200).json()["fields"]["client_secret"], SECRET);
    // The log of the service knows neither link nor value.
    let said = String::from_utf8_lossy(&service.all_output()).into_owned();
    assert!(!said.contains(&link[3..]) && !said.contains(SECRET));
}

fn a_link_that_was_revoked_or_answered_takes_nothing(backend: Backend) {
    let service = service(&backend);
    let admin = Admin::of(&service);
    let browser = browser(&service);
    let unknown = browser.get("/i/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8");
    let unknown = unknown.expect(404).text();

    let revoked = invite(&admin, "revoked");
    let link = path_of(&service, &revoked);
    browser.get(link).expect(200);
    let path = format!("/invites/{}", text(&revoked, "/id"));
    admin
        .send("POST", &format!("{path}/revoke"), &json!({}))
        .expect(200);
    assert_eq!(browser.get(link).expect(404).text(), unknown);
    assert_eq!(
        post(&browser, link, &form(SECRET)).expect(404).text(),
        unknown
    );

    let answered = invite(&admin, "answered");
    let link = path_of(&service, &answered);
    post(&browser, &format!("{link}/answer"), "answer=free-gmail").expect(200);
    assert!(
        browser
            .get(link)
            .expect(200)
            .text()
            .contains("Thank you for telling us")
    );
    let refused = post(&browser, link, &form(SECRET));
    assert!([303, 404].contains(&refused.status), "{}", refused.status);
    assert!(admin.list("/submissions?all=true").is_empty());
    let tasks = admin.list("/tasks");
    assert!(
        tasks.iter().any(|task| task["kind"] == "invite-answered"),
        "{tasks:#?}"
    );
}

/// The path of the link in the mail with this id, once it lies in the folder of the demonstration.
fn mailed(service: &Service, mail: &str) -> String {
    let file = service.file("mail").join(format!("{mail}.eml"));
    let text = until("the mail", 30, || std::fs::read_to_string(&file).ok());
    let text = text.replace("=\r\n", "");
    let start = text.find("/i/").expect("a link");
    text[start..start + 3 + 43].to_owned()
}

fn a_link_that_was_handed_on_is_the_colleagues_alone(backend: Backend) {
    let service = service(&backend);
    let admin = Admin::of(&service);
    let browser = browser(&service);
    let invited = invite(&admin, "handed on");
    let link = path_of(&service, &invited);
    let unknown = browser.get("/i/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8");
    let unknown = unknown.expect(404).text();
    let colleague = format!("{link}/colleague");
    assert!(browser.get(link).expect(200).text().contains("/colleague"));

    // What is wrong is told at its field, and changes nothing.
    let own = "name=Ada&email=ada%40example-realty.example";
    let page = post(&browser, &colleague, own).expect(422).text();
    assert!(
        page.contains("email-error") && page.contains("somebody else"),
        "{page}"
    );
    let header = "name=Grace&email=grace%40example-realty.example%0d%0aBcc:%20x%40y.example";
    post(&browser, &colleague, header).expect(422);
    assert_eq!(admin.list("/invites").len(), 1);

    let right = "name=Grace+Hopper&email=grace%40example-realty.example";
    let page = post(&browser, &colleague, right).expect(200).text();
    assert!(page.contains("Your colleague gets a link"), "{page}");
    assert!(!page.contains("/i/"), "{page}");
    assert_eq!(browser.get(link).expect(404).text(), unknown);
    assert_eq!(
        post(&browser, link, &form(SECRET)).expect(404).text(),
        unknown
    );
    assert_eq!(
        post(&browser, &colleague, right).expect(404).text(),
        unknown
    );

    let invites = admin.list("/invites");
    let new = invites.iter().find(|it| it["state"] == "open");
    let new = new.expect("the colleague's invitation");
    assert_eq!(new["forwarded_from"], invited["id"]);
    let tasks = admin.list("/tasks");
    let task = tasks.iter().find(|task| task["kind"] == "invite-forwarded");
    assert_eq!(task.expect("a task")["note"], new["contact"]);

    let next = mailed(&service, text(new, "/mail"));
    assert!(next != link);
    post(&browser, &next, &form(SECRET)).expect(303);
    let page = settled(&browser, &next);
    assert!(page.contains("It works"), "{page}");
    let said = String::from_utf8_lossy(&service.all_output()).into_owned();
    assert!(!said.contains(&next[3..]) && !said.contains("grace@"));
}
