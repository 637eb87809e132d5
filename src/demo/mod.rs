//! The demonstration that needs nothing installed: what `postroom demo` brings along besides the daemon itself.

pub mod catcher;
