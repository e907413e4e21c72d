mod documents;

use std::collections::BTreeSet;

use super::*;

fn parse(line: &str) -> Result<Cli, String> {
    let words = std::iter::once("strongroom").chain(line.split_whitespace());
    Cli::try_parse_from(words).map_err(|error| error.to_string())
}

#[test]
fn the_arguments_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn the_environment_check_knows_exactly_the_variables_of_the_flags() {
    fn collect(command: &clap::Command, found: &mut BTreeSet<String>) {
        found.extend(
            command
                .get_arguments()
                .filter_map(|argument| Some(argument.get_env()?.to_string_lossy().into_owned())),
        );
        for inner in command.get_subcommands() {
            collect(inner, found);
        }
    }
    let mut found = BTreeSet::new();
    collect(&Cli::command(), &mut found);
    let known: BTreeSet<String> = crate::config::CLIENT_VARIABLES
        .iter()
        .map(|name| (*name).to_owned())
        .collect();
    assert_eq!(found, known);
}

#[test]
fn every_command_and_flag_is_explained() {
    fn check(command: &clap::Command, path: &str) {
        assert!(command.get_about().is_some(), "{path} has no help");
        for argument in command.get_arguments() {
            let shown = argument.is_positional() && argument.get_value_names().is_some();
            assert!(
                argument.get_help().is_some() || shown,
                "{path} {}",
                argument.get_id()
            );
        }
        for inner in command.get_subcommands() {
            check(inner, &format!("{path} {}", inner.get_name()));
        }
    }
    check(&Cli::command(), "strongroom");
}

#[test]
fn commands_that_should_parse_do() {
    let id = "cred_01kaqz3m8v7d6k2n4p9r5s1t0x";
    for line in [
        "dev".to_owned(),
        "serve --config a.toml".into(),
        "init --config a --data b --passphrase --operator Ada --operator-public-key k.pem".into(),
        "client add --name Example --slug example --url https://x".into(),
        "client change example --slug example-two".into(),
        "contact add example --name Ada --email ada@example.com --role owner".into(),
        "role rename a b".into(),
        "environment add production --output json".into(),
        format!("credential list --expires-before 2028-12-01 --kind microsoft365 --client {id}"),
        "credential add --client a --label b --kind generic --environment c --role d --role e".into(),
        format!("credential role remove {id} m365-sync"),
        format!("credential version add {id} --fields - --activate --reason tested"),
        format!("credential version add {id} --field tenant_id=x --field client_secret=@f"),
        format!("credential version retire {id} 2 --reason r --override-holds"),
        format!("credential version activate {id} 2 --reason r"),
        format!("fetch --credential {id} --version 2 --dir d"),
        "fetch --client example --kind generic --cert c --key k --ca a".into(),
        format!("in-use --credential {id} --version 2"),
        "assertion --profile worker.json --jwt-key k".into(),
        "workload enrol --name w --environment p --role r --csr f --lifetime-days 30 --certificate-out o".into(),
        "workload enrol --name w --environment p --role r".into(),
        "operator enrol --name Ada --role auditor --public-key k".into(),
        "operator key revoke Ada pkey_01kaqz3m8v7d6k2n4p9r5s1t0x".into(),
        "authority add --name a --certificate f --trust-domain example.com".into(),
        format!("receipt list --credential {id}"),
        "keys list".into(),
        "audit export -".into(),
        "audit verify log --public-key k --checkpoint a --checkpoint b".into(),
        "whoami".into(),
    ] {
        if let Err(error) = parse(&line) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn commands_that_should_not_parse_do_not() {
    let id = "cred_01kaqz3m8v7d6k2n4p9r5s1t0x";
    for line in [
        "init --config a --data b --passphrase --identity-file i --operator A --operator-public-key k".to_owned(),
        "client change example".into(),
        "credential show CRED_1".into(),
        "credential list --expires-before tomorrow".into(),
        format!("credential version add {id}"),
        format!("credential version add {id} --fields - --activate"),
        format!("credential version activate {id} 2"),
        format!("credential version retire {id} 0"),
        format!("credential version retire {id} 2 --override-holds"),
        "fetch --version 2".into(),
        format!("fetch --credential {id} --client a"),
        "workload enrol --name w --environment p".into(),
        "workload enrol --name w --environment p --role r --csr f --public-key g".into(),
        "workload enrol --name w --environment p --role r --spiffe-id spiffe://a/b".into(),
        "workload enrol --name w --environment p --role r --public-key g --lifetime-days 3".into(),
        "audit verify log".into(),
    ] {
        assert!(parse(&line).is_err(), "{line}");
    }
}

#[test]
fn usage_errors_are_local_errors() {
    let run = |words: &[&str], variables: &[(&str, &str)]| {
        super::run(
            words.iter().map(OsString::from),
            variables
                .iter()
                .map(|(name, value)| (name.into(), value.into())),
        )
    };
    assert_eq!(run(&["strongroom", "nonsense"], &[]), EXIT_LOCAL);
    assert_eq!(run(&["strongroom", "--help"], &[]), EXIT_OK);
    assert_eq!(run(&["strongroom", "whoami"], &[]), EXIT_LOCAL);
    assert_eq!(
        run(&["strongroom", "whoami"], &[("STRONGROOM_URI", "x")]),
        EXIT_LOCAL
    );
}
