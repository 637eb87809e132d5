//! What an SMTP client's line asks for (RFC 5321, section 4.1), or the reply that tells it what is wrong with it.
//!
//! Pure; whether a command is in order is the dialogue's business.

/// A client's command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    Hello { name: &'a str, extended: bool },
    Mail { sender: &'a str, size: usize, eight_bit: bool, smtputf8: bool },
    Rcpt { recipient: &'a str },
    Data,
    Reset,
    Noop,
    Verify,
    Help,
    Quit,
    StartTls,
    Auth { mechanism: &'a str, initial: Option<&'a str> },
}

/// The reply to a command that is wrong in itself.
pub(super) type Refusal = &'static str;

const UNKNOWN: Refusal = "500 5.5.2 I do not know that command";
const NO_ARGUMENT: Refusal = "501 5.5.4 That command takes no argument";
const BAD_SENDER: Refusal = "501 5.1.7 Write MAIL FROM:<address>";
const BAD_RECIPIENT: Refusal = "501 5.1.3 Write RCPT TO:<address>";
const BAD_PARAMETER: Refusal = "501 5.5.4 A parameter has a value that makes no sense";
const UNKNOWN_PARAMETER: Refusal = "555 5.5.4 I do not know that parameter";

impl<'a> Command<'a> {
    /// Reads a line without its end.
    ///
    /// # Errors
    /// The reply that says why the line is no command.
    pub(super) fn read(line: &'a [u8]) -> Result<Self, Refusal> {
        let line = std::str::from_utf8(line).map_err(|_| "500 5.5.2 A command is written in UTF-8")?;
        if line.contains(|c: char| c.is_control() && c != '\t') {
            return Err("500 5.5.2 A command has no control characters");
        }
        let line = line.trim_end();
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        let argument = argument.trim_start();
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => hello(argument, true),
            "HELO" => hello(argument, false),
            "MAIL" => mail(argument),
            "RCPT" => rcpt(argument),
            "AUTH" => auth(argument),
            "NOOP" => Ok(Self::Noop),
            "VRFY" if argument.is_empty() => Err("501 5.5.4 Verify whom?"),
            "VRFY" => Ok(Self::Verify),
            "HELP" => Ok(Self::Help),
            "DATA" => alone(argument, Self::Data),
            "RSET" => alone(argument, Self::Reset),
            "QUIT" => alone(argument, Self::Quit),
            "STARTTLS" => alone(argument, Self::StartTls),
            "EXPN" | "BDAT" | "TURN" | "ETRN" => Err("502 5.5.1 I do not do that"),
            _ => Err(UNKNOWN),
        }
    }
}

fn alone<'a>(argument: &str, command: Command<'a>) -> Result<Command<'a>, Refusal> {
    if argument.is_empty() { Ok(command) } else { Err(NO_ARGUMENT) }
}

fn hello(name: &str, extended: bool) -> Result<Command<'_>, Refusal> {
    match name.split_whitespace().next() {
        Some(name) => Ok(Command::Hello { name, extended }),
        None => Err("501 5.5.4 Say your name, too"),
    }
}

fn auth(argument: &str) -> Result<Command<'_>, Refusal> {
    let mut words = argument.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(mechanism), initial, None) => Ok(Command::Auth { mechanism, initial }),
        _ => Err("501 5.5.4 Write AUTH and a mechanism"),
    }
}

fn mail(argument: &str) -> Result<Command<'_>, Refusal> {
    let (sender, parameters) = path(argument, "FROM:").ok_or(BAD_SENDER)?;
    let (mut size, mut eight_bit, mut smtputf8) = (0, false, false);
    for parameter in parameters.split_whitespace() {
        let (key, value) =
            parameter.split_once('=').map_or((parameter, None), |(key, value)| (key, Some(value)));
        match (key.to_ascii_uppercase().as_str(), value) {
            ("SIZE", Some(value)) => size = value.parse().map_err(|_| BAD_PARAMETER)?,
            ("BODY", Some(value)) if value.eq_ignore_ascii_case("8BITMIME") => eight_bit = true,
            ("BODY", Some(value)) if value.eq_ignore_ascii_case("7BIT") => eight_bit = false,
            ("SMTPUTF8", None) => smtputf8 = true,
            ("AUTH", Some(_)) => {}
            ("SIZE" | "BODY" | "SMTPUTF8" | "AUTH", _) => return Err(BAD_PARAMETER),
            _ => return Err(UNKNOWN_PARAMETER),
        }
    }
    if !sender.is_empty() && !is_address(sender) {
        return Err(BAD_SENDER);
    }
    Ok(Command::Mail { sender, size, eight_bit, smtputf8 })
}

fn rcpt(argument: &str) -> Result<Command<'_>, Refusal> {
    let (recipient, parameters) = path(argument, "TO:").ok_or(BAD_RECIPIENT)?;
    if !is_address(recipient) && !recipient.eq_ignore_ascii_case("postmaster") {
        return Err(BAD_RECIPIENT);
    }
    if !parameters.is_empty() {
        return Err(UNKNOWN_PARAMETER);
    }
    Ok(Command::Rcpt { recipient })
}

