//! Starts the roles, watches them, and stops them in order: no more requests, then no more jobs, then the waker, then
//! the rows.

use std::{
    net::SocketAddr,
    sync::{Arc, PoisonError},
    time::Duration,
};

use anyhow::Context;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    app::App,
    config::{Config, Role},
    heartbeat::Heartbeat,
    http, jobs,
    queue::{self, Leases, Places, Work},
    waker,
};

/// Between two rounds of housekeeping.
const HOUSEKEEPING: Duration = Duration::from_secs(300);

/// Batches that are made into mails at the same time; each reads and writes a chunk at a time.
const BATCHES: usize = 8;
/// How long a stop waits for the claims that were offered to nobody to be given back, and for the last heartbeat.
const LAST_CLAIMS: Duration = Duration::from_secs(3);

/// A running daemon.
pub struct Daemon {
    app: Arc<App>,
    listening_on: Option<SocketAddr>,
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
        let app = App::open(config).await?;
        if app.config.database.migrate {
            app.store.migrate().await?;
        }
        app.store.check_schema().await?;
        let mut daemon = Self {
            app: Arc::clone(&app),
            listening_on: None,
            requests: CancellationToken::new(),
            work: app.worker.stopping.clone(),
            tasks: JoinSet::new(),
        };
        if role != Role::Ingress {
            daemon.start_worker().await?;
        }
        if role != Role::Worker {
            daemon.start_ingress().await?;
        }
        let (waking, stop) = (Arc::clone(&app), daemon.work.clone());
        daemon.tasks.spawn(async move {
            waker::ring(waking, stop).await;
            Ok("waker")
        });
        let (house, stop) = (app, daemon.work.clone());
        daemon.tasks.spawn(async move {
            stop.run_until_cancelled(jobs::keep_house(house, HOUSEKEEPING)).await;
            Ok("housekeeping")
        });
        Ok(daemon)
    }

    async fn start_worker(&mut self) -> anyhow::Result<()> {
        let app = Arc::clone(&self.app);
        let leases = Leases::new(Arc::clone(&app.queue), format!("postroom-{}", app.worker.id));
        let (heard_again, mut again) = tokio::sync::mpsc::unbounded_channel();
        let heartbeat = Heartbeat {
            worker: Arc::clone(&app.worker),
            database: app.config.database.clone(),
            queue: Arc::clone(&app.queue),
            queue_settings: app.config.queue.clone(),
            leases: leases.clone(),
            silence: app.config.worker.silence,
            heard_again,
        };
        let beats_until = CancellationToken::new();
        // The first heartbeat comes before the first claim.
        let beating = heartbeat.start(beats_until.clone()).await?;
        let ringing = Arc::clone(&app);
        self.tasks.spawn(async move {
            while again.recv().await.is_some() {
                waker::ring_for_postponed(&ringing).await;
            }
            Ok("heartbeat")
        });
        let (unoffered, giving) =
            (app.unoffered.lock().unwrap_or_else(PoisonError::into_inner).take(), Arc::clone(&app));
        let gives_back = tokio::spawn(async move {
            if let Some(unoffered) = unoffered {
                giving.worker.give_back(&giving.store, unoffered).await;
            }
        });
        let gives_back = AbortOnDropHandle::new(gives_back);
        let stop = self.work.clone();
        self.tasks.spawn(async move {
            let settings = &app.config.worker;
            let work = Work {
                name: format!("postroom-{}", app.worker.id),
                places: Places {
                    mails: settings.concurrency,
                    callbacks: app.config.callbacks.concurrency,
                    batches: BATCHES,
                },
                drain: settings.drain,
            };
            let (jobs_app, admission) = (Arc::clone(&app), Arc::clone(&app.admission));
            let answer = move |bell, permit| jobs::answer(Arc::clone(&jobs_app), bell, permit);
            let worked = queue::work(leases, work, admission, stop, answer).await;
            if tokio::time::timeout(LAST_CLAIMS, app.worker.all_given_back()).await.is_err() {
                tracing::warn!("not all claims could be given back; what was not offered may be held");
            }
            drop(gives_back);
            beats_until.cancel();
            // Before the worker signs off, lest a late heartbeat calls it alive again.
            let _ = tokio::time::timeout(LAST_CLAIMS, beating.ended()).await;
            if let Err(error) = app.store.sign_off(app.worker.id).await {
                tracing::warn!(%error, "this worker could not sign off");
            }
            worked.context("the worker stopped")?;
            Ok("worker")
        });
        Ok(())
    }

    async fn start_ingress(&mut self) -> anyhow::Result<()> {
        let address = self.app.config.http.listen;
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("http.listen: cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        self.listening_on = Some(address);
        tracing::info!(%address, "taking requests");
        let router = http::router(Arc::clone(&self.app));
        let stop = self.requests.clone();
        let app = Arc::clone(&self.app);
        self.tasks.spawn(async move {
            http::serve(listener, router, &app.config, stop).await;
            Ok("ingress")
        });
        Ok(())
    }

    /// Where requests are taken.
    pub fn listening_on(&self) -> Option<SocketAddr> {
        self.listening_on
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

    /// Stops in order and waits for what is under way, at most as long as `worker.drain` and a little.
    pub async fn stop(mut self) {
        tracing::info!("stopping");
        self.requests.cancel();
        self.work.cancel();
        let patience = self.app.config.worker.drain + Duration::from_secs(5);
        let drained =
            tokio::time::timeout(patience, async { while self.tasks.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            tracing::warn!("not all work was done in time; it is left to the next start");
        }
        self.app.store.close().await;
        tracing::info!("stopped");
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
