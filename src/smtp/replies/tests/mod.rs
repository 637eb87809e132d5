//! What published replies are judged to mean, and what a file of rules may say.

use proptest::prelude::*;

use super::*;
use crate::mail::{Phase, ReplyScope};

/// Replies with their sources; see the head of the file.
const PUBLISHED: &str = include_str!("published.tsv");
/// More of the same kind: other providers, other wordings.
const FURTHER: &str = include_str!("further.tsv");

fn said<'a>(code: u16, enhanced: &str, text: &'a str, phase: Phase) -> Said<'a> {
    Said { code, enhanced: enhanced.parse().ok(), text, phase, route: "main", domains: &[] }
}

fn judge(line: &str) -> Judgement {
    let (code, text) = line.split_once(' ').unwrap_or((line, ""));
    ReplyRules::shipped().judge(&said(code.parse().unwrap(), "", text, Phase::RcptTo))
}

fn own(text: &str) -> Result<ReplyRules, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("replies.toml");
    fs::write(&file, text).unwrap();
    ReplyRules::load(&file, &["main", "spare"]).map_err(|faults| faults.to_string())
}

#[test]
fn every_published_reply_means_what_its_source_says() {
    // `relaying denied` is `domain_wide` for whoever knows that Yahoo no longer serves the domain. The words say that we may
    // not relay, and that must never fail a mail.
    assert_eq!(judge_all(PUBLISHED), 230);
}

#[test]
fn further_replies_of_the_same_kind_mean_what_their_sources_say() {
    assert!(judge_all(FURTHER) > 1_000);
}

/// The columns of a table, without its head.
fn rows(table: &str) -> impl Iterator<Item = [&str; 7]> {
    table.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let columns: Vec<_> = line.split('\t').collect();
        columns.try_into().unwrap_or_else(|_| panic!("{line}"))
    })
}

