//! Unsubscribing: what promotional mails carry, what the link does for mail programs and for people, and what still comes
//! afterwards.

use std::{fs, path::Path};

use postroom::{app::App, config::Config};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use super::support::{Answer, Backends, Hook, Scene, eventually, in_browser, send, template, welcome};

/// Somebody who has nothing but the link.
struct Reader<'a> {
    scene: &'a Scene,
    http: Client,
}

impl<'a> Reader<'a> {
    fn of(scene: &'a Scene) -> Self {
        let http = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { scene, http }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.scene.daemon.url()))
    }

    async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    /// What a mail program posts (RFC 8058, section 3.2).
    async fn one_click(&self, path: &str) -> Answer {
        let form = "application/x-www-form-urlencoded";
        send(self.request(Method::POST, path).header("content-type", form).body("List-Unsubscribe=One-Click"))
            .await
    }
}

/// The path of the link in the header of the newest mail to this address.
fn link_of(scene: &Scene, address: &str) -> String {
    let mails = scene.sink.mails();
    let mail = mails.iter().rev().find(|mail| mail.recipient == address).unwrap();
    let header = mail.header("list-unsubscribe").unwrap();
    let url = header.trim().trim_start_matches('<').trim_end_matches('>');
    url[url.find("/u/").unwrap()..].to_owned()
}

/// Makes the template `welcome` promotional and sends it to this address.
async fn advertise(scene: &Scene, address: &str) {
    let mut promotional = template();
    promotional["class"] = json!("promotional");
    scene.shop.put("/api/v1/templates/welcome", &promotional).await;
    let before = scene.caught(address);
    scene.shop.send_to(address).await;
    eventually("it is delivered", async || scene.caught(address) > before).await;
}

