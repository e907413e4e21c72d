//! Issuing certificates: Strongroom's own authority, and the keys that `init`, `dev` and the command
//! line make.
//!
//! Serial numbers and Ed25519 keys come from the given source of randomness. P-256 keys and ECDSA
//! signatures take it from the operating system through ring, which lets no other source in.

mod authority;
mod keys;
mod revocation_list;

pub use authority::{
    IssuedCertificate, Issuer, NewAuthority, PkiError, RequestError, ServerName, create_authority,
    create_authority_named, read_own_request, read_request,
};
pub use keys::{Ed25519Key, P256Key, tls_key};
pub use revocation_list::{ListContent, RevokedCertificate};
