"""Starts the servers that a measurement needs, each private to it, and ends them whatever happens.

Used by the measurements beside it. Everything listens on 127.0.0.1 on a free port, keeps its files in the scratch
folder of its `Bench`, and is ended by its own pid when that is left: at the end, on a failure, on Ctrl-C.
"""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOOLS = ROOT / "target/test-tools"
BENCH = ROOT / "target/bench"
LOAD = BENCH / "load"
SMTP_CONNECTIONS = 20  # to the sink
PATIENCE = 300  # seconds that any one phase may take


class Failed(Exception):
    """The measurement cannot go on; the message says why."""


class Bench:
    """One row's scratch folder and processes; leaving it ends and removes all of them."""

    def __init__(self, name, mails):
        self.name, self.mails = name, mails
        self.undo = contextlib.ExitStack()

    def __enter__(self):
        # Not /tmp: where that is memory, a flush to disk costs nothing.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="postroom-bench-", dir="/var/tmp"))
        self.undo.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.folder.chmod(0o755)
        return self

    def __exit__(self, *_):
        self.undo.close()

    def start(self, name, command, stop=signal.SIGTERM, **options):
        """Starts a process whose output goes to `<name>.out` and `<name>.err`."""
        with open(self.path(f"{name}.out"), "w") as out, open(self.path(f"{name}.err"), "w") as err:
            options = {"stdin": subprocess.DEVNULL, **options}
            process = subprocess.Popen([str(word) for word in command], stdout=out, stderr=err, **options)
        process.name = name
        self.undo.callback(end, process, stop)
        return process

    def path(self, name):
        return self.folder / name.replace(" ", "-")

    def wait(self, process, what, condition):
        """Asks every 10 ms until the condition holds, and returns what it returned."""
        deadline = time.monotonic() + PATIENCE
        while not (value := condition()):
            if process.poll() is not None or time.monotonic() > deadline:
                log = self.path(f"{process.name}.err").read_text()[-2000:]
                raise Failed(f"{self.name}: waited for {what}; {process.name} wrote:\n{log}")
            time.sleep(0.01)
        return value

    def wait_for_line(self, process, pattern):
        out = self.path(f"{process.name}.out")
        return self.wait(process, f"“{pattern}”", lambda: re.search(pattern, out.read_text()))


def prepare():
    """Makes sure of the sink and of the load generator, before anything is measured."""
    if not (TOOLS / "smtp-sink").exists():
        subprocess.run([ROOT / "tests/install"], check=True)
    BENCH.mkdir(parents=True, exist_ok=True)
    run(["rustc", "-O", "--edition", "2024", ROOT / "benches/load.rs", "-o", LOAD])


def chosen(rows, only):
    """The rows that `--only` names, whole or by their beginning up to a `+` or a space."""
    names = [name.strip() for name in only.split(",")]

    def matches(row, name):
        return row == name or row.startswith((f"{name}+", f"{name} "))

    for name in names:
        if not any(matches(row, name) for row in rows):
            raise Failed(f"--only knows {', '.join(rows)}; not “{name}”")
    return [row for row in rows if any(matches(row, name) for name in names)]


def end(process, stop=signal.SIGTERM):
    """Asks a process to stop, and ends it when it does not within ten seconds."""
    if process.poll() is None:
        process.send_signal(stop)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
            return
        process.kill()
        process.wait()


def run(command, **options):
    """Runs a command to its end and returns what it printed."""
    options = {"timeout": PATIENCE, "capture_output": True, "text": True, **options}
    try:
        return subprocess.run([str(word) for word in command], check=True, **options).stdout
    except subprocess.CalledProcessError as error:
        raise Failed(f"{command[0]} ended with status {error.returncode}:\n{error.stderr[-2000:]}") from None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def unprivileged():
    """PostgreSQL refuses to run as root."""
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


def memory(process, key="VmRSS"):
    """Resident memory in MB: at present, or with `VmHWM` the peak."""
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(rf"{key}:\s+(\d+)", status)[1]) / 1024


