//! The listener's certificate from files: read anew while connections are open.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use strongroom::clock::{Clock as _, SystemClock};
use strongroom::pki::{Issuer, P256Key, ServerName, create_authority};
use strongroom::random::SystemRandom;

use crate::support::http::Tls;
use crate::support::{Admin, Backend, Client, Deployment, Request, Service, on_both, text, until};

on_both!(a_changed_certificate_is_shown_and_a_broken_one_is_not);

/// A public authority of somebody else, and a pair of files for this machine.
struct Web {
    issuer: Issuer,
}

impl Web {
    fn new(domain: &str) -> Self {
        let domain: strongroom::identity::spiffe::TrustDomain = domain.parse().expect("a domain");
        let random = SystemRandom::new();
        let made = create_authority(&domain, SystemClock.now(), &random).expect("an authority");
        let issuer = Issuer::open(made.certificate, made.key, domain).expect("an issuer");
        Self { issuer }
    }

    fn ca(&self) -> String {
        self.issuer.certificate_pem()
    }

    fn pair(&self) -> (String, String) {
        let key = P256Key::generate().expect("a key");
        let names = [
            ServerName::Dns("localhost".to_owned()),
            ServerName::Ip([127, 0, 0, 1].into()),
        ];
        let random = SystemRandom::new();
        let now = SystemClock.now();
        let issued = self
            .issuer
            .issue_server(key.public_key(), &names, 3600, now, &random);
        (issued.expect("a certificate").pem, key.to_pem().to_string())
    }
}

fn write(home: &Path, (certificate, key): &(String, String)) {
    fs::write(home.join("web.pem"), certificate).expect("a certificate");
    let path = home.join("web.key");
    fs::write(&path, key).expect("a key");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("its owner's alone");
}

fn shows(service: &Service, web: &Web) -> bool {
    let client = Client::new(service.address(), Tls::anonymous(&web.ca()));
    let answer = client.try_send(&Request::get("/api/v1/openapi.json"));
    answer.is_ok_and(|answer| answer.status == 200)
}

fn detail(service: &Service) -> String {
    let parts: Value = service.status("/readyz").json();
    let parts = parts["parts"].as_array().expect("parts").clone();
    let part = parts.iter().find(|it| it["name"] == "server-certificate");
    text(part.expect("the part"), "/detail").to_owned()
}

fn a_changed_certificate_is_shown_and_a_broken_one_is_not(backend: Backend) {
    let deployment = Deployment::new(&backend, "node-a");
    let home = deployment.home();
    let (first, second) = (Web::new("one.example"), Web::new("two.example"));
    write(home, &first.pair());
    let (certificate, key) = (home.join("web.pem"), home.join("web.key"));
    let files = format!(
        "[api]\ncertificate = {:?}\nkey = {:?}\nurl = \"https://vault.example\"\n",
        certificate.display().to_string(),
        key.display().to_string()
    );
    let settings = deployment.settings().replacen("[api]\n", &files, 1);
    fs::write(deployment.config(), settings).expect("the settings");
    let service = Service::serve(&deployment.config());
    assert!(shows(&service, &first) && !shows(&service, &second));
    let tls = |web: &Web| {
        let read = |name: &str| fs::read_to_string(home.join(name)).expect("a file");
        Tls::with_certificate(&web.ca(), &read("operator.pem"), &read("operator.key"))
    };
    let whoami = Request::get("/api/v1/whoami");
    let mut open = Client::new(service.address(), tls(&first)).connect();
    open.send(&whoami).expect("an answer").expect(200);

    // A key that belongs to another certificate, half a file, no file: the old pair stays.
    let breaks: [&dyn Fn(); 3] = [
        &|| fs::write(&key, first.pair().1).expect("a key"),
        &|| fs::write(&certificate, "-----BEGIN CERTIFICATE-----\nAAAA").expect("a file"),
        &|| fs::remove_file(&certificate).expect("it was there"),
    ];
    for breaking in breaks {
        write(home, &first.pair());
        until("a pair that can be used", 30, || {
            (detail(&service) == "ok").then_some(())
        });
        breaking();
        until("the complaint", 30, || {
            detail(&service).contains("cannot be used").then_some(())
        });
        assert!(service.is_ready() && shows(&service, &first));
        assert!(
            service
                .last_stderr()
                .contains("the old server certificate stays in use")
        );
        let metrics = service.status("/metrics").text();
        assert!(
            metrics.contains("strongroom_server_certificate_current 0"),
            "{metrics}"
        );
    }

    // Another pair is noticed by itself.
    write(home, &second.pair());
    until("the second certificate", 30, || {
        shows(&service, &second).then_some(())
    });
    assert!(!shows(&service, &first));
    until("the end of the complaint", 30, || {
        (detail(&service) == "ok").then_some(())
    });
    // And at once on SIGHUP.
    write(home, &first.pair());
    service.signal(Signal::HUP);
    until("the first certificate again", 30, || {
        shows(&service, &first).then_some(())
    });
    open.send(&whoami).expect("an answer").expect(200);

    // With the address of the service known, what the own authority issues names its list's.
    let admin = Admin {
        client: Client::new(service.address(), tls(&first)),
    };
    admin.role("sync");
    admin.environment("production");
    let worker = admin.workload("listed", "production", &["sync"]);
    fs::write(home.join("worker.pem"), &worker.pair.certificate).expect("a file");
    let output = std::process::Command::new("openssl")
        .args(["x509", "-noout", "-ext", "crlDistributionPoints", "-in"])
        .arg(home.join("worker.pem"))
        .output()
        .expect("openssl");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let own = crate::authorities::own(&admin);
    let url = format!("https://vault.example/api/v1/authorities/{own}/crl");
    assert!(said.contains(&url), "{said}");
}
