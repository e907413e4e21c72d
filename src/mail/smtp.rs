//! The client's side of SMTP (RFC 5321), for one message at a time.
//!
//! The dialogue is led here, step by step, because the moment matters at which the message itself is
//! handed over: before it an attempt that broke off was none, after it nobody can tell (RFC 5321
//! section 6.1). What a server answers is never logged or kept, only its code is looked at.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::message::Rendered;
use super::transport::NotSent;
use crate::model::MailFault as Fault;
use crate::secret::Secret;

/// How long it may take until the server is ready for the message. RFC 5321 section 4.5.3.2 asks for
/// five minutes for each step, for servers of another time; a mail that is given up here is only late.
const BEFORE: Duration = Duration::from_secs(60);
/// How long the server may take to answer to the message itself (RFC 5321 section 4.5.3.2.6).
const ANSWER: Duration = Duration::from_secs(600);
/// How much of one answer is read, in bytes.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// By STARTTLS, without which nothing is sent (RFC 3207).
    StartTls,
    /// From the first byte (RFC 8314).
    Implicit,
    /// Not at all: only for a relay on this machine.
    None,
}

/// What is needed to reach a mail server.
pub struct SmtpSettings {
    /// Its name, which its certificate has to bear.
    pub server: String,
    /// Its port; the usual one of `tls` when there is none.
    pub port: Option<u16>,
    /// How the connection is protected.
    pub tls: SmtpTls,
    /// User and password.
    pub sign_in: Option<(String, Secret)>,
    /// Authorities in PEM instead of the public ones.
    pub authorities: Option<Vec<u8>>,
}

/// The settings cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SmtpError {
    /// The file of authorities has none, or something that is not one.
    #[error("must be a PEM file of one or more certificates of authorities")]
    Authorities,
    /// Mail would go over a network without protection.
    #[error("must be starttls or implicit: without TLS only a relay on this machine is called")]
    Unprotected,
    /// The password is not text.
    #[error("must hold a password that is text")]
    Password,
    /// TLS cannot be set up.
    #[error("must be a server's name or address")]
    Name,
}

/// A mail server.
pub struct Smtp {
    server: String,
    port: u16,
    mode: SmtpTls,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    sign_in: Option<(String, Secret)>,
}