def cpu_seconds(process):
    """What a process has had of the processors, in its own code and in the kernel's."""
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def postgres_seconds(bench):
    """The same of a bench's Postgres server: of its processes, and of those that have ended. 0 where it has none."""
    pid_file = bench.path("postgres") / "postmaster.pid"
    if not pid_file.exists():
        return 0
    server, ticks = pid_file.read_text().splitlines()[0], 0
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            is_server = stat.parent.name == server
            if is_server or fields[1] == server:
                ticks += sum(map(int, fields[11:15] if is_server else fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def redis_memory(port):
    """What Redis takes for its data, in MB, as it counts itself."""
    with socket.create_connection(("127.0.0.1", port), 5) as redis, redis.makefile("rb") as answer:
        redis.sendall(b"INFO memory\r\n")
        text = answer.read(int(answer.readline()[1:])).decode()
    return int(re.search(r"(?m)^used_memory:(\d+)", text)[1]) / 1024**2


def start_redis(bench):
    """Returns the process and its port."""
    port = free_port()
    redis = bench.start("redis", [
        "redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", bench.folder,
        "--save", "", "--appendonly", "yes", "--appendfsync", "everysec",
    ])  # fmt: skip
    bench.wait(redis, "Redis", lambda: answers(port))
    return redis, port


def start_postgres(bench):
    """Starts a cluster with PostgreSQL's defaults, so every commit is flushed to disk; returns its URL."""
    binaries = pathlib.Path(os.environ.get("POSTGRES_BIN") or max(pathlib.Path("/usr/lib/postgresql").glob("*/bin")))
    home, port = bench.path("postgres"), free_port()
    home.mkdir()
    if unprivileged():
        shutil.chown(home, "nobody", "nogroup")
    run([binaries / "initdb", "-D", home, "-U", "postgres", "-A", "trust", "-E", "UTF8"], cwd=home, **unprivileged())
    arguments = ["-D", home, "-p", port, "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={home}"]
    postgres = bench.start("postgres", [binaries / "postgres", *arguments], signal.SIGINT, cwd=home, **unprivileged())
    log = bench.path("postgres.err")
    bench.wait(postgres, "PostgreSQL", lambda: "ready to accept connections" in log.read_text())
    return f"postgres://postgres@127.0.0.1:{port}/postgres"


# What mail needs of Postfix's services on its way through: from smtpd over the queue to smtp.
MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {spool}
data_directory = {data}
command_directory = {package}/usr/sbin
daemon_directory = {package}/usr/lib/postfix/sbin
shlib_directory = {package}/usr/lib/postfix
meta_directory = {settings}
mail_owner = daemon
setgid_group = mail
myhostname = relay.example.net
mydestination =
alias_maps =
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
relayhost = [127.0.0.1]:{sink}
maillog_file_prefixes = {spool}
maillog_file = {spool}/log
import_environment = LD_LIBRARY_PATH LANG=C MAIL_CONFIG
"""


def start_postfix(bench, sink_port):
    """Starts Postfix, as Debian's package has it, as a relay before the sink; returns its port. It wants to be root."""
    if os.geteuid() != 0:
        raise Failed("the row “postfix” needs root, as Postfix itself does; leave it out with --only")
    package, home, port = TOOLS / "postfix", bench.path("postfix"), free_port()
    settings, spool, data = (home / name for name in ("settings", "spool", "data"))
    queues = "active bounce corrupt defer deferred flush hold incoming pid private public saved trace maildrop".split()
    for folder in (settings, data, *(spool / queue for queue in queues)):
        folder.mkdir(parents=True)
    for folder in (data, *(spool / queue for queue in set(queues) - {"pid"})):
        shutil.chown(folder, "daemon")
    paths = {"package": package, "settings": settings, "spool": spool, "data": data}
    (settings / "main.cf").write_text(MAIN_CF.format(**paths, sink=sink_port))
    (settings / "master.cf").write_text(MASTER_CF.format(port=port))
    (settings / "dynamicmaps.cf").write_text("")
    environment = {**os.environ, "LD_LIBRARY_PATH": str(package / "usr/lib/postfix"), "MAIL_CONFIG": str(settings)}
    postfix = bench.start("postfix", [package / "usr/lib/postfix/sbin/master", "-d", "-c", settings], env=environment)
    bench.wait(postfix, "Postfix", lambda: answers(port))
    return port


class Sink:
    """Postfix's smtp-sink; it writes how many messages it took, and that is what counts as delivered."""

    def __init__(self, bench):
        self.bench, self.port = bench, free_port()
        self.process = bench.start("sink", [TOOLS / "smtp-sink", "-c", f"127.0.0.1:{self.port}", 1024])
        bench.wait(self.process, "smtp-sink", lambda: answers(self.port))
        self.counts = open(bench.path("sink.out"), "rb")
        bench.undo.callback(self.counts.close)

    def messages(self):
        size = self.counts.seek(0, os.SEEK_END)
        self.counts.seek(max(0, size - 200))
        counts = re.findall(rb"mesg=(\d+)\r", self.counts.read())
        return int(counts[-1]) if counts else 0

    def wait_for(self, count):
        """Waits for this many messages in all, and returns when they were there."""
        self.bench.wait(self.process, f"{count} messages", lambda: self.messages() >= count)
        return time.monotonic()


def rate_of_smtp_source(bench, mails, *more):
    """The most that a sink takes in a second from a client that reads nothing, stores nothing and renders nothing."""
    sink = Sink(bench)
    began = time.monotonic()
    smtp_source(sink.port, mails, *more)
    return mails / (sink.wait_for(mails) - began)


def smtp_source(port, mails, *more):
    """Sends mails of 6 KB."""
    message = ["-l", 6144, "-f", "tea@example.com", "-t", "m1@example.net"]
    run([TOOLS / "smtp-source", *more, "-s", SMTP_CONNECTIONS, "-m", mails, *message, f"127.0.0.1:{port}"])
