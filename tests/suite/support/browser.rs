//! A browser on the pages of a service: what a person does with it, and what it must never say or ask.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tempfile::TempDir;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::http::{Client, Request, Tls};
use super::service::Service;
use super::sources::root;
use super::wait::until;
use super::webdriver::{Refused, Session};

/// Width and height of a phone and of a desktop's window, in CSS pixels.
pub const PHONE: (u32, u32) = (375, 740);
pub const DESKTOP: (u32, u32) = (1280, 900);
/// A window that is shown in the documents.
pub const WINDOW: (u32, u32) = (760, 800);

/// The rules of WCAG 2.2, levels A and AA, and what is good practice besides.
const RULES: &str =
    "['wcag2a','wcag2aa','wcag21a','wcag21aa','wcag22a','wcag22aa','best-practice']";

/// How long a page may take, in seconds, on a busy machine.
const PATIENCE: u64 = 60;

/// A browser. It is checked when the story ends with [`finish`](Self::finish).
pub struct Browser {
    session: Session,
    origin: String,
    /// What was sent: address and body of every request.
    sent: Vec<(String, String)>,
    _profile: TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the page at the end:\n{}", self.page());
        }
    }
}

impl Browser {
    /// One that runs scripts.
    pub fn new(service: &Service) -> Self {
        Self::with(service, &[])
    }

    /// One that does not.
    pub fn without_scripts(service: &Service) -> Self {
        Self::with(service, &["--blink-settings=scriptEnabled=false"])
    }

    fn with(service: &Service, more: &[&str]) -> Self {
        let profile = tempfile::Builder::new()
            .prefix("strongroom-browser-")
            .tempdir()
            .expect("a directory");
        let mut arguments = vec![
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-gpu".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--remote-debugging-pipe".to_owned(),
            // No name is looked up, so that nothing but the service can be reached.
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1".to_owned(),
            format!("--user-data-dir={}", profile.path().display()),
            // The service's own certificate is trusted, and no other that lacks an authority.
            format!("--ignore-certificate-errors-spki-list={}", pin(service)),
        ];
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        let mut options = json!({"args": arguments});
        // Where Debian puts it; elsewhere the driver looks for it.
        if fs::exists("/usr/bin/chromium").unwrap_or(false) {
            options["binary"] = json!("/usr/bin/chromium");
        }
        let session = Session::start(&json!({
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }));
        let browser = Self {
            session,
            origin: format!("https://{}", service.pages()),
            sent: Vec::new(),
            _profile: profile,
        };
        browser.size(DESKTOP);
        browser
    }

    /// Gives the page this much room.
    pub fn size(&self, size: (u32, u32)) {
        self.size_as(size, false);
    }

