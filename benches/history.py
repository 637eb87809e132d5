"""A database full of mails and attempts, and a daemon on it that may be busy with more of them.

Used by the measurements beside it that read what there is.
"""

import contextlib
import http.client
import json
import os
import pathlib
import socket
import sqlite3
import subprocess
import time

from servers import Sink, free_port, start_postgres

DAY = 86_400_000
ALONE = 20  # seconds for which mails are sent while nobody asks for anything

MAILS = """
INSERT INTO mails (id, merchant_id, lane, state, template, template_version, sender, recipient, recipient_key, message_id,
    tags, order_id, cart_id, subscription_id, member_id, batch_id, on_crash, recorded_at, due_at, wake_at, attempt,
    settled_at, route, provider_id, error, class)
SELECT id, CASE WHEN n % 4 = 0 THEN 'shop-' || (n * 10 / {mails} % 3) ELSE 'shop-' || (n % 3) END, CASE WHEN n % 4 = 0 THEN 'bulk' ELSE 'transactional' END,
    CASE WHEN n % 200 = 1 THEN 'failed' WHEN n % 500 = 2 THEN 'queued' WHEN n % 500 = 3 THEN 'deferred' ELSE 'sent' END,
    'template-' || (n % 20), 'v' || (n % 20), '{"email":"shop@tea.example"}',
    'Ann-' || (n % 300000) || '@d' || (n % 5000) || '.example', 'd' || (n % 5000) || '.example@ann-' || (n % 300000),
    id || '@tea.example', '{"user":{"code":"' || n || '","filler":"' || {filler} || '"}}',
    CASE WHEN n % 4 = 1 THEN 'o' || n END, CASE WHEN n % 4 = 2 THEN 'c' || n END, CASE WHEN n % 4 = 3 THEN 's' || n END,
    CASE WHEN n % 4 = 0 THEN 'm' || (n % {members}) END,
    CASE WHEN n % 4 = 0 THEN '01900000-0000-7000-8000-' || {batch} END, 'resend', at, at,
    CASE WHEN n % 500 IN (2, 3) AND n % 200 <> 1 THEN 9000000000000 END, 2,
    CASE WHEN n % 500 IN (2, 3) AND n % 200 <> 1 THEN NULL ELSE at END, CASE WHEN n % 2 = 0 THEN 'main' ELSE 'second' END,
    'p' || n, CASE WHEN n % 200 = 1 THEN '552 5.2.2 mailbox full' END,
    CASE WHEN n % 200 = 1 THEN 'mailbox_full' WHEN n % 500 = 3 THEN 'greylist' ELSE 'accepted' END
FROM (SELECT n, {start} + n * {step} AS at, {id} AS id FROM {numbers}) AS mail
"""

ATTEMPTS = """
INSERT INTO attempts (mail_id, number, worker, at, route, phase, outcome, code, enhanced, reply, millis, class)
SELECT id, number, 'w', recorded_at + number, 'main', 'final', CASE WHEN number = 1 THEN 'transient' ELSE 'accepted' END,
    250, '2.0.0', '2.0.0 Ok: queued as p', 12, CASE WHEN number = 1 THEN 'greylist' ELSE 'accepted' END
FROM mails CROSS JOIN (SELECT 1 AS number UNION ALL SELECT 2) AS numbers
"""

BATCHES = """
INSERT INTO batches (id, merchant_id, brand_id, brand, template, template_version, link, state, requested_at, mails, made, sent)
SELECT {batch_id}, 'shop-' || (n % 3), 'tea', '{}', 'template-1', 'v1', '', 'finished', {start}, {size}, {size}, {size}
FROM {numbers}
"""

TEMPLATES = """
INSERT INTO template_versions (id, merchant_id, template_id, subject, html, tags, created_at)
SELECT 'v' || n, NULL, 'template-' || n, 'News of week ' || n || ' for you', '<p>x</p>', '[]', 0 FROM {numbers}
"""


