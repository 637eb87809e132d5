//! A store's URL without its secrets, for the log.

use url::Url;

/// A store's URL without the user, the password and the query, which may hold another.
pub fn redacted_url(url: &str) -> String {
    let scheme = url.split(':').next().unwrap_or_default();
    match Url::parse(url) {
        // What has no host has no password: `sqlite:postroom.db`, `memory:`.
        Ok(read) if read.cannot_be_a_base() => format!("{scheme}:{}", read.path()),
        Ok(read) => {
            let port = read.port().map(|port| format!(":{port}")).unwrap_or_default();
            format!("{scheme}://{}{port}{}", read.host_str().unwrap_or_default(), read.path())
        }
        Err(_) => format!("{scheme}:"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_named_without_its_secrets() {
        for (url, shown) in [
            ("sqlite:postroom.db", "sqlite:postroom.db"),
            ("sqlite:/var/lib/postroom.db?mode=rwc", "sqlite:///var/lib/postroom.db"),
            ("postgres://ann:t%40a@db.example:5432/mails?password=t", "postgres://db.example:5432/mails"),
            ("postgres:///mails?host=/run/postgresql", "postgres:///mails"),
            ("rediss://:tea@redis.example:6380/2", "rediss://redis.example:6380/2"),
            ("unix:///run/redis.sock?pass=tea", "unix:///run/redis.sock"),
            ("memory:", "memory:"),
            ("postgres://ann:t?a@db.example/mails", "postgres:"),
        ] {
            assert_eq!(redacted_url(url), shown);
        }
    }
}
