//! What is in Redis, counted: for the dashboard and metrics.

use std::time::Duration;

use redis::Script;

use super::{
    LaneStatus, LineStatus, QueueError, QueueStatus, SHARE, lines::LISTED, redis_connection::Connection,
    redis_text::time_in,
};
use crate::mail::{Lane, MerchantId, WaitReason};

/// How long Redis may take to count.
const COUNT_TIMEOUT: Duration = Duration::from_secs(10);

/// What the script says: of each lane and each line.
type RawStatus = (Vec<(u64, u64, u64, bool)>, Vec<(String, u64, i64, String)>);

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
    let (lanes, lines): RawStatus = connection.run("status", COUNT_TIMEOUT, &script).await?;
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

/// Asks of whom more than a share of a lane waits.
pub(super) async fn crowding(
    connection: &Connection,
    script: &Script,
    prefix: &str,
    lane: Lane,
) -> Result<Vec<MerchantId>, QueueError> {
    let mut script = script.key(prefix);
    script.arg(lane.as_str()).arg(SHARE);
    let merchants: Vec<String> = connection.run("crowding", COUNT_TIMEOUT, &script).await?;
    Ok(merchants.iter().filter_map(|merchant| merchant.parse().ok()).collect())
}
