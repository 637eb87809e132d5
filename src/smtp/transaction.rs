//! One mail over an open connection: MAIL, RCPT, DATA, the message, the final dot.
//!
//! With PIPELINING (RFC 2920) the three commands leave in one write, so a mail costs two round trips. After a refusal the
//! connection stays usable: RSET goes ahead of the next MAIL, which also shows whether both sides still agree on where
//! they are.

use super::{
    attempt_error::{AttemptError, ConnectionError},
    connection::Connection,
    content::Content,
    wire::ServerReply,
};
use crate::mail::{Address, Phase};

/// Who sends and who receives, as the relay is told.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// Where bounces go; `None` is the null reverse-path (RFC 5321, section 4.5.5).
    pub sender: Option<&'a Address>,
    /// The one recipient.
    pub recipient: &'a Address,
}

/// Asked when it matters whether a mail may still be offered: a connection may have taken long, and the process may have
/// been suspended.
pub trait Fence: Sync {
    /// Asked right before MAIL.
    fn may_begin(&self) -> bool;

    /// Asked right before the first byte of the message. Until then the relay cannot have the mail; from a `true` on it may.
    fn may_offer(&self) -> bool;
}

/// Hands over the message, if the fence allows. The answer is the server's 2xx to the final dot.
pub(super) async fn deliver(
    connection: &mut Connection,
    envelope: &Envelope<'_>,
    message: &[u8],
    fence: &dyn Fence,
) -> Result<ServerReply, AttemptError> {
    let demands = Demands::of(connection, envelope, message)?;
    if !fence.may_begin() {
        return Err(AttemptError::withheld(Phase::MailFrom));
    }
    if connection.mails > 0 {
        connection.transcript.clear();
    }
    connection.mails += 1;
    let agreed = if connection.capabilities.pipelining {
        pipelined(connection, envelope, &demands).await
    } else {
        step_by_step(connection, envelope, &demands).await
    };
    let delivered = match agreed {
        Ok(()) if fence.may_offer() => hand_over(connection, message).await,
        Ok(()) => {
            // The server waits for the message: only hanging up is sure to deliver nothing.
            connection.abandon();
            Err(AttemptError::withheld(Phase::Content))
        }
        Err(error) => Err(error),
    };
    connection.needs_reset = delivered.is_err();
    delivered
}

/// What this mail asks of the server beyond plain RFC 5321: the parameters of MAIL.
struct Demands {
    size: Option<usize>,
    eight_bit: bool,
    smtputf8: bool,
}

impl Demands {
    /// Refuses a mail that the server could only refuse.
    fn of(connection: &Connection, envelope: &Envelope<'_>, message: &[u8]) -> Result<Self, AttemptError> {
        let offered = &connection.capabilities;
        let sender_needs_utf8 = envelope.sender.is_some_and(Address::needs_smtputf8);
        let recipient_needs_utf8 = envelope.recipient.needs_smtputf8();
        let smtputf8 = sender_needs_utf8 || recipient_needs_utf8;
        if smtputf8 && !offered.smtputf8 {
            let (phase, whose) = if sender_needs_utf8 {
                (Phase::MailFrom, "the sender's address")
            } else {
                (Phase::RcptTo, "the recipient's address")
            };
            let text = format!("{whose} has characters beyond ASCII, and the relay does not offer SMTPUTF8");
            return Err(AttemptError::never(phase, (6, 7), text));
        }
        let eight_bit = !message.is_ascii();
        if eight_bit && !offered.eight_bit {
            let text = "the message has 8-bit bytes, and the relay does not offer 8BITMIME";
            return Err(AttemptError::never(Phase::MailFrom, (6, 3), text));
        }
        if let Some(largest) = offered.largest.filter(|&largest| message.len() > largest) {
            let text =
                format!("the message has {} bytes, and the relay takes at most {largest}", message.len());
            return Err(AttemptError::never(Phase::MailFrom, (3, 4), text));
        }
        Ok(Self { size: offered.size.then_some(message.len()), eight_bit, smtputf8 })
    }
}

fn push_mail(out: &mut Vec<u8>, sender: Option<&Address>, demands: &Demands) {
    out.extend_from_slice(b"MAIL FROM:<");
    if let Some(sender) = sender {
        push_address(out, sender);
    }
    out.push(b'>');
    if let Some(size) = demands.size {
        out.extend_from_slice(format!(" SIZE={size}").as_bytes());
    }
    if demands.eight_bit {
        out.extend_from_slice(b" BODY=8BITMIME");
    }
    if demands.smtputf8 {
        out.extend_from_slice(b" SMTPUTF8");
    }
    out.extend_from_slice(b"\r\n");
}

fn push_recipient(out: &mut Vec<u8>, recipient: &Address) {
    out.extend_from_slice(b"RCPT TO:<");
    push_address(out, recipient);
    out.extend_from_slice(b">\r\n");
}

fn push_address(out: &mut Vec<u8>, address: &Address) {
    out.extend_from_slice(address.local().as_bytes());
    out.push(b'@');
    out.extend_from_slice(address.domain().as_bytes());
}

