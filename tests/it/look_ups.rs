//! Looking mails up: each filter finds what it should, and reads no more than it shows.

use postroom::{
    mail::{
        MailState, Timestamp,
        search::{Key, Query},
    },
    store::{MailFilter, MailSearch, Store},
};
use serde_json::json;

use super::support::{Backends, Scene};

/// 20,000 mails of two merchants, each about an order, a cart and a subscription of its own; a few wait.
const MANY: &str = "INSERT INTO mails (id, merchant_id, lane, state, template, template_version, sender, recipient,
        recipient_key, message_id, tags, order_id, cart_id, subscription_id, batch_id, member_id, on_crash, recorded_at,
        due_at, wake_at, settled_at, provider_id, class, route, attempt)
    WITH RECURSIVE numbers (n) AS (SELECT 100000 UNION ALL SELECT n + 1 FROM numbers WHERE n < 119999)
    SELECT '01900000-0000-7000-8000-000000' || CAST(n AS TEXT), CASE WHEN n % 2 = 0 THEN 'tea' ELSE 'oak' END, 'transactional',
        CASE WHEN n % 100 = 0 THEN 'queued' WHEN n % 100 = 2 THEN 'failed' ELSE 'sent' END, 'welcome', 'v1', '{}',
        'Ann-' || CAST(n AS TEXT) || '@example' || CAST(n % 500 AS TEXT) || '.net', 'example' || CAST(n % 500 AS TEXT) || '.net@ann-' || CAST(n AS TEXT), 'm', '{}',
        'o' || CAST(n AS TEXT), 'c' || CAST(n AS TEXT), 's' || CAST(n AS TEXT),
        '01900000-0000-7000-8000-00000000000' || CAST(n / 2 % 10 AS TEXT), CAST(n AS TEXT), 'resend', 0, 0,
        CASE WHEN n % 100 = 0 THEN 9000000000000 END, CASE WHEN n % 100 = 0 THEN NULL ELSE 0 END,
        'p' || CAST(n AS TEXT), CASE WHEN n % 100 = 2 THEN 'mailbox_full' ELSE 'accepted' END, 'main', 1 FROM numbers";

/// Spreads these mails over two and a half seconds, eight in each millisecond.
const OVER_SECONDS: &str = "UPDATE mails SET id = '01900000-0'
    || substr('0123456789abcdef', (CAST(substr(id, 31) AS INTEGER) - 100000) / 2048 + 1, 1)
    || substr('0123456789abcdef', (CAST(substr(id, 31) AS INTEGER) - 100000) / 128 % 16 + 1, 1)
    || substr('0123456789abcdef', (CAST(substr(id, 31) AS INTEGER) - 100000) / 8 % 16 + 1, 1) || substr(id, 14)";

/// The filters that people use, each with the index that answers it.
fn filters() -> Vec<(&'static str, MailFilter)> {
    let text = |text: &str| Some(text.to_owned());
    let all = MailFilter { merchant: Some("tea".parse().unwrap()), limit: 101, ..MailFilter::default() };
    vec![
        ("mails_by_merchant", all.clone()),
        ("mails_by_order", MailFilter { order: text("o119000"), ..all.clone() }),
        ("mails_by_cart", MailFilter { cart: text("c119000"), ..all.clone() }),
        ("mails_by_subscription", MailFilter { subscription: text("s119000"), ..all.clone() }),
        ("mails_by_batch", MailFilter { batch: text("01900000-0000-7000-8000-000000000003"), ..all.clone() }),
        ("mails_by_recipient", MailFilter { recipient: text("ANN-119000@Example0.NET"), ..all.clone() }),
        ("mails_by_provider_id", MailFilter { provider_id: text("p119000"), ..all.clone() }),
        ("mails_by_state", MailFilter { state: Some(MailState::Failed), ..all.clone() }),
        ("mails_by_state", MailFilter { state: Some(MailState::Deferred), ..all.clone() }),
        ("mails_under_way", MailFilter { state: Some(MailState::Queued), ..all.clone() }),
        ("mails_under_way", MailFilter { state: Some(MailState::Sending), ..all.clone() }),
        // Operators ask for all merchants.
        ("mails_by_order", MailFilter { order: text("o119000"), merchant: None, ..all.clone() }),
        (
            "mails_by_recipient",
            MailFilter { recipient: text("ann-119000@example0.net"), merchant: None, ..all },
        ),
    ]
}

