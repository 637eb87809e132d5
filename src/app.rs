//! What every request and every job works with: the components, opened once and passed around.

use std::sync::{Arc, Mutex};

use anyhow::Context;
use moka::sync::Cache;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};
use url::Url;

use crate::{
    admission::Admission,
    callback::Callbacks,
    config::Config,
    cpu_pool::{CpuPool, Share},
    limits::{InFlight, Limits, Rate},
    mail::{Address, CrashPolicy, Mailbox, MerchantId},
    queue::{self, Bell, Queue},
    render::{self, Content, RenderError, RenderLimits, Renderer, Values},
    shop::{
        TemplateClass, TemplateSource, TemplateVersion,
        builtin_mails::{self, BuiltinMail},
        language::Language,
    },
    smtp::{RouteSettings, Routes},
    store::{Merchant, NewTemplateVersion, Store, StoreError},
    telemetry::METRICS,
    worker::{UnofferedClaims, Worker},
};

/// The bytes of templates' versions that are kept in memory.
const VERSION_BYTES: u64 = 64 << 20;
/// What a version takes beside its parts.
const PER_VERSION: usize = 1024;
/// The unit in which the memory of bodies is counted.
const BODY_UNIT: usize = 1024;
/// Requests for batches that are read at once; one of them for each merchant.
const BATCH_REQUESTS: usize = 2;
/// How many bells may wait for a slow queue.
const BELLS: usize = 10_000;
/// The most bells in one call to the queue.
const BELLS_AT_ONCE: usize = 500;

