//! What the stories are told with: a running service, a client of its API, keys and proofs.

pub mod api;
pub mod backend;
pub mod browser;
pub mod ca;
pub mod cli;
pub mod deployment;
pub mod figures;
pub mod http;
pub mod json;
pub mod proof;
pub mod service;
pub mod shim;
pub mod smtp;
pub mod sources;
pub mod sql;
pub mod tour;
pub mod wait;
pub mod webdriver;

pub use api::Admin;
pub use backend::Backend;
pub use browser::Browser;
pub use deployment::Deployment;
pub use http::{Client, Request, Response};
pub use json::{id_of, items, text};
pub use service::Service;
pub use wait::{pause, until};

/// Makes a test of each story for each database: `story::sqlite` and `story::postgres`.
macro_rules! on_both {
    ($($story:ident),+ $(,)?) => {$(
        mod $story {
            #[test]
            fn sqlite() {
                super::$story(crate::support::Backend::Sqlite);
            }

            #[test]
            fn postgres() {
                if let Some(backend) = crate::support::Backend::postgres() {
                    super::$story(backend);
                }
            }
        }
    )+};
}
pub(crate) use on_both;
