"""A mail server that keeps what it is given and misbehaves when it is told to.

    smtp_server.py FOLDER

The folder holds `server.pem` and `server.key`, `other.pem` and `other.key` (for another name), and
`control.json`, which is read again at each step. Prints the port that it listens on. Everything else is
written into the folder:

    N.json      one message that was given to it, read as a mail program reads it
    plain       what came without TLS
    steps       what was asked for, a line each

The control, an object: `user` and `password` that it takes; `starttls` false to offer none; `certificate`
"other"; `ahead` true to say something before TLS that is to be taken for its answer to what comes after
it; `without`, ways to sign in that it does not know; `slow`, the seconds that it thinks about each message; and `to`, which says for an address `rcpt`,
`begin` and `message`: what is answered to RCPT, to DATA and to the message itself, or for `message` one of

    cut         it hangs up in the middle of the message
    lost        it takes the message and hangs up
    silent      it takes the message and says nothing

Needs aiosmtpd (Debian: python3-aiosmtpd).
"""

import asyncio
import email
import email.policy
import itertools
import json
import os
import ssl
import sys
from pathlib import Path

from aiosmtpd.smtp import SMTP, AuthResult

folder = Path(sys.argv[1])
numbers = itertools.count(1)


def control():
    return json.loads((folder / "control.json").read_text())


def about(address):
    return control().get("to", {}).get(address, {})


def keep(name, text):
    """Whole or not at all."""
    new = folder / f".{name}.new"
    new.write_text(text)
    os.rename(new, folder / name)


def add(name, data):
    with open(folder / name, "ab") as file:
        file.write(data)


def read(envelope, content):
    """What a mail program makes of a message, and what is wrong with it."""
    message = email.message_from_bytes(content, policy=email.policy.default)
    wrong = []
    parts = {}
    for part in message.walk():
        wrong += [repr(defect) for defect in part.defects]
        for name, value in part.items():
            wrong += [f"{name}: {defect!r}" for defect in getattr(value, "defects", ())]
        if not part.is_multipart():
            parts[part.get_content_type()] = part.get_content()
    lines = content.split(b"\r\n")
    if any(b"\r" in line or b"\n" in line for line in lines):
        wrong.append("a line break that is half of one")
    if max(map(len, lines)) > 998:
        wrong.append("a line that is too long")
    return {
        "from": envelope.mail_from,
        "to": envelope.rcpt_tos,
        "headers": {name.lower(): str(value) for name, value in message.items()},
        "parts": parts,
        "wrong": wrong,
        "raw": content.decode("latin-1"),
    }


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        refusal = about(address).get("rcpt")
        if refusal is None:
            envelope.rcpt_tos.append(address)
        return refusal or "250 OK"

    async def handle_DATA(self, server, session, envelope):
        answer = about(envelope.rcpt_tos[0]).get("message", "250 OK")
        if answer[0] in "45":
            return answer
        keep(f"{next(numbers)}.json", json.dumps(read(envelope, envelope.original_content)))
        if answer == "lost":
            server.transport.abort()
        elif answer == "silent":
            await asyncio.sleep(3600)
        await asyncio.sleep(control().get("slow", 0))
        return answer


class Server(SMTP):
    def data_received(self, data):
        if self._tls_protocol is None:
            add("plain", data)
        super().data_received(data)

    async def _call_handler_hook(self, command, *args):
        add("steps", f"{command} {'tls' if self._tls_protocol else 'plain'}\n".encode())
        return await super()._call_handler_hook(command, *args)

    async def push(self, status):
        if str(status).startswith("220 Ready") and control().get("ahead"):
            status += "\r\n250-localhost\r\n250 AUTH NOTHING"
        await super().push(status)

    async def smtp_DATA(self, arg):
        said = about(self.envelope.rcpt_tos[0])
        if "begin" in said:
            return await self.push(said["begin"])
        if said.get("message") == "cut":
            await self.push("354 go on")
            await self._reader.readuntil(b"\r\n")
            return self.transport.abort()
        return await super().smtp_DATA(arg)


def authenticate(server, session, envelope, mechanism, login):
    said = control()
    right = (said["user"].encode(), said["password"].encode())
    return AuthResult(success=(login.login, login.password) == right, handled=False)


def make():
    said = control()
    tls = None
    if said.get("starttls", True):
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        which = said.get("certificate", "server")
        tls.load_cert_chain(folder / f"{which}.pem", folder / f"{which}.key")
    return Server(
        Handler(),
        hostname="localhost",
        tls_context=tls,
        require_starttls=tls is not None,
        auth_required=True,
        # One that takes a password without TLS as well is not to be given one.
        auth_require_tls=tls is not None,
        authenticator=authenticate,
        auth_exclude_mechanism=said.get("without"),
    )


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(make, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    # It ends with whoever holds the other end.
    await loop.run_in_executor(None, sys.stdin.read)
    os._exit(0)


asyncio.run(main())
