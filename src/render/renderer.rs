//! Fills templates in. Compiled templates are kept, bounded by the bytes of their source.

use std::sync::Arc;

use handlebars::Context;
use moka::sync::Cache;

use crate::shop::{TemplateSource, TemplateVersion};

use super::engine::Engine;
use super::program::Program;
use super::{Content, RenderError, RenderLimits};

/// Fills templates in; shared by all workers.
pub struct Renderer {
    limits: RenderLimits,
    engine: Engine,
    programs: Cache<String, Arc<Program>>,
}

impl Renderer {
    /// Makes a renderer with an empty cache.
    pub fn new(limits: RenderLimits) -> Self {
        let programs = Cache::builder()
            .max_capacity(limits.cache_bytes)
            .weigher(|_: &String, program: &Arc<Program>| program.source_bytes())
            .build();
        Self { limits, engine: Engine::new(), programs }
    }

    /// Fills a stored template in; it is compiled the first time.
    ///
    /// # Errors
    /// [`RenderError::Missing`] when placeholders that would be printed have no value; the others as they say.
    pub fn render(
        &self,
        version: &TemplateVersion,
        values: &serde_json::Value,
    ) -> Result<Content, RenderError> {
        match self.fill(&*self.program(version)?, values)? {
            (content, missing) if missing.is_empty() => Ok(content),
            (_, tags) => Err(RenderError::Missing { tags }),
        }
    }

    /// Fills a template in as far as it goes and names the placeholders that have no value; they print nothing.
    ///
    /// # Errors
    /// When the template does not compile, or what it makes is too large.
    pub fn preview(
        &self,
        source: &TemplateSource,
        values: &serde_json::Value,
    ) -> Result<(Content, Vec<String>), RenderError> {
        self.fill(&Program::compile(source)?, values)
    }

    /// Names the placeholders that [`Renderer::render`] would miss with these values, as paths from the top.
    ///
    /// # Errors
    /// When the template cannot be rendered with these values for another reason, as far as that is found out.
    pub fn missing(
        &self,
        version: &TemplateVersion,
        values: &serde_json::Value,
    ) -> Result<Vec<String>, RenderError> {
        let program = self.program(version)?;
        match program.missing_at_a_glance(values) {
            Some(missing) => Ok(missing),
            None => self.fill(&program, values).map(|(_, missing)| missing),
        }
    }

    fn fill(
        &self,
        program: &Program,
        values: &serde_json::Value,
    ) -> Result<(Content, Vec<String>), RenderError> {
        program.fill(&self.engine, &Context::from(values.clone()), &self.limits)
    }

    fn program(&self, version: &TemplateVersion) -> Result<Arc<Program>, RenderError> {
        if let Some(program) = self.programs.get(&version.id) {
            return Ok(program);
        }
        let program = Arc::new(Program::compile(&version.source)?);
        self.programs.insert(version.id.clone(), Arc::clone(&program));
        Ok(program)
    }
}
