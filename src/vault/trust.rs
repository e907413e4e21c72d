//! The registered authorities, made ready for checking chains.

use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};

use super::error::VaultError;
use crate::identity::trust::{Authority, TrustStore};
use crate::store::{AuthorityRow, RevocationListRow};

/// The store of these authorities, each with its own lists.
///
/// # Errors
/// Not even those that can be used for themselves can be used together.
pub(super) fn trust_store(
    generation: i64,
    rows: &[AuthorityRow],
    lists: &[RevocationListRow],
) -> Result<TrustStore, VaultError> {
    let generation = u64::try_from(generation).unwrap_or(0);
    let mut known = Vec::with_capacity(rows.len());
    for row in rows {
        let Ok(trust_domain) = row.trust_domain.parse() else {
            continue;
        };
        let lists = lists.iter().filter(|list| list.authority_id == row.id);
        known.push(Authority {
            id: row.id,
            revision: row.revision,
            trust_domain,
            certificate: CertificateDer::from(row.certificate.clone()),
            accept_from: Some(row.accept_from),
            accept_until: row.accept_until,
            crls: lists
                .map(|list| CertificateRevocationListDer::from(list.list.clone()))
                .collect(),
            // Without its lists nothing of it is accepted: an altered or deleted row must not make
            // a revoked certificate good again.
            needs_crl: row.lists_since.is_some(),
        });
    }
    match TrustStore::new(generation, known.clone()) {
        Ok(trust) => Ok(trust),
        Err(_) => without_unusable(generation, known),
    }
}

/// One authority that cannot be used must not shut out the callers of all the others.
fn without_unusable(generation: u64, known: Vec<Authority>) -> Result<TrustStore, VaultError> {
    let unusable = |_| VaultError::Internal("the registered authorities cannot be used");
    let mut used: Vec<Authority> = Vec::new();
    for authority in known {
        let id = authority.id;
        used.push(authority);
        if TrustStore::new(generation, used.clone()).is_err() {
            tracing::error!(authority = %id, "an authority cannot be used and is left out");
            used.pop();
        }
    }
    TrustStore::new(generation, used).map_err(unusable)
}
