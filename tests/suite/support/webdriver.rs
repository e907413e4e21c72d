//! As much of WebDriver (W3C) as the stories of the pages need, and a ChromeDriver of their own. Debian's
//! packages chromium and chromium-driver are used as they are; nothing is downloaded.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

/// The key under which an element's id is given (WebDriver, section 12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// Longer than any command may take, short enough to fail a test instead of hanging it.
const PATIENCE: Duration = Duration::from_secs(60);

/// One browser, driven.
pub struct Session {
    driver: Child,
    address: SocketAddr,
    path: String,
}

/// What the driver said no to.
#[derive(Debug)]
pub struct Refused(pub String);

/// Something on the page.
pub struct Element(String);

impl Session {
    /// Starts a driver, and by it a browser.
    ///
    /// # Panics
    /// They are not installed or do not start: that is a failure, not a skip.
    pub fn start(capabilities: &Value) -> Self {
        // A free port for IPv4 that is not free for IPv6 ends the driver at once.
        let started = (0..5).find_map(|_| start_driver());
        let (driver, address) = started.expect("a chromedriver that listens");
        let mut session = Self {
            driver,
            address,
            path: String::new(),
        };
        let body = json!({"capabilities": {"alwaysMatch": capabilities}});
        let started = session.call("POST", "/session", Some(&body));
        let started = started.unwrap_or_else(|error| panic!("no browser: {}", error.0));
        let id = started["sessionId"].as_str().expect("a session");
        session.path = format!("/session/{id}");
        session
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Refused> {
        let broken = |error: std::io::Error| Refused(format!("{method} {path}: {error}"));
        let target = format!("{}{path}", self.path);
        let answer = call(self.address, method, &target, body).map_err(broken)?;
        match answer["value"].get("error") {
            Some(error) if answer["value"].get("message").is_some() => {
                let message = answer["value"]["message"].as_str().unwrap_or_default();
                let line = message.lines().next().unwrap_or_default();
                Err(Refused(format!("{method} {path}: {error}: {line}")))
            }
            _ => Ok(answer["value"].clone()),
        }
    }

    /// A command with a body.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, Refused> {
        self.call("POST", path, Some(body))
    }

    /// A question.
    pub fn get(&self, path: &str) -> Result<Value, Refused> {
        self.call("GET", path, None)
    }

    /// Opens an address and waits until the page is there.
    #[track_caller]
    pub fn open(&self, url: &str) {
        if let Err(error) = self.post("/url", &json!({"url": url})) {
            panic!("{url}: {}", error.0);
        }
    }

    /// The first element that a CSS selector finds.
    pub fn find(&self, selector: &str) -> Result<Element, Refused> {
        self.first("css selector", selector)
    }

    /// The button or link with this text.
    pub fn labelled(&self, text: &str) -> Result<Element, Refused> {
        let path = format!("//*[self::a or self::button][normalize-space()='{text}']");
        self.first("xpath", &path)
    }

    fn first(&self, using: &str, value: &str) -> Result<Element, Refused> {
        let found = self.post("/element", &json!({"using": using, "value": value}))?;
        match found[ELEMENT].as_str() {
            Some(id) => Ok(Element(id.to_owned())),
            None => Err(Refused("no element".to_owned())),
        }
    }

    /// Presses it with the pointer, as a person does who has to see it first.
    pub fn click(&self, element: &Element) -> Result<(), Refused> {
        let path = format!("/element/{}/click", element.0);
        self.post(&path, &json!({})).map(drop)
    }

    /// Types into it, in place of what is there.
    pub fn fill(&self, element: &Element, text: &str) -> Result<(), Refused> {
        self.post(&format!("/element/{}/clear", element.0), &json!({}))?;
        let path = format!("/element/{}/value", element.0);
        self.post(&path, &json!({"text": text})).map(drop)
    }

