//! Completions and manual pages, as a package would make them.

use std::fs;
use std::process::Command;

use crate::support::cli::run;
use crate::support::service::program;

#[test]
fn completions_are_scripts_that_the_shells_accept() {
    for shell in ["bash", "zsh", "fish"] {
        let mut command = program();
        command.args(["completions", shell]);
        let script = run(command, b"").ok().stdout;
        for word in ["strongroom", "credential", "serve"] {
            assert!(script.contains(word), "{word} for {shell}");
        }
        // Bash is everywhere; the others are asked where they are installed.
        let mut check = Command::new(shell);
        check.arg(if shell == "fish" {
            "--no-execute"
        } else {
            "-n"
        });
        if shell == "bash" || check.arg("/dev/null").output().is_ok() {
            let mut check = Command::new(shell);
            check.arg(if shell == "fish" {
                "--no-execute"
            } else {
                "-n"
            });
            check.arg("/dev/stdin");
            assert_eq!(run(check, script.as_bytes()).ok().stderr, "");
        }
    }
    let mut command = program();
    command.args(["completions", "tcsh"]);
    assert_eq!(run(command, b"").code, 1);
}

#[test]
fn every_command_has_a_manual_page() {
    let root = tempfile::tempdir().expect("a directory");
    let pages = root.path().join("man1");
    let mut command = program();
    command.arg("man").arg(&pages);
    run(command, b"").ok();
    let names: Vec<String> = fs::read_dir(&pages)
        .expect("pages")
        .map(|entry| {
            entry
                .expect("a page")
                .file_name()
                .into_string()
                .expect("a name")
        })
        .collect();
    for name in [
        "strongroom.1",
        "strongroom-serve.1",
        "strongroom-credential-version-add.1",
    ] {
        assert!(
            names.iter().any(|known| known == name),
            "{name} in {names:?}"
        );
    }
    let groff = Command::new("groff").arg("--version").output().is_ok();
    if !groff {
        eprintln!("groff is not installed: the pages were made but not rendered");
    }
    for name in &names {
        let page = fs::read_to_string(pages.join(name)).expect("a page");
        for part in [".TH strongroom", ".SH NAME", ".SH SYNOPSIS"] {
            assert!(page.contains(part), "{part} in {name}");
        }
        if groff {
            let mut render = Command::new("groff");
            render
                .args(["-k", "-man", "-Tutf8", "-P-cbu", "-ww"])
                .arg(pages.join(name));
            let rendered = run(render, b"").ok();
            assert_eq!(rendered.stderr, "", "{name}");
            assert!(rendered.stdout.contains("NAME"), "{name}");
        }
    }
    // What -h leaves out stands in the manual.
    let page = fs::read_to_string(pages.join("strongroom-client-add.1")).expect("a page");
    assert!(page.contains("Authority of the server"), "{page}");
}
