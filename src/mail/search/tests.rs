use proptest::prelude::*;

use super::*;
use crate::mail::{Lane, MailState, ReplyClass, Timestamp};

const NOW: Timestamp = Timestamp(1_795_000_000_000);
const ID: &str = "01a2006a-176b-736f-a781-651b646d822c";

fn parsed(text: &str) -> Query {
    Query::parse(text, NOW).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn only(text: &str) -> Condition {
    let query = parsed(text);
    assert!(
        matches!(query.terms.as_slice(), [Term { is_negated: false, any_of }] if any_of.len() == 1),
        "{query:?}"
    );
    query.terms[0].any_of[0].clone()
}

#[test]
fn each_key_has_its_condition() {
    for (text, condition) in [
        ("order:1001", Condition::Order("1001".to_owned())),
        ("Order:AB:1", Condition::Order("AB:1".to_owned())),
        ("order:\"10 \\\"0\\\\1\"", Condition::Order("10 \"0\\1".to_owned())),
        ("cart:c-1", Condition::Cart("c-1".to_owned())),
        ("subscription:s", Condition::Subscription("s".to_owned())),
        ("member:ann", Condition::Member("ann".to_owned())),
        ("to:Ann@EXAMPLE.net", Condition::Recipient("example.net@ann".to_owned())),
        ("to:jörg@bücher.example", Condition::Recipient("xn--bcher-kva.example@jörg".to_owned())),
        ("to:@EXAMPLE.net", Condition::Domain("example.net".to_owned())),
        ("state:failed", Condition::State(MailState::Failed)),
        ("class:mailbox_full", Condition::Class(ReplyClass::MailboxFull)),
        ("route:main", Condition::Route("main".to_owned())),
        ("template:welcome", Condition::Template("welcome".to_owned())),
        ("lane:bulk", Condition::Lane(Lane::Bulk)),
        ("merchant:tea-co", Condition::Merchant("tea-co".parse().unwrap())),
        (&format!("batch:{ID}"), Condition::Batch(ID.parse().unwrap())),
        (&format!("id:{ID}"), Condition::Id(ID.parse().unwrap())),
        (&format!("message_id:<{ID}@tea.example>"), Condition::Id(ID.parse().unwrap())),
        ("provider_id:4bXk", Condition::ProviderId("4bXk".to_owned())),
        ("\"exact words\"", Condition::Subject("exact words".to_owned())),
        ("\"order:1001\"", Condition::Subject("order:1001".to_owned())),
        ("\"\\d+.*\"", Condition::Subject("\\d+.*".to_owned())),
        ("ann@example.net", Condition::Recipient("example.net@ann".to_owned())),
        ("@example.net", Condition::Domain("example.net".to_owned())),
        (&format!("<{ID}@tea.example>"), Condition::Id(ID.parse().unwrap())),
    ] {
        assert_eq!(only(text), condition, "{text}");
    }
}

#[test]
fn a_bare_word_may_be_an_order_or_what_a_relay_said() {
    let plain = |word: &str| [Condition::Order(word.to_owned()), Condition::ProviderId(word.to_owned())];
    assert_eq!(parsed("1001").terms[0].any_of, plain("1001"));
    assert_eq!(parsed("^10.*1$|x").terms[0].any_of, plain("^10.*1$|x"));
    let with_id: Vec<_> = [Condition::Id(ID.parse().unwrap())].into_iter().chain(plain(ID)).collect();
    assert_eq!(parsed(ID).terms[0].any_of, with_id);
}

#[test]
fn several_terms_are_all_asked_for_and_a_hyphen_negates() {
    let query = parsed("  order:1001\t-state:sent  -\"two words\" a-b ");
    assert_eq!(
        query.terms.iter().map(|term| term.is_negated).collect::<Vec<_>>(),
        [false, true, true, false]
    );
    assert_eq!(parsed("  "), Query::default());
}

#[test]
fn times_count_back_from_now_or_are_dates() {
    let millis = |text: &str| parsed(&format!("since:{text}")).since.unwrap().millis();
    assert_eq!(millis("2h"), NOW.millis() - 7_200_000);
    assert_eq!(millis("2026-11-01"), Timestamp::parse("2026-11-01T00:00:00Z").unwrap().millis());
    assert_eq!(
        millis("2026-11-01T10:00:00+02:00"),
        Timestamp::parse("2026-11-01T08:00:00Z").unwrap().millis()
    );
    let query = parsed("since:2h since:1h until:10m until:30m");
    assert_eq!(query.since, Some(Timestamp(NOW.millis() - 3_600_000)));
    assert_eq!(query.until, Some(Timestamp(NOW.millis() - 1_800_000)));
}

#[test]
fn a_fault_of_a_query_is_named_with_its_place_and_what_is_allowed() {
    for (text, at, says) in [
        ("state:failed ordr:1", 14, "`ordr` is not a key; the keys are order, cart,"),
        ("http://x", 1, "`http` is not a key"),
        (":1001", 1, "`` is not a key"),
        ("order:", 7, "value missing"),
        ("order:\"\"", 7, "value missing"),
        ("a -", 3, "nothing after the `-`"),
        ("a \"b c", 3, "does not end"),
        ("order:\"1001", 7, "does not end"),
        ("\"a\"b", 4, "a space must follow"),
        ("since:yesterday-ish", 7, "since: must be a duration such as 2h"),
        ("since:2026-13-01", 7, "since: must be"),
        ("until:99999999999999999999d", 7, "until: must be"),
        ("-since:2h", 1, "since: cannot be negated; use until:"),
        ("state:sended", 7, "one of queued, sending"),
        ("class:full", 7, "one of accepted, bad_address"),
        ("lane:fast", 6, "one of transactional"),
        ("to:ann", 4, "to: must be an address"),
        ("to:@", 4, "to: must be an address"),
        ("batch:7", 7, "batch: must be the id"),
        ("merchant:a/b", 10, "merchant: a merchant's id is"),
        ("message_id:<x@y>", 12, "message_id: must be"),
        ("ä a\0b", 4, "no control characters"),
    ] {
        let error = Query::parse(text, NOW).unwrap_err();
        assert_eq!(error.at, at, "{text}: {error}");
        assert!(error.to_string().contains(says), "{text}: {error}");
    }
}

#[test]
fn a_query_is_bounded() {
    let terms = |count: usize| vec!["a"; count].join(" ");
    assert_eq!(parsed(&terms(MOST_TERMS)).terms.len(), MOST_TERMS);
    let error = Query::parse(&terms(10_000), NOW).unwrap_err();
    assert!(error.message.contains("at most 1000 bytes"), "{error}");
    let error = Query::parse(&terms(MOST_TERMS + 1), NOW).unwrap_err();
    assert_eq!((error.at, error.message.as_str()), (41, "a query has at most 20 terms"));
    assert!(Query::parse(&"a".repeat(MOST_BYTES), NOW).is_ok());
    assert_eq!(Query::parse(&"ä".repeat(MOST_BYTES), NOW).unwrap_err().at, 500);
}

proptest! {
    #[test]
    fn any_text_is_a_query_or_says_where_it_is_not(text in any::<String>()) {
        if let Err(error) = Query::parse(&text, NOW) {
            prop_assert!(error.at >= 1 && error.at <= text.chars().count() + 1, "{error}");
        }
    }

    #[test]
    fn a_spelled_value_is_read_back(value in "[^\\p{Cc}]{1,40}") {
        prop_assume!(!value.trim().is_empty());
        prop_assert_eq!(only(&Key::Order.spell(&value)), Condition::Order(value));
    }
}