/// Judges every reply of a table as the relay says it, and as somebody types it who does not know the phase; panics with those
/// that are judged otherwise than the table says.
fn judge_all(table: &str) -> usize {
    let rules = ReplyRules::shipped();
    let (mut count, mut wrong) = (0, Vec::new());
    for row @ [code, enhanced, words, phase, class, then, _] in rows(table) {
        let words = words.replace("\\n", " ");
        count += 1;
        let known = phase.trim_end_matches('*');
        let phases =
            [known.parse().unwrap(), if known == phase { Phase::RcptTo } else { known.parse().unwrap() }];
        for phase in phases {
            let (judged, by) = rules.judge_and_name(&said(code.parse().unwrap(), enhanced, &words, phase));
            if (judged.class.as_str(), judged.then.as_str()) != (class.trim_end_matches('?'), then) {
                wrong.push(format!("{}\n  judged {judged:?} in {phase} by {by:?}", row.join(" | ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    count
}

#[test]
fn the_shipped_rules_have_no_fault() {
    let faults = file::read(SHIPPED, None).err().unwrap_or_default();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn a_reply_about_us_never_fails_a_mail_whatever_its_code() {
    let rules = ReplyRules::shipped();
    for [_, enhanced, words, _, _, then, _] in rows(PUBLISHED).chain(rows(FURTHER)) {
        if then != "stop+alarm" {
            continue;
        }
        for code in [421, 451, 550, 554] {
            for phase in [Phase::MailFrom, Phase::RcptTo, Phase::Final] {
                let judged = rules.judge(&said(code, enhanced, words, phase));
                let is_about_us = matches!(judged.class, ReplyClass::Config | ReplyClass::AuthFailure);
                assert!(!(is_about_us && judged.fails_the_mail()), "{code} in {phase}: {words}");
            }
        }
    }
}

#[test]
fn a_4xx_reply_never_fails_a_mail_whatever_it_says() {
    let rules = ReplyRules::shipped();
    for [_, enhanced, words, ..] in rows(PUBLISHED).chain(rows(FURTHER)) {
        for phase in [Phase::MailFrom, Phase::RcptTo, Phase::Final] {
            assert!(!rules.judge(&said(450, enhanced, words, phase)).fails_the_mail(), "{phase}: {words}");
        }
    }
}

#[test]
fn a_sender_that_is_not_known_is_no_bad_recipient() {
    for (words, phase) in [
        ("5.1.1 User unknown", Phase::MailFrom),
        ("<shop@example.net>: unknown user", Phase::MailFrom),
        (
            "5.7.1 <shop@example.net>: Sender address rejected: undeliverable address: host mx said: 550 5.1.1 User unknown",
            Phase::RcptTo,
        ),
        ("Sender email address rejected", Phase::RcptTo),
    ] {
        let judged = ReplyRules::shipped().judge(&said(550, "", words, phase));
        assert_eq!((judged.class, judged.then), (ReplyClass::Config, Consequence::Stop), "{words}");
    }
}

#[test]
fn odd_replies_are_understood_too() {
    let long = format!("550 5.1.1 User unknown {}", "x".repeat(8_000));
    let late = format!("550 {} blocked using zen.spamhaus.org", "x ".repeat(4_000));
    for (line, class) in [
        (long.as_str(), "bad_address"),
        (late.as_str(), "reputation"),
        ("550 Empf\u{fffd}nger unbekannt", "bad_address"),
        ("552 La bo\u{fffd}te du destinataire est pleine", "mailbox_full"),
        ("550 (5.1.1) gone", "bad_address"),
        ("550 5.1.1: gone", "bad_address"),
        ("550 gone (#5.1.1)", "bad_address"),
        ("422 License Expired", "domain_wide"),
        ("432 4.3.2 STOREDRV.Deliver; recipient thread limit exceeded", "rate_limited"),
        ("435 Unable to authenticate at present", "temporary"),
        ("451 cuda_nsu 4.4.3 Temporary server error. Please try again later", "temporary"),
        ("504 5.5.2 <user>: Recipient address rejected: need fully-qualified address", "bad_address"),
        ("550 Mailbox quota exceeded", "mailbox_full"),
        ("550 5.2.1 receiving mail at a 5.2.1 rate that prevents additional messages", "rate_limited"),
    ] {
        assert_eq!(judge(line).class.as_str(), class, "{line}");
    }
    let wait = judge("450 4.7.1 Too many messages, try again after 00:00 UTC").wait;
    assert_eq!(wait, None, "a time of day is no wait");
}

#[test]
fn an_address_cannot_look_like_a_reason() {
    for address in
        ["relaying-denied@example.net", "spamhaus.blocked@spam.example", "\"quota exceeded\"@example.net"]
    {
        let judged = judge(&format!("550 5.1.1 <{address}>: User unknown"));
        assert_eq!((judged.class, judged.then), (ReplyClass::BadAddress, Consequence::Suppress), "{address}");
    }
}

#[test]
fn a_name_of_a_host_cannot_look_like_a_reason() {
    for (line, phase, class, then) in [
        (
            "550 5.1.2 <bob@spamhaus.evil.example>... Host unknown (Name server: spamhaus.evil.example.: host not found)",
            Phase::RcptTo,
            "domain_wide",
            "fail+suppress",
        ),
        (
            "550 Host unknown (relay-access-denied.blacklist.example)",
            Phase::RcptTo,
            "domain_wide",
            "fail+suppress",
        ),
        ("421 4.3.2 mail.arc.example Service not available, closing", Phase::MailFrom, "temporary", "retry"),
        ("450 4.1.2 Cannot resolve domain arc.example", Phase::RcptTo, "domain_wide", "retry"),
        ("554 5.7.1 Message contains spam URI (surbl): evil.example", Phase::Final, "spam_content", "fail"),
        ("554 5.7.1 URL evil.example is listed by multi.surbl.org", Phase::Final, "spam_content", "fail"),
        // Lists are reasons, whoever keeps them.
        ("554 5.7.1 Rejected 192.0.2.1 found in dnsbl.example", Phase::RcptTo, "reputation", "stop+alarm"),
        ("554 5.7.1 [2001:db8::1] was listed on bl.example", Phase::RcptTo, "reputation", "stop+alarm"),
        ("550 4F2A1B3C rejected by mx.example", Phase::Final, "unknown", "fail"),
        ("554 5.7.1 192.0.2.1 is listed in zen.spamhaus.org", Phase::RcptTo, "reputation", "stop+alarm"),
    ] {
        let (code, text) = line.split_once(' ').unwrap();
        let judged = ReplyRules::shipped().judge(&said(code.parse().unwrap(), "", text, phase));
        assert_eq!((judged.class.as_str(), judged.then.as_str()), (class, then), "{line}");
    }
}

#[test]
fn the_domains_of_a_mail_look_like_nothing_even_where_they_keep_lists() {
    let (text, domains) = ("5.1.1 mx.Spamhaus.org: User unknown", ["shop.example", "spamhaus.org"]);
    let about = Said { domains: &domains, ..said(550, "", text, Phase::RcptTo) };
    assert_eq!(ReplyRules::shipped().judge(&about).class, ReplyClass::BadAddress);
    let ours = own("[[rules]]\ntext = \"mx.spamhaus|mx-7.relay.example\"\nclass = \"greylist\"\n").unwrap();
    assert_eq!(ours.judge(&about).class, ReplyClass::BadAddress);
    // An operator's rule may ask for the name of a host.
    let named = Said { text: "mx-7.relay.example says no", ..about };
    assert_eq!(ours.judge(&named).class, ReplyClass::Greylist);
}

/// A shopper's own server may say anything, and the relay repeats it.
#[test]
fn a_quoted_reply_of_another_server_stops_and_slows_nothing_but_its_mail() {
    for inner in [
        "554 5.7.1 Relay access denied, try again in 86400 seconds",
        "554 sender: 554 5.7.1 Relay access denied",
        "535 5.7.8 Authentication required, retry in 86400 seconds",
        "550 5.7.1 Daily user sending quota exceeded",
        "550 5.7.1 rejected by DMARC policy for example.com",
        "421 4.7.0 too many connections from your IP, blocked using zen.spamhaus.org",
    ] {
        for (code, then) in [(450, Consequence::Retry), (550, Consequence::Fail)] {
            let words = format!(
                "4.1.1 <a@evil.example>: Recipient address rejected: unverified address: host mx.evil.example[203.0.113.9] \
                 said: {inner} (in reply to RCPT TO command)"
            );
            let judged = ReplyRules::shipped().judge(&said(code, "", &words, Phase::RcptTo));
            let is_about_us = matches!(judged.scope, ReplyScope::Route | ReplyScope::SenderDomain);
            assert!(!is_about_us, "{code} {inner}: {judged:?}");
            assert!(
                judged.then == then || judged.scope == ReplyScope::RecipientDomain,
                "{code} {inner}: {judged:?}"
            );
        }
    }
}

#[test]
fn words_of_other_servers_and_languages_are_understood() {
    for (line, class) in [
        ("550 5.1.1 host mx.example.net said: 550 5.1.1 No such user here", "bad_address"),
        ("554 Mailbox for user is full", "mailbox_full"),
        ("451 4.7.1 Graylisted, come back in 15 minutes", "greylist"),
        ("550 5.2.1 The email account that you tried to reach is disabled", "bad_address"),
        ("550 5.7.1 rejected by DMARC policy for example.com", "auth_failure"),
        ("554 5.7.1 Spam message rejected", "spam_content"),
        ("421 4.7.1 Messages deferred due to excessive volume", "rate_limited"),
        ("550 Mail content denied", "spam_content"),
        ("552 5.2.3 Your message exceeded our message size limits", "message_fault"),
        ("551 5.7.1 Loop detected", "config"),
        ("454 4.7.1 Relay access denied", "config"),
        ("450 4.2.0 Recipient temporarily unavailable", "temporary"),
        ("550 what?", "unknown"),
        ("450 what?", "temporary"),
        ("250 2.0.0 Ok", "accepted"),
    ] {
        assert_eq!(judge(line).class.as_str(), class, "{line}");
    }
}

#[test]
fn a_reply_that_names_a_time_asks_us_to_wait_that_long() {
    assert_eq!(judge("451 4.7.1 Greylisted, try again in 300 seconds").wait, Some(Duration::from_secs(300)));
    assert_eq!(judge("550 5.1.1 User unknown, try again in 300 seconds").wait, None, "it has failed");
    // A quota's window is no wait, and nothing stops a route for longer than an hour.
    let daily = judge("451 4.7.1 Daily limit of 500 messages in 24 hours exceeded");
    assert_eq!((daily.then, daily.wait), (Consequence::Stop, None));
    let stopped = judge("550 5.7.1 Daily quota exceeded, try again in 24 hours");
    assert_eq!((stopped.then, stopped.wait), (Consequence::Stop, Some(Duration::from_secs(3_600))));
}

#[test]
fn an_operators_rules_come_first_and_are_named() {
    let rules = own(
        "[[rules]]\nname = \"ours\"\ncode = \"550\"\ntext = \"user unknown\"\nroute = \"main\"\nclass = \"greylist\"\n\
         then = \"retry\"\nwait = \"15m\"\nscope = \"recipient\"\n",
    )
    .unwrap();
    let ask =
        |route| rules.judge_and_name(&Said { route, ..said(550, "5.1.1", "User unknown", Phase::RcptTo) });
    let (judged, by) = ask("main");
    assert_eq!(
        (judged.class, judged.then, judged.wait),
        (ReplyClass::Greylist, Consequence::Retry, Some(Duration::from_secs(900)))
    );
    let by = by.unwrap();
    assert_eq!((by.name, by.number, by.line, by.file.ends_with("replies.toml")), ("ours", 1, 1, true));
    let (judged, by) = ask("spare");
    assert_eq!((judged.class, by.unwrap().file), (ReplyClass::BadAddress, Path::new("replies.toml")));
}

#[test]
fn every_fault_of_a_file_is_named_at_once_with_its_line() {
    let text = r#"
colour = "red"
[[rules]]
class = "temporary"
[[rules]]
code = "250"
class = "temporary"
[[rules]]
code = ["450", "7xx"]
enhanced = "x"
phase = "connect"
route = "lost"
text = "(["
class = "temporary"
[[rules]]
code = "450"
class = "accepted"
then = "explode"
scope = "world"
wait = "2d"
shade = 1
[[rules]]
code = "4xx"
class = "greylist"
[[rules]]
code = "45x"
text = "later"
class = "greylist"
[[rules]]
code = []
class = "greylist"
[[rules]]
code = 450
class = "config"
then = "fail"
[[rules]]
text = "bob@example"
"#;
    let faults = own(text).unwrap_err();
    for expected in [
        "line 2: `colour` is unknown; only [[rules]] is allowed",
        "line 3: rule 1: has no condition",
        "line 6: rule 2: `code`: \"250\" must be a refusal such as \"550\", \"45x\" or \"5xx\"",
        "line 9: rule 3: `code`: \"7xx\" must be",
        "line 10: rule 3: `enhanced`: \"x\" must be",
        "line 11: rule 3: `phase`: \"connect\" must be a phase in which a relay speaks: greeting, hello,",
        "line 12: rule 3: `route`: \"lost\" must be the name of a route: main, spare",
        "line 13: rule 3: `text`: the pattern \"([\" is no regular expression",
        "line 17: rule 4: `class`: \"accepted\" is not one of bad_address,",
        "line 18: rule 4: `then`: \"explode\" is not one of retry, slow, stop+alarm, fail, fail+suppress",
        "line 19: rule 4: `scope`: \"world\" is not one of message,",
        "line 20: rule 4: `wait`: \"2d\" is not one of 1s to 24h",
        "line 21: rule 4: `shade` is unknown; allowed are name, code,",
        "line 25: rule 6: can match nothing, because rule 5 (`rule-5`, line 22) takes everything",
        "line 30: rule 7: `code` is an empty list, so the rule can match nothing",
        "line 33: rule 8: `code` must be a string or a list of strings",
        "line 35: rule 8: `then`: what is about us fails no mail",
        "line 36: rule 9: `class` is missing; allowed are",
        "line 37: rule 9: `text`: the pattern \"bob@example\" can match no reply",
    ] {
        assert!(faults.contains(expected), "{expected} is missing in:\n{faults}");
    }
}

#[test]
fn a_file_that_is_none_is_refused() {
    assert!(own("[[rules]\n").unwrap_err().contains("line 1: is no TOML"));
    assert!(own(&"#".repeat(300_000)).unwrap_err().contains("at most 262144"));
    let many = "[[rules]]\ncode = \"450\"\nclass = \"temporary\"\n".repeat(501);
    assert!(own(&many).unwrap_err().contains("at most 500 rules"));
    let lost = ReplyRules::load(Path::new("/nowhere/replies.toml"), &[]).unwrap_err().to_string();
    assert!(lost.contains("/nowhere/replies.toml") && lost.contains("cannot be read"), "{lost}");
    assert!(own("").is_ok());
}

proptest! {
    #[test]
    fn any_reply_is_judged_and_its_wait_is_bounded(
        code in 200_u16..600, text in any::<String>(), phase in 0..Phase::ALL.len(),
    ) {
        let phase = Phase::ALL[phase];
        let judged = ReplyRules::shipped().judge(&said(code, "", &text, phase));
        prop_assert_eq!(judged.class == ReplyClass::Accepted, code < 400);
        prop_assert!(!(judged.fails_the_mail() && (code < 500 || phase < Phase::MailFrom)));
        prop_assert!(judged.wait.is_none_or(|wait| wait <= Duration::from_secs(86_400)));
        prop_assert!(!judged.stops_the_route() || judged.scope == ReplyScope::Route);
    }

    #[test]
    fn any_file_of_rules_is_read_or_refused(text in any::<String>(), more in "(\\[\\[rules\\]\\]|code|class|text|=| |\n|\"[a-z0-9(|*]{0,6}\"|\\[|\\]){0,40}") {
        for text in [text, more] {
            let _ = file::read(&text, None);
        }
    }
}
