//! The vectors of scheme CV1, `tests/vectors/cv1.json`.
//!
//! They are opened and made again here and by a second implementation, `tests/python/cv1.py`. They
//! are committed and, from the first release on, do not change: a blob that opens then has to open
//! for ever. New ones are added to [`cases`] and written with
//!
//! ```text
//! cargo test --lib crypto::tests::vectors::write_the_file -- --ignored
//! ```
//!
//! which rewrites the file. A difference in a line that was there before is a broken scheme, not a
//! new vector.
//!
//! The tests that run the second implementation need `python3` (or the interpreter that
//! `STRONGROOM_TEST_PYTHON` names) with the `cryptography` package and fail without them; where there
//! is no Python, set `STRONGROOM_TEST_WITHOUT_PYTHON=1`.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use super::*;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A vector before it is sealed.
struct Case {
    name: String,
    key: [u8; 32],
    key_ref: KeyRef,
    binding: Binding<'static>,
    salt: [u8; 32],
    plaintext: Vec<u8>,
}

/// Bytes that differ from each other and from case to case.
fn bytes<const N: usize>(seed: usize) -> [u8; N] {
    std::array::from_fn(|at| (seed * 31 + at * 7) as u8)
}

fn cases() -> Vec<Case> {
    let deployment = DEPLOYMENTS[0];
    let case = |seed: usize, name: &str, binding, plaintext: &[u8]| Case {
        name: name.to_owned(),
        key: bytes(seed),
        key_ref: KeyRef {
            version: seed as u32,
            id: bytes(seed + 1),
        },
        binding,
        salt: bytes(seed + 2),
        plaintext: plaintext.to_vec(),
    };
    let payload = Binding::Payload {
        deployment,
        environment: environment(1),
        credential: credential(3),
        version: 4,
    };
    let [kek, dek, _, backup, service] = one_of_each();
    let mut all = vec![
        case(1, "kek", kek, &[0x42; 32]),
        case(2, "dek", dek, &[0x43; 32]),
        case(3, "backup", backup, b"a part of a backup"),
        case(4, "service", service, &[0x44; 32]),
        case(
            5,
            "largest numbers",
            Binding::Dek {
                deployment: DEPLOYMENTS[1],
                environment: environment(0xff),
                role: role(0xff),
                credential: credential(0xff),
                version: u64::MAX,
                kek_generation: u32::MAX,
            },
            &[0xff; 32],
        ),
        case(
            6,
            "deployment that is not ASCII",
            Binding::Backup {
                deployment: "dev-\u{e9}",
                manifest: "",
            },
            b"",
        ),
    ];
    for len in [0, 1, 31, 32, 63, 64, 127, 128, 255, 256, 511, 512] {
        let plaintext: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        all.push(case(
            100 + len,
            &format!("payload of {len} bytes"),
            payload,
            &plaintext,
        ));
    }
    all.push(case(
        700,
        "payload that ends like padding",
        payload,
        b"\x80\x00\x80\x00\x00",
    ));
    let mut whole = case(
        701,
        "payload under the DEK of a version",
        payload,
        b"{\"secret\":\"value\"}",
    );
    whole.key_ref = KeyRef::dek_of(crate::model::VersionId::from_bytes([0x5e; 16]));
    all.push(whole);
    all
}

fn binding_json(binding: &Binding<'_>) -> Value {
    let hex = |id: [u8; 16]| hex::encode(id);
    match *binding {
        Binding::Kek {
            deployment,
            environment,
            role,
            kek,
            generation,
        } => json!({
            "kind": "kek", "deployment": deployment,
            "environment": hex(environment.to_bytes()), "role": hex(role.to_bytes()),
            "kek": hex(kek.to_bytes()), "generation": generation,
        }),
        Binding::Dek {
            deployment,
            environment,
            role,
            credential,
            version,
            kek_generation,
        } => {
            json!({
                "kind": "dek", "deployment": deployment,
                "environment": hex(environment.to_bytes()), "role": hex(role.to_bytes()),
                "credential": hex(credential.to_bytes()), "version": version,
                "kek_generation": kek_generation,
            })
        }
        Binding::Payload {
            deployment,
            environment,
            credential,
            version,
        } => json!({
            "kind": "payload", "deployment": deployment,
            "environment": hex(environment.to_bytes()),
            "credential": hex(credential.to_bytes()), "version": version,
        }),
        Binding::Backup {
            deployment,
            manifest,
        } => {
            json!({ "kind": "backup", "deployment": deployment, "manifest": manifest })
        }
        Binding::Service {
            deployment,
            name,
            generation,
        } => json!({
            "kind": "service", "deployment": deployment, "name": name, "generation": generation,
        }),
        Binding::Mail { deployment, mail } => json!({
            "kind": "mail", "deployment": deployment, "mail": hex(mail.to_bytes()),
        }),
        Binding::Identifiers {
            deployment,
            credential,
            version,
        } => json!({
            "kind": "identifiers", "deployment": deployment,
            "credential": hex(credential.to_bytes()), "version": hex(version.to_bytes()),
        }),
    }
}

fn request_json(key: &[u8; 32], key_ref: KeyRef, binding: &Binding<'_>) -> Value {
    json!({
        "key": hex::encode(key),
        "key_ref": { "version": key_ref.version, "id": hex::encode(key_ref.id) },
        "binding": binding_json(binding),
    })
}

