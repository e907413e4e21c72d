#!/usr/bin/env python3
"""Scheme CV1, written a second time.

An implementation that shares nothing with the Rust one but the description of the scheme (head of
src/crypto/seal.rs and src/crypto/aad.rs). Needs the `cryptography` package for AES-GCM; HKDF
(RFC 5869) and HMAC (RFC 2104) are built on the standard library.

    cv1.py check tests/vectors/cv1.json    opens and re-makes every vector, tries every bit flip
    cv1.py seal < request.json             prints the blob in hex
    cv1.py open < request.json             prints the plaintext in hex, or exits with 1

A request has the fields of a vector: `key`, `key_ref`, `binding`, and `plaintext` and `salt` (seal)
or `blob` (open). Bytes are hex.
"""

import hashlib
import hmac
import json
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KINDS = {"kek": 1, "dek": 2, "payload": 3, "backup": 4, "service": 5}
HEADER = 90


class Refused(Exception):
    """The blob does not open."""


def extract(salt, key):
    return hmac.new(salt or bytes(32), key, hashlib.sha256).digest()


def expand(prk, info, length):
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.new(prk, block + info + bytes([counter]), hashlib.sha256).digest()
        out += block
        counter += 1
    return out[:length]


def fields(*parts):
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def aad(binding):
    kind = binding["kind"]
    ident = lambda name: bytes.fromhex(binding[name])
    number = lambda: struct.pack(">Q", binding["version"])
    generation = lambda name: struct.pack(">I", binding[name])
    parts = [b"cv1", binding["deployment"].encode(), bytes([KINDS[kind]])]
    if kind == "kek":
        parts += [ident("environment"), ident("role"), ident("kek"), generation("generation")]
    elif kind == "dek":
        parts += [ident("environment"), ident("role"), ident("credential"), number()]
        parts += [generation("kek_generation")]
    elif kind == "payload":
        parts += [ident("environment"), ident("credential"), number()]
    elif kind == "backup":
        parts += [binding["manifest"].encode()]
    else:
        parts += [binding["name"].encode(), generation("generation")]
    return fields(*parts)


def pad(plaintext):
    needed = len(plaintext) + 1
    size = next((s for s in (32, 64, 128, 256) if needed <= s), (needed + 255) // 256 * 256)
    return plaintext + b"\x80" + bytes(size - needed)


def unpad(padded):
    plaintext, marker, zeros = padded.rpartition(b"\x80")
    if not marker or zeros.strip(b"\x00") or pad(plaintext) != padded:
        raise Refused
    return plaintext


def prefix(kind):
    return b"CV" + bytes([1, 1, KINDS[kind], 0])


def derive(key, kind, salt):
    prk = extract(salt, key)
    label = lambda name, length: expand(prk, prefix(kind) + name, length)
    return label(b"DERIVEKEY", 32), label(b"COMMITKEY", 32), label(b"NONCE", 12)


def seal(key, key_ref, binding, plaintext, salt):
    kind = binding["kind"]
    cipher_key, commitment, nonce = derive(key, kind, salt)
    header = prefix(kind) + struct.pack(">I", key_ref["version"]) + bytes.fromhex(key_ref["id"])
    header += salt + commitment
    assert len(header) == HEADER
    padded = pad(plaintext) if kind == "payload" else plaintext
    return header + AESGCM(cipher_key).encrypt(nonce, padded, header + aad(binding))


def open_blob(key, key_ref, binding, blob):
    kind = binding["kind"]
    if len(blob) < HEADER + 16:
        raise Refused
    header, rest = blob[:HEADER], blob[HEADER:]
    expected = prefix(kind) + struct.pack(">I", key_ref["version"]) + bytes.fromhex(key_ref["id"])
    if header[:26] != expected:
        raise Refused
    cipher_key, commitment, nonce = derive(key, kind, header[26:58])
    if not hmac.compare_digest(commitment, header[58:]):
        raise Refused
    try:
        opened = AESGCM(cipher_key).decrypt(nonce, rest, header + aad(binding))
    except InvalidTag:
        raise Refused from None
    return unpad(opened) if kind == "payload" else opened


def refused(*arguments):
    try:
        open_blob(*arguments)
    except Refused:
        return True
    return False


def check_vector(vector):
    raw = {name: bytes.fromhex(vector[name]) for name in ("key", "salt", "plaintext", "blob", "aad")}
    place = (raw["key"], vector["key_ref"], vector["binding"])
    name = vector["name"]
    assert aad(vector["binding"]) == raw["aad"], f"{name}: another binding"
    assert seal(*place, raw["plaintext"], raw["salt"]) == raw["blob"], f"{name}: another blob"
    assert open_blob(*place, raw["blob"]) == raw["plaintext"], f"{name}: another plaintext"
    for bit in range(len(raw["blob"]) * 8):
        flipped = bytearray(raw["blob"])
        flipped[bit // 8] ^= 1 << (bit % 8)
        assert refused(*place, bytes(flipped)), f"{name}: bit {bit} flipped and still opens"
    for length in range(len(raw["blob"])):
        assert refused(*place, raw["blob"][:length]), f"{name}: cut to {length} and still opens"


def check(path):
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    for vector in content["seal"]:
        check_vector(vector)
    assert {vector["binding"]["kind"] for vector in content["seal"]} == set(KINDS)
    for vector in content["root"]:
        prk = extract(b"", bytes.fromhex(vector["root"]))
        assert expand(prk, b"cv1/root-id", 16).hex() == vector["check"]
        assert expand(prk, b"cv1/wrap", 32).hex() == vector["wrap"]
    for vector in content["mac"]:
        parts = [vector["domain"].encode()] + [bytes.fromhex(field) for field in vector["fields"]]
        message = b"".join(struct.pack(">Q", len(part)) + part for part in parts)
        tag = hmac.new(bytes.fromhex(vector["key"]), message, hashlib.sha256).hexdigest()
        assert tag == vector["tag"]
    print(f"{len(content['seal'])} sealed, {len(content['root'])} root, {len(content['mac'])} MAC")


def main(arguments):
    if len(arguments) == 2 and arguments[0] == "check":
        check(arguments[1])
        return 0
    if arguments not in (["seal"], ["open"]):
        print(__doc__, file=sys.stderr)
        return 2
    request = json.load(sys.stdin)
    place = (bytes.fromhex(request["key"]), request["key_ref"], request["binding"])
    if arguments == ["seal"]:
        plaintext, salt = bytes.fromhex(request["plaintext"]), bytes.fromhex(request["salt"])
        print(seal(*place, plaintext, salt).hex())
        return 0
    try:
        print(open_blob(*place, bytes.fromhex(request["blob"])).hex())
    except Refused:
        print("refused", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
