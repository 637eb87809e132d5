//! What every request and every job works with: the components, opened once and passed around.

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock, atomic::AtomicBool},
    time::Duration,
};

use anyhow::Context;
use tokio::sync::Notify;

use crate::{
    admission::{self, Admission},
    auth::Auth,
    callback::Callbacks,
    config::Config,
    cpu_pool::CpuPool,
    dkim::{KeyFault, Keyring},
    limits::{InFlight, Limiter, MailLimits, Rate, RequestLimits},
    mail::Mail,
    queue::{self, Dispatcher, HandOver, Queue, QueuedJob},
    render::Renderer,
    shop::consent,
    signing::Signing,
    smtp::{NewRoutes, Route, RouteSettings, Routes, Tuning},
    store::Store,
    telemetry::{self, Refusals},
    templates::Templates,
    worker::{UnofferedClaims, Worker},
};

/// The unit in which the memory of bodies is counted.
const BODY_UNIT: usize = 1024;
/// Requests for batches that are read at once; one of them for each merchant.
const BATCH_REQUESTS: usize = 2;
/// The same of large batches that are only asked about: nobody who sends one waits for them.
const PREFLIGHTS: usize = 2;

/// Bytes of files under way: in all, and of one merchant. Each may have 10 MB, a few times over.
const ATTACHED: [usize; 2] = [128 << 20, 64 << 20];

/// Imports that are received at once: in all, and for one merchant.
const IMPORTS: [usize; 2] = [16, 4];

/// The components of one process.
pub struct App {
    /// The settings of the start. Those that a reload changes (`smtp`, `dkim`, `limits`, `log`) are in [`App::current`].
    pub config: Config,
    current: RwLock<Arc<Config>>,
    /// The rows.
    pub store: Store,
    /// The jobs that wait for a worker.
    pub queue: Arc<dyn Queue>,
    /// Hands jobs to the queue.
    dispatcher: Dispatcher,
    /// Hands mails to this process's worker, past the queue.
    pub hand_over: HandOver,
    /// Threads for work that takes longer than a moment.
    pub cpu: Arc<CpuPool>,
    /// Templates to messages.
    pub renderer: Arc<Renderer>,
    /// The versions of templates, and mails filled in with them.
    pub templates: Templates,
    /// Signatures of messages.
    pub signing: Signing,
    /// Wakes the scheduler when this process has recorded callbacks.
    pub callbacks_recorded: Notify,
    /// Whether the scheduler of this process may have marked rows that it did not enqueue.
    pub has_lost_marks: AtomicBool,
    /// Messages to relays.
    pub routes: Routes,
    /// Callbacks to merchants.
    pub callbacks: Callbacks,
    /// Whose a credential is.
    pub auth: Auth,
    /// How many requests each merchant may send.
    pub requests: RequestLimits,
    /// Requests that were refused, for the dashboard.
    pub refusals: Refusals,
    /// All that can make mails wait.
    pub admission: Arc<Admission>,
    /// The memory of bodies that are read and not yet answered.
    pub bodies: InFlight,
    /// The memory of files that go with mails which are being sent.
    pub attached: InFlight,
    /// Requests for batches that are read: each reads as much as `http.max_body`.
    pub batch_requests: InFlight,
    /// Preflights of large batches that are read.
    pub preflights: InFlight,
    /// Imports that are received: each holds a chunk of lines in memory, beside `bodies`.
    pub imports: InFlight,
    /// This process as a worker.
    pub worker: Arc<Worker>,
    /// What this worker claimed and did not offer, for the task that gives it back.
    pub unoffered: Mutex<Option<UnofferedClaims>>,
}

/// Sets up the routes that the settings describe. Nothing is connected yet.
///
/// # Errors
/// The first setting that cannot work, such as a file of certificates that cannot be read.
pub fn routes_of(config: &Config) -> anyhow::Result<Routes> {
    Ok(Routes::tuned(&settings_of_routes(config), Tuning::default(), config.smtp.reply_rules()?)?)
}

fn settings_of_routes(config: &Config) -> Vec<RouteSettings> {
    let hello_name = Some(&config.smtp.hello_name).filter(|name| !name.is_empty());
    let mut routes = config.smtp.routes.clone();
    for route in &mut routes {
        route.hello_name = route.hello_name.take().or_else(|| hello_name.cloned());
    }
    routes
}

/// Reads the keys that sign mails.
///
/// # Errors
/// The first key that cannot sign.
pub fn keys_of(config: &Config) -> anyhow::Result<Keyring> {
    Keyring::load(&config.dkim).map_err(|faults| match faults.into_iter().next() {
        Some(KeyFault { index, field, error }) => {
            anyhow::Error::new(error).context(format!("dkim[{index}].{field}"))
        }
        None => anyhow::anyhow!("the DKIM keys cannot be used"),
    })
}

/// What a changed configuration needs, made and not yet in force.
pub struct Prepared {
    config: Config,
    routes: NewRoutes,
    rates: Vec<(String, Rate)>,
    limits: MailLimits,
    keys: Keyring,
}

