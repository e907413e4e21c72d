"""A second, independent verifier of Strongroom audit exports.

Written from the description of the format, to compare with the one in the program. Needs the
`cryptography` package.

usage: audit_verify.py EXPORT VKEY [--checkpoint FILE]...

Prints a line with the verdict, then one JSON object for each finding; exit code 0 or 1.
"""

import argparse
import base64
import binascii
import hashlib
import json
import re
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MAX_UNSIGNED_SECS = 10
SLUG = re.compile(r"(?=.{1,64}\Z)[a-z0-9]+(-[a-z0-9]+)*")
ULID = "[0-7][0-9a-hjkmnp-tv-z]{25}"
PREFIXES = "clnt cont cred vers role envt wkld oper pkey auth kek skey req".split()
SUBJECT = re.compile(f"({'|'.join(PREFIXES)})_{ULID}|cred_{ULID}#(0|[1-9][0-9]{{0,19}})")
WORD = re.compile("[a-z0-9_.-]{1,64}")
DIGEST = re.compile("sha256:[0-9a-f]{64}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z", re.ASCII)
FIELDS = {"actor", "at", "detail", "key", "kind", "request", "subjects", "v"}


class Refused(Exception):
    """Why something is not what it should be; the text is the reason's code."""


def b64(text):
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refused("malformed") from None
    if base64.b64encode(data).decode() != text:
        raise Refused("malformed")
    return data


def decimal(text):
    if not re.fullmatch("0|[1-9][0-9]{0,19}", text, re.ASCII) or int(text) >= 2**64:
        raise Refused("no-checkpoint")
    return int(text)


def read_vkey(text):
    name, key_id, key = text.split("+", 2)
    data = b64(key)
    digest = hashlib.sha256(name.encode() + b"\n" + data).digest()[:4]
    if data[0] != 1 or len(data) != 33 or digest.hex() != key_id:
        raise SystemExit("VKEY is not the public key of an audit log")
    return name, digest, Ed25519PublicKey.from_public_bytes(data[1:])


def open_note(note, vkey):
    """The signed text of a note, or Refused."""
    if any(ord(c) < 32 and c != "\n" or 127 <= ord(c) < 160 for c in note):
        raise Refused("malformed")
    text, gap, signatures = note.rpartition("\n\n")
    if not gap or not signatures.endswith("\n") or len(note.encode()) > 16384:
        raise Refused("malformed")
    text, seen = text + "\n", 0
    name, key_id, key = vkey
    for line in signatures[:-1].split("\n"):
        match = re.fullmatch("\u2014 ([^\\s+]+) (\\S+)", line)
        data = b64(match[2]) if match else b""
        if len(data) < 5:
            raise Refused("malformed")
        if (match[1], data[:4]) != (name, key_id):
            continue
        if seen:
            raise Refused("signed-twice")
        try:
            key.verify(data[4:], text.encode())
        except InvalidSignature:
            raise Refused("bad-signature") from None
        seen += 1
    if not seen:
        raise Refused("unknown-key")
    return text


def read_checkpoint(note, vkey):
    """(origin, size, root) of a signed checkpoint, or Refused."""
    lines = open_note(note, vkey).split("\n")[:-1]
    if len(lines) < 3 or "" in lines:
        raise Refused("no-checkpoint")
    root = b64(lines[2])
    parts = lines[0].split("/")
    if len(root) != 32 or len(parts) != 4 or parts[0] != "strongroom":
        raise Refused("no-checkpoint")
    return lines[0], decimal(lines[1]), root


def leaf_hash(data):
    return hashlib.sha256(b"\0" + data).digest()


def push(edge, leaf):
    """Adds a leaf to a tree, kept as [number of leaves, root] of its complete subtrees."""
    edge.append((1, leaf))
    while len(edge) > 1 and edge[-2][0] == edge[-1][0]:
        (count, right), (_, left) = edge.pop(), edge.pop()
        edge.append((2 * count, hashlib.sha256(b"\1" + left + right).digest()))


def root_of(edge):
    """The root by RFC 6962 section 2.1: the subtrees joined from the right."""
    if not edge:
        return hashlib.sha256(b"").digest()
    root = edge[-1][1]
    for _, left in reversed(edge[:-1]):
        root = hashlib.sha256(b"\1" + left + root).digest()
    return root