async fn pipelined(
    connection: &mut Connection,
    envelope: &Envelope<'_>,
    demands: &Demands,
) -> Result<(), AttemptError> {
    let within = connection.timeouts;
    let resets = connection.needs_reset;
    let out = &mut connection.outgoing;
    if resets {
        out.extend_from_slice(b"RSET\r\n");
    }
    push_mail(out, envelope.sender, demands);
    push_recipient(out, envelope.recipient);
    out.extend_from_slice(b"DATA\r\n");
    connection.write(within.command).await.map_err(|lost| AttemptError::lost(Phase::MailFrom, lost))?;
    if resets {
        expect_reset(connection).await?;
    }
    // Every command has its reply, even when an earlier one was refused; but the first refusal is the one that counts.
    let mail = answer(connection, Phase::MailFrom).await;
    let recipient = answer_if_open(connection, Phase::RcptTo).await;
    let data = answer_if_open(connection, Phase::Data).await;
    let has_recipient = recipient.is_ok();
    match (mail.and(recipient), data) {
        (Ok(()), data) => data,
        (Err(refusal), data) => {
            if data.is_ok() {
                abandon_data(connection, has_recipient).await;
            }
            Err(refusal)
        }
    }
}

/// Deals with a server that waits for a message although it refused the envelope (RFC 2920, section 3.1): without a
/// recipient the final dot alone ends the transaction, whatever the answer is; otherwise only hanging up is sure to deliver nothing.
async fn abandon_data(connection: &mut Connection, has_recipient: bool) {
    if connection.is_broken() {
        return;
    }
    if has_recipient {
        connection.abandon();
        return;
    }
    connection.outgoing.extend_from_slice(b".\r\n");
    if connection.write(connection.timeouts.block).await.is_ok() {
        drop(connection.reply(connection.timeouts.final_reply).await);
    }
}

async fn step_by_step(
    connection: &mut Connection,
    envelope: &Envelope<'_>,
    demands: &Demands,
) -> Result<(), AttemptError> {
    if connection.needs_reset {
        connection.outgoing.extend_from_slice(b"RSET\r\n");
        send(connection, Phase::MailFrom).await?;
        expect_reset(connection).await?;
    }
    push_mail(&mut connection.outgoing, envelope.sender, demands);
    send(connection, Phase::MailFrom).await?;
    answer(connection, Phase::MailFrom).await?;
    push_recipient(&mut connection.outgoing, envelope.recipient);
    send(connection, Phase::RcptTo).await?;
    answer(connection, Phase::RcptTo).await?;
    connection.outgoing.extend_from_slice(b"DATA\r\n");
    send(connection, Phase::Data).await?;
    answer(connection, Phase::Data).await
}

async fn send(connection: &mut Connection, phase: Phase) -> Result<(), AttemptError> {
    connection.write(connection.timeouts.command).await.map_err(|lost| AttemptError::lost(phase, lost))
}

async fn expect_reset(connection: &mut Connection) -> Result<(), AttemptError> {
    let said = connection.reply(connection.timeouts.command).await;
    match said.map_err(|lost| AttemptError::lost(Phase::MailFrom, lost))? {
        said if said.is_positive() => Ok(()),
        said if said.is_farewell() => Err(AttemptError::said(Phase::MailFrom, said)),
        _ => Err(AttemptError::lost(Phase::MailFrom, connection.protocol_error())),
    }
}

/// Reads the answer to MAIL, RCPT or DATA.
async fn answer(connection: &mut Connection, phase: Phase) -> Result<(), AttemptError> {
    let is_data = phase == Phase::Data;
    let within = if is_data { connection.timeouts.data } else { connection.timeouts.command };
    let said = connection.reply(within).await.map_err(|lost| AttemptError::lost(phase, lost))?;
    if said.is_refusal() {
        return Err(AttemptError::said(phase, said));
    }
    if is_data == (said.code == 354) && (is_data || said.is_positive()) {
        return Ok(());
    }
    Err(AttemptError::lost(phase, connection.protocol_error()))
}

/// The same, or nothing where an earlier answer was the connection's last.
async fn answer_if_open(connection: &mut Connection, phase: Phase) -> Result<(), AttemptError> {
    if connection.is_broken() { Ok(()) } else { answer(connection, phase).await }
}

/// Sends the message and its final dot, and reads what the server made of it.
async fn hand_over(connection: &mut Connection, message: &[u8]) -> Result<ServerReply, AttemptError> {
    connection.transcript.note("C: ", &format!("[message of {} bytes]", message.len()));
    let mut content = Content::new(message);
    let mut is_first = true;
    loop {
        let is_last = content.append_block(&mut connection.outgoing);
        // A write that fails has not sent all its bytes, so the final dot, which comes last, was not sent either.
        connection.transcript.hide(true);
        let written = connection.write(connection.timeouts.block).await;
        connection.transcript.hide(false);
        match written {
            Ok(()) => {}
            // What came ahead of the first byte is no answer to the message.
            Err(lost @ ConnectionError::Garbage(_)) if is_first => {
                return Err(AttemptError::lost(Phase::Content, lost));
            }
            Err(lost) => return Err(parting_words(connection, lost).await),
        }
        if is_last {
            break;
        }
        is_first = false;
    }
    let said = connection.reply(connection.timeouts.final_reply).await;
    let said = said.map_err(|lost| AttemptError::lost(Phase::Final, lost))?;
    if said.is_positive() {
        Ok(said)
    } else if said.is_refusal() {
        Err(AttemptError::said(Phase::Final, said))
    } else {
        Err(AttemptError::lost(Phase::Final, connection.protocol_error()))
    }
}

/// A server that hangs up in the middle of a message has often said why.
async fn parting_words(connection: &mut Connection, lost: ConnectionError) -> AttemptError {
    if !matches!(lost, ConnectionError::TimedOut(_))
        && let Ok(said) = connection.reply(connection.timeouts.quit).await
        && said.is_refusal()
    {
        return AttemptError::said(Phase::Content, said);
    }
    AttemptError::lost(Phase::Content, lost)
}
