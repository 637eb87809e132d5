//! A Postgres cluster for this run of the tests, with a database for each test.

use std::{
    io::{BufRead, BufReader, Write},
    net::Ipv4Addr,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use sqlx::{Connection, Executor, PgConnection};

use super::{network::Machine, own_address};

/// Makes a cluster, or takes the one that is in its folder, and keeps it as long as its standard input is open: when the
/// tests end, even by a signal, so does the cluster, and its folder is removed. Postgres refuses to run as root.
const KEEPER: &str = r#"
trap '' HUP INT TERM
address=$1 binaries=$2 settings=$3 home=${4:-$(mktemp -d /tmp/postroom-postgres-XXXXXX)}
mkdir -p "$home"
as_nobody() { "$@"; }
if [ "$(id -u)" = 0 ]; then
    chown nobody "$home"
    as_nobody() { setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"; }
fi
cd "$home"
control() { as_nobody "$binaries/pg_ctl" -D "$home/data" -l "$home/log" "$@" >>"$home/control.log" 2>&1; }
start() { control -w start -o "-c listen_addresses=$address -c unix_socket_directories= -c max_connections=500 $settings" \
    && echo started || { cat "$home/log"; echo failed; }; }
signal() {
    local postmaster=$(head -n 1 "$home/data/postmaster.pid")
    kill "-$1" "$postmaster" $(pgrep -P "$postmaster")
}
# After a power cut no process of before is there. Here another may have its number.
rm -f "$home/data/postmaster.pid"
if [ ! -e "$home/data" ]; then
    as_nobody "$binaries/initdb" -D "$home/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync >"$home/control.log" 2>&1
    # Its own rules are for one machine.
    echo "host all all $address/24 trust" >>"$home/data/pg_hba.conf"
fi
start
while read -r order; do
    case $order in
        start) start ;;
        revive) control status || start >>"$home/control.log"; echo revived ;;
        stop) control -m immediate stop; echo stopped ;;
        shutdown) control -m fast stop; echo stopped ;;
        freeze) signal STOP; echo frozen ;;
        thaw) signal CONT; echo thawed ;;
    esac
done
signal CONT 2>>"$home/control.log"
control -m immediate stop
rm -rf "$home"
"#;

/// The tests lose no power, so they need not wait for the disk.
const IN_MEMORY: &str = "-c fsync=off -c full_page_writes=off";

/// A running cluster. Dropping it ends it, removes its folder and waits for both: the disk below may be gone next.
pub struct Cluster {
    address: Ipv4Addr,
    /// Until it is dropped.
    orders: Option<ChildStdin>,
    answers: BufReader<std::process::ChildStdout>,
    keeper: Child,
}

impl Cluster {
    /// Makes a cluster and starts it.
    pub fn start() -> Self {
        Self::start_with(&[], own_address(), IN_MEMORY, None)
    }

    /// The same on a machine of its own.
    pub fn start_on(machine: &Machine) -> Self {
        Self::start_with(&machine.wrapper(), machine.address, IN_MEMORY, None)
    }

    /// Makes a cluster in this folder, or takes the one that is there, and starts it with these words for its server.
    pub fn start_in(folder: &Path, settings: &str) -> Self {
        Self::start_with(&[], own_address(), settings, Some(folder))
    }

    fn start_with(wrapper: &[String], address: Ipv4Addr, settings: &str, folder: Option<&Path>) -> Self {
        let binaries =
            std::env::var("POSTGRES_BIN").unwrap_or_else(|_| "/usr/lib/postgresql/15/bin".to_owned());
        let mut keeper = Command::new("env")
            .args(wrapper)
            .args(["bash", "-c", KEEPER, "keeper", &address.to_string(), &binaries, settings])
            .args(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let orders = keeper.stdin.take();
        let answers = BufReader::new(keeper.stdout.take().unwrap());
        let mut cluster = Self { address, orders, answers, keeper };
        cluster.hear("started");
        cluster
    }

    /// Ends the server as a crash would; the data stay.
    pub fn stop_server(&mut self) {
        self.order("stop", "stopped");
    }

    /// Stops the server as an administrator does: its connections are closed, what it did is complete.
    pub fn shut_down(&mut self) {
        self.order("shutdown", "stopped");
    }

    /// Starts the server on its data.
    pub fn start_server(&mut self) {
        self.order("start", "started");
    }

    /// Starts the server on its data if it has ended by itself.
    pub fn start_if_it_ended(&mut self) {
        self.order("revive", "revived");
    }

    /// Lets the server hang: its connections stay open and nothing is answered.
    pub fn freeze(&mut self) {
        self.order("freeze", "frozen");
    }

    /// Lets a frozen server go on.
    pub fn thaw(&mut self) {
        self.order("thaw", "thawed");
    }

    fn order(&mut self, order: &str, expected: &str) {
        writeln!(self.orders.as_ref().unwrap(), "{order}").unwrap();
        self.hear(expected);
    }

    /// Waits for this word. What is said instead, and the log before it, is why the server cannot be used.
    fn hear(&mut self, expected: &str) {
        let mut said = String::new();
        while !said.lines().any(|line| line == expected) {
            let length = self.answers.read_line(&mut said).unwrap();
            let is_over = length == 0 || said.ends_with("failed\n");
            assert!(!is_over, "Postgres cannot be used (is tests/install done?): {said}");
        }
    }

    /// The URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@{}:5432/{database}", self.address)
    }

    /// Makes a database and returns its URL.
    pub async fn new_database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.execute(format!("CREATE DATABASE {name}")).await;
        self.url(&name)
    }

    /// Carries out a statement about a database, in another one.
    pub async fn execute(&self, statement: String) {
        let mut connection = PgConnection::connect(&self.url("postgres")).await.unwrap();
        connection.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
        connection.close().await.unwrap();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.keeper.wait();
    }
}

/// Makes a database in the cluster that the tests of this run share.
pub async fn shared_database() -> String {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(Cluster::start).new_database().await
}