on_both! {
    async fn one_click_stops_promotional_mails_and_an_order_still_comes(backends: Backends) {
        let scene = Scene::open(backends.allowing_hooks()).await;
        let mut hook = Hook::listen().await;
        scene.shop.post("/webhooks", &json!({"url": hook.url, "events": ["email.unsubscribed"]})).await.expect(201);
        let (address, reader) = ("ok@example.net", Reader::of(&scene));
        advertise(&scene, address).await;
        let caught = scene.sink.find(address).unwrap();
        assert_eq!(caught.header("list-unsubscribe-post").unwrap().trim(), "List-Unsubscribe=One-Click");
        let source = String::from_utf8(caught.bytes.to_vec()).unwrap();
        let lines: Vec<_> = source.lines().filter(|line| line.starts_with("List-Unsubscribe")).collect();
        assert!(lines.len() == 2 && lines.iter().all(|line| line.len() < 200), "{lines:?}");
        let path = link_of(&scene, address);
        assert!(caught.html().unwrap().contains(&path) && caught.text().unwrap().contains(&path), "there is a footer: {source}");

        // A link scanner changes nothing.
        let page = reader.get(&path).await.expect(200);
        assert!(page.body.contains("<form method=\"post\"") && page.body.contains("o••@example.net"), "{page:?}");
        assert!(!page.body.contains(address) && page.header("set-cookie").is_none());
        send(reader.request(Method::HEAD, &path)).await.expect(200);
        scene.shop.get(&format!("/api/v1/suppressions/{address}")).await.expect(404);

        let done = reader.one_click(&path).await.expect(200);
        assert!(done.header("location").is_none() && done.header("set-cookie").is_none());
        let made = scene.shop.get(&format!("/api/v1/suppressions/{address}")).await.expect(200).json();
        assert_eq!((&made["reason"], &made["scope"], &made["expires_at"]), (&json!("unsubscribed"), &json!("promotional"), &Value::Null));
        let event = hook.next(&scene.shop).await;
        assert_eq!((&event["type"], &event["data"]["recipient"]), (&json!("email.unsubscribed"), &json!(address)));

        scene.shop.post("/mail", &welcome(address)).await.expect(422);
        let found = scene.shop.get(&format!("/api/v1/mails?recipient={address}&state=suppressed")).await.expect(200).json();
        assert_eq!(found["data"].as_array().unwrap().len(), 1, "{found}");
        let order = json!({"currency": "EUR", "totalAmount": "9.90", "endUser": {"email": address}, "paymentStatus": "COMPLETED",
            "emailConfirmationStatus": "COMPLETED"});
        scene.shop.put("/api/v1/orders/o1", &order).await.expect(201);
        scene.shop.post("/ordersv2/o1/email/send", &json!({"template": "ORDERCONFIRMATION"})).await.expect(202);
        eventually("the order's mail is delivered", async || scene.caught(address) == 2).await;
        let mails = scene.sink.mails();
        assert!(mails.last().unwrap().header("list-unsubscribe").is_none(), "an order is no advertising");
    }

    async fn a_thousand_posts_unsubscribe_once_and_an_undo_is_good_for_another_time(backends: Backends) {
        let scene = Scene::open(backends.allowing_hooks()).await;
        let mut hook = Hook::listen().await;
        scene.shop.post("/webhooks", &json!({"url": hook.url, "events": ["email.unsubscribed"]})).await.expect(201);
        let (address, reader) = ("ok@example.net", Reader::of(&scene));
        advertise(&scene, address).await;
        let path = link_of(&scene, address);
        for _ in 0..10 {
            let hundred = (0..100).map(|_| reader.one_click(&path));
            for answer in futures_util::future::join_all(hundred).await {
                answer.expect(200);
            }
        }
        hook.next(&scene.shop).await;
        assert!(reader.get(&path).await.body.contains("/undo\""));
        send(reader.request(Method::POST, &format!("{path}/undo"))).await.expect(200);
        scene.shop.get(&format!("/api/v1/suppressions/{address}")).await.expect(404);
        advertise(&scene, address).await;
        assert_eq!(link_of(&scene, address), path, "a recipient has one link");
        // Whatever is in the body, and whatever it is called.
        let odd = reader.request(Method::POST, &path).header("content-type", "multipart/form-data; boundary=x").body("--x--");
        send(odd).await.expect(200);
        scene.shop.get(&format!("/api/v1/suppressions/{address}")).await.expect(200);
        hook.next(&scene.shop).await;
        assert!(hook.is_quiet(), "each time it was told once");
        let again = send(reader.request(Method::GET, &format!("{path}/undo"))).await.expect(303);
        assert!(again.header("location").unwrap().starts_with("../"));
    }

    async fn a_wrong_token_leads_nowhere_and_says_nothing(backends: Backends) {
        let scene = Scene::open(backends).await;
        let reader = Reader::of(&scene);
        advertise(&scene, "ok@example.net").await;
        let path = link_of(&scene, "ok@example.net");
        let swapped: String = path.chars().rev().take(22).collect();
        let mut pages = Vec::new();
        for wrong in [&path[..path.len() - 1], &format!("{path}A"), &format!("/u/{swapped}"), "/u/x", "/u/..%2F..%2Fx"] {
            for answer in [reader.get(wrong).await.expect(404), reader.one_click(wrong).await.expect(404)] {
                pages.push(answer.body);
            }
        }
        pages.dedup();
        assert_eq!(pages.len(), 1, "{pages:?}");
        assert!(pages[0].contains("This link does not work"), "{pages:?}");
        let german = reader.request(Method::GET, "/u/x").header("accept-language", "nl, de;q=0.8");
        assert!(send(german).await.body.contains("Dieser Link funktioniert nicht"));
        scene.shop.get("/api/v1/suppressions/ok@example.net").await.expect(404);
    }

    async fn a_link_is_in_every_mail_that_prints_one_and_in_the_recipients_language(backends: Backends) {
        let scene = Scene::open(backends).await;
        let reader = Reader::of(&scene);
        let mut own = template();
        own["html"] = json!("<p>{{#if unsubscribe_link}}<a href=\"{{unsubscribe_link}}\">No more</a>{{/if}}</p>");
        own["text"] = json!("No more: {{unsubscribe_link}}");
        scene.shop.put("/api/v1/templates/welcome", &own).await.expect(200);
        let member = json!({"brand_id": "tea", "email": "ok-fr@example.net", "language": "fr"});
        scene.shop.put("/api/v1/members/fr", &member).await.expect(201);
        let mut body = welcome("fr");
        body["user"]["first_name"] = json!("Ann");
        body["user"]["unsubscribe_link"] = json!("https://evil.example");

        // A single mail is transactional where its template does not say what it is.
        scene.shop.post("/mail", &body).await.expect(200);
        eventually("it is delivered", async || scene.caught("ok-fr@example.net") == 1).await;
        let mails = scene.sink.mails();
        let single = mails.last().unwrap();
        assert!(single.header("list-unsubscribe").is_none());
        let text = single.text().unwrap();
        let link = text.trim().split("No more: ").nth(1).unwrap().to_owned();
        let path = link[link.find("/u/").unwrap()..].to_owned();
        assert!(single.html().unwrap().contains(&format!("<a href=\"{link}\">No more</a>")), "{:?}", single.html());

        // One of a batch is promotional.
        let batch = json!({"brand_id": "tea", "template_id": "welcome", "users": [{"identifier": "fr", "first_name": "Ann"}]});
        scene.shop.send_batch(&batch).await;
        eventually("it is delivered", async || scene.caught("ok-fr@example.net") == 2).await;
        let mails = scene.sink.mails();
        let of_batch = mails.last().unwrap();
        assert_eq!(of_batch.header("list-unsubscribe").unwrap().trim(), format!("<{link}>"), "a recipient has one link");
        assert_eq!(of_batch.text().unwrap().trim(), text.trim(), "a mail that prints the link gets no footer");

        let page = reader.get(&path).await.expect(200);
        assert!(page.body.contains("lang=\"fr\"") && page.body.contains("Me désabonner"), "{page:?}");
        let spanish = send(reader.request(Method::GET, &path).header("accept-language", "es-MX")).await.expect(200);
        assert!(spanish.body.contains("lang=\"es\""), "{spanish:?}");

        let inspected = scene.shop.get("/templates/welcome").await.expect(200).json();
        let tags = [&inspected["data"]["reserved_tags"], &inspected["data"]["custom_tags"]].map(|tags| tags.to_string().contains("unsubscribe_link"));
        assert_eq!(tags, [true, false]);
        let preview = scene.shop.post("/api/v1/templates/welcome/preview", &json!({"user": {"first_name": "Ann"}})).await.expect(200).json();
        assert_eq!(preview["missing"], json!([]), "{preview}");
    }

    async fn a_reminder_is_promotional_and_its_footer_is_in_its_language(backends: Backends) {
        let scene = Scene::open(backends).await;
        let cart = json!({"recovery_link": "https://tea.example/r", "currency": "EUR", "total": "9.90",
            "customer": {"email": "ok@example.net", "language": "de"}});
        scene.shop.put("/api/v1/abandoned-carts/c1", &cart).await.expect(201);
        let reminder = json!({"type": "email", "alert_details": {"subject": "Tee", "message": "Er wartet."}});
        scene.shop.post("/abandoned-carts/c1/reminder", &reminder).await.expect(200);
        eventually("it is delivered", async || scene.caught("ok@example.net") == 1).await;
        let caught = scene.sink.find("ok@example.net").unwrap();
        assert!(caught.header("list-unsubscribe").is_some());
        for part in [caught.html().unwrap(), caught.text().unwrap()] {
            assert!(part.contains("Von diesen E-Mails abmelden"), "{part}");
        }
        // It outlives its mail.
        let path = link_of(&scene, "ok@example.net");
        Reader::of(&scene).one_click(&path).await.expect(200);
        let refusal = scene.shop.post("/abandoned-carts/c1/reminder", &reminder).await.expect(422);
        assert_eq!(refusal.faulty_fields(), ["customer.email"]);
    }
}

