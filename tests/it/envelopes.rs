//! What every endpoint says to a request that is not as it should be, in the envelope of its family.

use futures_util::{future::join_all, stream};
use reqwest::Method;
use serde_json::{Value, json};

use super::support::{Answer, Backends, Credential, Daemon, Scene, Shop, brand, send, welcome};

/// Where a family takes JSON.
const WRITES: [(&str, &str); 3] =
    [("POST", "/mail"), ("PUT", "/api/v1/brands/tea"), ("POST", "/api/v1/templates/welcome/preview")];

async fn write(
    shop: &Shop,
    (method, path): (&str, &str),
    content_type: &str,
    body: impl Into<reqwest::Body>,
) -> Answer {
    let request = shop.request(method.parse().unwrap(), path).header("content-type", content_type);
    send(request.body(body)).await
}

/// Asserts that a refusal is in the envelope of its path's family.
#[track_caller]
fn is_in_envelope(answer: &Answer, path: &str) {
    let body = answer.json();
    let (message, content_type) = match path.split(['/', '?']).nth(1).unwrap() {
        "mail" | "mails" => (&body["message"], "application/json"),
        "templates" => {
            assert_eq!(body["success"], false);
            (&body["message"], "application/json")
        }
        "ordersv2" => (&body["error"]["message"], "application/json"),
        "abandoned-carts" => {
            assert_eq!(body["status"], "error");
            (&body["message"], "application/json")
        }
        "api" if path.starts_with("/api/public") => (&body["errors"][0]["title"], "application/json"),
        _ => {
            assert_eq!(body["status"], answer.status);
            assert_eq!(body["request_id"], answer.header("x-request-id").unwrap());
            assert!(body["code"].is_string());
            (&body["detail"], "application/problem+json")
        }
    };
    assert!(message.as_str().is_some_and(|message| !message.is_empty()), "{path}: {answer:?}");
    assert_eq!(answer.header("content-type"), Some(content_type), "{path}");
}

