//! Templates' versions in memory, and mails filled in with them.
//!
//! A version never changes, so it is read from the database once and kept. What takes longer than a moment runs on the CPU
//! pool, in the caller's share of it.

use std::{collections::BTreeMap, sync::Arc};

use moka::sync::Cache;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use crate::{
    cpu_pool::{CpuPool, Share},
    mail::{CrashPolicy, Mail},
    render::{self, Content, RenderError, RenderLimits, Renderer, Values},
    shop::{
        ResourceKind, TemplateSource, TemplateVersion, UnsubscribeWords,
        builtin_mails::{self, BuiltinMail},
        language::Language,
        mailing::UNSUBSCRIBE_LINK,
    },
    store::{LookUps, NewTemplateVersion, Store, StoreError},
};

/// The bytes of templates' versions that are kept in memory.
const VERSION_BYTES: u64 = 64 << 20;
/// Begins the subject of a mail that a merchant tries a template out with.
const TEST_MARK: &str = "[Test]";
/// Versions that may be compiled at the same time, each once.
const MOST_TURNS: u64 = 1_000;
/// What a version takes beside its parts.
const PER_VERSION: usize = 1024;

/// The versions of all templates.
pub struct Templates {
    store: Store,
    cpu: Arc<CpuPool>,
    renderer: Arc<Renderer>,
    limits: RenderLimits,
    versions: Cache<String, Arc<TemplateVersion>>,
    builtins: Cache<(BuiltinMail, Language), Arc<TemplateVersion>>,
    /// Whose turn it is to compile a version, by its name: many may need it at once, as after a start, and one does it for all.
    turns: Cache<String, Arc<Mutex<()>>>,
}

impl Templates {
    /// Reads versions from `store` and checks built-in mails within `limits`.
    pub fn new(store: Store, cpu: Arc<CpuPool>, renderer: Arc<Renderer>, limits: RenderLimits) -> Self {
        Self {
            store,
            cpu,
            renderer,
            limits,
            versions: Cache::builder()
                .max_capacity(VERSION_BYTES)
                .weigher(|_: &String, version: &Arc<TemplateVersion>| memory(version))
                .build(),
            builtins: Cache::new((BuiltinMail::ALL.len() * Language::OF_BUILTIN_MAILS.len()) as u64),
            turns: Cache::new(MOST_TURNS),
        }
    }

    /// A template's version, from memory where possible: a version never changes.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn version(&self, id: &str) -> Result<Option<Arc<TemplateVersion>>, StoreError> {
        if let Some(version) = self.versions.get(id) {
            return Ok(Some(version));
        }
        let version = self.store.template_version(id).await?.map(Arc::new);
        if let Some(version) = &version {
            self.versions.insert(id.to_owned(), Arc::clone(version));
        }
        Ok(version)
    }

    /// The version that a mail to the customer of the merchant of `look_ups` is written from: the merchant's own template, one whose id
    /// is the mail's name and language as in `cart_link.pt-BR` or `cart_link.de`, else its name alone; else the built-in mail.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn own_or_builtin(
        &self,
        look_ups: &LookUps,
        mail: BuiltinMail,
        language: Language,
    ) -> Result<Arc<TemplateVersion>, StoreError> {
        let in_region = format!("{mail}.{language}");
        let in_language = format!("{mail}.{}", language.base());
        let own = look_ups.newest_version_of(&[&in_region, &in_language, mail.as_str()]).await?;
        if let Some(id) = own
            && let Some(version) = self.version(&id).await?
        {
            return Ok(version);
        }
        self.builtin(mail, language).await
    }

    /// The version of a built-in mail, ready to be pinned by a mail. It is checked and stored when it is first asked
    /// for and kept in memory after that; its id follows from its content, so another release makes another version.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn builtin(
        &self,
        mail: BuiltinMail,
        language: Language,
    ) -> Result<Arc<TemplateVersion>, StoreError> {
        if let Some(version) = self.builtins.get(&(mail, language)) {
            return Ok(version);
        }
        let turn = self.turn(format!("{mail}.{language}"));
        let _turn = turn.lock().await;
        if let Some(version) = self.builtins.get(&(mail, language)) {
            return Ok(version);
        }
        let limits = self.limits.clone();
        // Inlining CSS takes milliseconds.
        let version = self.cpu.run(Share::Own, move || check_builtin(mail, language, &limits));
        let version = version.await.map_err(|_busy| StoreError::Closed)??;
        self.store.put_builtin_version(&version).await?;
        let version = Arc::new(TemplateVersion::from(version));
        self.versions.insert(version.id.clone(), Arc::clone(&version));
        self.builtins.insert((mail, language), Arc::clone(&version));
        Ok(version)
    }

    /// Compiles a version that is not compiled yet. Who needs the same one meanwhile waits for that.
    async fn compile(
        &self,
        share: impl Fn() -> Share,
        version: &Arc<TemplateVersion>,
    ) -> Result<(), RenderError> {
        if self.renderer.has_compiled(version) {
            return Ok(());
        }
        let turn = self.turn(version.id.clone());
        let _turn = turn.lock().await;
        if self.renderer.has_compiled(version) {
            return Ok(());
        }
        let (renderer, version) = (Arc::clone(&self.renderer), Arc::clone(version));
        let compiled = self.cpu.run(share(), move || renderer.compile(&version));
        compiled.await.map_err(|_busy| RenderError::Busy)?
    }

    fn turn(&self, name: String) -> Arc<Mutex<()>> {
        self.turns.get_with(name, Arc::default)
    }

    /// Names the placeholders that a mail would miss with these values; see [`Renderer::missing`].
    ///
    /// # Errors
    /// As there, and [`RenderError::Busy`] when it is more than a moment's work and too much of that waits.
    pub async fn missing(
        &self,
        share: impl Fn() -> Share,
        version: &Arc<TemplateVersion>,
        values: &Values,
    ) -> Result<Vec<String>, RenderError> {
        self.compile(&share, version).await?;
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
        share: impl Fn() -> Share,
        version: &Arc<TemplateVersion>,
        values: &Values,
    ) -> Result<Content, RenderError> {
        self.compile(&share, version).await?;
        if let Some(content) = self.renderer.try_render(version, values) {
            return content;
        }
        let (renderer, version, values) = (Arc::clone(&self.renderer), Arc::clone(version), values.clone());
        let content = self.cpu.run(share(), move || renderer.render(&version, &values));
        content.await.map_err(|_busy| RenderError::Busy)?
    }

    /// Fills a recorded mail in as its recipient gets it: with the link to unsubscribe, where it carries one, and below a
    /// promotional mail whose template does not print the link, a line that has it. The inner error is one of [`Templates::render`].
    ///
    /// # Errors
    /// When the database does not answer, or what it has of the mail cannot be read.
    pub async fn render_mail(
        &self,
        share: impl Fn() -> Share,
        mail: &Mail,
        link: Option<&str>,
    ) -> Result<Result<Content, RenderError>, StoreError> {
        let corrupt = |why: String| StoreError::Corrupt { table: "mails", why };
        let version = self.version(&mail.template_version).await?;
        let version = version
            .ok_or_else(|| corrupt(format!("template version `{}` is gone", mail.template_version)))?;
        let values = serde_json::from_str(&mail.values)
            .map_err(|_| corrupt("a mail's values are not JSON".to_owned()))?;
        Ok(self.fill_in(share, &version, mail, values, link).await)
    }

    async fn fill_in(
        &self,
        share: impl Fn() -> Share,
        version: &Arc<TemplateVersion>,
        mail: &Mail,
        mut values: Value,
        link: Option<&str>,
    ) -> Result<Content, RenderError> {
        let is_test_send = mail.extras.as_ref().is_some_and(|extras| extras.test_send);
        let marked = |content: Content| match is_test_send {
            true => Content { subject: format!("{TEST_MARK} {}", content.subject), ..content },
            false => content,
        };
        let (Some(link), Some(unsubscribe)) = (link, &mail.unsubscribe) else {
            return self.render(share, version, &values.into()).await.map(marked);
        };
        if let Some(values) = values.as_object_mut() {
            values.insert(UNSUBSCRIBE_LINK.to_owned(), link.into());
        }
        let content = self.render(share, version, &values.into()).await.map(marked)?;
        if !mail.is_promotional {
            return Ok(content);
        }
        let language = Language::from_tag(&unsubscribe.language).unwrap_or(Language::En);
        Ok(render::with_footer(content, &UnsubscribeWords::of(language).footer, link))
    }
}