on_both! {
    async fn a_link_works_after_its_mail_is_forgotten(backends: Backends) {
        let scene = Scene::open(backends.with("keep.mails", "1d")).await;
        let (address, reader) = ("ok@example.net", Reader::of(&scene));
        advertise(&scene, address).await;
        let path = link_of(&scene, address);
        scene.backends.execute("UPDATE mails SET settled_at = settled_at - 172800000, id = '01900000' || substr(id, 9)").await;
        let app = App::open(Config::load(Some(&scene.backends.config()), []).unwrap()).await.unwrap();
        assert_eq!(app.store.forget_old_mails(app.config.keep.mails).await.unwrap(), 1);
        reader.one_click(&path).await.expect(200);
        scene.shop.get(&format!("/api/v1/suppressions/{address}")).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_unsubscribe_in_a_browser_and_take_it_back() {
    let scene = Scene::open(Backends::sqlite_memory()).await;
    let address = "ok@example.net";
    advertise(&scene, address).await;
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
    fs::create_dir_all(&pictures).unwrap();
    let known = json!({"base": scene.daemon.url(), "link": link_of(&scene, address), "pictures": pictures});
    let seen = in_browser("unsubscribe.py", &known, async |wish| {
        let is_suppressed = scene.shop.get(&format!("/api/v1/suppressions/{address}")).await.status == 200;
        assert_eq!(is_suppressed, wish == "the address is suppressed", "{wish}");
    });
    assert_eq!(seen.await, json!({"faults": []}));
}
