//! Every key and every sealed byte: no SQL, no HTTP, no clock.
//!
//! ```text
//! age identity or passphrase      never stored by the service
//!   └ root key                    root.<generation>.age, and a row        root.rs, recipient.rs
//!       └ "cv1/wrap" subkey       derived, never stored                   root.rs
//!           ├ KEK                 one per (role, environment, generation) keyring.rs
//!           │   └ DEK             one per version, wrapped once per role  keyring.rs
//!           │       └ payload     the value itself                        seal.rs
//!           └ service key         CA, audit signing, MACs                 keyring.rs
//! ```
//!
//! Every arrow below the root key is one call of [`seal()`], bound to its place by a [`Binding`].
//!
//! | key | bytes | used with | source |
//! |---|---|---|---|
//! | root, KEK, DEK | 32 | HKDF-SHA256, as input keying material | RFC 5869 |
//! | key, nonce of one seal | 32, 12 | AES-256-GCM, once | NIST SP 800-38D, RFC 5116 section 5.2 |
//! | commitment of one seal | 32 | compared before decrypting | - |
//! | MAC keys | 32 | HMAC-SHA256 | RFC 2104 |
//! | age file key | 16 | the file that holds the root key | c2sp.org/age |

mod aad;
mod age_file;
mod age_writer;
mod envelope;
mod hpke;
mod keyring;
mod mac;
mod plugin;
mod recipient;
mod root;
mod seal;
mod service_key;

pub use aad::{Binding, Kind};
pub use age_file::{AgeFileError, decrypt_file, encrypt_file};
pub use age_writer::{AgeWriteError, AgeWriter};
pub use envelope::{EnvelopeError, decrypting};
pub use hpke::{FORM_OVERHEAD, IntakeKey, POINT, encapsulated_key, intake_info};
pub use keyring::{Kek, KekError, KekRef, Keyring, KeyringLimits, PayloadRef, RewrapError};
pub use mac::MacKey;
pub use plugin::{Attendant, PluginError, Plugins, is_plugin_name};
pub use recipient::{Identity, IdentityError, MAX_WORK_FACTOR, Recipient, RecipientError};
pub use root::{ExpectedRoot, RootError, RootFileForm, RootKey, Subkey};
pub use root::{
    open_root_file, read_root_file, replace_root_file, root_file_name, write_root_file,
};
pub use seal::{KeyRef, MAX_PLAINTEXT, OVERHEAD, OpenError, SealError, open, open_key, seal};
pub use service_key::{ServiceKeyName, UnknownServiceKey};

#[cfg(test)]
mod tests;