/// The components of one process.
pub struct App {
    /// The settings.
    pub config: Config,
    /// The rows.
    pub store: Store,
    /// The bells.
    pub queue: Arc<dyn Queue>,
    /// Threads for work that takes longer than a moment.
    pub cpu: CpuPool,
    /// Templates to messages.
    pub renderer: Arc<Renderer>,
    /// Messages to relays.
    pub routes: Routes,
    /// Callbacks to merchants.
    pub callbacks: Callbacks,
    /// How much of something may happen in a while.
    pub limits: Limits,
    /// All that can make mails wait.
    pub admission: Arc<Admission>,
    /// The memory of bodies that are read and not yet answered.
    pub bodies: InFlight,
    /// Requests for batches that are read: each reads as much as `http.max_body`.
    pub batch_requests: InFlight,
    /// This process as a worker.
    pub worker: Arc<Worker>,
    /// What this worker claimed and did not offer, for the task that gives it back.
    pub unoffered: Mutex<Option<UnofferedClaims>>,
    bells: mpsc::Sender<Bell>,
    awaited_bells: mpsc::Sender<AwaitedBell>,
    versions: Cache<String, Arc<TemplateVersion>>,
    builtins: Cache<(BuiltinMail, Language), Arc<TemplateVersion>>,
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
        let (limits, rates) = (Limits::default(), rates_of(&routes)?);
        let routes = Routes::new(&routes)?;
        let (worker, unoffered) = Worker::new(config.worker.silence, Arc::clone(routes.freed()));
        let worker = Arc::new(worker);
        let admission = Admission::new(routes.clone(), rates, &limits, Arc::clone(&worker));
        Ok(Arc::new(Self {
            store,
            bells: start_ringing(Arc::clone(&queue)),
            awaited_bells: start_dispatching(Arc::clone(&queue)),
            queue,
            routes,
            callbacks: Callbacks::new(&config.callbacks)?,
            limits,
            admission: Arc::new(admission),
            worker,
            unoffered: Mutex::new(Some(unoffered)),
            cpu: CpuPool::start().context("no thread could be started")?,
            renderer: Arc::new(Renderer::new(config.render.clone())),
            bodies: InFlight::new(config.http.max_in_flight.0, config.http.max_in_flight.0 / 4, BODY_UNIT),
            batch_requests: InFlight::new(BATCH_REQUESTS, 1, 1),
            versions: Cache::builder()
                .max_capacity(VERSION_BYTES)
                .weigher(|_: &String, version: &Arc<TemplateVersion>| memory(version))
                .build(),
            builtins: Cache::new((BuiltinMail::ALL.len() * Language::ALL.len()) as u64),
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

    /// The version that a mail to a merchant's customer is written from: the merchant's own template, one whose id
    /// is the built-in mail's name and language as in `cart_link.de`, else its name alone; else the built-in one.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn own_or_builtin_version(
        &self,
        merchant: &MerchantId,
        mail: BuiltinMail,
        language: Language,
    ) -> Result<Arc<TemplateVersion>, StoreError> {
        let in_language = format!("{mail}.{language}");
        let own = self.store.newest_version_of(merchant, &in_language, mail.as_str()).await?;
        if let Some(id) = own
            && let Some(version) = self.template_version(&id).await?
        {
            return Ok(version);
        }
        self.builtin_version(mail, language).await
    }

    /// The version of a built-in mail, ready to be pinned by a mail. It is checked and stored when it is first asked
    /// for and kept in memory after that; its id follows from its content, so another release makes another version.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn builtin_version(
        &self,
        mail: BuiltinMail,
        language: Language,
    ) -> Result<Arc<TemplateVersion>, StoreError> {
        if let Some(version) = self.builtins.get(&(mail, language)) {
            return Ok(version);
        }
        let limits = self.config.render.clone();
        // Inlining CSS takes milliseconds.
        let version = self.cpu.run(Share::Own, move || builtin(mail, language, &limits));
        let version = version.await.map_err(|_busy| StoreError::Closed)??;
        self.store.put_builtin_version(&version).await?;
        let version = Arc::new(TemplateVersion::from(version));
        self.versions.insert(version.id.clone(), Arc::clone(&version));
        self.builtins.insert((mail, language), Arc::clone(&version));
        Ok(version)
    }

    /// Names the placeholders that a mail would miss with these values; see [`Renderer::missing`].
    ///
    /// # Errors
    /// As there, and [`RenderError::Busy`] when it is more than a moment's work and too much of that waits.
    pub async fn missing(
        &self,
        share: impl FnOnce() -> Share,
        version: &Arc<TemplateVersion>,
        values: &Values,
    ) -> Result<Vec<String>, RenderError> {
        if let Some(missing) = self.renderer.try_missing(version, values) {
            return missing;
        }
        let (renderer, version, values) = (Arc::clone(&self.renderer), Arc::clone(version), values.clone());
        let missing = self.cpu.run(share(), move || renderer.missing(&version, &values));
        missing.await.map_err(|_busy| RenderError::Busy)?
    }

    /// Fills a mail in; see [`Renderer::render`].
    ///
    /// # Errors
    /// As there, and [`RenderError::Busy`] when it is more than a moment's work and too much of that waits.
    pub async fn render(
        &self,
        share: impl FnOnce() -> Share,
        version: &Arc<TemplateVersion>,
        values: &Values,
    ) -> Result<Content, RenderError> {
        if let Some(content) = self.renderer.try_render(version, values) {
            return content;
        }
        let (renderer, version, values) = (Arc::clone(&self.renderer), Arc::clone(version), values.clone());
        let content = self.cpu.run(share(), move || renderer.render(&version, &values));
        content.await.map_err(|_busy| RenderError::Busy)?
    }

    /// The `From` of a merchant's mails that have no other: what the merchant chose, else an address of this
    /// installation that nobody reads.
    pub fn sender_of(&self, merchant: &Merchant) -> Mailbox {
        merchant.sender.clone().unwrap_or_else(|| Mailbox {
            name: Some(merchant.name.clone()).filter(|name| !name.chars().any(char::is_control)),
            email: no_reply(&self.config.http.public_url),
        })
    }

    /// A link to this installation, as in `passes/<id>`.
    pub fn link_to(&self, path: &str) -> String {
        format!("{}/{path}", self.config.http.public_url.as_str().trim_end_matches('/'))
    }

    /// Wakes a worker, without waiting for the queue. A queue that is away or slow is no failure: the waker rings for
    /// the rows later.
    pub fn ring(&self, bell: Bell) {
        if self.bells.try_send(bell).is_err() {
            tracing::debug!("too many bells wait for the queue, the waker will ring");
        }
    }

    /// Wakes a worker and tells whether the queue took the bell within `queue.enqueue_timeout`. If not, it may ring all
    /// the same.
    pub async fn dispatch(&self, bell: Bell) -> bool {
        let (taken, answer) = oneshot::channel();
        let dispatching = async {
            self.awaited_bells.send((bell, taken)).await.ok()?;
            answer.await.ok()
        };
        let limit = self.config.queue.enqueue_timeout;
        tokio::time::timeout(limit, dispatching).await.ok().flatten().unwrap_or(false)
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

/// About how many bytes of memory a version takes.
fn memory(version: &TemplateVersion) -> u32 {
    let TemplateSource { subject, html, text } = &version.source;
    let parts = subject.len() + html.len() + text.as_ref().map_or(0, String::len);
    let tags = version.tags.iter().map(|tag| tag.len() + 32).sum::<usize>();
    u32::try_from(PER_VERSION + parts + tags).unwrap_or(u32::MAX)
}

/// `no-reply` at the host that links in mails lead to; where that is no domain name, at one that never exists (RFC
/// 2606, section 2), so that no stranger gets what comes back.
fn no_reply(public_url: &Url) -> Address {
    let host = public_url.host_str().unwrap_or_default();
    let address = format!("no-reply@{host}").parse();
    #[expect(clippy::expect_used, reason = "a constant, and a test reads it")]
    address.unwrap_or_else(|_| "no-reply@postroom.invalid".parse().expect("an address"))
}

fn builtin(
    mail: BuiltinMail,
    language: Language,
    limits: &RenderLimits,
) -> Result<NewTemplateVersion, StoreError> {
    let checked = render::check(&builtin_mails::template(mail, language), limits).map_err(|faults| {
        let why = format!("the built-in mail {mail} in {language} is not sound: {}", faults[0]);
        StoreError::Corrupt { table: "template_versions", why }
    })?;
    let source = checked.source;
    let mut content = Sha256::new();
    for part in [
        mail.as_str(),
        language.as_str(),
        &source.subject,
        &source.html,
        source.text.as_deref().unwrap_or_default(),
    ] {
        content.update((part.len() as u64).to_be_bytes());
        content.update(part);
    }
    Ok(NewTemplateVersion {
        id: content.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
        template: mail.as_str().to_owned(),
        source,
        tags: checked.tags,
        sender: None,
        class: TemplateClass::Transactional,
        on_crash: CrashPolicy::Resend,
        language: Some(language.as_str().to_owned()),
    })
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

/// A bell whose caller waits to hear whether the queue took it.
type AwaitedBell = (Bell, oneshot::Sender<bool>);

/// The same for bells whose callers wait.
fn start_dispatching(queue: Arc<dyn Queue>) -> mpsc::Sender<AwaitedBell> {
    let (sender, mut receiver) = mpsc::channel::<AwaitedBell>(BELLS_AT_ONCE);
    tokio::spawn(async move {
        let mut waiting = Vec::with_capacity(BELLS_AT_ONCE);
        while receiver.recv_many(&mut waiting, BELLS_AT_ONCE).await > 0 {
            let (bells, callers): (Vec<_>, Vec<_>) = waiting.drain(..).unzip();
            let taken = queue.enqueue(&bells).await;
            if let Err(error) = &taken {
                tracing::warn!(%error, bells = bells.len(), "the queue takes no bells that are waited for");
            }
            for caller in callers {
                let _ = caller.send(taken.is_ok()); // one who has given up has withdrawn the mail
            }
        }
    });
    sender
}

fn rates_of(routes: &[RouteSettings]) -> anyhow::Result<Vec<(String, Rate)>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_builtin_mail_is_stored_once_and_read_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let database = format!("sqlite:{}", folder.path().join("postroom.db").display());
        let environment = [("POSTROOM_DATABASE__URL".to_owned(), database)];
        let app = App::open(Config::load(None, environment).unwrap()).await.unwrap();
        app.store.migrate().await.unwrap();

        let first = app.builtin_version(BuiltinMail::OrderConfirmation, Language::De).await.unwrap();
        let again = app.builtin_version(BuiltinMail::OrderConfirmation, Language::De).await.unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        let english = app.builtin_version(BuiltinMail::OrderConfirmation, Language::En).await.unwrap();
        assert_ne!(first.id, english.id);

        let stored = app.store.template_version(&first.id).await.unwrap().unwrap();
        assert_eq!(stored, *first);
        // Another process, or a later start of this one, comes to the same id.
        app.builtins.invalidate_all();
        assert_eq!(
            app.builtin_version(BuiltinMail::OrderConfirmation, Language::De).await.unwrap().id,
            first.id
        );
    }

    #[test]
    fn a_merchant_without_a_sender_writes_from_where_its_links_lead() {
        for (public_url, expected) in [
            ("https://post.example.com/x", "no-reply@post.example.com"),
            ("http://bücher.example:8025", "no-reply@xn--bcher-kva.example"),
            ("http://127.0.0.1:8025", "no-reply@postroom.invalid"),
            ("http://[::1]:8025", "no-reply@postroom.invalid"),
            ("http://localhost", "no-reply@postroom.invalid"),
        ] {
            assert_eq!(no_reply(&public_url.parse().unwrap()).to_string(), expected);
        }
    }

    #[test]
    fn every_builtin_mail_is_sound_in_every_language() {
        for (&mail, &language) in BuiltinMail::ALL
            .iter()
            .flat_map(|mail| Language::ALL.iter().map(move |language| (mail, language)))
        {
            let version = builtin(mail, language, &RenderLimits::default()).unwrap();
            assert_eq!((version.id.len(), version.template.as_str()), (64, mail.as_str()));
        }
    }
}