on_both! {
    async fn a_body_that_is_not_json_is_answered_400(backends: Backends) {
        let scene = Scene::open(backends).await;
        for target in WRITES {
            for body in [
                "", " ", "{", "{}x", "{\"a\":}", "{'a':1}", "nonsense",
                "{\"a\":\"\u{1}\"}", "{\"user\":01}", "NaN",
            ] {
                let answer = write(&scene.shop, target, "application/json", body.to_owned()).await;
                assert_eq!(answer.status, 400, "{target:?} {body:.40}: {answer:?}");
                is_in_envelope(&answer, target.1);
            }
            let latin1 = write(&scene.shop, target, "application/json", b"{\"name\":\"\xe9\"}".to_vec()).await;
            is_in_envelope(&latin1.expect(400), target.1);
        }
    }

    async fn json_of_another_shape_is_answered_422(backends: Backends) {
        let scene = Scene::open(backends).await;
        scene.shop.enrol("ok@example.net").await;
        for target in WRITES {
            for body in [
                "null", "5", "\"x\"", "[]", r#"["tea","welcome",{"identifier":"ok@example.net"},null,null]"#,
                "{\"user\":1e999}", &format!("{{\"user\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000)),
            ] {
                let answer = write(&scene.shop, target, "application/json", body.to_owned()).await;
                assert_eq!(answer.status, 422, "{target:?} {body:.80}: {answer:?}");
                is_in_envelope(&answer, target.1);
            }
        }
    }

    async fn a_body_of_another_content_type_is_answered_415(backends: Backends) {
        let scene = Scene::open(backends).await;
        for target in WRITES {
            for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "json"] {
                let answer = write(&scene.shop, target, content_type, "{}").await.expect(415);
                is_in_envelope(&answer, target.1);
            }
            let untold = scene.shop.request(target.0.parse().unwrap(), target.1).body("{}");
            send(untold).await.expect(415);
        }
        scene.shop.enrol("ok@example.net").await;
        for content_type in ["application/json; charset=utf-8", "Application/JSON", "application/vnd.tea+json"] {
            let body = welcome("ok@example.net").to_string();
            write(&scene.shop, WRITES[0], content_type, body).await.expect(200);
        }
    }

    async fn a_body_that_is_too_large_is_answered_413(backends: Backends) {
        let scene = Scene::open(backends.with("http.max_body", "16KiB")).await;
        let large = format!("{{\"user\":\"{}\"}}", "x".repeat(16 * 1024));
        for target in WRITES {
            let answer = write(&scene.shop, target, "application/json", large.clone()).await.expect(413);
            is_in_envelope(&answer, target.1);
            // Without a Content-Length the size shows only on the way.
            let chunks = stream::iter((0..3).map(|_| Ok::<_, std::io::Error>("x".repeat(8 * 1024))));
            let body = reqwest::Body::wrap_stream(chunks);
            let answer = write(&scene.shop, target, "application/json", body).await.expect(413);
            is_in_envelope(&answer, target.1);
        }
        // An import has as many lines as there are; only a line can be too long.
        scene.shop.post_text("/api/v1/import", "application/x-ndjson", large).await.expect(200);
    }

    async fn an_unknown_path_is_answered_404(backends: Backends) {
        let scene = Scene::open(backends).await;
        for path in [
            "/nowhere", "/mail/x/y/z", "/templates/a/b/c", "/ordersv2/a/b/c/d", "/abandoned-carts/a/b/c/d",
            "/api/public/v1/nowhere", "/api/v1/nonsense", "/api/v2/brands", "/MAIL",
        ] {
            let answer = scene.shop.get(path).await.expect(404);
            is_in_envelope(&answer, path);
        }
    }

    async fn a_wrong_method_is_answered_405(backends: Backends) {
        let scene = Scene::open(backends).await;
        for (method, path, allowed) in [
            (Method::DELETE, "/mail", "POST"),
            (Method::GET, "/mail", "POST"),
            (Method::POST, "/templates", "GET"),
            (Method::PUT, "/templates/welcome", "GET"),
            (Method::PATCH, "/api/v1/brands/tea", "PUT"),
            (Method::POST, "/api/v1/mails", "GET"),
        ] {
            let answer = send(scene.shop.request(method, path)).await.expect(405);
            assert!(answer.header("allow").unwrap().contains(allowed), "{answer:?}");
            is_in_envelope(&answer, path);
        }
    }

    async fn too_many_requests_of_one_merchant_are_answered_429(backends: Backends) {
        let backends = backends.with("http.rate", "5/s");
        let daemon = Daemon::start(&backends).await;
        let commands = backends.command_line();
        let (eager, calm) = (Shop::open(&daemon, &commands, "eager"), Shop::open(&daemon, &commands, "calm"));
        for path in ["/api/v1/mails", "/templates?brand_id=tea", "/mail"] {
            let method = if path == "/mail" { Method::POST } else { Method::GET };
            let asked = (0..30).map(|_| send(eager.request(method.clone(), path).json(&json!({}))));
            let answers = join_all(asked).await;
            let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
            assert!(refused.len() >= 15, "{path}: {} of 30", refused.len());
            for answer in refused {
                let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
                assert!((1..=60).contains(&wait));
                assert_eq!(answer.header("ratelimit-policy"), Some("\"default\";q=5;w=1"));
                assert_eq!(answer.header("ratelimit"), Some(format!("\"default\";r=0;t={wait}").as_str()));
                is_in_envelope(answer, path);
            }
        }
        let answer = calm.get("/api/v1/mails").await.expect(200);
        assert_eq!(answer.header("ratelimit-policy"), Some("\"default\";q=5;w=1"));
        assert_eq!(answer.header("ratelimit"), Some("\"default\";r=4;t=1"));
        let answer = eager.with(Credential::Nobody).get("/healthz").await.expect(200);
        assert_eq!(answer.header("ratelimit"), None, "nobody is limited here");
    }

    async fn refusals_of_who_asks_are_in_the_envelope_too(backends: Backends) {
        let scene = Scene::open(backends).await;
        for shop in [
            scene.shop.with(Credential::Nobody),
            scene.shop.with(Credential::Bearer(scene.shop.new_token("carts.read"))),
        ] {
            for path in ["/templates/welcome", "/api/v1/mails", "/api/v1/brands"] {
                let answer = shop.get(path).await;
                assert!(matches!(answer.status, 401 | 403));
                is_in_envelope(&answer, path);
            }
            is_in_envelope(&shop.post("/mail", &json!({})).await, "/mail");
        }
    }

    async fn every_answer_carries_the_id_of_its_request(backends: Backends) {
        let scene = Scene::open(backends).await;
        let long = "i".repeat(128);
        for path in ["/healthz", "/api/v1/mails", "/nowhere", "/mail", "/templates"] {
            for id in ["r-1", "!~{}", &long] {
                let answer = send(scene.shop.request(Method::GET, path).header("x-request-id", id)).await;
                assert_eq!(answer.header("x-request-id"), Some(id), "{path}");
            }
            let mut made = Vec::new();
            for id in [None, Some(""), Some("two words"), Some("é"), Some(&*format!("{long}i"))] {
                let request = scene.shop.request(Method::GET, path);
                let request = match id {
                    Some(id) => request.header("x-request-id", id),
                    None => request,
                };
                made.push(send(request).await.header("x-request-id").unwrap().to_owned());
            }
            made.sort();
            made.dedup();
            assert_eq!(made.len(), 5, "{path}: each gets its own");
            assert!(made.iter().all(|id| id.len() == 36), "{made:?}");
        }
        let logged = scene.daemon.log();
        assert!(logged.iter().any(|line| line["span"]["request_id"] == "r-1" && line["status"] == 404));
    }

    async fn the_character_u_0000_is_refused_wherever_it_stands(backends: Backends) {
        let scene = Scene::open(backends).await;
        scene.shop.enrol("ok@example.net").await;
        let mut body = welcome("ok@example.net");
        body["user"]["first_name"] = json!("a\0b");
        is_in_envelope(&scene.shop.post("/mail", &body).await.expect(422), "/mail");
        scene.shop.post("/mail", &welcome("ok\0@example.net")).await.expect(422);
        let odd = json!({"name": "a\0b", "sender": {"email": "hello@tea.example"}});
        scene.shop.put("/api/v1/brands/nul", &odd).await.expect(422);
        for path in [
            "/api/v1/brands/a%00b", "/api/v1/brands?after=%00", "/templates?brand_id=%00", "/templates/%00",
            "/api/v1/mails?recipient=%00", "/api/v1/mails?order=%00", "/api/v1/mails/%00", "/%00",
        ] {
            let answer = scene.shop.get(path).await;
            assert_eq!(answer.status, 400, "{path}: {answer:?}");
            is_in_envelope(&answer, path);
        }
        scene.shop.put("/api/v1/brands/a%00b", &brand()).await.expect(400);
        scene.shop.get("/api/v1/brands/a%2500b").await.expect(404);
    }

    async fn odd_paths_and_numbers_are_no_failure(backends: Backends) {
        let scene = Scene::open(backends).await;
        scene.shop.enrol("ok@example.net").await;
        let mut body = welcome("ok@example.net");
        for number in ["0", "-0", "123456789012345678901234567890", "1.5e300", "-9223372036854775808", "18446744073709551615"] {
            body["user"]["points"] = serde_json::from_str::<Value>(number).unwrap();
            scene.shop.post("/mail", &body).await.expect(200);
        }
        for (path, status) in [
            ("/api/v1/brands/%ff", 400), ("/api/v1/brands/%F0%9F%8D%B5", 404), ("/api/v1/brands/a%2Fb", 404),
            ("/api/v1/brands/%27%20OR%201=1", 404), ("/api/v1/brands?limit=-1", 422), ("/api/v1/brands?limit=x", 422),
            ("/api/v1/brands?limit=99999999999999999999", 422), ("/api/v1/brands?limit=0", 422),
        ] {
            let answer = scene.shop.get(path).await;
            assert_eq!(answer.status, status, "{path}: {answer:?}");
            is_in_envelope(&answer, path);
        }
        let long = "x".repeat(300);
        scene.shop.put(&format!("/api/v1/brands/{long}"), &brand()).await.expect(422);
    }
}
