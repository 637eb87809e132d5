//! How the Redis server is set up, and what of that is dangerous for the jobs in it.

use super::{QueueError, redis_connection::Connection};

/// What is wrong, in words for operators. A server that does not say is not blamed.
///
/// # Errors
/// When the server is away or does not let us ask.
pub(super) async fn config_warnings(connection: &Connection) -> Result<Vec<String>, QueueError> {
    let mut asked = redis::pipe();
    asked.cmd("INFO").arg("memory").cmd("INFO").arg("persistence");
    let (memory, persistence): (String, String) = connection.pipe("info", &asked).await?;
    // Not everybody may ask for this.
    let mut save = redis::pipe();
    save.cmd("CONFIG").arg("GET").arg("save");
    let save: Option<(Vec<String>,)> = connection.pipe("config", &save).await.ok();
    let has_snapshots = save.and_then(|(pair,)| pair.into_iter().nth(1)).map(|points| !points.is_empty());
    Ok(judge(&memory, &persistence, has_snapshots))
}

fn judge(memory: &str, persistence: &str, has_snapshots: Option<bool>) -> Vec<String> {
    let mut warnings = Vec::new();
    match value(memory, "maxmemory_policy") {
        Some("noeviction") | None => {}
        Some(policy) => warnings.push(format!(
            "redis may throw jobs away (maxmemory-policy {policy}): set maxmemory-policy noeviction"
        )),
    }
    if value(persistence, "aof_enabled") == Some("0") && has_snapshots == Some(false) {
        warnings.push(
            "redis keeps nothing on disk: after a restart of redis what waits is enqueued again from the database, which takes a \
             while; set appendonly yes"
                .to_owned(),
        );
    }
    warnings
}

/// A value of `INFO`.
fn value<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_may_throw_jobs_away_or_keeps_nothing_is_named() {
        let said = |policy: &str, aof: u8, snapshots| {
            let memory = format!("# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:{policy}\r\n");
            let warnings = judge(&memory, &format!("loading:0\r\naof_enabled:{aof}\r\n"), snapshots);
            warnings
                .iter()
                .map(|warning| warning.split(['(', ':']).next().unwrap().trim().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(said("noeviction", 1, Some(false)), [""; 0]);
        assert_eq!(said("noeviction", 0, Some(true)), [""; 0]);
        assert_eq!(said("noeviction", 0, None), [""; 0]);
        assert_eq!(said("allkeys-lru", 1, None), ["redis may throw jobs away"]);
        assert_eq!(
            said("volatile-ttl", 0, Some(false)),
            ["redis may throw jobs away", "redis keeps nothing on disk"]
        );
    }
}
