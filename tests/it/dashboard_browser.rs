//! The dashboard in a browser: used as a person does, on three widths and in two colour schemes.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::support::{Backends, Operator, Scene, Shop, addresses, mortal, tools};

/// Signs in, finds a mail, acts on it, pauses a lane, and looks at every page.
const BROWSER: &str = concat!(include_str!("support/chromium.py"), include_str!("dashboard.py"));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_finds_a_mail_acts_and_sees_what_changes() {
    let scene = Scene::open(Backends::sqlite_memory()).await;
    let (id, order) = fill(&scene.shop).await;
    let ann = Operator::sign_in(&scene.daemon, &scene.backends.command_line(), "ann", "admin", None).await;
    let batch = scene.shop.send_all(&addresses("ok", 30)).await;
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
    fs::create_dir_all(&pictures).unwrap();
    let looked = mortal(tools().join("venv/bin/python"))
        .args([
            "-c",
            BROWSER,
            &scene.daemon.admin_url(),
            &ann.name,
            &ann.password,
            &order,
            "reject@example.net",
        ])
        .arg(&pictures)
        .args([
            format!("/mails/{id}"),
            format!("/mails/{id}/content"),
            format!("/orders/{order}"),
            format!("/batches/{batch}"),
            format!("/merchants/{}", scene.shop.merchant),
            "/mails?q=state:failed".to_owned(),
        ])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&looked.stdout);
    assert!(looked.status.success(), "{told}\n{}", String::from_utf8_lossy(&looked.stderr));
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["steps"].as_array().unwrap().len(), 6, "{told:#}");
    assert_eq!(told["faults"], json!([]));
    assert_eq!(told["too_wide"], json!([]));
}

/// Gives the shop some mails, one of them of an order and refused; returns its id and the order's.
async fn fill(shop: &Shop) -> (String, String) {
    shop.enrol_all(&addresses("ok", 30)).await;
    let order = json!({"currency": "EUR", "totalAmount": "59.90", "paymentStatus": "PENDING",
        "endUser": {"email": "reject@example.net", "firstName": "Ann", "lastName": "Lee"}});
    shop.put("/api/v1/orders/1001", &order).await.expect(201);
    let body = json!({"template": "OFFLINE_PAYMENT_PENDING", "reason": "they asked"});
    let answer = shop.post("/ordersv2/1001/email/send", &body).await;
    assert!(matches!(answer.status, 200..=202), "{answer:?}");
    let listed = shop.get("/api/v1/mails?order=1001").await.expect(200).json();
    let id = listed["data"][0]["id"].as_str().unwrap().to_owned();
    shop.wait_until(&id, "failed").await;
    for recipient in ["ok@example.net", "greylist-once@example.net"] {
        shop.send_to(recipient).await;
    }
    (id, "1001".to_owned())
}