impl Smtp {
    /// Takes the settings; connects to nothing yet.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn new(settings: SmtpSettings) -> Result<Self, SmtpError> {
        let SmtpSettings {
            server,
            port,
            tls: mode,
            sign_in,
            authorities,
        } = settings;
        if mode == SmtpTls::None && !is_this_machine(&server) {
            return Err(SmtpError::Unprotected);
        }
        if let Some((_, password)) = &sign_in {
            std::str::from_utf8(password.expose_secret()).map_err(|_| SmtpError::Password)?;
        }
        let tls = match mode {
            SmtpTls::None => None,
            _ => {
                let name = ServerName::try_from(server.clone()).map_err(|_| SmtpError::Name)?;
                Some((connector(authorities.as_deref())?, name))
            }
        };
        let usual = match mode {
            SmtpTls::StartTls => 587,
            SmtpTls::Implicit => 465,
            SmtpTls::None => 25,
        };
        Ok(Self {
            port: port.unwrap_or(usual),
            server,
            mode,
            tls,
            sign_in,
        })
    }

    /// Looks whether the server can be reached and takes user and password; sends nothing.
    ///
    /// # Errors
    /// What is wrong.
    pub async fn check(&self) -> Result<(), Fault> {
        let asked = async {
            let mut dialogue = self.connect().await?;
            let _ = dialogue.ask("QUIT").await;
            Ok(())
        };
        timeout(BEFORE, asked)
            .await
            .unwrap_or(Err(Fault::BrokenOff))
    }

    /// Sends a message; see [`super::Transport::send`].
    ///
    /// # Errors
    /// See [`NotSent`].
    pub async fn send(
        &self,
        rendered: &Rendered,
        begin: impl AsyncFnOnce() -> bool,
    ) -> Result<(), NotSent> {
        let introduced = timeout(BEFORE, self.introduce(rendered)).await;
        let mut dialogue = introduced.unwrap_or(Err(NotSent::Later(Fault::BrokenOff)))?;
        if !begin().await {
            return Err(NotSent::Abandoned);
        }
        // A server that does not say 354 has not been given the message.
        match timeout(BEFORE, dialogue.ask("DATA")).await {
            Ok(Ok(354)) => {}
            Ok(Ok(code)) => return Err(refused(code, Fault::Message)),
            Ok(Err(_)) | Err(_) => return Err(NotSent::Later(Fault::BrokenOff)),
        }
        let message = rendered.message.expose_secret();
        match timeout(ANSWER, dialogue.hand_over(message)).await {
            Ok(Ok(code)) if is_good(code) => {}
            Ok(Ok(code)) => return Err(refused(code, Fault::Message)),
            Ok(Err(_)) | Err(_) => return Err(NotSent::Unknown(Fault::BrokenOff)),
        }
        let _ = timeout(Duration::from_secs(5), dialogue.ask("QUIT")).await;
        Ok(())
    }

    /// Everything until the server knows sender and recipient. What is wrong up to the sender is this
    /// side's affair, so that the mail waits until it is mended.
    async fn introduce(&self, rendered: &Rendered) -> Result<Dialogue, NotSent> {
        let later = NotSent::Later;
        let mut dialogue = self.connect().await.map_err(later)?;
        // An address of the model holds nothing that would have to be quoted.
        let sender = format!("MAIL FROM:<{}>", rendered.from.as_str());
        dialogue.good(&sender, Fault::Sender).await.map_err(later)?;
        let recipient = format!("RCPT TO:<{}>", rendered.to.as_str());
        match dialogue.ask(&recipient).await {
            Ok(code) if is_good(code) => Ok(dialogue),
            Ok(code) => Err(refused(code, Fault::Recipient)),
            Err(_) => Err(later(Fault::BrokenOff)),
        }
    }

    /// A connection that is protected and signed in.
    async fn connect(&self) -> Result<Dialogue, Fault> {
        let unreachable = |_| Fault::Unreachable;
        let stream = TcpStream::connect((self.server.as_str(), self.port));
        let stream = stream.await.map_err(unreachable)?;
        // RFC 5321 section 4.1.3: an address where there is no name that others could look up.
        let here = stream.local_addr().map_err(unreachable)?.ip();
        let hello = match here {
            IpAddr::V4(ip) => format!("EHLO [{ip}]"),
            IpAddr::V6(ip) => format!("EHLO [IPv6:{ip}]"),
        };
        let mut dialogue = match (&self.tls, self.mode) {
            (Some(tls), SmtpTls::Implicit) => secured(tls, stream).await?,
            _ => Dialogue::over(stream),
        };
        let greeting = dialogue.answer().await.map_err(unreachable)?;
        if !is_good(greeting) {
            return Err(Fault::Unreachable);
        }
        dialogue.good(&hello, Fault::Unreachable).await?;
        if let (Some(tls), SmtpTls::StartTls) = (&self.tls, self.mode) {
            // Whether it is offered or not: without it nothing more is said.
            dialogue.good("STARTTLS", Fault::Tls).await?;
            // What came before TLS counts for nothing, least of all what was sent ahead of it.
            dialogue = secured(tls, dialogue.into_stream().ok_or(Fault::Tls)?).await?;
            dialogue.good(&hello, Fault::Unreachable).await?;
        }
        if let Some((user, password)) = &self.sign_in {
            self.authenticate(&mut dialogue, user, password).await?;
        }
        Ok(dialogue)
    }

    /// Signs in by PLAIN (RFC 4616), or by LOGIN where a server knows nothing else.
    async fn authenticate(
        &self,
        dialogue: &mut Dialogue,
        user: &str,
        password: &Secret,
    ) -> Result<(), Fault> {
        let encode = |bytes: &[u8]| Zeroizing::new(STANDARD.encode(bytes));
        let password = password.expose_secret();
        if dialogue.offers("AUTH", "PLAIN") || !dialogue.offers("AUTH", "LOGIN") {
            let mut both = Zeroizing::new(Vec::with_capacity(2 + user.len() + password.len()));
            both.push(0);
            both.extend_from_slice(user.as_bytes());
            both.push(0);
            both.extend_from_slice(password);
            let both = encode(&both);
            let command = Zeroizing::new(format!("AUTH PLAIN {}", both.as_str()));
            return dialogue.good(&command, Fault::SignIn).await;
        }
        for step in ["AUTH LOGIN", encode(user.as_bytes()).as_str()] {
            match dialogue.ask(step).await {
                Ok(334) => {}
                Ok(_) => return Err(Fault::SignIn),
                Err(_) => return Err(Fault::BrokenOff),
            }
        }
        dialogue.good(&encode(password), Fault::SignIn).await
    }
}

/// A connection in either form.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// The bare connection, if this is one.
    fn bare(self: Box<Self>) -> Option<TcpStream>;
}

