//! The whole way of one mail, from a merchant's request to a relay.

use std::time::Duration;

use super::support::{Backends, Scene};

on_both! {
    async fn a_mail_goes_all_the_way_and_its_story_is_told(backends: Backends) {
        let scene = Scene::open(backends).await;
        let id = scene.shop.send_to("ok@example.net").await;

        assert!(scene.sink.wait_for(1, Duration::from_secs(10)).await);
        let caught = scene.sink.find("ok@example.net").unwrap();
        assert_eq!(caught.subject(), "Welcome, Ann");
        assert_eq!(caught.html().unwrap().trim(), "<p>Dear Ann Lee, welcome to Tea &amp; Co.</p>");
        assert_eq!(caught.text().unwrap().trim(), "Dear Ann Lee, welcome to Tea & Co.");

        let story = scene.shop.wait_until(&id, "sent").await;
        assert_eq!(story["provider_id"], caught.queue_id.as_str());
        assert_eq!(story["message_id"], caught.message_id().unwrap());
        assert_eq!(story["attempts"][0]["outcome"], "accepted");
        assert_eq!(story["attempts"][0]["route"], "main");
        assert_eq!(story["attempts"][0]["code"], 250);
        assert_eq!(story["attempts"].as_array().unwrap().len(), 1);
        let events: Vec<_> = story["timeline"].as_array().unwrap().iter().map(|entry| &entry["event"]).collect();
        assert_eq!(events, ["recorded", "attempt 1 accepted", "sent"]);
    }

    async fn metrics_count_what_happened(backends: Backends) {
        let scene = Scene::open(backends).await;
        let id = scene.shop.send_to("ok@example.net").await;
        scene.shop.wait_until(&id, "sent").await;

        let metrics = scene.daemon.admin("/metrics").await.expect(200).body;
        for line in [
            r#"postroom_mails_recorded_total{lane="transactional"} 1"#,
            r#"postroom_mails_settled_total{lane="transactional",state="sent"} 1"#,
            r#"postroom_attempts_total{route="main",outcome="accepted",class="accepted"} 1"#,
            r#"postroom_http_requests_total{method="POST",route="/mail",status="200"} 1"#,
        ] {
            assert!(metrics.lines().any(|found| found == line), "{line} is missing in:\n{metrics}");
        }
        assert!(!metrics.contains("ok@example.net"));
    }

    async fn no_address_secret_or_body_is_logged(backends: Backends) {
        let scene = Scene::open(backends).await;
        for recipient in ["ok@example.net", "reject@example.net"] {
            let id = scene.shop.send_to(recipient).await;
            let state = if recipient.starts_with("ok") { "sent" } else { "failed" };
            scene.shop.wait_until(&id, state).await;
        }
        let log = scene.daemon.log_text();
        assert!(log.contains("\"answered\"") && log.contains("\"attempt\""), "{log}");
        for secret in ["@example.net", "@tea.example", "Dear Ann", "pr_"] {
            assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
        }
    }

    async fn mails_under_way_are_finished_before_the_daemon_stops(backends: Backends) {
        let mut scene = Scene::open(backends).await;
        let id = scene.shop.send_to("slow-700@example.net").await;
        scene.shop.wait_until(&id, "sending").await;

        assert_eq!(scene.daemon.stop().await, 0);
        assert!(scene.sink.find("slow-700@example.net").unwrap().answered);
        scene.daemon.start_again().await;
        assert_eq!(scene.shop.mail(&id).await["state"], "sent");
    }
}