def detail_ok(value):
    if isinstance(value, str):
        return any(form.fullmatch(value) for form in (SUBJECT, WORD, DIGEST, TIME))
    if isinstance(value, list) and value:
        if all(isinstance(pair, list) and len(pair) == 2 for pair in value):
            ends = [end for pair in value for end in pair]
            rising = all(a <= b for a, b in value) and all(
                a[1] + 1 < b[0] for a, b in zip(value, value[1:])
            )
            return all(type(end) is int for end in ends) and rising
        numbers = all(type(item) is int for item in value)
        ids = all(isinstance(item, str) and SUBJECT.fullmatch(item) for item in value)
        words = all(isinstance(item, str) and WORD.fullmatch(item) for item in value)
        return numbers or ids or words
    return type(value) is int


def read_record(data):
    """The record as a dictionary, or None if it is not one in canonical form."""
    try:
        record = json.loads(data)
        again = json.dumps(record, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
        if again.encode() != data or len(data) > 65535 or not set(record) <= FIELDS:
            return None
        ids = [record.get("actor", "wkld_" + "0" * 26), record.get("key", "pkey_" + "0" * 26)]
        ids += [record.get("request", "req_" + "0" * 26), *record.get("subjects", [])]
        details = record.get("detail", {"x": 1})
        fine = (
            record["v"] == 1
            and type(record["at"]) is int
            and re.fullmatch("[a-z-]+[.][a-z-]+", record["kind"])
            and record.get("subjects", [1])
            and details
            and all(SUBJECT.fullmatch(text) for text in ids)
            and all(WORD.fullmatch(name) and detail_ok(value) for name, value in details.items())
        )
        return record if fine else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def read_line(line):
    """A line of the export as a dictionary, or None."""
    shapes = [
        {"v": int, "deployment": str, "node": str, "epoch": int, "vkey": str},
        {"v": int, "deployment": str, "node": str, "epoch": int},
        {"seq": int, "leaf": str, "record": str},
        {"seq": int, "leaf": str, "record64": str},
        {"checkpoint": str},
        {"end": int},
    ]
    try:
        form = json.loads(line)
        again = json.dumps(form, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        shape = {name: type(value) for name, value in form.items()}
        if again != line or shape not in shapes or len(line) > 7 * 65535:
            return None
        if any(type(n) is int and not 0 <= n < 2**64 for n in form.values()):
            return None
        if "v" in form and (
            form["v"] != 1 or not SLUG.fullmatch(form["deployment"]) or not SLUG.fullmatch(form["node"])
        ):
            return None
        if "seq" in form:
            form["leaf"] = b64(form["leaf"])
            if "record64" in form:
                form["bytes"] = b64(form["record64"])
            else:
                form["bytes"] = form["record"].encode()
            if len(form["leaf"]) != 32:
                return None
        return form
    except (ValueError, AttributeError, Refused):
        return None


class Verifier:
    def __init__(self, vkey_text):
        self.vkey_text, self.vkey = vkey_text, read_vkey(vkey_text)
        self.findings, self.ahead = [], []
        self.stored, self.computed = [], []
        self.records = self.next = self.signed = self.fitting = 0
        self.grown, self.claimed, self.origin = -1, None, None
        self.broken = self.diverged = self.ended = False
        self.complete, self.open = True, set()
        self.newest, self.since = None, None

    def find(self, code, **where):
        self.findings.append({"code": code, **where})

    def note(self, note, source):
        try:
            origin, size, root = read_checkpoint(note, self.vkey)
        except Refused as reason:
            return self.find("checkpoint-refused", source=source, reason=str(reason))
        if origin != self.origin:
            return self.find("foreign-origin", source=source)
        return size, root

    def claim(self, size, root, source):
        if self.claimed and self.claimed[0] == size and self.claimed[1] != root:
            self.find("split-view", size=size, source=source)
        else:
            self.claimed = (size, root)

    def judge(self, size, root, source):
        self.claim(size, root, source)
        if self.broken:
            return
        if root_of(self.stored) == root:
            self.computed = list(self.stored)
        elif root_of(self.computed) == root:
            self.stored = list(self.computed)
        elif self.diverged:
            return
        else:
            self.diverged = True
            return self.find("range-edited", **{"from": self.signed, "to": size, "source": source})
        self.signed, self.since = size, None
        self.fitting += 1

    def reach(self):
        self.ahead.sort(key=lambda entry: entry[0])
        while self.ahead and self.ahead[0][0] <= self.next:
            size, root, source = self.ahead.pop(0)
            self.judge(size, root, source)
            if "line" in source and not self.diverged:
                self.find("checkpoint-out-of-place", line=source["line"], size=size)

    def checkpoint(self, line, note):
        source = {"line": line}
        read = self.note(note, source)
        if not read:
            return
        size, root = read
        if size <= self.grown:
            self.find("checkpoint-not-growing", line=line, size=size)
            return self.claim(size, root, source)
        self.grown = size
        if size == self.next:
            self.judge(size, root, source)
        elif size > self.next:
            self.ahead.append((size, root, source))
        else:
            self.find("checkpoint-out-of-place", line=line, size=size)

    def record(self, line, form):
        seq, self.records = form["seq"], self.records + 1
        if seq < self.next:
            return self.find("record-out-of-place", line=line, seq=seq)
        if seq > self.next:
            self.find("records-missing", line=line, first=self.next, last=seq - 1)
            self.broken, self.complete = True, False
        self.next = seq + 1
        leaf = leaf_hash(form["bytes"])
        push(self.stored, form["leaf"])
        push(self.computed, leaf)
        record = read_record(form["bytes"])
        if leaf != form["leaf"]:
            self.find("record-edited", seq=seq)
            self.complete = False
        elif record is None:
            self.find("record-malformed", seq=seq)
            self.complete = False
        if record:
            self.newest = max(self.newest or 0, record["at"])
            self.since = record["at"] if self.since is None else self.since
            if record["kind"] == "release.intent":
                self.open.add(seq)
            if record["kind"] == "release.outcome":
                self.outcome(seq, record.get("detail", {}))
        self.reach()

    def outcome(self, seq, detail):
        named = [detail[name] for name in ("sent", "aborted") if name in detail]
        ranges = [seqs for seqs in named if isinstance(seqs, list) and isinstance(seqs[0], list)]
        fits = bool(named) and ranges == named
        for seqs in ranges:
            for first, last in seqs:
                closed = {intent for intent in self.open if first <= intent <= last}
                fits = fits and len(closed) == last - first + 1
                self.open -= closed
        if not fits and self.complete:
            self.find("outcome-without-intent", seq=seq)

    def finish(self):
        if not self.ended:
            self.find("truncated")
        for size, root, source in sorted(self.ahead, key=lambda entry: entry[0]):
            self.claim(size, root, source)
            where = {"from": self.signed, "size": size, "records": self.next, "source": source}
            self.find("tail-cut", **where)
        if not self.broken and not self.diverged:
            seconds = 0 if self.since is None else (self.newest - self.since) // 1_000_000
            if not self.fitting:
                self.find("nothing-signed", records=self.records)
            elif seconds > MAX_UNSIGNED_SECS:
                self.find("unsigned-tail", records=self.next - self.signed, seconds=seconds)

    def run(self, lines, kept):
        header = read_line(next(lines, b""))
        if not header or "v" not in header:
            return self.find("not-an-export")
        self.origin = "strongroom/{deployment}/{node}/{epoch}".format(**header)
        if self.vkey[0] != "strongroom-" + header["deployment"]:
            self.find("foreign-origin", source="header")
        if header.get("vkey", self.vkey_text) != self.vkey_text:
            self.find("header-key")
        for number, note in enumerate(kept, 1):
            read = self.note(note, {"kept": number})
            if read:
                self.ahead.append((*read, {"kept": number}))
        self.reach()
        for number, line in enumerate(lines, 2):
            form = read_line(line)
            if self.ended:
                self.find("after-end", line=number)
            elif form and "seq" in form:
                self.record(number, form)
            elif form and "checkpoint" in form:
                self.checkpoint(number, form["checkpoint"])
            elif form and "end" in form:
                self.ended = True
                if form["end"] != self.records:
                    self.find("end-disagrees", end=form["end"], records=self.records)
            else:
                self.find("line-malformed", line=number)
        return self.finish()


def main():
    parser = argparse.ArgumentParser(description="verify a Strongroom audit export")
    parser.add_argument("export")
    parser.add_argument("vkey", help="the public key, as text")
    parser.add_argument("--checkpoint", action="append", default=[], metavar="FILE")
    arguments = parser.parse_args()
    kept = []
    for path in arguments.checkpoint:
        with open(path, encoding="utf-8", newline="") as file:
            kept.append(file.read())
    verifier = Verifier(arguments.vkey)
    with open(arguments.export, "rb") as file:
        verifier.run(file, kept)
    verdict = "NOT PROVEN" if verifier.findings else "OK"
    root = "" if verifier.broken else " root " + root_of(verifier.stored).hex()
    print(f"{verdict}: {verifier.records} records, {verifier.signed} signed{root}")
    for finding in verifier.findings:
        print(json.dumps(finding))
    return 1 if verifier.findings else 0


if __name__ == "__main__":
    sys.exit(main())
