//! Access tokens that the stand-in gave out.

use std::collections::HashMap;

use axum::http::{HeaderMap, header};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::Shared;
use crate::model::Timestamp;

/// The most that are remembered.
const MOST: usize = 10_000;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    Graph,
    Exchange,
    Google,
}

/// A token that was given out. What it may do is what was granted then.
#[derive(Clone, Debug)]
pub(super) struct Issued {
    pub audience: Audience,
    /// The directory, or the service account.
    pub owner: String,
    /// The application, or the user that the service account acts for.
    pub subject: String,
    /// Permissions or scopes.
    pub roles: Vec<String>,
    pub expires: Timestamp,
}

/// The tokens.
#[derive(Debug, Default)]
pub(super) struct Tokens(HashMap<String, Issued>);

impl Tokens {
    /// Remembers a token.
    pub(super) fn add(&mut self, token: String, issued: Issued, now: Timestamp) {
        if self.0.len() >= MOST {
            self.0.retain(|_, it| it.expires > now);
        }
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert(token, issued);
    }

    /// The token of a request, if it is good for this.
    pub(super) fn of(
        &self,
        headers: &HeaderMap,
        audience: Audience,
        now: Timestamp,
    ) -> Option<Issued> {
        let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let token = text.strip_prefix("Bearer ")?;
        let issued = self.0.get(token)?;
        (issued.audience == audience && issued.expires > now).then(|| issued.clone())
    }
}

impl Shared {
    /// A token that looks like a JWT with these claims; its signature is random.
    pub(super) fn new_token(&self, claims: &Value) -> String {
        let mut signature = [0_u8; 32];
        let _ = self.random.fill(&mut signature);
        format!(
            "{}.{}.{}",
            URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"RS256"}"#),
            URL_SAFE_NO_PAD.encode(claims.to_string()),
            URL_SAFE_NO_PAD.encode(signature)
        )
    }
}
