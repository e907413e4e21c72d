//! age plugins as the settings allow them, and the person at the terminal whom they may ask.

use std::io::{BufRead, IsTerminal, Write};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::Environment;
use crate::config::PluginsConfig;
use crate::crypto::{Attendant, Plugins};
use crate::secret::Secret;

/// What a plugin is given of the environment: where the keys of a user and a smart card's service
/// are found.
const GIVEN: [&str; 6] = [
    "HOME",
    "LANG",
    "TERM",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "PCSCLITE_CSOCK_NAME",
];

/// The plugins that `config` allows.
pub fn plugins(config: &PluginsConfig, environment: &Environment) -> Plugins {
    let variable = |name: &str| environment.get(std::ffi::OsStr::new(name));
    let mut plugins = Plugins::new(
        config.names.iter().cloned(),
        config.directory.as_deref(),
        variable("PATH").map(std::ffi::OsString::as_os_str),
    );
    for name in GIVEN {
        if let Some(value) = variable(name) {
            plugins = plugins.with_variable(name, value.clone());
        }
    }
    if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        plugins = plugins.with_attendant(Arc::new(Terminal));
    }
    plugins
}

struct Terminal;

impl Attendant for Terminal {
    fn tell(&self, message: &str) {
        let _ = writeln!(std::io::stderr(), "plugin: {message}");
    }

    fn ask(&self, message: &str, secret: bool) -> Option<Secret> {
        if secret {
            let typed =
                Zeroizing::new(rpassword::prompt_password(format!("plugin: {message} ")).ok()?);
            return Some(Secret::new(typed.as_bytes().to_vec()));
        }
        let _ = write!(std::io::stderr(), "plugin: {message} ");
        let mut typed = Zeroizing::new(String::new());
        std::io::stdin().lock().read_line(&mut typed).ok()?;
        Some(Secret::new(typed.trim_end().as_bytes().to_vec()))
    }
}
