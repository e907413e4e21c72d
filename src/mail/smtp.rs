//! The client's side of SMTP (RFC 5321), for one message at a time.
//!
//! `lettre` speaks it, but step by step, because the moment matters at which the message itself is
//! handed over: before it an attempt that broke off was none, after it nobody can tell (RFC 5321
//! section 6.1). What a server answers is never logged or kept, only its code is looked at.

mod channel;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::AsyncSmtpConnection as Connection;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Starttls};
use lettre::transport::smtp::extension::ClientId;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use self::channel::Channel;
use super::message::Rendered;
use super::transport::NotSent;
use crate::model::MailFault as Fault;
use crate::secret::Secret;

/// How long it may take until the server is ready for the message. RFC 5321 section 4.5.3.2 asks for
/// five minutes for each step, for servers of another time; a mail that is given up here is only late.
const BEFORE: Duration = Duration::from_secs(60);
/// How long the server may take to answer to the message itself (RFC 5321 section 4.5.3.2.6).
const ANSWER: Duration = Duration::from_secs(600);

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
            let mut connection = self.connect().await?;
            let _ = connection.quit().await;
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
        let mut connection = introduced.unwrap_or(Err(NotSent::Later(Fault::BrokenOff)))?;
        if !begin().await {
            return Err(NotSent::Abandoned);
        }
        // A server that does not say 354 has not been given the message.
        match timeout(BEFORE, connection.command(Data)).await {
            Ok(Ok(answer)) if answer.has_code(354) => {}
            Ok(Ok(_)) => return Err(NotSent::Later(Fault::Message)),
            Ok(Err(error)) => return Err(refused(&error, Fault::Message)),
            Err(_) => return Err(NotSent::Later(Fault::BrokenOff)),
        }
        let message = rendered.message.expose_secret();
        // The end of the last line is added again.
        let message = message.strip_suffix(b"\r\n").unwrap_or(message);
        match timeout(ANSWER, connection.message(message)).await {
            Ok(Ok(answer)) if is_good(answer.code().into()) => {}
            Ok(Err(error)) if error.status().is_some() => {
                return Err(refused(&error, Fault::Message));
            }
            // Not even an answer that is none says anything.
            Ok(_) | Err(_) => return Err(NotSent::Unknown(Fault::BrokenOff)),
        }
        let _ = timeout(Duration::from_secs(5), connection.quit()).await;
        Ok(())
    }

    /// Everything until the server knows sender and recipient. What is wrong up to the sender is this
    /// side's affair, so that the mail waits until it is mended.
    async fn introduce(&self, rendered: &Rendered) -> Result<Connection, NotSent> {
        let later = NotSent::Later;
        let address = |address: &str| address.parse::<Address>();
        let sender = address(rendered.from.as_str()).map_err(|_| later(Fault::Sender))?;
        let recipient = address(rendered.to.as_str());
        let recipient = recipient.map_err(|_| NotSent::Refused(Fault::Recipient))?;
        let mut connection = self.connect().await.map_err(later)?;
        let from = connection.command(Mail::new(Some(sender), vec![])).await;
        from.map_err(|error| later(answered(&error, Fault::Sender)))?;
        let to = connection.command(Rcpt::new(recipient, vec![])).await;
        to.map_err(|error| refused(&error, Fault::Recipient))?;
        Ok(connection)
    }

    /// A connection that is protected and signed in.
    async fn connect(&self) -> Result<Connection, Fault> {
        let unreachable = |_| Fault::Unreachable;
        let stream = TcpStream::connect((self.server.as_str(), self.port));
        let stream = stream.await.map_err(unreachable)?;
        // RFC 5321 section 4.1.3: an address where there is no name that others could look up.
        let hello = match stream.local_addr().map_err(unreachable)?.ip() {
            IpAddr::V4(ip) => ClientId::Ipv4(ip),
            IpAddr::V6(ip) => ClientId::Ipv6(ip),
        };
        let channel = match (&self.tls, self.mode) {
            (Some(tls), SmtpTls::StartTls) => {
                let stream = ask_for_tls(stream, &hello).await?;
                Channel::greeted(secured(tls, stream).await?)
            }
            (Some(tls), _) => Channel::new(secured(tls, stream).await?),
            (None, _) => Channel::new(stream),
        };
        let mut connection = converse(channel, &hello).await?;
        if let Some((user, password)) = &self.sign_in {
            let password = std::str::from_utf8(password.expose_secret());
            let password = password.map_err(|_| Fault::SignIn)?;
            // Its texts are overwritten when they are freed, as everything is (`memory`).
            let credentials = Credentials::new(user.clone(), password.to_owned());
            let signed_in = connection.auth(DEFAULT_MECHANISMS, &credentials).await;
            signed_in.map_err(|error| match error.is_client() {
                // The server offers no way to sign in.
                true => Fault::SignIn,
                false => answered(&error, Fault::SignIn),
            })?;
        }
        Ok(connection)
    }
}

/// Greeting and EHLO.
async fn converse(channel: Channel, hello: &ClientId) -> Result<Connection, Fault> {
    let connection = Connection::connect_with_transport(Box::new(channel), hello).await;
    connection.map_err(|error| answered(&error, Fault::Unreachable))
}

/// Asks for TLS, and gives the connection on which it is to begin.
async fn ask_for_tls(stream: TcpStream, hello: &ClientId) -> Result<TcpStream, Fault> {
    let (stream, twin) = twins(stream).map_err(|_| Fault::Unreachable)?;
    let mut connection = converse(Channel::new(stream), hello).await?;
    // Whether it is offered or not: without it nothing more is said.
    let answer = connection.command(Starttls).await;
    answer.map_err(|error| answered(&error, Fault::Tls))?;
    // What came before TLS counts for nothing (RFC 3207 section 4.2), least of all what was sent ahead
    // of it. All of that goes with this connection, which is why TLS begins on the other handle.
    drop(connection);
    Ok(twin)
}

/// Two handles of one connection, which ends with the second of them.
fn twins(stream: TcpStream) -> std::io::Result<(TcpStream, TcpStream)> {
    let one = stream.into_std()?;
    let other = one.try_clone()?;
    Ok((TcpStream::from_std(one)?, TcpStream::from_std(other)?))
}

async fn secured(
    (connector, name): &(TlsConnector, ServerName<'static>),
    stream: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Fault> {
    let secured = connector.connect(name.clone(), stream).await;
    secured.map_err(|_| Fault::Tls)
}

/// What an error means: `fault` when the server said no.
fn answered(error: &Error, fault: Fault) -> Fault {
    match error.status() {
        Some(_) => fault,
        None => Fault::BrokenOff,
    }
}

/// What an answer that is not good means, before the message was handed over or about the message
/// itself: for good, or for now (RFC 5321 section 4.2.1).
fn refused(error: &Error, fault: Fault) -> NotSent {
    match error.is_permanent() {
        true => NotSent::Refused(fault),
        false => NotSent::Later(answered(error, fault)),
    }
}

fn is_good(code: u16) -> bool {
    (200..300).contains(&code)
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
