//! Looking mails up: each filter finds what it should, and reads no more than it shows.

use postroom::{
    mail::MailState,
    store::{MailFilter, Store},
};
use serde_json::json;

use super::support::{Backends, Scene};

/// 20,000 mails of two merchants, each about an order, a cart and a subscription of its own; a few wait.
const MANY: &str = "INSERT INTO mails (id, merchant_id, lane, state, template, template_version, sender, recipient,
        recipient_key, message_id, tags, order_id, cart_id, subscription_id, batch_id, member_id, on_crash, recorded_at,
        due_at, wake_at, settled_at, provider_id)
    WITH RECURSIVE numbers (n) AS (SELECT 100000 UNION ALL SELECT n + 1 FROM numbers WHERE n < 119999)
    SELECT '01900000-0000-7000-8000-000000' || CAST(n AS TEXT), CASE WHEN n % 2 = 0 THEN 'tea' ELSE 'oak' END, 'transactional',
        CASE WHEN n % 100 = 0 THEN 'queued' WHEN n % 100 = 2 THEN 'failed' ELSE 'sent' END, 'welcome', 'v1', '{}',
        'Ann-' || CAST(n AS TEXT) || '@example.net', 'ann-' || CAST(n AS TEXT) || '@example.net', 'm', '{}',
        'o' || CAST(n AS TEXT), 'c' || CAST(n AS TEXT), 's' || CAST(n AS TEXT),
        '01900000-0000-7000-8000-00000000000' || CAST(n / 2 % 10 AS TEXT), CAST(n AS TEXT), 'resend', 0, 0,
        CASE WHEN n % 100 = 0 THEN 9000000000000 END, CASE WHEN n % 100 = 0 THEN NULL ELSE 0 END,
        'p' || CAST(n AS TEXT) FROM numbers";

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
        ("mails_by_recipient", MailFilter { recipient: text("ANN-119000@Example.NET"), ..all.clone() }),
        ("mails_by_provider_id", MailFilter { provider_id: text("p119000"), ..all.clone() }),
        ("mails_by_state", MailFilter { state: Some(MailState::Failed), ..all.clone() }),
        ("mails_by_state", MailFilter { state: Some(MailState::Deferred), ..all.clone() }),
        ("mails_under_way", MailFilter { state: Some(MailState::Queued), ..all.clone() }),
        ("mails_under_way", MailFilter { state: Some(MailState::Sending), ..all.clone() }),
        // Operators ask for all merchants.
        ("mails_by_order", MailFilter { order: text("o119000"), merchant: None, ..all.clone() }),
        (
            "mails_by_recipient",
            MailFilter { recipient: text("ann-119000@example.net"), merchant: None, ..all },
        ),
    ]
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
