#!/usr/bin/env python3
"""A toy plugin of age for the tests: c2sp.org/age-plugin, version 1 of both state machines.

Its "encryption" XORs the file key with a key that stands in the recipient as well as in the
identity. With TRACE in its own directory it writes down there how it was started and with which
environment. The file `mood` beside it makes it misbehave: `silent`, `endless`, `nonsense`, `error`,
`other` (it knows none of the recipients), `dies`.

    age_plugin_toy.py --generate NAME    prints an identity file
"""
import base64
import json
import os
import sys
import time

ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
HERE = os.path.dirname(os.path.abspath(__file__))


def polymod(values):
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> bit & 1 else 0
    return check


def bech32(human, data):
    values, bits, count = [], 0, 0
    for byte in data:
        bits, count = bits << 8 | byte, count + 8
        while count >= 5:
            count -= 5
            values.append(bits >> count & 31)
    if count:
        values.append(bits << (5 - count) & 31)
    expanded = [ord(c) >> 5 for c in human] + [0] + [ord(c) & 31 for c in human]
    check = polymod(expanded + values + [0] * 6) ^ 1
    values += [check >> 5 * (5 - i) & 31 for i in range(6)]
    return human + "1" + "".join(ALPHABET[v] for v in values)


def payload(text):
    values = [ALPHABET.index(c) for c in text.lower().rsplit("1", 1)[1][:-6]]
    out, bits, count = bytearray(), 0, 0
    for value in values:
        bits, count = (bits << 5 | value) & 0xFFF, count + 5
        if count >= 8:
            count -= 8
            out.append(bits >> count & 255)
    return bytes(out)


def send(tag, *arguments, body=b""):
    text = base64.b64encode(body).decode().rstrip("=")
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    if not lines or len(lines[-1]) == 64:
        lines.append("")
    sys.stdout.write(" ".join(("->", tag) + arguments) + "\n" + "\n".join(lines) + "\n")
    sys.stdout.flush()


def receive():
    head = sys.stdin.readline().split()
    if head[:1] != ["->"]:
        sys.exit("not a stanza")
    text = ""
    while True:
        line = sys.stdin.readline().rstrip("\n")
        text += line
        if len(line) < 64:
            break
    return head[1:], base64.b64decode(text + "=" * (-len(text) % 4))


def ask(tag, *arguments, body=b""):
    send(tag, *arguments, body=body)
    return receive()


def xor(key, body):
    return bytes(a ^ b for a, b in zip(body, key))


def generate(name):
    key = os.urandom(16)
    recipient = bech32("age1" + name, key)
    identity = bech32("age-plugin-" + name + "-", key).upper()
    print(f"# Recipient: {recipient}\n{identity}")


def main():
    if sys.argv[1:2] == ["--generate"]:
        return generate(sys.argv[2])
    machine = sys.argv[1].removeprefix("--age-plugin=")
    if os.path.exists(os.path.join(HERE, "TRACE")):
        with open(os.path.join(HERE, "TRACE"), "a") as trace:
            trace.write(json.dumps({"machine": machine, "environment": dict(os.environ)}) + "\n")
    mood_file = os.path.join(HERE, "mood")
    mood = open(mood_file).read().strip() if os.path.exists(mood_file) else ""
    if mood == "dies":
        sys.exit(3)
    recipients, keys, stanzas, file_key = [], [], [], None
    while True:
        (tag, *arguments), body = receive()
        if tag == "done":
            break
        if tag == "add-recipient":
            keys.append(payload(arguments[0]))
        elif tag == "add-identity":
            keys.append(payload(arguments[0]))
        elif tag == "wrap-file-key":
            file_key = body
        elif tag == "recipient-stanza":
            stanzas.append((arguments, body))
    if mood == "silent":
        time.sleep(3600)
    if mood == "endless":
        while True:
            send("msg", body=b"x" * 4000)
    if mood == "nonsense":
        print("hello, is this age?", flush=True)
        return None
    if mood == "error":
        ask("error", "internal", body=b"the key is in another drawer")
        return send("done")
    ask("msg", body=b"touch the toy\x1b[2J")
    # A command that no client knows has to be answered, too.
    assert ask("toy-grease", "x", body=b"y" * 48)[0][0] == "unsupported"
    if machine == "recipient-v1":
        for key in keys:
            ask("recipient-stanza", "0", "toy", body=xor(key, file_key))
    elif mood != "other":
        for (index, tag, *_), body in stanzas:
            if tag == "toy":
                ask("file-key", index, body=xor(keys[0], body))
                break
    return send("done")


main()