fn seal_json(case: &Case) -> Value {
    let random = FixedRandom(case.salt.to_vec());
    let key = SecretKey::from_slice(&case.key).unwrap();
    let blob = seal(&key, case.key_ref, &case.binding, &case.plaintext, &random).unwrap();
    let mut vector = request_json(&case.key, case.key_ref, &case.binding);
    vector["name"] = json!(case.name);
    vector["salt"] = json!(hex::encode(case.salt));
    vector["plaintext"] = json!(hex::encode(&case.plaintext));
    vector["aad"] = json!(hex::encode(case.binding.to_aad()));
    vector["blob"] = json!(hex::encode(blob));
    vector
}

fn root_json(seed: usize) -> Value {
    let key = bytes::<32>(seed);
    let root = RootKey::generate(DEPLOYMENTS[0], 1, &FixedRandom(key.to_vec())).unwrap();
    json!({
        "root": hex::encode(key),
        "check": hex::encode(root.check_value()),
        "wrap": hex::encode(root.derive(Subkey::Wrap).expose_secret()),
    })
}

fn mac_json(seed: usize, fields: &[&[u8]]) -> Value {
    let key = bytes::<32>(seed);
    let mac = MacKey::new(&SecretKey::from_slice(&key).unwrap());
    json!({
        "key": hex::encode(key),
        "domain": "vector",
        "fields": fields.iter().map(hex::encode).collect::<Vec<_>>(),
        "tag": hex::encode(mac.tag("vector", fields)),
    })
}

fn file() -> String {
    let content = json!({
        "about": "Vectors of scheme CV1. Bytes are hex. Made by src/crypto/tests/vectors.rs, checked there and by tests/python/cv1.py.",
        "seal": cases().iter().map(seal_json).collect::<Vec<_>>(),
        "root": [root_json(1), root_json(2)],
        "mac": [
            mac_json(1, &[]),
            mac_json(2, &[b""]),
            mac_json(3, &[b"ab", b"c"]),
            mac_json(3, &[b"a", b"bc"]),
        ],
    });
    let mut text = serde_json::to_string_pretty(&content).unwrap();
    text.push('\n');
    text
}

fn path() -> String {
    format!("{ROOT}/tests/vectors/cv1.json")
}

#[test]
#[ignore = "writes the file that the other tests compare with"]
fn write_the_file() {
    std::fs::write(path(), file()).unwrap();
}

#[test]
fn the_committed_vectors_are_made_again_byte_for_byte() {
    assert!(
        std::fs::read_to_string(path()).unwrap() == file(),
        "the vectors have changed"
    );
}

#[test]
fn the_committed_vectors_open() {
    let content: Value = serde_json::from_str(&std::fs::read_to_string(path()).unwrap()).unwrap();
    let vectors = content["seal"].as_array().unwrap();
    let cases = cases();
    assert_eq!(vectors.len(), cases.len());
    for (vector, case) in vectors.iter().zip(cases) {
        let blob = hex::decode(vector["blob"].as_str().unwrap()).unwrap();
        let key = SecretKey::from_slice(&case.key).unwrap();
        let opened = open(&key, case.key_ref, &case.binding, &blob).unwrap();
        assert_eq!(opened.expose_secret(), case.plaintext, "{}", case.name);
    }
}

/// Runs the second implementation; `None` where the tests are told to do without it.
fn python(arguments: &[&str], input: &Value) -> Option<Output> {
    if std::env::var_os("STRONGROOM_TEST_WITHOUT_PYTHON").is_some() {
        return None;
    }
    let interpreter = std::env::var_os("STRONGROOM_TEST_PYTHON");
    let mut child = Command::new(interpreter.unwrap_or_else(|| "python3".into()))
        .arg(format!("{ROOT}/tests/python/cv1.py"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the interpreter cannot be started: see the head of this file");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.to_string().as_bytes())
        .unwrap();
    Some(child.wait_with_output().unwrap())
}

fn text(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn the_second_implementation_agrees_on_every_vector() {
    let Some(output) = python(&["check", &path()], &Value::Null) else {
        return;
    };
    assert!(text(&output).starts_with(&format!("{} sealed", cases().len())));
}

#[test]
fn each_implementation_opens_what_the_other_has_just_sealed() {
    let random = SystemRandom::new();
    for (number, binding) in one_of_each().into_iter().enumerate() {
        let key = SecretKey::generate(&random).unwrap();
        let [mut plaintext, mut salt] = [vec![0; 20 * (number + 1)], vec![0; 32]];
        random.fill(&mut plaintext).unwrap();
        random.fill(&mut salt).unwrap();
        let mut request = request_json(key.expose_secret(), key_ref(), &binding);

        let ours = seal(&key, key_ref(), &binding, &plaintext, &random).unwrap();
        request["blob"] = json!(hex::encode(&ours));
        let Some(output) = python(&["open"], &request) else {
            return;
        };
        assert_eq!(text(&output), hex::encode(&plaintext));

        request["plaintext"] = json!(hex::encode(&plaintext));
        request["salt"] = json!(hex::encode(&salt));
        let theirs = hex::decode(text(&python(&["seal"], &request).unwrap())).unwrap();
        let opened = open(&key, key_ref(), &binding, &theirs).unwrap();
        assert_eq!(opened.expose_secret(), plaintext);

        let mut flipped = ours;
        *flipped.last_mut().unwrap() ^= 1;
        request["blob"] = json!(hex::encode(&flipped));
        assert_eq!(python(&["open"], &request).unwrap().status.code(), Some(1));
    }
}
