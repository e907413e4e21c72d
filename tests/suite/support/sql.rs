//! The database behind the service's back, as somebody who can only write the database.

use std::path::Path;

use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// Statements on a SQLite file.
pub fn sqlite(path: &Path, statements: &str) {
    block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let mut connection = options.connect().await.expect("the database");
        let statements = AssertSqlSafe(statements.to_owned());
        connection
            .execute(statements)
            .await
            .expect("the statements");
        connection.close().await.expect("a close");
    });
}

/// The bytes in the one column of a query on a SQLite file, without those that are NULL.
pub fn sqlite_blobs(path: &Path, query: &str) -> Vec<Vec<u8>> {
    block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let mut connection = options
            .read_only(true)
            .connect()
            .await
            .expect("the database");
        let query = sqlx::query_scalar(AssertSqlSafe(query.to_owned()));
        let blobs: Vec<Option<Vec<u8>>> = query.fetch_all(&mut connection).await.expect("rows");
        connection.close().await.expect("a close");
        blobs.into_iter().flatten().collect()
    })
}

/// Statements on a PostgreSQL database.
pub fn postgres(url: &str, statements: &str) {
    block_on(async {
        let mut connection = sqlx::postgres::PgConnection::connect(url).await;
        let connection = connection.as_mut().expect("the database");
        let statements = AssertSqlSafe(statements.to_owned());
        connection
            .execute(statements)
            .await
            .expect("the statements");
    });
}

/// Several statements on one PostgreSQL connection, each by itself.
pub fn postgres_each(url: &str, statements: &[&str]) {
    block_on(async {
        let mut connection = sqlx::postgres::PgConnection::connect(url).await;
        let connection = connection.as_mut().expect("the database");
        for statement in statements {
            let statement = AssertSqlSafe((*statement).to_owned());
            connection.execute(statement).await.expect("the statement");
        }
    });
}

/// Every row of every table as text; bytes are in hexadecimal.
pub fn postgres_dump(url: &str) -> String {
    block_on(async {
        let mut connection = sqlx::postgres::PgConnection::connect(url).await;
        let connection = connection.as_mut().expect("the database");
        let tables: Vec<String> =
            sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")
                .fetch_all(&mut *connection)
                .await
                .expect("the tables");
        let mut all = String::new();
        for table in tables {
            let rows = AssertSqlSafe(format!("SELECT t::text FROM \"{table}\" AS t"));
            let rows: Vec<String> = sqlx::query_scalar(rows)
                .fetch_all(&mut *connection)
                .await
                .expect("the rows");
            all.extend(rows);
        }
        all
    })
}

/// Holds a SQLite file locked against writers for as long as `meanwhile` takes.
pub fn while_sqlite_is_locked<T>(path: &Path, meanwhile: impl FnOnce() -> T) -> T {
    block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let mut connection = options.connect().await.expect("the database");
        connection
            .execute("BEGIN EXCLUSIVE")
            .await
            .expect("the lock");
        let result = meanwhile();
        connection.execute("ROLLBACK").await.expect("the end of it");
        connection.close().await.expect("a close");
        result
    })
}
