//! A Postgres cluster for this run of the tests, with a database for each test.

use std::{
    io::{BufRead, BufReader, Write},
    net::Ipv4Addr,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use sqlx::{Connection, Executor, PgConnection};

use super::own_address;

/// Makes a cluster and keeps it as long as its standard input is open: when the tests end, even by a signal, so does
/// the cluster, and its folder is removed. Postgres refuses to run as root.
const KEEPER: &str = r#"
trap '' HUP INT TERM
address=$1 binaries=$2 home=$(mktemp -d /tmp/postroom-postgres-XXXXXX)
as_nobody() { "$@"; }
if [ "$(id -u)" = 0 ]; then
    chown nobody "$home"
    as_nobody() { setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"; }
fi
cd "$home"
control() { as_nobody "$binaries/pg_ctl" -D "$home/data" -l "$home/log" "$@" >>"$home/control.log" 2>&1; }
start() { control -w start -o "-c listen_addresses=$address -c unix_socket_directories= -c fsync=off -c full_page_writes=off -c max_connections=500" \
    && echo started || cat "$home/log"; }
signal() {
    local postmaster=$(head -n 1 "$home/data/postmaster.pid")
    kill "-$1" "$postmaster" $(pgrep -P "$postmaster")
}
as_nobody "$binaries/initdb" -D "$home/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync >"$home/control.log" 2>&1
start
while read -r order; do
    case $order in
        start) start ;;
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

/// A running cluster. Dropping it ends it.
pub struct Cluster {
    address: Ipv4Addr,
    orders: ChildStdin,
    answers: BufReader<std::process::ChildStdout>,
    _keeper: Child,
}

impl Cluster {
    /// Makes a cluster and starts it.
    pub fn start() -> Self {
        let address = own_address();
        let binaries =
            std::env::var("POSTGRES_BIN").unwrap_or_else(|_| "/usr/lib/postgresql/15/bin".to_owned());
        let mut keeper = Command::new("bash")
            .args(["-c", KEEPER, "keeper", &address.to_string(), &binaries])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let orders = keeper.stdin.take().unwrap();
        let answers = BufReader::new(keeper.stdout.take().unwrap());
        let mut cluster = Self { address, orders, answers, _keeper: keeper };
        cluster.hear("started");
        cluster
    }

    /// Ends the server as a crash would; the data stay.
    pub fn stop_server(&mut self) {
        writeln!(self.orders, "stop").unwrap();
        self.hear("stopped");
    }

    /// Stops the server as an administrator does: its connections are closed, what it did is complete.
    pub fn shut_down(&mut self) {
        writeln!(self.orders, "shutdown").unwrap();
        self.hear("stopped");
    }

    /// Starts the server on its data.
    pub fn start_server(&mut self) {
        writeln!(self.orders, "start").unwrap();
        self.hear("started");
    }

    /// Lets the server hang: its connections stay open and nothing is answered.
    pub fn freeze(&mut self) {
        writeln!(self.orders, "freeze").unwrap();
        self.hear("frozen");
    }

    /// Lets a frozen server go on.
    pub fn thaw(&mut self) {
        writeln!(self.orders, "thaw").unwrap();
        self.hear("thawed");
    }

    fn hear(&mut self, expected: &str) {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), expected, "Postgres cannot be used (is tests/install done?)");
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://postgres@{}:5432/{database}", self.address)
    }

    /// Makes a database and returns its URL.
    pub async fn new_database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut connection = PgConnection::connect(&self.url("postgres")).await.unwrap();
        connection.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        connection.close().await.unwrap();
        self.url(&name)
    }
}

/// Makes a database in the cluster that the tests of this run share.
pub async fn shared_database() -> String {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(Cluster::start).new_database().await
}
