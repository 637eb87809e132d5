//! Starts the roles, watches them, and stops them: all roles begin nothing more at the same moment and finish what they
//! began, and the database is closed last.

use std::{
    net::SocketAddr,
    sync::{Arc, PoisonError},
    time::Duration,
};

use anyhow::Context;
use tokio::{
    net::TcpListener,
    signal::unix::Signal,
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    app::App,
    config::{self, Config, Role},
    dashboard,
    heartbeat::{Beating, Heartbeat},
    http, jobs,
    queue::{self, Leases, Places, QueueError, WorkerOptions},
    reload, rescuer, sampler, scheduler,
    smtp::{ReplyRules, RouteSettings},
    systemd,
    telemetry::{METRICS, chain, metrics::BuildLabels},
};

/// Between two runs of the maintenance jobs.
const MAINTENANCE: Duration = Duration::from_secs(300);

/// Batches that are made into mails at the same time; each reads and writes a chunk at a time.
const BATCHES: usize = 8;
/// How long a stop waits until the claims that were offered to no relay are given back, and for the last heartbeat.
const LAST_CLAIMS: Duration = Duration::from_secs(3);

/// How long the admin listener waits before it tries a port again that was taken.
const ADMIN_AGAIN: Duration = Duration::from_secs(2);

/// What is left of `worker.drain`, at most a half of it, for what comes after the last job: claims that are given back, the
/// sign-off, the end of the connections.
const AFTER_THE_JOBS: Duration = Duration::from_secs(3);

/// How long a stop that has no time left waits for the database to let its connections go.
const CLOSED: Duration = Duration::from_millis(200);

/// A running daemon.
pub struct Daemon {
    app: Arc<App>,
    role: Role,
    listening_on: Vec<SocketAddr>,
    admin: watch::Receiver<Option<SocketAddr>>,
    requests: CancellationToken,
    work: CancellationToken,
    tasks: JoinSet<anyhow::Result<&'static str>>,
}

impl Daemon {
    /// Opens everything and starts the roles; returns when requests are taken.
    ///
    /// # Errors
    /// When the database cannot be opened, its schema is wrong, or an address cannot be listened on.
    pub async fn start(config: Config, role: Role) -> anyhow::Result<Self> {
        config.check_role(role)?;
        if role != Role::Ingress {
            drop(tokio::task::spawn_blocking(ReplyRules::prepare));
        }
        let labels = BuildLabels { version: env!("CARGO_PKG_VERSION"), role: role.as_str() };
        METRICS.build.get_or_create(&labels).set(1);
        say_what_starts(&config, role);
        let app = App::open(config).await?;
        if app.config.database.migrate {
            systemd::while_starting("brings the schema up to date", app.store.migrate()).await?;
        }
        app.store.check_schema().await?;
        let mut daemon = Self {
            app: Arc::clone(&app),
            role,
            listening_on: Vec::new(),
            admin: watch::channel(None).1,
            requests: CancellationToken::new(),
            work: app.worker.stopping.clone(),
            tasks: JoinSet::new(),
        };
        jobs::count_failures_from_zero();
        daemon.start_admin().await;
        if role != Role::Ingress {
            daemon.start_worker().await?;
        }
        if role != Role::Worker
            && let Err(error) = daemon.start_ingress().await
        {
            daemon.stop().await; // the worker may have begun with something
            return Err(error);
        }
        daemon.run_beside("scheduler", scheduler::run);
        daemon.run_beside("scheduler of callbacks", scheduler::run_for_callbacks);
        daemon.run_beside("rescuer", rescuer::run);
        daemon.run_beside("sampler", sampler::run);
        daemon.run_beside("activity", |app, stop| async move {
            stop.run_until_cancelled(dashboard::keep_activity(app)).await;
        });
        daemon.run_beside("maintenance", |app, stop| async move {
            stop.run_until_cancelled(jobs::run_maintenance(app, MAINTENANCE)).await;
        });
        Ok(daemon)
    }

    /// Reads the configuration again on SIGHUP and when `postroom reload` asks.
    pub fn accept_reloads(&mut self, hangups: Signal) {
        let (role, status) = (self.role, self.status());
        self.run_beside("reload", move |app, stop| reload::run(app, role, status, hangups, stop));
    }

    /// Starts what goes on until the daemon stops working.
    fn run_beside<F>(&mut self, name: &'static str, task: impl FnOnce(Arc<App>, CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let running = task(Arc::clone(&self.app), self.work.clone());
        self.tasks.spawn(async move {
            running.await;
            Ok(name)
        });
    }

