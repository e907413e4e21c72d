//! What stands before every page's own work, told once: which link it is, and for what changes something
//! whether it may come from where it comes from, how often, and whether it is a form.

use std::{net::IpAddr, sync::Arc};

use axum::{
    body::Bytes,
    extract::{
        FromRequest, FromRequestParts, Path, Request,
        rejection::{BytesRejection, PathRejection},
    },
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::Response,
};

use super::{
    Pages,
    answers::{plain, refused, too_many, unreadable},
    form::Form,
    guard::is_own,
    texts::ENGLISH,
};
use crate::{
    http::server::Connection,
    vault::{LinkError, LinkToken, LinkView},
};

/// A link that is good, by whose page somebody came.
pub(super) struct Opened {
    /// As it stands in the address.
    pub token: String,
    /// The same, for the vault.
    pub key: LinkToken,
    /// What it leads to.
    pub link: LinkView,
}

/// Something that was sent by a link that is good, from one of our own pages, not too often, and as a
/// browser sends a form.
pub(super) struct Sent {
    /// See [`Opened`].
    pub token: String,
    /// See [`Opened`].
    pub key: LinkToken,
    /// See [`Opened`].
    pub link: LinkView,
    /// The form, not read yet.
    pub body: Bytes,
}

impl Sent {
    /// The form, if it has no other fields than these.
    pub fn form(&self, names: &[&str]) -> Result<Form, Box<Response>> {
        Form::read(&self.body, names).map_err(|_| Box::new(unreadable()))
    }
}

impl FromRequestParts<Arc<Pages>> for Opened {
    type Rejection = Response;

    async fn from_request_parts(
        parts: &mut Parts,
        pages: &Arc<Pages>,
    ) -> Result<Self, Self::Rejection> {
        // What is no text at all is no token either, and gets the same page.
        let token: Result<Path<String>, PathRejection> =
            Path::from_request_parts(parts, pages).await;
        let token = token.map_or_else(|_| String::new(), |Path(token)| token);
        let address = address(parts).ok_or_else(|| refused(&LinkError::Unavailable))?;
        let (key, link) = pages.look_up(&token, address).await?;
        Ok(Self { token, key, link })
    }
}

impl FromRequest<Arc<Pages>> for Sent {
    type Rejection = Response;

    async fn from_request(request: Request, pages: &Arc<Pages>) -> Result<Self, Self::Rejection> {
        let (mut parts, body) = request.into_parts();
        let body = Request::from_parts(parts.clone(), body);
        // Read to its end in any case: whoever is refused in the middle sees a broken connection.
        let body = Bytes::from_request(body, pages).await;
        if !is_own(&parts.headers, pages.origin.as_deref()) {
            return Err(plain(
                StatusCode::FORBIDDEN,
                ENGLISH.elsewhere_title,
                ENGLISH.elsewhere,
            ));
        }
        let opened = Opened::from_request_parts(&mut parts, pages).await?;
        let Opened { token, key, link } = opened;
        let sender = address(&parts);
        if !sender.is_some_and(|sender| pages.rates.sent(sender, &key)) {
            return Err(too_many());
        }
        let body = readable(&parts.headers, body).map_err(|answer| *answer)?;
        Ok(Self {
            token,
            key,
            link,
            body,
        })
    }
}

/// Who asks. The server puts it beside every request.
fn address(parts: &Parts) -> Option<IpAddr> {
    let connection = parts.extensions.get::<Arc<Connection>>();
    connection.map(|connection| connection.peer_ip())
}

impl Pages {
    /// The link, or the answer that there is none.
    async fn look_up(
        &self,
        token: &str,
        address: IpAddr,
    ) -> Result<(LinkToken, LinkView), Response> {
        // What cannot be a token is counted as a wrong one.
        let found = match LinkToken::parse(token) {
            Some(token) => self.links.link(&token).await.map(|link| (token, link)),
            None => Err(LinkError::Gone),
        };
        found.map_err(|error| match error {
            LinkError::Gone if !self.rates.guessed(address) => too_many(),
            error => refused(&error),
        })
    }
}

/// The body, if it is a form and not too large.
fn readable(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Bytes, Box<Response>> {
    let body = body.map_err(|rejection| {
        Box::new(match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => plain(
                StatusCode::PAYLOAD_TOO_LARGE,
                ENGLISH.too_large_title,
                ENGLISH.too_large,
            ),
            _ => unreadable(),
        })
    })?;
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_ascii_lowercase();
    let (kind, rest) = kind.split_once(';').unwrap_or((&kind, ""));
    let is_form = kind.trim() == "application/x-www-form-urlencoded"
        && matches!(rest.trim(), "" | "charset=utf-8" | "charset=\"utf-8\"");
    match is_form {
        true => Ok(body),
        false => Err(Box::new(plain(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ENGLISH.unreadable_title,
            ENGLISH.unreadable,
        ))),
    }
}
