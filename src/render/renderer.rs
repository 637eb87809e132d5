//! Fills templates in. Compiled templates are kept, bounded by the memory they take.
//!
//! Most mails take microseconds, less than it takes to wake another thread. So what asks from an async thread tries
//! first ([`Renderer::try_missing`], [`Renderer::try_render`]) and takes what is more than a moment's work elsewhere.

use std::sync::Arc;

use moka::sync::Cache;

use crate::shop::{TemplateSource, TemplateVersion};

use super::compiled_template::CompiledTemplate;
use super::engine::Engine;
use super::inline_css::Effort;
use super::{Content, RenderError, RenderLimits, Values};

/// The work that may be done at once on an async thread: about a millisecond.
const MOMENT: u64 = 1_000_000;

/// Fills templates in; shared by all workers.
pub struct Renderer {
    limits: RenderLimits,
    engine: Engine,
    compiled: Cache<String, Arc<CompiledTemplate>>,
}

impl Renderer {
    /// Makes a renderer with an empty cache.
    pub fn new(limits: RenderLimits) -> Self {
        let compiled = Cache::builder()
            .max_capacity(limits.cache_bytes)
            .weigher(|_: &String, compiled: &Arc<CompiledTemplate>| compiled.memory())
            .build();
        Self { limits, engine: Engine::new(), compiled }
    }

    /// Whether a stored template is compiled and kept.
    pub fn has_compiled(&self, version: &TemplateVersion) -> bool {
        self.compiled.contains_key(&version.id)
    }

    /// Compiles a stored template and keeps it. Not for an async thread.
    ///
    /// # Errors
    /// When it does not compile.
    pub fn compile(&self, version: &TemplateVersion) -> Result<(), RenderError> {
        self.compiled(version).map(drop)
    }

    /// Fills a stored template in; it is compiled the first time. For a hostile template this takes as long as
    /// [`RenderLimits::work`] allows: not for an async thread.
    ///
    /// # Errors
    /// [`RenderError::Missing`] when placeholders that would be printed have no value, [`RenderError::BlankSubject`] when the
    /// subject says nothing with these values; the others as they say.
    pub fn render(&self, version: &TemplateVersion, values: &Values) -> Result<Content, RenderError> {
        complete(self.fill(&*self.compiled(version)?, values, self.limits.work, Effort::All))
    }

    /// The same where it is done in a moment; `None` where it must be left to another thread.
    pub fn try_render(
        &self,
        version: &TemplateVersion,
        values: &Values,
    ) -> Option<Result<Content, RenderError>> {
        let compiled = self.compiled.get(&version.id)?;
        let effort = if self.limits.work > MOMENT { Effort::Known } else { Effort::All };
        self.in_a_moment(self.fill(&compiled, values, self.moment(), effort)).map(complete)
    }

    /// Fills a template, in this language (a tag), in as far as it goes and names the placeholders that have no value; they print nothing. Not for
    /// an async thread.
    ///
    /// # Errors
    /// When the template does not compile, or what it makes is too large.
    pub fn preview(
        &self,
        source: &TemplateSource,
        language: Option<&str>,
        values: &Values,
    ) -> Result<(Content, Vec<String>), RenderError> {
        let compiled = CompiledTemplate::compile(source, language)?;
        self.fill(&compiled, values, self.limits.work, Effort::All)
    }

    /// Names the placeholders that [`Renderer::render`] would miss with these values, as paths from the top. Not for an
    /// async thread.
    ///
    /// # Errors
    /// When the template cannot be rendered with these values for another reason, as far as that is found out.
    pub fn missing(&self, version: &TemplateVersion, values: &Values) -> Result<Vec<String>, RenderError> {
        let compiled = self.compiled(version)?;
        match compiled.missing_at_a_glance(values.as_json()) {
            Some(missing) => self.with_subject_checked(&compiled, values, self.limits.work, missing),
            None => missing_of(self.fill(&compiled, values, self.limits.work, Effort::None)),
        }
    }

    /// The same where it is done in a moment; `None` where it must be left to another thread.
    pub fn try_missing(
        &self,
        version: &TemplateVersion,
        values: &Values,
    ) -> Option<Result<Vec<String>, RenderError>> {
        let compiled = self.compiled.get(&version.id)?;
        if let Some(missing) = compiled.missing_at_a_glance(values.as_json()) {
            return self.in_a_moment(self.with_subject_checked(&compiled, values, self.moment(), missing));
        }
        let filled = self.fill(&compiled, values, self.moment(), Effort::None);
        self.in_a_moment(filled).map(missing_of)
    }

    /// Where nothing is missing, the subject must also say something.
    fn with_subject_checked(
        &self,
        compiled: &CompiledTemplate,
        values: &Values,
        work: u64,
        missing: Vec<String>,
    ) -> Result<Vec<String>, RenderError> {
        compiled.check_subject(&self.engine, values, work, missing.is_empty()).map(|()| missing)
    }

    fn moment(&self) -> u64 {
        self.limits.work.min(MOMENT)
    }

    fn in_a_moment<T>(&self, done: Result<T, RenderError>) -> Option<Result<T, RenderError>> {
        match done {
            Err(RenderError::TooLong { .. }) if self.limits.work > MOMENT => None,
            done => Some(done),
        }
    }

    fn fill(
        &self,
        compiled: &CompiledTemplate,
        values: &Values,
        work: u64,
        effort: Effort,
    ) -> Result<(Content, Vec<String>), RenderError> {
        compiled.fill(&self.engine, values, self.limits.rendered_bytes, work, effort)
    }

    fn compiled(&self, version: &TemplateVersion) -> Result<Arc<CompiledTemplate>, RenderError> {
        if let Some(compiled) = self.compiled.get(&version.id) {
            return Ok(compiled);
        }
        let compiled = Arc::new(CompiledTemplate::compile(&version.source, version.language.as_deref())?);
        self.compiled.insert(version.id.clone(), Arc::clone(&compiled));
        Ok(compiled)
    }
}

fn complete(filled: Result<(Content, Vec<String>), RenderError>) -> Result<Content, RenderError> {
    match filled? {
        (_, tags) if !tags.is_empty() => Err(RenderError::Missing { tags }),
        (content, _) if content.subject.is_empty() => Err(RenderError::BlankSubject),
        (content, _) => Ok(content),
    }
}

/// What is missing, where [`complete`] would say so too.
fn missing_of(filled: Result<(Content, Vec<String>), RenderError>) -> Result<Vec<String>, RenderError> {
    match filled? {
        (content, missing) if missing.is_empty() && content.subject.is_empty() => {
            Err(RenderError::BlankSubject)
        }
        (_, missing) => Ok(missing),
    }
}
