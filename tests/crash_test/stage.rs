//! Everything that a run needs: the stores, the processes with their proxies, relay and receiver, and a merchant.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::atomic::AtomicU32,
    time::Duration,
};

use postroom::demo::catcher::{Catcher, CatcherOptions};
use serde_json::{Value, json};

use super::{disk::SmallDisk, fault::Link, plan::Able, process::Process, proxy::Proxy, receiver::Receiver};
use crate::support::{Backends, Cluster, Redis, Shop, brand, client, template, within};

/// The most a run may keep of what the relay got.
const RELAY_KEEPS: usize = 1_000_000;

/// Where libfaketime is on Debian.
pub const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
/// Where libfiu is on Debian.
pub const LIBFIU: &str = "/usr/lib/fiu/fiu_run_preload.so:/usr/lib/fiu/fiu_posix_preload.so";

/// All that runs.
pub struct Stage {
    /// The processes, in the order of [`Able::roles`].
    pub processes: Vec<Process>,
    /// What their connections go through.
    pub proxies: HashMap<(usize, Link), Proxy>,
    /// A merchant who speaks to each process that takes requests.
    pub shops: Vec<Shop>,
    /// The relay.
    pub relay: Catcher,
    /// What takes webhooks.
    pub receiver: Receiver,
    /// Database, queue and settings.
    pub backends: Backends,
    /// The server of the database, where it is one.
    pub cluster: Option<tokio::sync::Mutex<Cluster>>,
    /// The server of the queue, where it is one.
    pub redis: Option<tokio::sync::Mutex<Redis>>,
    /// The file system of the database, where it can be filled.
    pub disk: Option<SmallDisk>,
    /// How many hours the clocks were turned.
    pub hours: AtomicU32,
}

impl Stage {
    /// Starts everything.
    pub async fn open(able: Able, moves_clocks: bool) -> Self {
        let options =
            CatcherOptions { keep: RELAY_KEEPS, keep_bytes: usize::MAX, ..CatcherOptions::default() };
        let relay = Catcher::start(options).await.unwrap();
        let receiver = Receiver::start().await;
        let mut cluster = None;
        let mut backends = if able.embedded {
            Backends::sqlite_memory()
        } else {
            let started = Cluster::start();
            let database = started.new_database().await;
            cluster = Some(tokio::sync::Mutex::new(started));
            Backends::on(database).await
        };
        let redis = backends.redis.take().map(tokio::sync::Mutex::new);
        let mut disk = None;
        if able.embedded && able.disks {
            let small = SmallDisk::mount(&backends.folder().join("small"));
            backends.set("database.url", format!("sqlite:{}", small.path().join("postroom.db").display()));
            disk = Some(small);
        }
        let backends = settings(backends, &relay);
        let mut stage = Self {
            processes: Vec::new(),
            proxies: HashMap::new(),
            shops: Vec::new(),
            relay,
            receiver,
            backends,
            cluster,
            redis,
            disk,
            hours: AtomicU32::new(0),
        };
        stage.start_processes(able, moves_clocks).await;
        stage.open_shop().await;
        stage
    }

    async fn start_processes(&mut self, able: Able, moves_clocks: bool) {
        for (place, role) in able.roles().iter().enumerate() {
            let mut environment = Vec::new();
            let relay = Proxy::start(self.relay.smtp_addr()).await;
            environment.push(("POSTROOM_SMTP__ROUTES__0__HOST".to_owned(), relay.address.ip().to_string()));
            environment.push(("POSTROOM_SMTP__ROUTES__0__TIMEOUT".to_owned(), "5s".to_owned()));
            environment.push(("POSTROOM_SMTP__ROUTES__0__PORT".to_owned(), relay.address.port().to_string()));
            self.proxies.insert((place, Link::Relay), relay);
            if let Some(redis) = &self.redis {
                let url = redis.lock().await.url();
                let (proxy, url) = before(&url).await;
                environment.push(("POSTROOM_QUEUE__URL".to_owned(), url));
                self.proxies.insert((place, Link::Queue), proxy);
                let (proxy, url) = before(&self.backends.database().url).await;
                environment.push(("POSTROOM_DATABASE__URL".to_owned(), url));
                self.proxies.insert((place, Link::Database), proxy);
            }
            environment.extend(self.preloads(place, able, moves_clocks));
            let name = format!("{role}-{place}");
            let log = self.backends.folder().join(format!("{name}.log"));
            self.processes.push(Process::start(name, role, self.backends.config(), log, environment));
            self.is_ready(place).await;
        }
    }

