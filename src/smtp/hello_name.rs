//! The name that we give in EHLO.

/// Whether a name can stand after EHLO: a host name, or an address literal in brackets (RFC 5321, section 4.1.3).
pub fn is_hello_name(name: &str) -> bool {
    let is_allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'[' | b']' | b':');
    (1..=255).contains(&name.len()) && name.bytes().all(is_allowed)
}

/// This machine's name for EHLO, where it is a full one.
pub(super) fn machine_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    (name.contains('.') && is_hello_name(name)).then(|| name.to_owned())
}
