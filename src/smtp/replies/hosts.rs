//! Names of hosts among the words of a reply. Whoever gets mail chooses the names of their domain and of its servers, and what a
//! relay says about them must not look like a reason: `Host unknown (Name server: spamhaus.example.com: host not found)`.

/// What a name reads that was cut out.
const CUT: &str = "<.>";

/// Who keeps lists of senders. Their names are reasons, and nobody else can have one that ends so.
const LISTS: [&str; 20] = [
    "abuseat.org",
    "abusix.zone",
    "barracudacentral.org",
    "cloudmark.com",
    "invaluement.com",
    "mailspike.net",
    "mailspike.org",
    "manitu.net",
    "senderscore.com",
    "senderscore.org",
    "sorbs.net",
    "spamcop.net",
    "spamhaus.com",
    "spamhaus.net",
    "spamhaus.org",
    "spfbl.net",
    "surbl.org",
    "surriel.com",
    "uceprotect.net",
    "uribl.com",
];

/// No host's name ends so: sentences without a blank between them (`unknown.Please`), and what Exchange writes with dots
/// (`RESOLVER.ADR.RecipNotFound`).
const NO_TOP_LEVEL: [&str; 18] = [
    "advert",
    "authrequired",
    "deliver",
    "exception",
    "exrecipnotfound",
    "for",
    "if",
    "nonexistentdomain",
    "notauthorized",
    "please",
    "recipnotfound",
    "recipientnotfound",
    "recipsizelimit",
    "rejectmessage",
    "the",
    "this",
    "try",
    "your",
];

/// The longest name of a top-level domain in letters.
const LONGEST_TOP_LEVEL: usize = 18;

/// The words without the names of these domains and of what is below them.
pub(super) fn without_domains(words: &str, domains: &[&str]) -> String {
    without(words, |name| domains.iter().any(|domain| domain.contains('.') && is_within(name, domain)))
}

/// The words without anything that is plainly the name of a host, but for those of lists.
pub(super) fn without_hosts(words: &str) -> String {
    without(words, |name| is_host(name) && !LISTS.iter().any(|list| is_within(name, list)))
}

fn without(words: &str, is_cut: impl Fn(&str) -> bool) -> String {
    let is_of_a_name = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let mut left = String::with_capacity(words.len());
    let mut rest = words;
    while let Some(start) = rest.find(is_of_a_name) {
        let (before, from) = rest.split_at(start);
        let (word, after) = from.split_at(from.find(|letter| !is_of_a_name(letter)).unwrap_or(from.len()));
        left.push_str(before);
        left.push_str(if is_cut(word.trim_matches(['.', '-', '_'])) { CUT } else { word });
        rest = after;
    }
    left.push_str(rest);
    left
}

/// Whether a name is this domain's or below it.
fn is_within(name: &str, domain: &str) -> bool {
    let (name, domain) = (name.to_lowercase(), domain.to_lowercase());
    name.strip_suffix(domain.as_str()).is_some_and(|below| below.is_empty() || below.ends_with('.'))
}

fn is_host(name: &str) -> bool {
    let Some((below, top)) = name.rsplit_once('.') else { return false };
    let top = top.to_lowercase();
    let is_top_level = top.starts_with("xn--")
        || (2..=LONGEST_TOP_LEVEL).contains(&top.chars().count()) && top.chars().all(char::is_alphabetic);
    is_top_level && below.split('.').all(|label| !label.is_empty()) && !NO_TOP_LEVEL.contains(&top.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_hosts_are_cut_out_and_nothing_else() {
        for (words, left) in [
            (
                "Host unknown (Name server: spamhaus.evil.example.: host not found)",
                "Host unknown (Name server: <.>: host not found)",
            ),
            ("see http://help.Relay.EXAMPLE/blocked?192.0.2.1", "see http://<.>/blocked?192.0.2.1"),
            ("mx-1_a.example[192.0.2.1] said", "<.>[192.0.2.1] said"),
            ("bücher.example, xn--bcher-kva.xn--p1ai", "<.>, <.>"),
            ("192.0.2.1 found in zen.spamhaus.org", "192.0.2.1 found in zen.spamhaus.org"),
            ("zen.spamhaus.org.evil.example and notspamhaus.org", "<.> and <.>"),
            ("5.7.1 User unknown.Please check it...", "5.7.1 User unknown.Please check it..."),
            (
                "RESOLVER.ADR.RecipNotFound; RESOLVER.RST.SenderNotAuthenticatedForGroup; 4.16.55.1",
                "RESOLVER.ADR.RecipNotFound; RESOLVER.RST.SenderNotAuthenticatedForGroup; 4.16.55.1",
            ),
            ("", ""),
        ] {
            assert_eq!(without_hosts(words), left);
        }
    }

    #[test]
    fn names_of_some_domains_are_cut_out_whatever_they_are() {
        let cut = |words| without_domains(words, &["Spamhaus.org", "localhost", ""]);
        assert_eq!(cut("zen.SPAMHAUS.org. is not notspamhaus.org"), "<.> is not notspamhaus.org");
        assert_eq!(cut("localhost. says no"), "localhost. says no");
    }

    proptest! {
        #[test]
        fn no_name_of_a_domain_is_left(
            words in "[a-z .:()\\[\\]-]{0,40}", below in "([a-z-]{1,8}\\.){0,3}", domain in "[a-z]{1,8}\\.[a-z]{2,6}",
        ) {
            let said = format!("{words} {below}{domain} ({below}{domain}.)");
            let left = without_domains(&said, &[&domain]);
            let name = format!(" {below}{domain}");
            prop_assert!(!left.contains(&name), "{}", left);
        }
    }
}