impl Stream for TcpStream {
    fn bare(self: Box<Self>) -> Option<TcpStream> {
        Some(*self)
    }
}

impl Stream for tokio_rustls::client::TlsStream<TcpStream> {
    fn bare(self: Box<Self>) -> Option<TcpStream> {
        None
    }
}

async fn secured(
    (connector, name): &(TlsConnector, ServerName<'static>),
    stream: TcpStream,
) -> Result<Dialogue, Fault> {
    let secured = connector.connect(name.clone(), stream).await;
    Ok(Dialogue::over(secured.map_err(|_| Fault::Tls)?))
}

/// Commands and answers.
struct Dialogue {
    stream: BufReader<Box<dyn Stream>>,
    /// What the server last answered to, in capitals: after EHLO what it offers.
    lines: Vec<String>,
}

impl Dialogue {
    fn over(stream: impl Stream + 'static) -> Self {
        Self {
            stream: BufReader::new(Box::new(stream)),
            lines: Vec::new(),
        }
    }

    /// The bare connection, unless more was read than was answered.
    fn into_stream(self) -> Option<TcpStream> {
        if !self.stream.buffer().is_empty() {
            return None;
        }
        self.stream.into_inner().bare()
    }

    /// Says `command`, and gives the code of the answer.
    async fn ask(&mut self, command: &str) -> std::io::Result<u16> {
        let line = Zeroizing::new(format!("{command}\r\n"));
        self.stream.write_all(line.as_bytes()).await?;
        self.stream.flush().await?;
        self.answer().await
    }

    /// Says `command`, to which the answer has to be good; otherwise it is `fault`.
    async fn good(&mut self, command: &str, fault: Fault) -> Result<(), Fault> {
        match self.ask(command).await {
            Ok(code) if is_good(code) => Ok(()),
            Ok(_) => Err(fault),
            Err(_) => Err(Fault::BrokenOff),
        }
    }

    /// Reads one answer of one or more lines (RFC 5321 section 4.2.1).
    async fn answer(&mut self) -> std::io::Result<u16> {
        let wrong = || std::io::Error::from(std::io::ErrorKind::InvalidData);
        let mut bounded = (&mut self.stream).take(LONGEST_ANSWER);
        self.lines.clear();
        loop {
            let mut line = String::new();
            bounded.read_line(&mut line).await?;
            if !line.ends_with('\n') {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let code: u16 = code
                .filter(|code| (200..600).contains(code))
                .ok_or_else(wrong)?;
            let rest = line.get(4..).unwrap_or_default();
            self.lines.push(rest.trim_end().to_ascii_uppercase());
            match line.as_bytes().get(3) {
                Some(b'-') => {}
                _ => return Ok(code),
            }
        }
    }

    /// Whether the last answer, one to EHLO, offers `word` under `keyword`.
    fn offers(&self, keyword: &str, word: &str) -> bool {
        self.lines.iter().any(|line| {
            let mut words = line.split([' ', '=']);
            words.next() == Some(keyword) && words.any(|it| it == word)
        })
    }

    /// Hands the message over, with a second dot before each line that begins with one (RFC 5321
    /// section 4.5.2), and waits for the answer to it.
    async fn hand_over(&mut self, message: &[u8]) -> std::io::Result<u16> {
        let mut out = Zeroizing::new(Vec::with_capacity(message.len() + 64));
        for line in message.split_inclusive(|byte| *byte == b'\n') {
            if line.starts_with(b".") {
                out.push(b'.');
            }
            out.extend_from_slice(line);
        }
        if !out.ends_with(b"\r\n") {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
        self.stream.write_all(&out).await?;
        self.stream.flush().await?;
        self.answer().await
    }
}

fn is_good(code: u16) -> bool {
    (200..300).contains(&code)
}

/// What an answer that is not good means: for good, or for now (RFC 5321 section 4.2.1).
fn refused(code: u16, fault: Fault) -> NotSent {
    match code {
        500.. => NotSent::Refused(fault),
        _ => NotSent::Later(fault),
    }
}

fn is_this_machine(server: &str) -> bool {
    server == "localhost" || server.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// TLS with the public authorities, or with those of a file only.
fn connector(authorities: Option<&[u8]>) -> Result<TlsConnector, SmtpError> {
    let mut roots = RootCertStore::empty();
    match authorities {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let added = certificate.map_err(|_| SmtpError::Authorities)?;
                roots.add(added).map_err(|_| SmtpError::Authorities)?;
            }
            if roots.is_empty() {
                return Err(SmtpError::Authorities);
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| SmtpError::Name)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