/// Searches, for which merchant, the index of the first statement, and how many mails fit.
fn searches() -> Vec<(&'static str, Option<&'static str>, &'static str, u64)> {
    let tea = Some("tea");
    vec![
        ("order:o119000", tea, "mails_by_order", 1),
        ("order:o119000", None, "mails_by_order", 1),
        ("cart:c119000", tea, "mails_by_cart", 1),
        ("subscription:s119000", tea, "mails_by_subscription", 1),
        ("member:119000", tea, "mails_by_member", 1),
        ("member:119000", None, "mails_by_member", 1),
        ("to:ANN-119000@example0.net", tea, "mails_by_recipient", 1),
        ("to:ann-119000@example0.net", None, "mails_by_recipient", 1),
        ("to:@example4.net", tea, "mails_by_recipient", 40),
        ("to:@example4.net", Some("oak"), "mails_by_recipient", 0),
        ("provider_id:p119000", tea, "mails_by_provider_id", 1),
        ("o119000", tea, "mails_by_order", 1),
        ("batch:01900000-0000-7000-8000-000000000003", tea, "mails_by_batch", 1_000),
        ("batch:01900000-0000-7000-8000-000000000003 state:failed", tea, "mails_by_state", 0),
        ("batch:01900000-0000-7000-8000-000000000001 state:failed", tea, "mails_by_state", 200),
        ("state:failed", tea, "mails_by_state", 200),
        ("state:failed", None, "mails_failing", 200),
        ("state:deferred", tea, "mails_by_state", 0),
        ("state:deferred", None, "mails_by_state", 0),
        ("state:queued", tea, "mails_under_way", 200),
        ("state:queued", None, "", 200), // all that is under way, or the first of it
        ("state:sending", tea, "mails_under_way", 0),
        ("class:mailbox_full", tea, "mails_by_class", 200),
        ("class:mailbox_full", None, "mails_by_class_of_all", 200),
        ("class:mailbox_full -order:o100002", None, "mails_by_class_of_all", 199),
        ("id:01900000-0000-7000-8000-000000119000", tea, "", 1),
        ("id:01900000-0000-7000-8000-000000119000", Some("oak"), "", 0),
        ("message_id:<01900000-0000-7000-8000-000000119000@tea.example>", None, "", 1),
        ("01900000-0000-7000-8000-000000119000", tea, "", 1),
        ("class:accepted since:1d", tea, "mails_by_merchant", 0),
        ("template:welcome since:1d", None, "", 0),
        ("merchant:tea until:2020-01-01", None, "mails_by_merchant", 0),
        ("route:main since:1d", tea, "mails_by_merchant", 0),
        ("lane:bulk state:failed", tea, "mails_by_state", 0),
        ("-state:sent order:o100002", tea, "mails_by_order", 1),
        ("test:true state:failed", tea, "mails_by_state", 0),
        ("\"exact words\"", tea, "mails_by_merchant", 0),
    ]
}

fn searched(query: &str, merchant: Option<&str>) -> MailSearch {
    MailSearch {
        query: Query::parse(query, Timestamp(1_795_000_000_000)).unwrap(),
        merchant: merchant.map(|id| id.parse().unwrap()),
        limit: 100,
        count: true,
        ..MailSearch::default()
    }
}

