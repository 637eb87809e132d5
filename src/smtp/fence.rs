//! Whether a mail may still be offered.

/// Asked when it matters whether a mail may still be offered: a connection may have taken long, and the process may have
/// been suspended.
pub trait Fence: Sync {
    /// Asked right before MAIL.
    fn may_begin(&self) -> bool;

    /// Asked right before the MAIL of another mail leaves together with the message of this one.
    fn may_begin_next(&self) -> bool;

    /// Asked right before the first byte of the message. Until then the relay cannot have the mail; from a `true` on it may.
    fn may_offer(&self) -> bool;
}

/// Lets everything through: nobody else can have the mail.
pub struct Unfenced;

impl Fence for Unfenced {
    fn may_begin(&self) -> bool {
        true
    }

    fn may_begin_next(&self) -> bool {
        true
    }

    fn may_offer(&self) -> bool {
        true
    }
}
