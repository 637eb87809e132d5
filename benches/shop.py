"""A merchant of a measured postroom: how it asks, and what its batches are about."""

import http.client
import itertools
import json

from servers import ROOT, Failed

IMPORT = 20_000
MAIL = ROOT / "benches/mail"
# The body of the single mail number {n}, of the template `hello` that `stock_mail` stores.
MAILING = '{"brand_id":"tea","template_id":"hello","user":{"identifier":"m{n}","coupon_code":"TEA-{n}"}}'


class Refused(Failed):
    """The daemon answered with another status than was hoped for."""

    def __init__(self, request, status, text):
        super().__init__(f"{request}: {status} {text[:500]}")
        self.status = status


class Shop:
    """A merchant who speaks HTTP to the daemon; `secret` signs its webhooks."""

    def __init__(self, port, token, secret):
        self.port, self.token, self.secret = port, token, secret
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

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

    def tell(self, documents):
        """Imports documents by the thousand; each must be taken."""
        lines = map(json.dumps, documents)
        while some := "\n".join(itertools.islice(lines, IMPORT)):
            answer = self.ask("POST", "/api/v1/import", some, **{"Content-Type": "application/x-ndjson"})
            if answer["refused"]:
                raise Failed(f"the import refused {answer['refused']} documents: {answer['errors'][:3]}")

    def stock_mail(self):
        """Stores a brand, and a template of 6 KB."""
        template = {
            "brand_id": "tea",
            "title": "Hello",
            "subject": "Something warm for you, {{first_name}}",
            "html": (MAIL / "hello.html").read_text(),
            "text": (MAIL / "hello.txt").read_text(),
        }
        brand = {"name": "Tea", "sender": {"name": "Tea", "email": "tea@example.com"}}
        self.ask("PUT", "/api/v1/brands/tea", json.dumps(brand))
        self.ask("PUT", "/api/v1/templates/hello", json.dumps(template))

    def stock(self, users, address="m{}@example.net".format):
        """Stores what a batch needs: a brand, a template, and members `m0` to `m<users - 1>`, each with its address."""
        self.ask("PUT", "/api/v1/brands/tea", json.dumps({"name": "Tea", "sender": {"email": "tea@example.com"}}))
        template = {
            "brand_id": "tea", "title": "Hello", "subject": "For you, {{first_name}}", "html": "<p>{{code}}</p>",
        }  # fmt: skip
        self.ask("PUT", "/api/v1/templates/hello", json.dumps(template))
        member = {"kind": "members", "brand_id": "tea", "first_name": "Ann"}
        self.tell({**member, "id": f"m{n}", "email": address(n)} for n in range(users))


def request(users, **more):
    """The body of a request for a batch to all members."""
    everyone = [{"identifier": f"m{n}", "code": f"TEA-{n:07}"} for n in range(users)]
    return json.dumps({"brand_id": "tea", "template_id": "hello", **more, "users": everyone})