on_both! {
    async fn each_filter_has_an_index_that_also_gives_the_order(backends: Backends) {
        let store = Store::open(&backends.database()).await.unwrap();
        store.migrate().await.unwrap();
        backends.execute(MANY).await;
        // Postgres plans by what it knows of a table, SQLite by the indexes alone.
        backends.execute("ANALYZE").await;
        for (index, filter) in filters() {
            let plan = store.plan_of_mails(&filter).await.unwrap().join("\n");
            assert!(plan.contains(index), "{filter:?}:\n{plan}");
            let sorts = plan.contains("Sort") || plan.contains("TEMP B-TREE");
            // Of all merchants one order has few mails.
            assert!(!sorts || filter.merchant.is_none(), "{filter:?}:\n{plan}");
            if filter.state.is_none() {
                assert!(!store.mails(&filter).await.unwrap().is_empty(), "{filter:?}");
            }
        }
    }

    async fn no_statement_of_a_search_reads_the_whole_table(backends: Backends) {
        let store = Store::open(&backends.database()).await.unwrap();
        store.migrate().await.unwrap();
        backends.execute(MANY).await;
        backends.execute("ANALYZE").await;
        for key in Key::ALL.iter().filter(|key| **key != Key::Tag) {
            let is_asked = |(query, ..): &(_, _, _, _)| format!(" {query}").contains(&format!(" {key}:"));
            assert!(searches().iter().any(is_asked), "no search for {key}:");
        }
        for (query, merchant, index, fits) in searches() {
            let search = searched(query, merchant);
            let plans = store.plans_of_search(&search).await.unwrap();
            assert!(plans[0].contains(index), "{query}:\n{}", plans[0]);
            for plan in plans {
                // SQLite reads what a subquery gives in a scan that has the name of the subquery.
                let lines = |wanted: &str| plan.lines().filter(|line| *line == wanted).count();
                let reads_all =
                    plan.contains("Seq Scan") || lines("SCAN mails") > lines("CO-ROUTINE mails");
                let sorts = plan.contains("Sort") || plan.contains("TEMP B-TREE");
                assert!(!reads_all && (!sorts || index.is_empty()), "{query}:\n{plan}");
            }
            let found = store.search_mails(&search).await.unwrap();
            let count = found.count.unwrap();
            assert_eq!((count.count, count.more), (fits, false), "{query} of {merchant:?}");
            let ids: Vec<_> = found.mails.iter().map(|mail| mail.id).collect();
            assert!(ids.is_sorted_by(|one, other| one > other), "{query}: newest first");
        }
    }

    async fn pages_of_a_search_give_each_mail_once(backends: Backends) {
        let store = Store::open(&backends.database()).await.unwrap();
        store.migrate().await.unwrap();
        backends.execute(MANY).await;
        for (query, merchant, fits) in [
            ("state:failed", Some("tea"), 200), ("class:mailbox_full", None, 200), ("lane:transactional state:failed", None, 200),
            ("@example4.net", Some("tea"), 40), ("route:main -state:sent", Some("tea"), 400),
        ] {
            for oldest_first in [false, true] {
                let mut search = MailSearch { limit: 33, oldest_first, ..searched(query, merchant) };
                let (mut ids, mut pages) = (Vec::new(), 0);
                loop {
                    let found = store.search_mails(&search).await.unwrap();
                    ids.extend(found.mails.iter().map(|mail| mail.id));
                    pages += 1;
                    assert!(pages < 50, "{query} does not end");
                    search.after = found.next;
                    if search.after.is_none() { break }
                }
                assert_eq!(ids.len(), fits, "{query}");
                assert!(ids.is_sorted_by(|one, other| if oldest_first { one < other } else { one > other }), "{query}");
            }
        }
    }

    async fn a_window_that_limits_an_answer_is_named(backends: Backends) {
        let store = Store::open(&backends.database()).await.unwrap();
        store.migrate().await.unwrap();
        backends.execute(MANY).await;
        // Nothing leads to a lane, so each page looks at a quarter of all merchants' mails.
        let mut search = searched("lane:bulk", None);
        for page in 1..=4 {
            let found = store.search_mails(&search).await.unwrap();
            assert!(found.mails.is_empty(), "{found:?}");
            assert_eq!((found.next.is_some(), found.searched_to.is_some()), (page < 4, page < 4), "{page}");
            let count = found.count.map(|count| (count.count, count.more));
            assert_eq!(count, (page == 1).then_some((0, true)));
            search.after = found.next;
        }
        // More than are counted, and fewer.
        let found = store.search_mails(&searched("", None)).await.unwrap();
        let count = found.count.unwrap();
        assert_eq!((count.count, count.more, found.estimate), (10_000, true, None), "of one millisecond nothing is known");
        backends.execute(OVER_SECONDS).await;
        let found = store.search_mails(&searched("", None)).await.unwrap();
        let estimate = found.estimate.unwrap();
        assert!((19_000..=21_000).contains(&estimate), "there are 20,000, not about {estimate}");
        let found = store.search_mails(&searched("", Some("tea"))).await.unwrap();
        let count = found.count.unwrap();
        assert_eq!((count.count, count.more, found.estimate), (10_000, false, None));
        // What has an index is estimated by that.
        backends.execute("UPDATE mails SET batch_id = '01900000-0000-7000-8000-000000000001'").await;
        for oldest_first in [false, true] {
            let search = searched("batch:01900000-0000-7000-8000-000000000001", None);
            let estimate = store.search_mails(&MailSearch { oldest_first, ..search }).await.unwrap().estimate.unwrap();
            assert!((19_000..=21_000).contains(&estimate), "there are 20,000, not about {estimate}");
        }
        // What has no index is estimated by its share of those that were looked at.
        let found = store.search_mails(&searched("lane:transactional", None)).await.unwrap();
        assert_eq!(found.count.map(|count| (count.count, count.more)), Some((5_000, true)));
        let estimate = found.estimate.unwrap();
        assert!((19_000..=21_000).contains(&estimate), "there are 20,000, not about {estimate}");
    }

    async fn a_mail_is_found_by_the_api_and_the_command_line_alike(backends: Backends) {
        let scene = Scene::open(backends).await;
        let commands = scene.backends.command_line();
        let id = scene.shop.send_to("Ok@example.net").await;
        let story = scene.shop.wait_until(&id, "sent").await;
        let other = scene.shop.send_to("ok@example.com").await;
        scene.shop.wait_until(&other, "sent").await;
        let provider = story["provider_id"].as_str().unwrap();
        let member = story["member"].as_str().unwrap();
        let message_id = format!("<{}>", story["message_id"].as_str().unwrap());
        for query in [
            "to:OK@EXAMPLE.net", "ok@example.net", "to:@Example.NET", &id, &message_id, &format!("provider_id:{provider}"),
            &format!("{provider} to:@example.net"), &format!("member:{member}"), "template:welcome -to:@example.com since:1h",
        ] {
            let encoded: String = url::form_urlencoded::Serializer::new(String::new()).append_pair("q", query).finish();
            let page = scene.shop.get(&format!("/api/v1/mails?{encoded}")).await.expect(200).json();
            assert_eq!((page["data"].as_array().unwrap().len(), &page["data"][0]["id"]), (1, &json!(id)), "{query}");
            assert_eq!(page["count"], json!({"count": 1, "more": false}), "{query}");
            let listed = commands.run(&["mail", "list", "--json", query]).expect(0).json();
            assert_eq!((listed.as_array().unwrap().len(), &listed[0]["id"]), (1, &json!(id)), "{query}");
        }
        for (query, says) in [
            ("ordr%3A1001", "`ordr` is not a key; the keys are order,"), ("since%3Ayesterday-ish", "2026-11-01"),
            ("%22open", "does not end"), ("merchant%3Atea-co", "for operators"), ("a%07", "control"),
        ] {
            let answer = scene.shop.get(&format!("/api/v1/mails?q={query}")).await.expect(400).json();
            assert_eq!(answer["code"], "invalid_query");
            assert!(answer["detail"].as_str().unwrap().contains(says), "{answer}");
        }
        let ended = commands.run(&["mail", "list", "-state:queued", "to:@example.net", "--json"]).expect(0);
        assert_eq!((ended.json().as_array().unwrap().len(), &ended.json()[0]["id"]), (1, &json!(id)), "flags may come last");
        let ended = commands.run(&["mail", "list", "to:@example.net", "-state:sent", "--limit", "3"]).expect(0);
        assert!(ended.out.is_empty() && ended.err.contains("No mail fits"), "{ended:?}");
        for (words, status) in [
            (&["ordr:1001"][..], 2), (&["--since", "yesterday-ish"], 2), (&["--class", "full"], 2), (&["--merchant", "nobody"], 1),
            (&["merchant:nobody"], 1), (&["--limit", "0"], 2),
        ] {
            commands.run(&[&["mail", "list"], words].concat()).expect(status);
        }
        let newest = commands.run(&["mail", "list", "--json", "--merchant", "tea-co", "--limit", "1"]).expect(0);
        assert_eq!(newest.json()[0]["id"], json!(other));
        assert!(newest.err.contains("Shown: 1 of 2 mails") && newest.err.contains(&format!("--after {other}")), "{}", newest.err);
        let oldest = commands.run(&["mail", "list", "--json", "--recipient", "@example.com", "--oldest-first"]).expect(0);
        assert_eq!(oldest.json()[0]["id"], json!(other));
    }

    async fn a_malformed_query_or_id_is_refused_and_the_answer_says_why(backends: Backends) {
        let scene = Scene::open(backends).await;
        let commands = scene.backends.command_line();
        let (many, long) = ("a ".repeat(10_000), "a".repeat(10_240));
        for (query, says) in [
            ("ordr:1", "`ordr` is not a key"), ("\"open", "does not end"), (many.as_str(), "at most 1000 bytes"),
            ("since:yesterday-ish", "a duration such as 2h"), (long.as_str(), "at most 1000 bytes"),
        ] {
            let ended = commands.run(&["mail", "list", query]).expect(2);
            assert!(ended.err.contains(says) && ended.err.len() < 1_500, "{}", ended.err);
            let encoded: String = url::form_urlencoded::Serializer::new(String::new()).append_pair("q", query).finish();
            let answer = scene.shop.get(&format!("/api/v1/mails?{encoded}")).await.expect(400).json();
            assert_eq!((&answer["code"], &answer["errors"][0]["path"]), (&json!("invalid_query"), &json!("q")));
            assert!(answer["detail"].as_str().unwrap().contains(says), "{answer}");
        }
        // What looks like a pattern is a word like any other.
        for query in ["^10.*1$|x", ".*", "%25", "order:'OR1=1--"] {
            let page = scene.shop.get(&format!("/api/v1/mails?q={query}")).await.expect(200).json();
            assert_eq!(page["data"], json!([]), "{query}");
        }
        for id in ["../../etc/passwd", "--help-me", long.as_str()] {
            let ended = commands.run(&["mail", "show", id]).expect(2);
            assert!(ended.err.len() < 1_500, "{}", ended.err);
            let encoded = id.replace('/', "%2F");
            let answer = scene.shop.get(&format!("/api/v1/mails/{encoded}")).await.expect(404).json();
            assert_eq!(answer["code"], "not_found");
        }
    }

    async fn a_recipient_is_found_however_the_address_is_written(backends: Backends) {
        let scene = Scene::open(backends).await;
        let member = json!({"brand_id": "tea", "email": "Jörg.Ok@BÜCHER.example", "first_name": "Jörg", "last_name": "L"});
        scene.shop.put("/api/v1/members/joerg", &member).await;
        let body = json!({"brand_id": "tea", "template_id": "welcome", "user": {"identifier": "joerg"}});
        let answer = scene.shop.post("/mail", &body).await.expect(200).json();
        let id = answer["data"]["joerg"]["transaction_id"].as_str().unwrap().to_owned();
        for written in ["Jörg.Ok@BÜCHER.example", "jörg.ok@xn--bcher-kva.EXAMPLE", "JÖRG.OK@bücher.example"] {
            let query: String = url::form_urlencoded::Serializer::new(String::new()).append_pair("recipient", written).finish();
            let page = scene.shop.get(&format!("/api/v1/mails?{query}")).await.expect(200).json();
            assert_eq!(page["data"][0]["id"], id, "{written}");
        }
        let page = scene.shop.get("/api/v1/mails?recipient=joerg.ok@xn--bcher-kva.example").await.expect(200).json();
        assert_eq!(page["data"], json!([]));
    }

    async fn a_mail_is_found_by_the_id_that_its_relay_gave_it(backends: Backends) {
        let scene = Scene::open(backends).await;
        let id = scene.shop.send_to("ok@example.net").await;
        let story = scene.shop.wait_until(&id, "sent").await;
        let given = story["provider_id"].as_str().unwrap();
        let page = scene.shop.get(&format!("/api/v1/mails?provider_id={given}")).await.expect(200).json();
        assert_eq!((page["data"].as_array().unwrap().len(), &page["data"][0]["id"]), (1, &json!(id)));
    }
}