def words(database, mails):
    """What differs between the databases."""
    start, step = int(time.time() * 1000) - 30 * DAY, max(1, 30 * DAY // mails)
    at = f"{start} + n * {step}"
    if database == "sqlite":
        numbers = "(WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {}) SELECT n FROM numbers) AS numbers"
        hexed = f"printf('%012x', {at})"
        number = "printf('%012x', n)"
        twelve = "printf('%012d', {})"
        filler = "printf('%.300c', 'x')"
    else:
        numbers = "generate_series(1::bigint, {}) AS numbers (n)"
        hexed = f"lpad(to_hex({at}), 12, '0')"
        number = "lpad(to_hex(n), 12, '0')"
        twelve = "lpad(({})::text, 12, '0')"
        filler = "repeat('x', 300)"
    made = f"substr({hexed}, 1, 8) || '-' || substr({hexed}, 9, 4) || '-7000-8000-' || {number}"
    return {"start": start, "step": step, "numbers": numbers, "id": made, "twelve": twelve, "filler": filler}


def fill(execute, database, mails):
    """Records so many mails of `shop-0` to `shop-2`."""
    for statement in statements(database, mails):
        execute(statement)
    execute("ANALYZE")
    if database == "postgres":
        # As the server does by itself within minutes; else that comes while something is measured.
        execute("VACUUM")
        execute("CHECKPOINT")


def statements(database, mails):
    marks = words(database, mails)
    many, few = marks["numbers"].format(mails), marks["numbers"].format(20)
    marks["batch"] = marks["twelve"].format(f"n * 10 / {mails}")
    statement = MAILS
    marks |= {"mails": mails, "members": mails * 2 // 5}
    for name in ("start", "step", "id", "batch", "mails", "members", "filler"):
        statement = statement.replace("{" + name + "}", str(marks[name]))
    # Each batch is one merchant's.
    batches = BATCHES.replace("{batch_id}", "'01900000-0000-7000-8000-' || " + marks["twelve"].format("n"))
    batches = batches.replace("{size}", str(mails // 40)).replace("{start}", str(marks["start"]))
    few_statements = [statement.replace("{numbers}", few) for statement in (TEMPLATES, batches)]
    return [statement.replace("{numbers}", many), ATTEMPTS, *few_statements]


def postgres(bench):
    url = start_postgres(bench)
    return url, executor_of(url)


def sqlite(bench):
    url = f"sqlite:{bench.folder / 'postroom.db'}"
    return url, executor_of(url)


def executor_of(url):
    """What executes statements in a database."""
    if url.startswith("sqlite:"):
        return lambda sql: execute_in_file(url.removeprefix("sqlite:"), sql)
    psql = [pathlib.Path(os.environ.get("POSTGRES_BIN") or max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))) / "psql"]
    psql += ["-q", "-v", "ON_ERROR_STOP=1", url, "-c"]
    return lambda sql: subprocess.run([*psql, sql], check=True)


def execute_in_file(file, sql):
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -500000")
        connection.execute(sql)


class History:
    """An installation with `mails` mails of three merchants, and with a batch under way where `rate` says how fast."""

    def __init__(self, bench, binary, database, mails, rate=0):
        self.bench, self.rate, self.port, self.admin_port = bench, rate, free_port(), free_port()
        url, execute = (sqlite if database == "sqlite" else postgres)(bench)
        config = bench.path("postroom.toml")
        config.write_text(
            f'database.url = "{url}"\nhttp.listen = "127.0.0.1:{self.port}"\n'
            f'admin.listen = "127.0.0.1:{self.admin_port}"\nlog.filter = "warn"\nhttp.rate = "100000/s"\n')
        self.sink = Sink(bench) if rate else None
        if self.sink:
            with config.open("a") as more:
                more.write(f'limits.mails = "{rate}/s"\n[[smtp.routes]]\nname = "sink"\nhost = "127.0.0.1"\n'
                           f'port = {self.sink.port}\ntls = "none"\nconnections = 8\n')
        self.command = [binary, "--config", config]
        self.run("migrate")
        for shop in range(3):
            self.run("merchant", "create", f"shop-{shop}", "--name", "Shop", "--country", "DE")
        token = self.run("token", "create", "--merchant", "shop-0", "--abilities", "*", "--json")
        self.token, self.batch = json.loads(token)["token"], None
        began = time.monotonic()
        fill(execute, database, mails)
        print(f"{database}: {mails:,} mails, {2 * mails:,} attempts, filled in {time.monotonic() - began:.0f} s")
        self.daemon = bench.start("postroom", [*self.command, "serve"])
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port)
        bench.wait(self.daemon, "the daemon", self.is_up)

    def run(self, *words):
        return subprocess.run([*self.command, *words], check=True, capture_output=True).stdout

    def is_up(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True

    def call(self, method, path, body=None, kind="application/json"):
        """One request of shop-0's; returns what it was answered."""
        headers = {"Authorization": f"Bearer {self.token}"} | ({"Content-Type": kind} if body else {})
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status not in (200, 201):
            raise SystemExit(f"{path}: {answer.status} {text.decode()[:500]}")
        return json.loads(text)

    def begin_to_send(self, seconds):
        """Sends a batch for so long: the rate of the installation says how fast it goes. First nothing else is done."""
        self.batch = send(self.call, self.rate * seconds)
        self.bench.wait(self.daemon, "the first mails", lambda: self.sink.messages() > self.rate)
        self.begin_to_count()
        time.sleep(ALONE)
        self.alone = self.sent_a_second()
        self.begin_to_count()

    def begin_to_count(self):
        self.since, self.before = time.monotonic(), self.sink.messages()

    def is_slowed_down(self):
        """Prints how fast mails were sent; whether that was more than 5 % slower than while nobody asked for anything."""
        rate = self.sent_a_second()
        print(f"{rate:.0f} mails/s were sent meanwhile, {self.alone:.0f} before")
        return rate < 0.95 * self.alone

    def sent_a_second(self):
        """How many mails were sent a second since then."""
        return (self.sink.messages() - self.before) / (time.monotonic() - self.since)


def send(call, count):
    """Sends a batch of so many mails; returns its id."""
    call("PUT", "/api/v1/brands/tea", json.dumps({"name": "Tea", "sender": {"name": "Tea", "email": "hello@tea.example"}}))
    template = {"brand_id": "tea", "title": "News", "subject": "News", "html": "<p>Dear {{full_name}}, news.</p>"}
    call("PUT", "/api/v1/templates/news", json.dumps(template))
    members = [{"kind": "members", "id": f"load-{number}", "brand_id": "tea", "email": f"load-{number}@example.net",
                "first_name": "Ann", "last_name": "Lee"} for number in range(count)]
    call("POST", "/api/v1/import", "\n".join(map(json.dumps, members)), "application/x-ndjson")
    users = [{"identifier": member["id"]} for member in members]
    asked = {"brand_id": "tea", "template_id": "news", "users": users}
    return call("POST", "/mails", json.dumps(asked))["data"]["batch_id"]