    fn preloads(&self, place: usize, able: Able, moves_clocks: bool) -> Vec<(String, String)> {
        let mut libraries = Vec::new();
        let mut environment = Vec::new();
        if able.clocks && moves_clocks {
            libraries.push(FAKETIME.to_owned());
            std::fs::write(self.clock_of(place), "+0").unwrap();
            environment.extend(reading_clock(&self.clock_of(place)));
        }
        if able.embedded && able.fsync {
            libraries.push(LIBFIU.to_owned());
            environment.push(("FIU_CTRL_FIFO".to_owned(), self.fiu_prefix()));
        }
        environment.push(("LD_PRELOAD".to_owned(), libraries.join(":")));
        environment
    }

    /// What libfaketime reads in a process.
    pub fn clock_of(&self, place: usize) -> PathBuf {
        self.backends.folder().join(format!("clock-{place}"))
    }

    /// What the names of libfiu's pipes begin with; the number of the process follows.
    pub fn fiu_prefix(&self) -> String {
        self.backends.folder().join("fiu").display().to_string()
    }

    /// Waits until a process says that it is ready.
    pub async fn is_ready(&self, place: usize) {
        let (process, http) = (&self.processes[place], client());
        within(Duration::from_secs(60), &format!("{} is ready", process.name), async || {
            process.supervise();
            let answer = http.get(format!("{}/readyz", process.admin_url())).send().await;
            answer.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
    }

    async fn open_shop(&mut self) {
        let commands = self.backends.command_line();
        let words = ["merchant", "create", "tea-co", "--name", "Tea & Co", "--country", "DE", "--json"];
        let made = commands.run(&words).expect(0).json();
        let first = Shop::at(self.processes[0].url(), &commands, "tea-co");
        self.shops = self.processes.iter().map(|process| first.speaking_to(process.url())).collect();
        self.shops
            .truncate(self.processes.iter().filter(|process| !process.name.starts_with("worker")).count());
        first.put("/api/v1/brands/tea", &brand()).await.expect(201);
        first.put("/api/v1/templates/welcome", &template()).await.expect(201);
        let mut holding = template();
        holding["on_crash"] = json!("hold");
        first.put("/api/v1/templates/holding", &holding).await.expect(201);
        let hook = first.post("/webhooks", &json!({"url": self.receiver.url})).await.expect(201).json();
        let secrets =
            [&hook["data"]["secret"], &made["secret"]].map(|secret| secret.as_str().unwrap().to_owned());
        self.receiver.trust(&secrets);
    }

    /// Tells postroom about documents, by the thousand.
    pub async fn import(&self, documents: &[Value]) {
        for some in documents.chunks(2_000) {
            let lines: Vec<_> = some.iter().map(Value::to_string).collect();
            let answer =
                self.shops[0].post_text("/api/v1/import", "application/x-ndjson", lines.join("\n")).await;
            assert_eq!(answer.expect(200).json()["refused"], 0);
        }
    }
}

/// What makes libfaketime read this file each second, and leave monotonic clocks alone.
fn reading_clock(clock: &Path) -> [(String, String); 3] {
    [
        ("FAKETIME_TIMESTAMP_FILE".to_owned(), clock.display().to_string()),
        ("FAKETIME_CACHE_DURATION".to_owned(), "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
    ]
}

fn settings(backends: Backends, relay: &Catcher) -> Backends {
    backends
        .allowing_hooks()
        .with_route_to(relay)
        .with("http.timeout", "5s")
        .with("retry.first", "1s")
        .with("retry.longest", "5s")
}

/// A proxy before the server of a URL, and the URL of the proxy.
async fn before(url: &str) -> (Proxy, String) {
    let (head, rest) = url.rsplit_once('@').map_or_else(
        || url.split_once("://").map(|(scheme, rest)| (format!("{scheme}://"), rest)).unwrap(),
        |(head, rest)| (format!("{head}@"), rest),
    );
    let (server, tail) =
        rest.split_once('/').map_or((rest, String::new()), |(server, tail)| (server, format!("/{tail}")));
    let proxy = Proxy::start(server.parse::<SocketAddr>().unwrap()).await;
    let url = format!("{head}{}{tail}", proxy.address);
    (proxy, url)
}
