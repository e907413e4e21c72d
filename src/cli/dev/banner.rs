//! What `dev` prints once it serves: addresses, lines to copy, what to try next.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

/// Prints the banner. A closed standard output is no reason to stop.
pub(super) fn print(
    directory: &Path,
    url: &str,
    pages: &str,
    status: SocketAddr,
    stand_in: &(String, Option<SocketAddr>),
    fresh: bool,
) {
    let exe = program();
    let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_path_buf());
    let file = |name: &str| quoted(&directory.join(name).display().to_string());
    let (ca, profile) = (file("ca.pem"), file("worker.json"));
    let made = match fresh {
        true => "A deployment with a demonstration client was made.",
        false => "The deployment of the last start goes on, with the same data.",
    };
    let text = format!(
        r#"
Strongroom is running, for trying out only: keys lie in the clear in this directory.
{made}

  API      {url}
  pages    {pages}
  status   http://{status}/readyz  and /metrics
  stand-in {stand_in}  answers for Microsoft and Google
  files    {directory}

Copy these lines into another terminal. They make it the demonstration worker:

  export STRONGROOM_URL={url}
  export STRONGROOM_CA={ca}
  export STRONGROOM_CERT={worker_cert}
  export STRONGROOM_KEY={worker_key}

Then try:

  1. The worker fetches the credential that its client lent:
     {exe} fetch
  2. A workload of another role gets nothing:
     {exe} --cert {other_cert} --key {other_key} fetch
  3. The operator sees who got what, and never a value:
     {exe} --cert {operator_cert} --key {operator_key} audit list
  4. The operator has the credential checked at its provider (here the stand-in), stage by stage:
     {exe} --cert {operator_cert} --key {operator_key} credential verify --client example-realty
  5. The operator invites the client to hand in another credential. Open the link in a browser:
     {exe} --cert {operator_cert} --key {operator_key} intake invite --client example-realty --kind microsoft365 --label 'calendar sync' --environment production --role m365-sync --contact ada@example-realty.example --no-mail
     The page takes the tenant, application and secret that the worker got in step 1; with anything
     else it says what is wrong. Without --no-mail the link is mailed; mails lie in {directory}/mail.

The same with curl, by client certificate and by signed assertion:

  curl --cacert {ca} --cert {worker_cert} --key {worker_key} {url}/api/v1/release
  curl --cacert {ca} -H "Authorization: Bearer $(env -u STRONGROOM_CERT -u STRONGROOM_KEY {exe} assertion --profile {profile} --jwt-key {jwt})" {url}/api/v1/release

Ctrl-C stops it; started again, it goes on with the same data.
"#,
        directory = directory.display(),
        stand_in = match stand_in.1 {
            None => stand_in.0.clone(),
            Some(control) => format!("{} (changed at http://{control}/world)", stand_in.0),
        },
        worker_cert = file("worker.pem"),
        worker_key = file("worker.key"),
        other_cert = file("other.pem"),
        other_key = file("other.key"),
        operator_cert = file("operator.pem"),
        operator_key = file("operator.key"),
        jwt = file("worker.jwt.key"),
    );
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// How this program can be called from where it was started.
fn program() -> String {
    let Ok(exe) = std::env::current_exe() else {
        return "strongroom".to_owned();
    };
    let here = std::env::current_dir().unwrap_or_default();
    match exe.strip_prefix(&here) {
        Ok(relative) => quoted(&format!("./{}", relative.display())),
        Err(_) => quoted(&exe.display().to_string()),
    }
}

/// Quoted for a POSIX shell, if it has to be.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn paths_with_odd_characters_can_be_copied() {
        assert_eq!(quoted("/a/b-1.pem"), "/a/b-1.pem");
        assert_eq!(quoted("/a b/c"), "'/a b/c'");
        assert_eq!(quoted("/it's"), r"'/it'\''s'");
    }
}
