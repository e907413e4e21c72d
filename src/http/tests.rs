//! The plumbing over real sockets, and the API over a real deployment.

mod api;
mod panics;
mod requests;
mod sockets;
mod support;
