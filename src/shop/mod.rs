//! What a shop is and what it may ask for: values and pure rules, no clock, no network, no database.

pub mod format;
pub mod language;
pub mod letters;
mod template;

pub use template::{TemplateSource, TemplateVersion};