/// Splits `FROM:<path> parameters` into the mailbox and the parameters; a source route is left out (section 4.1.1.3).
fn path<'a>(argument: &'a str, keyword: &str) -> Option<(&'a str, &'a str)> {
    let (head, rest) = argument.split_at_checked(keyword.len())?;
    let rest = head.eq_ignore_ascii_case(keyword).then(|| rest.trim_start())?.strip_prefix('<')?;
    let end = end_of_path(rest)?;
    let (mailbox, parameters) = (&rest[..end], &rest[end + 1..]);
    if !(parameters.is_empty() || parameters.starts_with(' ')) {
        return None;
    }
    let mailbox = match mailbox.strip_prefix('@') {
        Some(routed) => routed.split_once(':')?.1,
        None => mailbox,
    };
    Some((mailbox, parameters.trim()))
}

/// Where the `>` is that no quotes enclose.
fn end_of_path(path: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (place, byte) in path.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(place),
            _ => {}
        }
    }
    None
}

/// Whether a mailbox is within the limits of section 4.5.3.1 and has two sides; its finer grammar is the sender's concern.
fn is_address(mailbox: &str) -> bool {
    let Some((local, domain)) = mailbox.rsplit_once('@') else { return false };
    let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    let plain =
        !local.is_empty() && !local.contains([' ', '\t', '<', '>', '@', '"', ',', ';', ':', '(', ')']);
    let dots = !local.starts_with('.') && !local.ends_with('.') && !local.contains("..");
    let named = !domain.is_empty() && !domain.contains([' ', '\t', '<', '>', '"', ',', ';', '(', ')', '@']);
    (quoted || (plain && dots)) && named && local.len() <= 64 && domain.len() <= 255
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(line: &str) -> Refusal {
        Command::read(line.as_bytes()).expect_err(line)
    }

    #[test]
    fn commands_are_read_in_any_case() {
        let hello = Command::Hello { name: "client.test", extended: true };
        assert_eq!(Command::read(b"ehlo client.test"), Ok(hello));
        let mail = Command::Mail { sender: "a@b.test", size: 10, eight_bit: true, smtputf8: true };
        assert_eq!(Command::read(b"mail FROM:<a@b.test> size=10 BODY=8BITMIME SMTPUTF8"), Ok(mail));
        let null = Command::Mail { sender: "", size: 0, eight_bit: false, smtputf8: false };
        assert_eq!(Command::read(b"MAIL FROM:<> BODY=7BIT AUTH=<>"), Ok(null));
        for (line, recipient) in [
            ("RCPT TO:<a@b.test>", "a@b.test"),
            ("RCPT TO: <a@b.test> ", "a@b.test"),
            ("RCPT TO:<@x.test,@y.test:a@b.test>", "a@b.test"),
            (r#"RCPT TO:<"a > \" b"@b.test>"#, r#""a > \" b"@b.test"#),
            ("RCPT TO:<Postmaster>", "Postmaster"),
            ("RCPT TO:<grüße@b.test>", "grüße@b.test"),
        ] {
            assert_eq!(Command::read(line.as_bytes()), Ok(Command::Rcpt { recipient }), "{line}");
        }
        let auth = Command::Auth { mechanism: "PLAIN", initial: Some("AGEAYg==") };
        assert_eq!(Command::read(b"AUTH PLAIN AGEAYg=="), Ok(auth));
    }

    #[test]
    fn a_wrong_line_gets_the_code_that_says_what_is_wrong() {
        for (line, code) in [
            ("", "500 5.5.2"),
            ("HALLO", "500 5.5.2"),
            ("NOOP\u{7}", "500 5.5.2"),
            ("EXPN list", "502 5.5.1"),
            ("EHLO", "501 5.5.4"),
            ("DATA now", "501 5.5.4"),
            ("AUTH", "501 5.5.4"),
            ("VRFY", "501 5.5.4"),
            ("MAIL a@b.test", "501 5.1.7"),
            ("MAIL FROM:a@b.test", "501 5.1.7"),
            ("MAIL FROM:<a@b.test>SIZE=1", "501 5.1.7"),
            ("MAIL FROM:<a>", "501 5.1.7"),
            ("MAIL FROM:<a@b.test> SIZE=x", "501 5.5.4"),
            ("MAIL FROM:<a@b.test> BODY=BINARYMIME", "501 5.5.4"),
            ("MAIL FROM:<a@b.test> RET=FULL", "555 5.5.4"),
            ("RCPT TO:<>", "501 5.1.3"),
            ("RCPT TO:<a b@c.test>", "501 5.1.3"),
            ("RCPT TO:<a..b@c.test>", "501 5.1.3"),
            ("RCPT TO:<a@b.test", "501 5.1.3"),
            ("RCPT TO:<@b.test>", "501 5.1.3"),
            ("RCPT TO:<a@b.test> NOTIFY=NEVER", "555 5.5.4"),
        ] {
            assert!(reply(line).starts_with(code), "{line}: {}", reply(line));
        }
        assert!(Command::read(b"MAIL FROM:<\xff@b.test>").is_err());
        assert!(reply(&format!("RCPT TO:<{}@b.test>", "a".repeat(65))).starts_with("501"));
    }
}
