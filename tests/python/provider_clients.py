"""Runs the providers' own clients against the stand-in and prints what they make of its answers.

Reads a JSON object from standard input: `url` and `ca` of the stand-in, `tenant`, `client`, `secret`,
`private_key`, `thumbprint` (SHA-1, hex), `mailbox`, `elsewhere` (an address without a mailbox), `denied`
(one out of scope), `google` (a key file) and `user`. Prints one JSON object: what each client got.

Needs msal, exchangelib and google-auth (Debian: python3-msal python3-exchangelib python3-google-auth).
"""

import json
import os
import sys

asked = json.load(sys.stdin)
os.environ["REQUESTS_CA_BUNDLE"] = asked["ca"]

import google.auth.exceptions
import google.auth.transport.requests
import msal
from exchangelib import (
    IMPERSONATION,
    OAUTH2,
    Account,
    Build,
    Configuration,
    Identity,
    Message,
    OAuth2Credentials,
    Version,
)
from google.oauth2 import service_account

url, tenant, client = asked["url"], asked["tenant"], asked["client"]
said = {}


def by_msal(name, credential, tenant=tenant, client=client):
    application = msal.ConfidentialClientApplication(
        client,
        authority=f"{url}/{tenant}",
        client_credential=credential,
        instance_discovery=False,
        validate_authority=False,
    )
    for resource in ("graph.microsoft.com", "outlook.office365.com"):
        reply = application.acquire_token_for_client([f"https://{resource}/.default"])
        got = "token" if "access_token" in reply else reply["error"]
        said[f"msal {name} {resource}"] = [got, reply.get("error_codes", [])]


by_msal("secret", asked["secret"])
by_msal("wrong secret", "not the secret")
by_msal(
    "certificate",
    {"private_key": asked["private_key"], "thumbprint": asked["thumbprint"]},
)
by_msal("unknown application", asked["secret"], client="99999999-bbbb-cccc-dddd-eeeeeeeeeeee")


class Credentials(OAuth2Credentials):
    @property
    def token_url(self):
        return f"{url}/{tenant}/oauth2/v2.0/token"


def by_exchangelib(name, mailbox, what):
    credentials = Credentials(
        client_id=client,
        client_secret=asked["secret"],
        tenant_id=tenant,
        identity=Identity(primary_smtp_address=mailbox),
    )
    configuration = Configuration(
        service_endpoint=f"{url}/EWS/Exchange.asmx",
        credentials=credentials,
        auth_type=OAUTH2,
        version=Version(build=Build(15, 20, 9000, 10)),
    )
    try:
        account = Account(
            primary_smtp_address=mailbox,
            config=configuration,
            autodiscover=False,
            access_type=IMPERSONATION,
        )
        said[f"exchangelib {name}"] = what(account)
    except Exception as error:
        said[f"exchangelib {name}"] = type(error).__name__


def send(account):
    message = Message(account=account, subject="a test", body="text", to_recipients=[asked["mailbox"]])
    message.send(save_copy=False)
    return "sent"


by_exchangelib("contacts", asked["mailbox"], lambda it: len(list(it.contacts.all().only("subject"))))
by_exchangelib("calendar", asked["mailbox"], lambda it: len(list(it.calendar.all().only("subject"))))
by_exchangelib("send", asked["mailbox"], send)
by_exchangelib("elsewhere", asked["elsewhere"], lambda it: it.contacts.all().count())
by_exchangelib("denied", asked["denied"], lambda it: it.contacts.all().count())


def by_google(name, scope, address, subject=asked["user"], **changes):
    key = {**asked["google"], "token_uri": f"{url}/token", **changes}
    credentials = service_account.Credentials.from_service_account_info(
        key, scopes=[f"https://www.googleapis.com/auth/{scope}"], subject=subject
    )
    try:
        credentials.refresh(google.auth.transport.requests.Request())
    except google.auth.exceptions.RefreshError as error:
        said[f"google {name}"] = str(error.args[0]).split(":")[0]
        return
    session = google.auth.transport.requests.AuthorizedSession(credentials)
    said[f"google {name}"] = session.get(f"{url}/{address}").status_code


people = "v1/people/me/connections?personFields=names&pageSize=1"
calendar = "calendar/v3/users/me/calendarList?maxResults=1"
by_google("contacts", "contacts", people)
by_google("calendar", "calendar", calendar)
by_google("wrong interface", "contacts", calendar)
by_google("scope missing", "drive", people)
by_google("unknown user", "contacts", people, subject="nobody@client.example")
by_google("unknown key", "contacts", people, private_key_id="another")

print(json.dumps(said))
