//! What is in Redis, counted: for the dashboard and metrics.

use std::time::Duration;

use redis::Script;

use super::{
    LaneStatus, LineStatus, QueueError, QueueStatus, lines::LISTED, redis_connection::Connection,
    redis_text::time_in,
};
use crate::mail::{Lane, WaitReason};

/// How long Redis may take to count.
const PATIENCE: Duration = Duration::from_secs(10);

type Reply = (Vec<(u64, u64, u64, bool)>, Vec<(String, u64, i64, String)>);

pub(super) fn script() -> Script {
    Script::new(concat!(include_str!("keys.lua"), include_str!("status.lua")))
}

/// Asks for all counts at once.
pub(super) async fn read(
    connection: &Connection,
    script: &Script,
    prefix: &str,
) -> Result<QueueStatus, QueueError> {
    let mut script = script.key(prefix);
    script.arg(LISTED);
    for lane in Lane::ALL {
        script.arg(lane.as_str());
    }
    let (lanes, lines): Reply = connection.run("status", PATIENCE, &script).await?;
    let lane_status = |(lane, (waiting, set_aside, leased, paused)): (&Lane, (u64, u64, u64, bool))| {
        LaneStatus { lane: *lane, waiting, set_aside, leased, paused }
    };
    let line_status = |(name, waiting, left, reason): (String, u64, i64, String)| LineStatus {
        name,
        reason: reason.parse().unwrap_or(WaitReason::Queued),
        waiting,
        until: time_in(left),
    };
    Ok(QueueStatus {
        lanes: Lane::ALL.iter().zip(lanes).map(lane_status).collect(),
        lines: lines.into_iter().map(line_status).collect(),
    })
}
