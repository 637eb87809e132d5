//! One mail over an open connection: MAIL, RCPT, DATA, the message, the final dot.
//!
//! With PIPELINING (RFC 2920) the three commands leave in one write, so a mail costs two round trips (`grouping` knows which
//! relays lose some of them, and get one at a time). Where another mail waits
//! for the connection, its three commands leave in the write that ends this message: then each mail costs one. DATA is the
//! last of a group, and the message waits for the answer to it (RFC 2920, section 3.1); so the fence is asked for each mail
//! as if it were alone.
//!
//! After a refusal the connection stays usable: RSET goes ahead of the next MAIL, which also shows whether both sides still
//! agree on where they are. Behind a message it is not needed, because the answer to the final dot ends the transaction
//! (RFC 5321, section 4.1.1.4).

use tokio::time::Instant;

use super::{
    attempt_error::{AttemptError, ConnectionError},
    connection::{Connection, Unsent},
    fence::Fence,
    wire::ServerReply,
};
use crate::mail::{Address, Message, Phase};

/// The most bytes of a message that go into one write.
const BLOCK: usize = 64 * 1024;

/// Who sends and who receives, as the relay is told.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// Where bounces go; `None` is the null reverse-path (RFC 5321, section 4.5.5).
    pub sender: Option<&'a Address>,
    /// The one recipient.
    pub recipient: &'a Address,
}

/// One mail.
#[derive(Clone, Copy)]
pub(super) struct Transaction<'a> {
    pub(super) envelope: &'a Envelope<'a>,
    pub(super) message: &'a Message,
    pub(super) fence: &'a dyn Fence,
}

/// Called right before the last of a message is sent: may [begin](pipeline_envelope) the mail that comes next on the connection.
pub(super) type BeforeFinalDot<'a> = dyn FnMut(&mut Connection) + Send + 'a;

/// Hands over the message, if the fence allows. The answer is the server's 2xx to the final dot. A mail that is begun has had its
/// commands sent, and the answers are to be read.
pub(super) async fn deliver(
    connection: &mut Connection,
    mail: &Transaction<'_>,
    is_begun: bool,
    before_final_dot: &mut BeforeFinalDot<'_>,
) -> Result<ServerReply, AttemptError> {
    let Transaction { envelope, message, fence } = *mail;
    let agreed = if is_begun {
        read_pipelined_replies(connection, envelope, message).await
    } else {
        let demands = Demands::of(connection, envelope, message.size(), message.is_ascii())?;
        if !fence.may_begin() {
            return Err(AttemptError::withheld(Phase::MailFrom));
        }
        if connection.mails > 0 {
            connection.transcript.clear();
        }
        connection.mails += 1;
        if connection.takes_groups() {
            pipelined(connection, envelope, &demands).await
        } else {
            step_by_step(connection, envelope, &demands).await
        }
    };
    let delivered = match agreed {
        Ok(()) if fence.may_offer() => send_message(connection, message, before_final_dot).await,
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

/// Whether the server offers what a mail needs.
pub(super) fn can_carry(
    connection: &Connection,
    envelope: &Envelope<'_>,
    size: usize,
    is_ascii: bool,
) -> bool {
    Demands::of(connection, envelope, size, is_ascii).is_ok()
}

/// Puts the commands of the next mail behind what is about to be sent.
pub(super) fn pipeline_envelope(
    connection: &mut Connection,
    envelope: &Envelope<'_>,
    size: usize,
    is_ascii: bool,
) {
    if let Ok(demands) = Demands::of(connection, envelope, size, is_ascii) {
        connection.mails += 1;
        push_commands(&mut connection.outgoing, envelope, &demands);
    }
}

/// Reads what the server says to the commands of a mail that is [begun](pipeline_envelope).
async fn read_pipelined_replies(
    connection: &mut Connection,
    envelope: &Envelope<'_>,
    message: &Message,
) -> Result<(), AttemptError> {
    let demands = match Demands::of(connection, envelope, message.size(), message.is_ascii()) {
        Ok(demands) => demands,
        Err(error) => {
            connection.abandon(); // not reached: it would not have been begun
            return Err(error);
        }
    };
    // What was said before was for another mail.
    connection.transcript.clear();
    let mut commands = Vec::with_capacity(256);
    push_commands(&mut commands, envelope, &demands);
    connection.transcript.sent(&commands);
    answers(connection).await
}

/// What this mail asks of the server beyond plain RFC 5321: the parameters of MAIL.
struct Demands {
    size: Option<usize>,
    eight_bit: bool,
    smtputf8: bool,
}

impl Demands {
    /// Refuses a mail that the server could only refuse.
    fn of(
        connection: &Connection,
        envelope: &Envelope<'_>,
        size: usize,
        is_ascii: bool,
    ) -> Result<Self, AttemptError> {
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
            return Err(AttemptError::permanent(phase, (6, 7), text));
        }
        let eight_bit = !is_ascii;
        if eight_bit && !offered.eight_bit {
            let text = "the message has 8-bit bytes, and the relay does not offer 8BITMIME";
            return Err(AttemptError::permanent(Phase::MailFrom, (6, 3), text));
        }
        if let Some(largest) = offered.largest.filter(|&largest| size > largest) {
            let text = format!("the message has {size} bytes, and the relay takes at most {largest}");
            return Err(AttemptError::permanent(Phase::MailFrom, (3, 4), text));
        }
        Ok(Self { size: offered.size.then_some(size), eight_bit, smtputf8 })
    }
}

fn push_commands(out: &mut Vec<u8>, envelope: &Envelope<'_>, demands: &Demands) {
    push_mail(out, envelope.sender, demands);
    push_recipient(out, envelope.recipient);
    out.extend_from_slice(b"DATA\r\n");
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
    push_commands(out, envelope, demands);
    connection.write(within.command).await.map_err(|lost| AttemptError::lost(Phase::MailFrom, lost))?;
    if resets {
        expect_reset(connection).await?;
    }
    answers(connection).await
}

/// Reads the answers to MAIL, RCPT and DATA that were sent together.
async fn answers(connection: &mut Connection) -> Result<(), AttemptError> {
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
        said if said.is_closing_channel() => Err(AttemptError::replied(Phase::MailFrom, said)),
        _ => Err(AttemptError::lost(Phase::MailFrom, connection.protocol_error())),
    }
}

