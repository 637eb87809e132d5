//! What can go wrong, and for how long it does.

use std::{fmt, time::Duration};

use super::chance::Chance;

/// How far the clock of one process is ahead under [`Fault::ClockIsOff`].
pub const SECONDS_AHEAD: u32 = 30;

/// One of the connections of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Link {
    /// To Postgres.
    Database,
    /// To Redis.
    Queue,
    /// To the relay.
    Relay,
}

/// How far a dialogue with the relay gets before the relay hangs up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is said.
    Connect,
    /// At EHLO.
    Hello,
    /// At MAIL.
    Mail,
    /// At RCPT.
    Rcpt,
    /// At DATA.
    Data,
    /// In the middle of the message.
    Content,
    /// The relay has the message, and its answer does not arrive.
    Final,
}

/// What happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// Connections are closed, new ones too.
    Cut,
    /// Nothing arrives on either side; connections stay open.
    Stall,
    /// Nothing arrives from the server; it hears everything.
    Deafen,
    /// The first half of the next block arrives, then the connection is closed.
    Halve,
    /// The relay hangs up.
    HangUp(Phase),
}

/// The processes that a fault hits, by their place among all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit(pub Vec<usize>);

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9`, and a start a moment later.
    Kill(Hit),
    /// SIGTERM, and a start as soon as the process ended.
    Terminate(Hit),
    /// SIGSTOP, longer than a claim lives, then SIGCONT.
    Freeze(Hit),
    /// Redis is killed and comes back with what it wrote down.
    RedisRestarts,
    /// Redis is killed and comes back empty.
    RedisForgets,
    /// FLUSHALL.
    RedisIsFlushed,
    /// Redis gets SIGSTOP, then SIGCONT.
    RedisHangs,
    /// Postgres is stopped as an administrator stops it.
    PostgresStops,
    /// Postgres ends as in a crash.
    PostgresCrashes,
    /// All processes of Postgres get SIGSTOP, then SIGCONT.
    PostgresHangs,
    /// Another session holds the lock that every write needs.
    DatabaseIsLocked,
    /// Connections of these processes break.
    Breaks(Link, Break, Hit),
    /// The file system of the database has no room.
    DiskIsFull,
    /// fsync fails: the process must end.
    FsyncFails,
    /// The clock of all processes is an hour ahead from now on, or back again.
    ClockTurns,
    /// The clock of one process is ahead of the others' for a while.
    ClockIsOff(Hit),
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

impl Fault {
    /// How long it lasts.
    pub fn lasts(&self, chance: &mut Chance) -> Duration {
        match self {
            Self::Freeze(_) => seconds(20),
            Self::RedisIsFlushed => Duration::ZERO,
            Self::Kill(_) => chance.between(Duration::from_millis(100), seconds(4)),
            Self::Terminate(_) | Self::FsyncFails => seconds(4),
            Self::ClockTurns => seconds(3),
            Self::ClockIsOff(_) => seconds(12),
            Self::Breaks(_, Break::HangUp(_) | Break::Halve, _) => chance.between(seconds(2), seconds(5)),
            Self::RedisRestarts | Self::RedisForgets => chance.between(seconds(1), seconds(6)),
            _ => chance.between(seconds(3), seconds(10)),
        }
    }

    /// Its kind in a word or two, for the table.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Kill(_) => "kill -9",
            Self::Terminate(_) => "SIGTERM and restart",
            Self::Freeze(_) => "SIGSTOP for 20 s",
            Self::RedisRestarts => "Redis killed, data kept",
            Self::RedisForgets => "Redis killed, data lost",
            Self::RedisIsFlushed => "FLUSHALL",
            Self::RedisHangs => "Redis hangs",
            Self::PostgresStops => "Postgres stopped",
            Self::PostgresCrashes => "Postgres killed",
            Self::PostgresHangs => "Postgres hangs",
            Self::DatabaseIsLocked => "database locked",
            Self::Breaks(_, Break::Cut, _) => "connections cut",
            Self::Breaks(_, Break::Stall, _) => "connections stalled",
            Self::Breaks(_, Break::Deafen, _) => "answers stalled",
            Self::Breaks(_, Break::Halve, _) => "connections halved",
            Self::Breaks(_, Break::HangUp(_), _) => "relay hangs up",
            Self::DiskIsFull => "disk full",
            Self::FsyncFails => "fsync fails",
            Self::ClockTurns => "clock turned by 1 h",
            Self::ClockIsOff(_) => "clock of one 30 s off",
        }
    }

    /// Whether it moves the clocks by which mails wait.
    pub fn moves_clocks(&self) -> bool {
        matches!(self, Self::ClockTurns | Self::ClockIsOff(_))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.kind())?;
        match self {
            Self::Kill(hit) | Self::Terminate(hit) | Self::Freeze(hit) | Self::ClockIsOff(hit) => {
                write!(out, " {hit}")
            }
            Self::Breaks(link, how, hit) => {
                if let Break::HangUp(phase) = how {
                    write!(out, " at {phase:?}")?;
                }
                write!(out, " ({link:?}) {hit}")
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Hit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        write!(out, "[{}]", places.join(" "))
    }
}
