//! What a shop is and what it may ask for: values and pure rules, no clock, no network, no database.

mod template;

pub use template::{TemplateSource, TemplateVersion};
