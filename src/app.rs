//! What every request and every job works with: the organs, opened once and passed around.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use moka::sync::Cache;
use tokio::sync::mpsc;

use crate::{
    callback::Callbacks,
    clock,
    config::Config,
    limits::{Limits, Rate},
    mail::{Timestamp, WorkerId},
    queue::{self, Bell, Queue},
    render::Renderer,
    shop::TemplateVersion,
    smtp::{RouteSettings, Routes},
    store::{Store, StoreError},
    telemetry::METRICS,
};

/// How many versions of templates are kept in memory.
const VERSIONS: u64 = 10_000;
/// How many bells may wait for a slow queue.
const BELLS: usize = 10_000;
/// The most bells in one call to the queue.
const BELLS_AT_ONCE: usize = 500;

/// The organs of one process.
pub struct App {
    /// The settings.
    pub config: Config,
    /// The rows.
    pub store: Store,
    /// The bells.
    pub queue: Arc<dyn Queue>,
    /// Templates to messages.
    pub renderer: Renderer,
    /// Messages to relays.
    pub routes: Routes,
    /// Callbacks to merchants.
    pub callbacks: Callbacks,
    /// How much of something may happen in a while.
    pub limits: Limits,
    /// This process as a worker.
    pub worker: Worker,
    bells: mpsc::Sender<Bell>,
    versions: Cache<String, Arc<TemplateVersion>>,
    rates: HashMap<String, Rate>,
}

/// This process as a worker: its name in claims, and whether its heartbeat is heard.
pub struct Worker {
    /// One start of this process.
    pub id: WorkerId,
    heard_at: AtomicI64,
    silence: Duration,
}

impl Worker {
    /// Notes that a heartbeat which began at `at` was committed.
    pub fn was_heard(&self, at: Timestamp) {
        self.heard_at.store(at.millis(), Ordering::Relaxed);
    }

    /// Whether the others still take this worker for alive, with a margin. If not, its claims may be given away at
    /// any moment and it must not begin to send.
    pub fn is_heard(&self) -> bool {
        clock::now().since(Timestamp(self.heard_at.load(Ordering::Relaxed))) < self.silence.mul_f64(0.7)
    }
}

impl App {
    /// Opens the database, the queue and the routes. The schema is left alone.
    ///
    /// # Errors
    /// When the database cannot be reached or a route is wrong.
    pub async fn open(config: Config) -> anyhow::Result<Arc<Self>> {
        let store = Store::open(&config.database).await?;
        let queue = queue::connect(&config.queue).await.context("the queue cannot be used")?;
        let hello_name = Some(config.smtp.hello_name.clone()).filter(|name| !name.is_empty());
        let mut routes = config.smtp.routes.clone();
        for route in &mut routes {
            route.hello_name = route.hello_name.take().or_else(|| hello_name.clone());
        }
        Ok(Arc::new(Self {
            store,
            bells: start_ringing(Arc::clone(&queue)),
            queue,
            renderer: Renderer::new(config.render.clone()),
            routes: Routes::new(&routes)?,
            callbacks: Callbacks::new(&config.callbacks)?,
            limits: Limits::default(),
            worker: Worker {
                id: WorkerId::new(),
                heard_at: AtomicI64::new(0),
                silence: config.worker.silence,
            },
            versions: Cache::new(VERSIONS),
            rates: rates_of(&routes)?,
            config,
        }))
    }

    /// A template's version, from memory where possible: a version never changes.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn template_version(&self, id: &str) -> Result<Option<Arc<TemplateVersion>>, StoreError> {
        if let Some(version) = self.versions.get(id) {
            return Ok(Some(version));
        }
        let version = self.store.template_version(id).await?.map(Arc::new);
        if let Some(version) = &version {
            self.versions.insert(id.to_owned(), Arc::clone(version));
        }
        Ok(version)
    }

    /// The most mails that a route takes.
    pub fn rate_of(&self, route: &str) -> Option<Rate> {
        self.rates.get(route).copied()
    }

    /// Wakes a worker, without waiting for the queue. A queue that is away or slow is no failure: the waker rings for
    /// the rows later.
    pub fn ring(&self, bell: Bell) {
        if self.bells.try_send(bell).is_err() {
            tracing::debug!("too many bells wait for the queue, the waker will ring");
        }
    }

    /// Notes how many bells wait and are leased, for the metrics.
    pub async fn measure_queue(&self) {
        let Ok(status) = self.queue.status().await else { return };
        for lane in status.lanes {
            let labels = crate::telemetry::metrics::LaneLabels { lane: lane.lane.as_str() };
            let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
            METRICS.waiting.get_or_create(&labels).set(gauge(lane.waiting));
            METRICS.leased.get_or_create(&labels).set(gauge(lane.leased));
        }
    }
}

/// Starts the task that passes bells on to the queue, as many at once as are waiting; it ends with the app.
fn start_ringing(queue: Arc<dyn Queue>) -> mpsc::Sender<Bell> {
    let (sender, mut receiver) = mpsc::channel(BELLS);
    tokio::spawn(async move {
        let mut bells = Vec::with_capacity(BELLS_AT_ONCE);
        while receiver.recv_many(&mut bells, BELLS_AT_ONCE).await > 0 {
            if let Err(error) = queue.enqueue(&bells).await {
                tracing::warn!(%error, bells = bells.len(), "the queue takes no bells, the waker will ring");
            }
            bells.clear();
        }
    });
    sender
}

fn rates_of(routes: &[RouteSettings]) -> anyhow::Result<HashMap<String, Rate>> {
    routes
        .iter()
        .filter_map(|route| Some((route, route.rate.as_ref()?)))
        .map(|(route, rate)| {
            let rate = Rate::parse(rate)
                .with_context(|| format!("the rate of route `{}` is no rate", route.name))?;
            Ok((route.name.clone(), rate))
        })
        .collect()
}
