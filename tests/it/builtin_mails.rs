//! Every built-in mail as a browser shows it: in six languages, on a phone and on a desk, by day and by night.

use std::{fs, path::Path};

use postroom::{
    render::{self, RenderLimits, Renderer},
    shop::{
        builtin_mails::{BuiltinMail, template},
        language::Language,
    },
};
use serde_json::{Value, json};

use super::support::{mortal, tools};

/// Opens each page of a folder in one browser, at two widths and in two colour schemes, keeps a picture of each, and
/// prints what is wider than its page.
const BROWSER: &str = concat!(include_str!("support/chromium.py"), include_str!("builtin_mails.py"));

/// What every mail may ask for, with words and links that find no room on a line.
fn values() -> Value {
    let word = "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichenverordnung".repeat(3);
    let link = format!("https://shop.example/r?token={}&a=1", "0123456789abcdef".repeat(20));
    json!({
        "merchant_name": "Tea & Co", "store_name": word, "first_name": "Ann", "last_name": word,
        "subject": word, "message": format!("First line.\n{word}\n{link}"), "discount": "15%",
        "cart_link": link, "recovery_link": link, "order_id": word, "total": "€1,234,567.90",
        "refunded_amount": "€10.00", "payment_id": word, "reason": word, "cancelled_on": "20 November 2026",
        "url": link, "endpoint_id": word, "disabled_on": "1 November 2026", "status": "410 Gone",
        "expired_on": "1 November 2026", "next_billing_date": "1 December 2026",
        "items": [
            {"name": word, "quantity": 1_000_000, "unit_price": "€1,234,567.90", "image_url": link},
            {"name": "Sieve", "quantity": "1", "unit_price": "€10.00"},
        ],
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_mail_is_wider_than_its_page_and_each_link_is_in_the_text() {
    let pages = tempfile::tempdir().unwrap();
    let limits = RenderLimits::default();
    let renderer = Renderer::new(limits.clone());
    for &mail in BuiltinMail::ALL {
        for &language in Language::ALL {
            let mail_in = format!("{mail}.{language}");
            let checked = render::check(&template(mail, language), &limits).unwrap();
            let (content, missing) = renderer.preview(&checked.source, None, &values().into()).unwrap();
            assert!(missing.is_empty(), "{mail_in}: {missing:?}");
            for link in content.html.split("href=\"").skip(1) {
                let link = link.split_once('"').unwrap().0.replace("&amp;", "&").replace("&#x3D;", "=");
                assert!(content.text.contains(&link), "{mail_in}: {link} is not in the text");
            }
            fs::write(pages.path().join(format!("{mail_in}.html")), content.html).unwrap();
        }
    }
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
    fs::create_dir_all(&pictures).unwrap();
    let looked = mortal(tools().join("venv/bin/python"))
        .args(["-c", BROWSER])
        .args([pages.path(), &pictures])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&looked.stdout);
    assert!(looked.status.success(), "{told}\n{}", String::from_utf8_lossy(&looked.stderr));
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["looks"], BuiltinMail::ALL.len() * Language::ALL.len() * 4);
    assert_eq!(told["too_wide"], json!([]));
}
