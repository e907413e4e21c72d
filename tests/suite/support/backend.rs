//! The two databases, and the PostgreSQL server that the tests start themselves.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};

use crate::postgres::Postgres;

/// Set to 1 to run without PostgreSQL: half of the suite is left out then, and says so.
const WITHOUT: &str = "STRONGROOM_TEST_WITHOUT_POSTGRES";

/// One server for all tests of this process, a database for each deployment. A static is never
/// dropped; the server has a watchdog of its own that ends it with this process.
static SHARED: LazyLock<Result<Arc<Postgres>, String>> =
    LazyLock::new(|| Postgres::start().map(Arc::new));

/// Where a deployment keeps its records.
#[derive(Clone)]
pub enum Backend {
    /// The embedded database.
    Sqlite,
    /// A server.
    Postgres(Arc<Postgres>),
}

impl Backend {
    /// The server that all tests share; `None` when the caller asked to go without.
    ///
    /// # Panics
    /// PostgreSQL is not installed or does not start: that is a failure, not a skip.
    pub fn postgres() -> Option<Self> {
        if std::env::var(WITHOUT).is_ok_and(|value| value == "1") {
            eprintln!("skipped: {WITHOUT}=1 is set, so nothing was tried on PostgreSQL");
            return None;
        }
        match &*SHARED {
            Ok(server) => Some(Self::Postgres(Arc::clone(server))),
            Err(error) => panic!(
                "these tests need a PostgreSQL server of their own: {error}.\n\
                 On Debian: apt-get install postgresql (the package is enough, no cluster of it is \
                 used).\n{WITHOUT}=1 leaves these tests out"
            ),
        }
    }

    /// A server that this test alone uses, because it stops it.
    ///
    /// # Panics
    /// As [`postgres`](Self::postgres).
    pub fn postgres_of_its_own() -> Option<(Self, Arc<Postgres>)> {
        Self::postgres()?;
        let server = Arc::new(Postgres::start().expect("a second server"));
        Some((Self::Postgres(Arc::clone(&server)), server))
    }

    /// Makes an empty database and writes its URL to a file in `directory`; nothing for the embedded
    /// one, which the program makes itself.
    pub fn url_file(&self, directory: &Path) -> Option<std::path::PathBuf> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let Self::Postgres(server) = self else {
            return None;
        };
        let name = format!("suite_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let url = server.create_database(&name).expect("a database");
        let file = directory.join("database-url");
        std::fs::write(&file, url).expect("the file of the URL");
        Some(file)
    }
}
