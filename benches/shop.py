"""A merchant for measurements with batches: the configuration of its daemons, its members, and how it asks.

Used by benches/batch and benches/crash.
"""

import http.client
import json

from servers import Failed, run

IMPORT = 20_000

# What differs from the defaults: private ports and files, and no limit that a measurement would run into.
CONFIG = """
[database]
url = "{database}"
[queue]
url = "{queue}"
[http]
listen = "127.0.0.1:{port}"
rate = "1000000/s"
timeout = "10m"
[dashboard]
listen = "127.0.0.1:{dashboard}"
[[smtp.routes]]
name = "sink"
host = "127.0.0.1"
port = {smtp}
tls = "none"
connections = 20
[log]
filter = "warn"
"""


class Refused(Failed):
    """The daemon answered with another status than was hoped for."""

    def __init__(self, request, status, text):
        super().__init__(f"{request}: {status} {text[:500]}")
        self.status = status


class Shop:
    """A merchant who speaks HTTP to the daemon."""

    def __init__(self, port, token):
        self.port, self.headers = port, {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1_800)
        try:
            connection.request(method, path, body, {**self.headers, **headers})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status not in (200, 201):
            raise Refused(f"{method} {path}", answer.status, text)
        return json.loads(text)

    def stock(self, users, on_crash="resend"):
        """Stores what a batch needs: a brand, a template, and members `m0` to `m<users - 1>`."""
        self.ask("PUT", "/api/v1/brands/tea", json.dumps({"name": "Tea", "sender": {"email": "tea@example.com"}}))
        template = {
            "brand_id": "tea", "title": "Hello", "subject": "For you, {{first_name}}", "html": "<p>{{code}}</p>",
            "on_crash": on_crash,
        }  # fmt: skip
        self.ask("PUT", "/api/v1/templates/hello", json.dumps(template))
        for begin in range(0, users, IMPORT):
            member = {"kind": "members", "brand_id": "tea", "first_name": "Ann"}
            members = (
                json.dumps({**member, "id": f"m{n}", "email": f"m{n}@example.net"})
                for n in range(begin, min(users, begin + IMPORT))
            )
            self.ask("POST", "/api/v1/import", "\n".join(members), **{"Content-Type": "application/x-ndjson"})


def make_merchant(command, merchant):
    """Returns its token and the secret that signs its webhooks."""
    made = json.loads(run([*command, "merchant", "create", merchant, "--name", merchant, "--country", "DE", "--json"]))
    token = json.loads(run([*command, "token", "create", "--merchant", merchant, "--abilities", "*", "--json"]))
    return token["token"], made["secret"]


def request(users, **more):
    """The body of a request for a batch to all members."""
    everyone = [{"identifier": f"m{n}", "code": f"TEA-{n:07}"} for n in range(users)]
    return json.dumps({"brand_id": "tea", "template_id": "hello", **more, "users": everyone})