/// Reads the answer to MAIL, RCPT or DATA.
async fn answer(connection: &mut Connection, phase: Phase) -> Result<(), AttemptError> {
    let is_data = phase == Phase::Data;
    let within = if is_data { connection.timeouts.data } else { connection.timeouts.command };
    let said = connection.reply(within).await.map_err(|lost| AttemptError::lost(phase, lost))?;
    if said.is_refusal() {
        return Err(AttemptError::replied(phase, said));
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
async fn send_message(
    connection: &mut Connection,
    message: &Message,
    before_final_dot: &mut BeforeFinalDot<'_>,
) -> Result<ServerReply, AttemptError> {
    connection.transcript.note("C: ", &format!("[message of {} bytes]", message.size()));
    let wire = message.wire();
    let blocks = wire.len().div_ceil(BLOCK);
    for (number, block) in wire.chunks(BLOCK).enumerate() {
        if number + 1 == blocks {
            before_final_dot(connection);
        }
        // Unless all of a block was sent, neither was the final dot, which comes last.
        match connection.write_after(block, connection.timeouts.block).await {
            Ok(()) => {}
            // What came ahead of the first byte is no answer to the message.
            Err(Unsent { why: lost @ ConnectionError::Protocol(_), .. }) if number == 0 => {
                return Err(AttemptError::lost(Phase::Content, lost));
            }
            Err(Unsent { why, is_content_sent: false }) => {
                return Err(reply_after_lost_connection(connection, why).await);
            }
            Err(Unsent { why, is_content_sent: true }) => {
                return final_reply_after_partial_write(connection, why).await;
            }
        }
    }
    let sent_at = Instant::now();
    let said = connection.reply(connection.timeouts.final_reply).await;
    connection.final_took = sent_at.elapsed();
    judge_final(connection, said.map_err(|lost| AttemptError::lost(Phase::Final, lost))?)
}

fn judge_final(connection: &mut Connection, said: ServerReply) -> Result<ServerReply, AttemptError> {
    if said.is_positive() {
        Ok(said)
    } else if said.is_refusal() {
        Err(AttemptError::replied(Phase::Final, said))
    } else {
        Err(AttemptError::lost(Phase::Final, connection.protocol_error()))
    }
}

/// The final dot was sent and the commands behind it were not: the server may have the message, and may have said so.
async fn final_reply_after_partial_write(
    connection: &mut Connection,
    lost: ConnectionError,
) -> Result<ServerReply, AttemptError> {
    match connection.reply(connection.timeouts.quit).await {
        Ok(said) => judge_final(connection, said),
        Err(_) => Err(AttemptError::lost(Phase::Final, lost)),
    }
}

/// A server that hangs up in the middle of a message has often said why.
async fn reply_after_lost_connection(connection: &mut Connection, lost: ConnectionError) -> AttemptError {
    if !matches!(lost, ConnectionError::TimedOut(_))
        && let Ok(said) = connection.reply(connection.timeouts.quit).await
        && said.is_refusal()
    {
        return AttemptError::replied(Phase::Content, said);
    }
    AttemptError::lost(Phase::Content, lost)
}
