"""Sends requests to a daemon, takes its mails as a relay, and says whether anything was refused, lost or doubled.

packaging/test runs it in the network of its Debian root while the package is upgraded:

    upgrade_load.py TOKEN STOP RESULT

It works until the file STOP exists, waits until the mails of all accepted requests have come, and writes RESULT. Each
request has a connection of its own, so that a daemon which does not listen is noticed. Standard library only.
"""

import collections
import http.client
import json
import pathlib
import socketserver
import sys
import threading
import time

API = ("127.0.0.1", 8025)
RELAY = ("127.0.0.1", 2525)
CLIENTS = 4
PAUSE = 0.05

token, stop, result = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
arrived = collections.Counter()
answers = collections.Counter()
accepted = set()
lock = threading.Lock()


class Relay(socketserver.StreamRequestHandler):
    """Accepts every mail and notes its recipient once the mail is complete."""

    disable_nagle_algorithm = True

    def say(self, line):
        self.wfile.write(line.encode() + b"\r\n")

    def handle(self):
        self.say("220 relay")
        recipient = ""
        for line in self.rfile:
            word = line.strip().upper()
            if word.startswith(b"EHLO"):
                self.say("250-relay\r\n250 PIPELINING")
            elif word.startswith(b"RCPT"):
                recipient = line.decode().split("<")[1].split(">")[0]
                self.say("250 ok")
            elif word == b"DATA":
                self.say("354 go on")
                while self.rfile.readline() not in (b".\r\n", b""):
                    pass
                with lock:
                    arrived[recipient] += 1
                self.say("250 taken")
            elif word == b"QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 ok")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def call(method, path, body, content="application/json"):
    connection = http.client.HTTPConnection(*API, timeout=60)
    try:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": content}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def prepare():
    """Stores what the mails need."""
    objects = [
        {"kind": "brands", "id": "tea", "name": "Tea", "sender": {"name": "Tea", "email": "hello@tea.example"}},
        {"kind": "templates", "id": "hi", "brand_id": "tea", "title": "Hi", "subject": "Hi", "html": "<p>Hi</p>"},
    ]
    for number in range(CLIENTS):
        email = f"client{number}@tea.example"
        objects.append({"kind": "members", "id": f"client{number}", "brand_id": "tea", "email": email})
    status, body = call("POST", "/api/v1/import", "\n".join(map(json.dumps, objects)), "application/x-ndjson")
    assert status == 200 and json.loads(body)["refused"] == 0, (status, body)


def client(number):
    """One request after the other; each mail goes to an address of its own."""
    count = 0
    while not stop.exists():
        count += 1
        address = f"client{number}-{count}@tea.example"
        member = {"brand_id": "tea", "email": address}
        mail = {"brand_id": "tea", "template_id": "hi", "user": {"identifier": f"client{number}"}}
        try:
            status, _ = call("PUT", f"/api/v1/members/client{number}", json.dumps(member))
            with lock:
                answers[status] += 1
            status, _ = call("POST", "/mail", json.dumps(mail))
        except OSError as error:
            status = type(error).__name__
        with lock:
            answers[status] += 1
            if status == 200:
                accepted.add(address)
        time.sleep(PAUSE)


def main():
    server = Server(RELAY, Relay)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    prepare()
    clients = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    until = time.monotonic() + 60
    while time.monotonic() < until and not accepted <= set(arrived):
        time.sleep(0.1)
    time.sleep(2)
    good = {200, 201, 204}
    report = {
        "requests": sum(answers.values()),
        "refused": sum(count for status, count in answers.items() if status not in good),
        "answers": {str(status): count for status, count in answers.items()},
        "accepted": len(accepted),
        "lost": len(accepted - set(arrived)),
        "doubled": sum(1 for count in arrived.values() if count > 1),
        "not_asked_for": len(set(arrived) - accepted),
    }
    result.write_text(json.dumps(report))


main()