impl App {
    /// Opens the database, the queue and the routes. The schema is left alone.
    ///
    /// # Errors
    /// When the database cannot be reached or a route is wrong.
    pub async fn open(config: Config) -> anyhow::Result<Arc<Self>> {
        let store = Store::open(&config.database).await?;
        let queue = queue::connect(&config.queue).await.context("the queue cannot be used")?;
        let rates = admission::rates_of(&config.smtp.routes)?;
        let routes = routes_of(&config)?;
        warn_of_gaps(&routes);
        let (worker, unoffered) = Worker::new(config.worker.silence, Arc::clone(routes.freed()));
        let worker = Arc::new(worker);
        let live_workers = Arc::clone(&worker.live_workers);
        let limiter =
            Limiter::connect(&config.queue.url, &config.queue.ca_file, &config.queue.prefix, live_workers)
                .context("rates cannot be counted")?;
        // The configuration was checked: there are no faults.
        let limits = MailLimits::new(&config.limits).unwrap_or_default();
        let admission = Admission::new(routes.clone(), rates, limits, limiter, Arc::clone(&worker));
        let cpu = Arc::new(CpuPool::start().context("no thread could be started")?);
        let signing = Signing::start(keys_of(&config)?).context("no thread could be started")?;
        let renderer = Arc::new(Renderer::new(config.render.clone()));
        let templates =
            Templates::new(store.clone(), Arc::clone(&cpu), Arc::clone(&renderer), config.render.clone());
        Ok(Arc::new(Self {
            dispatcher: Dispatcher::start(&queue, config.queue.enqueue_timeout),
            hand_over: HandOver::default(),
            queue,
            templates,
            auth: Auth::new(store.clone()),
            store,
            signing,
            routes,
            callbacks_recorded: Notify::new(),
            has_lost_marks: AtomicBool::new(false),
            callbacks: Callbacks::new(&config.callbacks)?,
            requests: RequestLimits::new(config.http.rate),
            refusals: Refusals::default(),
            admission: Arc::new(admission),
            worker,
            unoffered: Mutex::new(Some(unoffered)),
            cpu,
            renderer,
            bodies: InFlight::new(config.http.max_in_flight.0, config.http.max_in_flight.0 / 4, BODY_UNIT),
            attached: InFlight::new(ATTACHED[0], ATTACHED[1], BODY_UNIT),
            batch_requests: InFlight::new(BATCH_REQUESTS, 1, 1),
            preflights: InFlight::new(PREFLIGHTS, 1, 1),
            imports: InFlight::new(IMPORTS[0], IMPORTS[1], 1),
            current: RwLock::new(Arc::new(config.clone())),
            config,
        }))
    }

    /// The settings that are in force now.
    pub fn current(&self) -> Arc<Config> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes what a changed configuration needs. Nothing is in force yet. Reads files, and blocks.
    ///
    /// # Errors
    /// The first setting that cannot work.
    pub fn prepare(&self, config: Config) -> anyhow::Result<Prepared> {
        Ok(Prepared {
            routes: self.routes.prepare(&settings_of_routes(&config), config.smtp.reply_rules()?)?,
            rates: admission::rates_of(&config.smtp.routes)?,
            // The configuration was checked: there are no faults.
            limits: MailLimits::new(&config.limits).unwrap_or_default(),
            keys: keys_of(&config)?,
            config,
        })
    }

    /// Puts in force what was prepared, and returns the routes that are over as soon as their last mail is sent.
    pub fn put_in_force(&self, prepared: Prepared) -> Vec<Arc<Route>> {
        let Prepared { config, routes, rates, limits, keys } = prepared;
        if let Ok(filter) = config.log.read_filter() {
            telemetry::replace_filter(filter);
        }
        self.signing.replace_keys(keys);
        let over = self.routes.replace(routes);
        self.admission.replace(rates, limits);
        warn_of_gaps(&self.routes);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        over
    }

    /// The link with which the recipient of a mail unsubscribes, where the mail carries one.
    pub fn unsubscribe_link(&self, mail: &Mail) -> Option<String> {
        let token = &mail.unsubscribe.as_ref()?.token;
        Some(self.config.http.link_to(&consent::path_of(token)))
    }

    /// Enqueues a job for a worker without waiting for the queue; see [`Dispatcher::enqueue`].
    pub fn enqueue(&self, job: QueuedJob) {
        self.dispatcher.enqueue(job);
    }

    /// Whether the queue answers within this time; see [`Dispatcher::answers`].
    pub async fn queue_answers(&self, limit: Duration) -> bool {
        self.dispatcher.answers(limit).await
    }

    /// Enqueues a job and tells whether the queue took it in time; see [`Dispatcher::enqueue_in_time`].
    pub async fn enqueue_in_time(&self, job: QueuedJob) -> bool {
        self.dispatcher.enqueue_in_time(job).await
    }
}

fn warn_of_gaps(routes: &Routes) {
    for lane in routes.lanes_with_gaps().iter().filter(|_| !routes.is_empty()) {
        tracing::warn!(%lane, "no route takes all mails of this lane: those that none takes wait");
    }
}
