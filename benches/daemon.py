"""Postroom as it is measured: its configuration, its stores, its merchants and its processes."""

import json
import sqlite3

from servers import SMTP_CONNECTIONS, answers, free_port, run, start_postgres, start_redis
from shop import Shop

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
[admin]
listen = "127.0.0.1:{admin_port}"
[[smtp.routes]]
name = "sink"
host = "127.0.0.1"
port = {smtp_port}
tls = "none"
connections = {connections}
{route}
[log]
filter = "warn"
"""


class Postroom:
    """An installation on `stores`, as in `postgres+redis` or `sqlite+memory`, whose schema is there.

    With `+dkim` at its end every mail is signed with an RSA and an Ed25519 key. `more` is appended to its configuration, `route` are further settings of its route.
    """

    def __init__(self, bench, binary, stores, smtp_port, more="", route=""):
        database, queue, *features = stores.split("+")
        self.bench, self.more, self.port, self.config = bench, more, free_port(), bench.path("config.toml")
        self.admin_port = free_port()
        self.redis, self.redis_port = start_redis(bench) if queue == "redis" else (None, None)
        self.database = start_postgres(bench) if database == "postgres" else f"sqlite:{bench.path('postroom.db')}"
        self.settings = {
            "database": self.database,
            "queue": f"redis://127.0.0.1:{self.redis_port}" if self.redis else "memory:",
            "port": self.port,
            "admin_port": self.admin_port,
            "connections": SMTP_CONNECTIONS,
            "route": route,
        }
        self.command = [binary, "--config", self.config]
        if "dkim" in features:
            self.more += self.keys()
        self.deliver_to(smtp_port)
        run([*self.command, "migrate"])

    def deliver_to(self, smtp_port):
        """Notes where the processes that are started from now on deliver to."""
        self.config.write_text(CONFIG.format(smtp_port=smtp_port, **self.settings) + self.more)

    def keys(self):
        """Makes keys for the domain of the sender, and returns the settings that name them."""
        tables = []
        for algorithm in ("rsa", "ed25519"):
            words = ["dkim", "generate", "example.com", "--algorithm", algorithm, "--out", self.bench.folder, "--json"]
            made = json.loads(run([self.command[0], *words]))
            tables += ["[[dkim]]", *(f'{name} = "{made[name]}"' for name in ("domain", "selector", "key_file"))]
        return "\n".join(["", *tables, ""])

    def open_shop(self, merchant="shop", country="DE"):
        """Makes a merchant, who may do everything."""
        create = ["merchant", "create", merchant, "--name", merchant, "--country", country, "--json"]
        secret = json.loads(run([*self.command, *create]))["secret"]
        create = ["token", "create", "--merchant", merchant, "--abilities", "*", "--json"]
        return Shop(self.port, json.loads(run([*self.command, *create]))["token"], secret)

    def start(self, name="postroom", role="all", environment=None):
        command = [*self.command, "serve", "--role", role]
        return self.bench.start(name, command, cwd=self.bench.folder, env=environment)

    def serve(self, name="postroom", environment=None):
        """Starts a process of all roles and waits until it listens."""
        process = self.start(name, environment=environment)
        self.bench.wait(process, "the daemon", self.listens)
        return process

    def listens(self):
        return answers(self.port)


def reader(database):
    """Asks the database itself, beside the daemons."""

    def ask(question):
        if database.startswith("sqlite:"):
            connection = sqlite3.connect(f"file:{database.removeprefix('sqlite:')}?mode=ro", uri=True)
            try:
                return connection.execute(question).fetchall()
            finally:
                connection.close()
        lines = run(["psql", "--no-psqlrc", "-AtF", "\t", "-c", question, database]).splitlines()
        return [tuple(int(word) if word.isdecimal() else word for word in line.split("\t")) for line in lines]

    return ask