    async fn start_worker(&mut self) -> anyhow::Result<()> {
        let app = Arc::clone(&self.app);
        let leases = Leases::new(Arc::clone(&app.queue), format!("postroom-{}", app.worker.id));
        app.admission.read_drains(&app.store).await?;
        app.admission.read_pauses(&app.store).await?;
        // The first heartbeat comes before the first claim.
        let beats_until = CancellationToken::new();
        let beating = self.start_heartbeat(leases.clone(), beats_until.clone()).await?;
        let gives_back = AbortOnDropHandle::new(tokio::spawn(give_back_unoffered(Arc::clone(&app))));
        let (limited, stop) = (Arc::clone(&app), self.work.clone());
        self.tasks.spawn(async move {
            stop.run_until_cancelled(limited.admission.watch(&limited.store, &*limited.queue)).await;
            Ok("watch of rates, routes and pauses")
        });
        let stop = self.work.clone();
        self.tasks.spawn(async move {
            let worked = work_until(stop, &app, leases).await;
            if timeout(LAST_CLAIMS, app.worker.all_given_back()).await.is_err() {
                tracing::warn!("not all claims could be given back; what was not offered may be held");
            }
            drop(gives_back);
            beats_until.cancel();
            // Before the worker signs off, lest a late heartbeat calls it alive again.
            let _ = timeout(LAST_CLAIMS, beating.ended()).await;
            if let Err(error) = app.store.sign_off(app.worker.id).await {
                tracing::warn!(error = %chain(&error), "this worker could not sign off");
            }
            worked.context("the worker stopped")?;
            Ok("worker")
        });
        Ok(())
    }

    /// Says that this worker lives, until the token is cancelled. When it is heard again after a silence, what it postponed
    /// meanwhile is made due.
    async fn start_heartbeat(&mut self, leases: Leases, stop: CancellationToken) -> anyhow::Result<Beating> {
        let app = Arc::clone(&self.app);
        let (heard_again, mut again) = tokio::sync::mpsc::unbounded_channel();
        let heartbeat = Heartbeat {
            worker: Arc::clone(&app.worker),
            database: app.config.database.clone(),
            queue: Arc::clone(&app.queue),
            queue_settings: app.config.queue.clone(),
            leases,
            silence: app.config.worker.silence,
            heard_again,
        };
        let beating = heartbeat.start(stop).await?;
        self.tasks.spawn(async move {
            while again.recv().await.is_some() {
                scheduler::make_postponed_due(&app).await;
            }
            Ok("heartbeat")
        });
        Ok(beating)
    }

    async fn start_ingress(&mut self) -> anyhow::Result<()> {
        let given = systemd::listeners().context("what systemd listens on cannot be used")?;
        let mut listeners = given.into_iter().map(TcpListener::from_std).collect::<Result<Vec<_>, _>>()?;
        if listeners.is_empty() {
            let address = self.app.config.http.listen;
            let bound = TcpListener::bind(address).await;
            listeners.push(bound.with_context(|| format!("http.listen: cannot listen on {address}"))?);
        }
        for listener in &listeners {
            let address = listener.local_addr()?;
            self.listening_on.push(address);
            tracing::info!(%address, "taking requests");
        }
        let router = http::router(Arc::clone(&self.app));
        let stop = self.requests.clone();
        let app = Arc::clone(&self.app);
        self.tasks.spawn(async move {
            http::serve(listeners, router, &app.config, stop).await;
            Ok("ingress")
        });
        Ok(())
    }

    /// Serves operators. A port that is taken keeps no mail back: it is tried again until it is free.
    async fn start_admin(&mut self) {
        let (app, stop) = (Arc::clone(&self.app), self.requests.clone());
        let (listening, admin) = watch::channel(None);
        let first = TcpListener::bind(app.config.admin.listen).await;
        if let Ok(address) = first.as_ref().map_err(drop).and_then(|first| first.local_addr().map_err(drop)) {
            listening.send_replace(Some(address));
        }
        self.admin = admin;
        self.tasks.spawn(async move {
            if let Some(listener) = stop.run_until_cancelled(admin_listener(first, &app, &listening)).await {
                let pages = dashboard::router(Arc::clone(&app));
                let router = http::admin_router(Arc::clone(&app), pages);
                http::serve_operators(listener, router, &app.config, stop).await;
            }
            Ok("admin listener")
        });
    }

    /// Where operators look, as soon as the port is free.
    pub fn admin_on(&self) -> Option<SocketAddr> {
        *self.admin.borrow()
    }

    /// Where requests are taken; of several addresses the first.
    pub fn listening_on(&self) -> Option<SocketAddr> {
        self.listening_on.first().copied()
    }

    /// What it does, in words.
    fn status(&self) -> String {
        let ingress = self.listening_on.iter().map(|address| format!("takes requests on {address}"));
        let worker = (self.role != Role::Ingress).then(|| "sends mails".to_owned());
        ingress.chain(worker).collect::<Vec<_>>().join(", ")
    }