    /// Presses keys, wherever the focus is.
    pub fn keys(&self, keys: &str) -> Result<(), Refused> {
        let strokes = keys.chars().flat_map(|key| {
            [
                json!({"type": "keyDown", "value": key.to_string()}),
                json!({"type": "keyUp", "value": key.to_string()}),
            ]
        });
        let strokes: Vec<Value> = strokes.collect();
        let body = json!({"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]});
        self.post("/actions", &body).map(drop)
    }

    /// The id of what has the focus; what one can read in it if it has none.
    pub fn active(&self) -> Result<String, Refused> {
        let found = self.get("/element/active")?;
        let id = found[ELEMENT].as_str().unwrap_or_default();
        let named = self.get(&format!("/element/{id}/attribute/id"))?;
        match named.as_str().filter(|named| !named.is_empty()) {
            Some(named) => Ok(named.to_owned()),
            None => self.text(&Element(id.to_owned())),
        }
    }

    /// What one can read in it.
    pub fn text(&self, element: &Element) -> Result<String, Refused> {
        let text = self.get(&format!("/element/{}/text", element.0))?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// The body of a function, run in the page.
    #[track_caller]
    pub fn run(&self, script: &str) -> Value {
        let body = json!({"script": script, "args": []});
        match self.post("/execute/sync", &body) {
            Ok(value) => value,
            Err(error) => panic!("{}", error.0),
        }
    }

    /// The same for one that answers by calling its only argument.
    #[track_caller]
    pub fn run_and_wait(&self, script: &str) -> Value {
        let body = json!({"script": script, "args": []});
        match self.post("/execute/async", &body) {
            Ok(value) => value,
            Err(error) => panic!("{}", error.0),
        }
    }

    /// A command of the browser's own protocol.
    #[track_caller]
    pub fn command(&self, name: &str, parameters: &Value) -> Value {
        let body = json!({"cmd": name, "params": parameters});
        match self.post("/goog/cdp/execute", &body) {
            Ok(value) => value,
            Err(error) => panic!("{name}: {}", error.0),
        }
    }

    /// What was logged since the last time: `browser` is the console, `performance` the network.
    #[track_caller]
    pub fn log(&self, kind: &str) -> Vec<Value> {
        match self.post("/se/log", &json!({"type": kind})) {
            Ok(Value::Array(entries)) => entries,
            other => panic!("the log {kind}: {other:?}"),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The browser first, which then removes its profile.
        if !self.path.is_empty() {
            let _ = self.call("DELETE", "", None);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// A driver on a free port; nothing if it ended before it listened.
fn start_driver() -> Option<(Child, SocketAddr)> {
    let mut command = Command::new("chromedriver");
    command
        .arg("--port=0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    // It ends with the thread that started it, and the browser with the pipe between them.
    let die = || {
        Ok(rustix::process::set_parent_process_death_signal(Some(
            Signal::KILL,
        ))?)
    };
    // SAFETY: one system call between fork and exec, and no memory is allocated.
    unsafe { command.pre_exec(die) };
    let mut driver = command.spawn().unwrap_or_else(|error| {
        panic!(
            "these tests need a browser: chromedriver: {error}.\n\
             On Debian: apt-get install chromium chromium-driver"
        )
    });
    let mut said = BufReader::new(driver.stdout.take().expect("its output"));
    let mut line = String::new();
    while said.read_line(&mut line).expect("its output") > 0 {
        if let Some((_, port)) = line.split_once("started successfully on port ") {
            let port: u16 = port.trim().trim_end_matches('.').parse().expect("a port");
            return Some((driver, SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
        }
        line.clear();
    }
    eprint!("chromedriver ended: {line}");
    let _ = driver.wait();
    None
}

/// One call of the driver: plain HTTP with a length, on loopback.
fn call(
    address: SocketAddr,
    method: &str,
    target: &str,
    body: Option<&Value>,
) -> std::io::Result<Value> {
    let broken = |what: &str| std::io::Error::other(what.to_owned());
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let body = body.map(Value::to_string).unwrap_or_default();
    write!(
        socket,
        "{method} {target} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = BufReader::new(socket);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if answer.read_line(&mut line)? == 0 {
            return Err(broken("the connection ended"));
        }
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().map_err(|_| broken("no length"))?;
            }
            None if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    answer.read_exact(&mut body)?;
    serde_json::from_slice(&body).map_err(|_| broken("not JSON"))
}
