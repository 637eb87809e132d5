#!/usr/bin/env python3
"""What rendering costs, old and new side by side: benches/rendering.py OLD NEW [--rounds N]

Each argument is a release binary of postroom. Both serve at once, each with a database and a merchant of its own. In turns
they preview the same templates, which compiles and fills them by the engine that sends; what counts is the CPU time of the
process, not the clock. Prints the time for each template and the ratio; ends with 1 where one is above 1.05. The template whose
CSS depends on the rendered rows is only printed: it costs what makes it right.
"""

import argparse
import http.client
import json
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

MOST = 1.05
PREVIEWS = 400
DEPENDS = "depends"
ROW = "<tr><td>{{name}}</td><td>{{price}}</td></tr>"
TEMPLATES = {
    "plain": "<p>Hello {{first_name}}, your voucher is <b>{{voucher}}</b>.</p>",
    "loop": "<style>td{padding:4px;color:#333}</style><table>{{#each items}}" + ROW + "{{/each}}</table>",
    "conditions": "{{#if vip}}<p>{{first_name}}</p>{{else}}<p>{{voucher}}</p>{{/if}}" * 40,
    DEPENDS: "<style>tr:last-child td{font-weight:bold}</style><table>{{#each items}}" + ROW + "{{/each}}</table>",
}
USER = {
    "first_name": "Ann",
    "voucher": "TEA-10",
    "vip": True,
    "items": [{"name": f"Tea {n}", "price": "€4.90"} for n in range(40)],
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Daemon:
    def __init__(self, binary, folder):
        self.port, admin = free_port(), free_port()
        config = pathlib.Path(folder) / "config.toml"
        config.write_text(
            f'[database]\nurl = "sqlite:{folder}/postroom.db"\n'
            f'[http]\nlisten = "127.0.0.1:{self.port}"\npublic_url = "http://127.0.0.1:{self.port}"\nrate = "100000/s"\n'
            f'[admin]\nlisten = "127.0.0.1:{admin}"\n'
        )
        run = lambda *words: subprocess.run(
            [binary, *words, "--config", config, "--json"], check=True, capture_output=True, text=True
        ).stdout
        run("migrate")
        run("merchant", "create", "tea", "--name", "Tea", "--country", "DE")
        self.token = json.loads(run("token", "create", "--merchant", "tea", "--abilities", "*"))["token"]
        self.process = subprocess.Popen(
            [binary, "serve", "--config", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(200):
            try:
                self.call("GET", "/healthz")
                break
            except OSError:
                time.sleep(0.05)
        self.call("PUT", "/api/v1/brands/tea", {"name": "Tea", "sender": {"email": "hello@tea.example"}})
        for name, html in TEMPLATES.items():
            document = {"brand_id": "tea", "title": name, "subject": "Hello {{first_name}}", "html": html}
            self.call("PUT", f"/api/v1/templates/{name}", document)

    def call(self, method, path, body=None):
        if getattr(self, "connection", None) is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            self.connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = self.connection.getresponse()
            text = answer.read()
        except OSError:
            self.connection = None
            raise
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {text[:300]}")
        return text

    def cpu(self):
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def preview(self, name):
        """Microseconds of CPU for one preview."""
        before = self.cpu()
        for _ in range(PREVIEWS):
            self.call("POST", f"/api/v1/templates/{name}/preview", {"user": USER})
        return (self.cpu() - before) / PREVIEWS * 1e6


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("old")
    arguments.add_argument("new")
    arguments.add_argument("--rounds", type=int, default=9)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        daemons = [Daemon(given.old, one), Daemon(given.new, other)]
        try:
            worst = 0
            for name in TEMPLATES:
                for daemon in daemons:
                    daemon.preview(name)
                rounds = [[daemon.preview(name) for daemon in daemons] for _ in range(given.rounds)]
                old, new = (statistics.median(times) for times in zip(*rounds))
                ratio = statistics.median(after / before for before, after in rounds)
                worst = max(worst, 0 if name == DEPENDS else ratio)
                print(f"{name:12} old {old:8.1f} µs   new {new:8.1f} µs   ratio {ratio:.3f}")
        finally:
            for daemon in daemons:
                daemon.process.terminate()
                daemon.process.wait(20)
    sys.exit(1 if worst > MOST else 0)


if __name__ == "__main__":
    main()