    /// What the roles work with.
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Waits until a role ends by itself, which none should.
    ///
    /// # Errors
    /// Always, in effect: which role ended, and why.
    pub async fn watch(&mut self) -> anyhow::Result<()> {
        match self.tasks.join_next().await {
            Some(Ok(Ok(role))) => anyhow::bail!("the {role} ended"),
            Some(Ok(Err(error))) => Err(error),
            Some(Err(error)) => Err(error.into()),
            None => anyhow::bail!("nothing is running"),
        }
    }

    /// Runs until `asked` completes or a role ends by itself, which none should. Then it stops, whichever it
    /// was: what the other roles have begun is finished. A signal to stop meanwhile ends that at once.
    ///
    /// # Errors
    /// When a role ended: which, and why; or what `asked` says.
    pub async fn run_until(mut self, asked: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
        systemd::ready(&self.status());
        let ended = tokio::select! {
            ended = self.watch() => ended,
            asked = asked => asked,
        };
        if let Err(error) = &ended {
            tracing::error!(
                error = %chain(&**error),
                "this process ends, the other roles finish what they began"
            );
        }
        tokio::select! {
            () = self.stop() => ended,
            asked = asked_to_stop() => {
                asked?;
                tracing::warn!("asked to stop once more: what is under way is left to the next start");
                anyhow::bail!("stopped at once, because it was asked twice")
            }
        }
    }

    /// Stops all roles, waits for what is under way and closes the database, all within `worker.drain`.
    pub async fn stop(mut self) {
        tracing::info!("stopping");
        systemd::stopping("finishes what a relay was offered, gives everything else back");
        let deadline = Instant::now() + self.app.config.worker.drain;
        self.requests.cancel();
        self.work.cancel();
        let drained = timeout_at(deadline, async { while self.tasks.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            tracing::warn!("not all work was done in time; it is left to the next start");
        }
        self.tasks.abort_all();
        // A database that hangs keeps its connections.
        let closed = deadline.max(Instant::now() + CLOSED);
        if timeout_at(closed, self.app.store.close()).await.is_err() {
            tracing::warn!("the database did not let its connections go");
        }
        tracing::info!("stopped");
    }
}

/// Runs jobs until it is told to stop and those in progress have ended.
async fn work_until(stop: CancellationToken, app: &Arc<App>, leases: Leases) -> Result<(), QueueError> {
    let settings = &app.config.worker;
    let work = WorkerOptions {
        name: format!("postroom-{}", app.worker.id),
        places: Places {
            mails: settings.concurrency,
            callbacks: app.config.callbacks.concurrency,
            batches: BATCHES,
        },
        drain: settings.drain - (settings.drain / 2).min(AFTER_THE_JOBS),
        hand_over: app.hand_over.clone(),
    };
    let (of_jobs, admission) = (Arc::clone(app), Arc::clone(&app.admission));
    let handler = move |job, permit| jobs::run_queued(Arc::clone(&of_jobs), job, permit);
    queue::work(leases, work, admission, stop, handler).await
}

/// Gives claims back whose mails were offered to no relay, as they come.
async fn give_back_unoffered(app: Arc<App>) {
    let unoffered = app.unoffered.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(unoffered) = unoffered {
        app.worker.give_back(&app.store, unoffered, app.config.retry.rescues).await;
    }
}

/// The first line of the log: what runs, on which stores, over which relays. No credential is in it.
fn say_what_starts(config: &Config, role: Role) {
    let route = |route: &RouteSettings| format!("{} ({}:{})", route.name, route.host, route.port);
    let routes: Vec<_> = config.smtp.routes.iter().map(route).collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        role = role.as_str(),
        database = config::redacted_url(&config.database.url),
        queue = config::redacted_url(&config.queue.url),
        routes = routes.join(", "),
        "postroom starts"
    );
}

/// Listens where operators look, as soon as that is possible.
async fn admin_listener(
    mut tried: std::io::Result<TcpListener>,
    app: &App,
    listening: &watch::Sender<Option<SocketAddr>>,
) -> TcpListener {
    let wanted = app.config.admin.listen;
    let mut is_news = true;
    loop {
        match tried.and_then(|listener| Ok((listener.local_addr()?, listener))) {
            Ok((address, listener)) => {
                tracing::info!(%address, "operators can look");
                listening.send_replace(Some(address));
                return listener;
            }
            Err(error) if is_news => {
                tracing::warn!(%error, address = %wanted, "admin.listen: cannot listen there, trying again until it is free");
                is_news = false;
            }
            Err(_) => {}
        }
        tokio::time::sleep(ADMIN_AGAIN).await;
        tried = TcpListener::bind(wanted).await;
    }
}

/// Completes when the process is asked to stop: SIGTERM or SIGINT.
///
/// # Errors
/// When the signals cannot be listened for.
pub async fn asked_to_stop() -> anyhow::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

#[cfg(test)]
mod tests;
