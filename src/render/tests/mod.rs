//! Whole messages: their bytes, and how another implementation reads them.

mod localised;
mod message;
mod python;
mod structure;
mod subject;