/// About how many bytes of memory a version takes.
fn memory(version: &TemplateVersion) -> u32 {
    let TemplateSource { subject, html, text } = &version.source;
    let parts = subject.len() + html.len() + text.as_ref().map_or(0, String::len);
    let tags = version.tags.iter().map(|tag| tag.len() + 32).sum::<usize>();
    u32::try_from(PER_VERSION + parts + tags).unwrap_or(u32::MAX)
}

/// Checks a built-in mail; its id is the hash of its content.
fn check_builtin(
    mail: BuiltinMail,
    language: Language,
    limits: &RenderLimits,
) -> Result<NewTemplateVersion, StoreError> {
    let checked = render::check(&builtin_mails::template(mail, language), limits).map_err(|faults| {
        let why = format!("the mail {mail} in {language} is not sound: {}", faults[0]);
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
        id: base16ct::lower::encode_string(&content.finalize()),
        kind: ResourceKind::Templates,
        partials: BTreeMap::new(),
        template: mail.as_str().to_owned(),
        source,
        tags: checked.tags,
        sender: None,
        class: None,
        on_crash: CrashPolicy::Resend,
        language: Some(language.as_str().to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::webhooks_fixture as fixture;

    #[tokio::test]
    async fn a_builtin_mail_is_stored_once_and_read_back_as_it_was() {
        let (store, _folder) = fixture::open().await;
        let renderer = Arc::new(Renderer::new(RenderLimits::default()));
        let cpu = Arc::new(CpuPool::start().unwrap());
        let templates = Templates::new(store.clone(), cpu, renderer, RenderLimits::default());

        let first = templates.builtin(BuiltinMail::OrderConfirmation, Language::De).await.unwrap();
        let again = templates.builtin(BuiltinMail::OrderConfirmation, Language::De).await.unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        let english = templates.builtin(BuiltinMail::OrderConfirmation, Language::En).await.unwrap();
        assert_ne!(first.id, english.id);

        let stored = store.template_version(&first.id).await.unwrap().unwrap();
        assert_eq!(stored, *first);
        // Another process, or a later start of this one, comes to the same id.
        templates.builtins.invalidate_all();
        assert_eq!(
            templates.builtin(BuiltinMail::OrderConfirmation, Language::De).await.unwrap().id,
            first.id
        );
    }

    #[test]
    fn every_builtin_mail_is_sound_in_every_language() {
        for (&mail, &language) in BuiltinMail::ALL
            .iter()
            .flat_map(|mail| Language::OF_BUILTIN_MAILS.iter().map(move |language| (mail, language)))
        {
            let version = check_builtin(mail, language, &RenderLimits::default()).unwrap();
            assert_eq!((version.id.len(), version.template.as_str()), (64, mail.as_str()));
        }
    }
}