    /// The same; a mobile device has no scroll bars that take room.
    fn size_as(&self, (width, height): (u32, u32), mobile: bool) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1,
            "mobile": mobile});
        self.session
            .command("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// Opens a path of the pages.
    #[track_caller]
    pub fn open(&self, path: &str) {
        self.session.open(&format!("{}{path}", self.origin));
    }

    /// Types into a field, as a person does.
    #[track_caller]
    pub fn fill(&self, name: &str, text: &str) {
        let done = self.session.find(&format!("[name={name}]"));
        let done = done.and_then(|field| self.session.fill(&field, text));
        if let Err(error) = done {
            panic!("{name}: {}", error.0);
        }
    }

    /// Presses a button or follows a link by its words.
    #[track_caller]
    pub fn press(&self, words: &str) {
        let done = self.session.labelled(words);
        if let Err(error) = done.and_then(|button| self.session.click(&button)) {
            panic!("{words}: {}\n{}", error.0, self.page());
        }
    }

    /// Presses keys, wherever the focus is.
    #[track_caller]
    pub fn keys(&self, keys: &str) {
        if let Err(error) = self.session.keys(keys) {
            panic!("{}", error.0);
        }
    }

    /// Goes back to the page before.
    #[track_caller]
    pub fn back(&self) {
        if let Err(error) = self.session.post("/back", &json!({})) {
            panic!("{}", error.0);
        }
    }

    /// Loads the page once more.
    #[track_caller]
    pub fn again(&self) {
        if let Err(error) = self.session.post("/refresh", &json!({})) {
            panic!("{}", error.0);
        }
    }

    /// What one can read on the page; an error while it changes.
    fn read(&self) -> Result<String, Refused> {
        self.session.text(&self.session.find("body")?)
    }

    /// What one can read on the page.
    pub fn page(&self) -> String {
        self.read().unwrap_or_else(|error| error.0)
    }

    /// What a field holds.
    pub fn value(&self, name: &str) -> Value {
        self.run(&format!(
            "return document.querySelector('[name={name}]').value"
        ))
    }

    /// Waits until the page says this.
    #[track_caller]
    pub fn wait_for(&self, words: &str) -> String {
        until(&format!("the page that says: {words}"), PATIENCE, || {
            self.read().ok().filter(|page| page.contains(words))
        })
    }

    /// Waits for this as a person who cannot wait: by loading the page until it no longer says that it
    /// is being checked.
    #[track_caller]
    pub fn wait_settled(&self) -> String {
        until("the end of the check", PATIENCE, || {
            let page = self.read().ok()?;
            if page.contains("We are checking it") {
                self.again();
                return None;
            }
            // The form is still there until the answer is.
            (!page.contains("Send and check") || page.contains("Please correct this"))
                .then_some(page)
        })
    }

    /// Runs the body of a function in the page.
    #[track_caller]
    pub fn run(&self, script: &str) -> Value {
        self.session.run(script)
    }

    /// Lets axe look at the page, light on a desktop and dark on a phone, and whether a small phone has
    /// to scroll sideways.
    #[track_caller]
    pub fn look_at(&self, what: &str) {
        for (size, colours) in [(DESKTOP, "light"), (PHONE, "dark")] {
            self.size(size);
            self.colours(colours);
            self.judge(&format!("{what}, {} pixels wide, {colours}", size.0));
        }
        // WCAG 2.2, success criterion 1.4.10.
        self.size((320, 640));
        let wide = self.run(
            "const page = document.documentElement; return page.scrollWidth - page.clientWidth",
        );
        assert_eq!(wide, 0, "{what} scrolls sideways");
        self.size(DESKTOP);
        self.colours("light");
    }

    /// What the person likes better, `light` or `dark`.
    fn colours(&self, colours: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": colours}]);
        self.session
            .command("Emulation.setEmulatedMedia", &json!({"features": features}));
    }

    /// Keeps the page as it is, where it would look again by itself.
    pub fn hold(&self) {
        self.run("let last = setTimeout(() => {}); while (last > 0) clearTimeout(last--);");
    }

    /// Waits until this has the focus.
    #[track_caller]
    pub fn wait_for_focus(&self, on: &str) {
        let what = format!("the focus on {on}");
        until(&what, PATIENCE, || {
            (self.session.active().ok()? == on).then_some(())
        });
    }

    /// The id or words of what has the focus.
    #[track_caller]
    pub fn focus(&self) -> String {
        match self.session.active() {
            Ok(focus) => focus,
            Err(error) => panic!("{}", error.0),
        }
    }

    #[track_caller]
    fn judge(&self, what: &str) {
        let found = self.findings();
        assert!(found.is_empty(), "{what}:{found}");
    }

    /// What axe finds wrong with the page.
    #[track_caller]
    fn findings(&self) -> String {
        if self.run("return typeof axe") == "undefined" {
            let axe = root().join("tests/axe/axe.min.js");
            self.run(&fs::read_to_string(axe).expect("axe"));
        }
        let found = self.session.run_and_wait(&format!(
            "const done = arguments[0];
             axe.run(document, {{runOnly: {RULES}, resultTypes: ['violations']}})
                .then((found) => done([found.passes.length, found.violations]),
                      (error) => done([0, String(error)]));"
        ));
        let passed = found[0].as_u64().is_some_and(|rules| rules > 10);
        assert!(passed, "{found:#}");
        let mut said = String::new();
        for finding in found[1].as_array().expect("findings") {
            let _ = write!(said, "\n{} ({})", finding["id"], finding["help"]);
            for node in finding["nodes"].as_array().expect("nodes") {
                let _ = write!(said, "\n  {}: {}", node["html"], node["failureSummary"]);
            }
        }
        said
    }

    /// Keeps a picture of the page in `docs/pages/`, when the documents are made anew.
    pub fn picture(&self, name: &str, size: (u32, u32)) {
        if std::env::var_os("STRONGROOM_UPDATE").is_none() {
            return;
        }
        self.size_as(size, true);
        let shot = self.session.command(
            "Page.captureScreenshot",
            &json!({"format": "png", "captureBeyondViewport": false}),
        );
        self.size(DESKTOP);
        let shot = STANDARD.decode(shot["data"].as_str().expect("a picture"));
        let file: PathBuf = root().join("docs/pages").join(format!("{name}.png"));
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(&file, shot.expect("base64")).expect("a file");
        let smaller = Command::new("node")
            .arg(root().join("tests/node/palette.mjs"))
            .arg(&file)
            .status();
        assert!(smaller.expect("node").success());
    }

    /// Every request so far: address and body.
    pub fn sent(&mut self) -> &[(String, String)] {
        for entry in self.session.log("performance") {
            let message = entry["message"].as_str().unwrap_or_default();
            let message: Value = serde_json::from_str(message).unwrap_or_default();
            if message["message"]["method"] != "Network.requestWillBeSent" {
                continue;
            }
            let request = &message["message"]["params"]["request"];
            let text = |name: &str| request[name].as_str().unwrap_or_default().to_owned();
            self.sent.push((text("url"), text("postData")));
        }
        &self.sent
    }

    /// Nothing was asked of anybody else, and nothing on the pages was against their own policy.
    #[track_caller]
    pub fn finish(&mut self) {
        let complaints = self.complaints();
        assert!(!self.sent.is_empty(), "the network is not seen");
        assert!(complaints.is_empty(), "{complaints:#?}");
    }

    /// What was asked of somebody else, and what the browser complains about.
    #[track_caller]
    fn complaints(&mut self) -> Vec<String> {
        let own = format!("{}/", self.origin);
        // What has no host leaves no machine: empty icons, and the browser's own first page.
        let is_own =
            |url: &str| url.starts_with(&own) || !url.contains("://") || url.starts_with("chrome:");
        let elsewhere = self.sent().iter().filter(|(url, _)| !is_own(url));
        let mut complaints: Vec<String> = elsewhere
            .map(|(url, _)| format!("asked elsewhere: {url}"))
            .collect();
        for entry in self.session.log("browser") {
            let message = entry["message"].as_str().unwrap_or_default();
            // That a form has to be corrected, or a link is not there, is no fault.
            let is_answer = entry["source"] == "network"
                && [" 404 ", " 422 "].iter().any(|it| message.contains(it));
            if !is_answer {
                complaints.push(message.to_owned());
            }
        }
        complaints
    }

    /// Puts on the page what must not be there, and gives all that is said about it: by axe, and by the
    /// browser.
    pub fn spoil(&mut self) -> (String, Vec<String>) {
        self.run(
            "document.body.append(document.createElement('img'));
             const picture = document.createElement('img');
             picture.src = 'https://elsewhere.example/picture.png';
             document.body.append(picture);
             document.body.setAttribute('style', 'color: #eee');
             document.querySelector('h1').remove();",
        );
        let findings = self.findings();
        (findings, self.complaints())
    }
}

/// SHA-256 of the public key of the pages' certificate, as Chromium takes it.
fn pin(service: &Service) -> String {
    let client = Client::new(service.pages(), Tls::anonymous(&service.ca()));
    let mut connection = client.connect();
    connection
        .send(&Request::get("/assets/style.css"))
        .expect("an answer");
    let shown = connection.session().peer_certificates();
    let leaf = shown
        .and_then(|chain| chain.first())
        .expect("a certificate");
    let (_, leaf) = X509Certificate::from_der(leaf).expect("a certificate");
    STANDARD.encode(digest(&SHA256, leaf.public_key().raw))
}
