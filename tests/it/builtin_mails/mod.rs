//! Every built-in mail as a browser shows it, and as those judge it who know what mail programs can do: in all languages, with
//! and without a brand, on a phone and on a desk, by day and by night.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use postroom::{
    render::{self, RenderLimits, Renderer},
    shop::{
        builtin_mails::{BuiltinMail, sample_values, template},
        language::Language,
    },
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::{mortal, tools};

/// Opens each page of a folder in one browser, at two widths and in two colour schemes, and prints what is wrong with it.
const BROWSER: &str = concat!(include_str!("../support/chromium.py"), include_str!("looks.py"));

/// What every mail may ask for, with words and links that find no room on a line.
fn hostile_values() -> Value {
    let word = "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichenverordnung".repeat(3);
    let link = format!("https://shop.example/r?token={}&a=1", "0123456789abcdef".repeat(20));
    let money = "€1,234,567.90";
    json!({
        "merchant_name": "Tea & Co", "store_name": word, "first_name": "Ann", "last_name": word,
        "subject": word, "message": format!("First line.\n{word}\n{link}"), "discount": "15%",
        "cart_link": link, "recovery_link": link, "order_id": word, "total": money, "discounted_total": money,
        "refunded_amount": "€10.00", "payment_id": word, "reason": word, "cancelled_on": "20 November 2026",
        "url": link, "endpoint_id": word, "disabled_on": "1 November 2026", "status": "410 Gone",
        "expired_on": "1 November 2026", "next_billing_date": "1 December 2026", "subtotal": money, "tax": money,
        "shipping": money, "order_discount": money, "shipping_address": word, "shipping_address_lines": [word, word],
        "order_url": link, "payment_url": link,
        "items": [
            {"name": word, "quantity": 1_000_000, "unit_price": money, "line_total": money, "image_url": link},
            {"name": "Sieve", "quantity": "1", "unit_price": "€10.00"},
        ],
    })
}

/// What a shop sends: the sample of a preview, with a picture, sums and JSON-LD.
fn usual_values(mail: BuiltinMail) -> Value {
    let mut values = sample_values(mail);
    let shop = "https://shop.example";
    values.insert("json_ld".to_owned(), "{\"@context\":\"http://schema.org\"}".into());
    values["items"][0]["image_url"] = format!("{shop}/tea.jpg?w=112&h=112").into();
    values.insert("billing_address".to_owned(), "Ann Lee".into());
    values.insert("billing_address_lines".to_owned(), json!(["Ann Lee", "Teahouse GmbH & Co. KG", "1 Quay"]));
    Value::Object(values)
}

/// What a brand adds; letters on a light colour are dark and on a dark one light.
fn with_brand(mut values: Value, (colour, letters): (&str, &str)) -> Value {
    let brand = json!({
        "logo_url": "https://shop.example/logo.png", "colour": colour, "colour_of_letters": letters,
        "support_email": "help@shop.example", "support_url": "https://shop.example/help",
        "postal_address": "The Tea House, 1 Quay Street, 53111 Bonn", "website": "https://shop.example/",
    });
    if let (Value::Object(values), Value::Object(brand)) = (&mut values, brand) {
        values.extend(brand);
    }
    values
}

const YELLOW: (&str, &str) = ("#ffcc00", "#14201d");
const NAVY: (&str, &str) = ("#1b1464", "#ffffff");

/// The pages of every mail in some languages, as files.
struct Pages {
    folder: TempDir,
    renderer: Renderer,
    limits: RenderLimits,
    count: usize,
}

impl Pages {
    fn none() -> Self {
        let limits = RenderLimits::default();
        let renderer = Renderer::new(limits.clone());
        Self { folder: tempfile::tempdir().unwrap(), renderer, limits, count: 0 }
    }

    fn add(&mut self, kind: &str, languages: &[Language], values: impl Fn(BuiltinMail) -> Value) {
        for &mail in BuiltinMail::ALL {
            for &language in languages {
                let mail_in = format!("{kind}.{mail}.{language}");
                let checked = render::check(&template(mail, language), &self.limits).unwrap();
                let (content, missing) =
                    self.renderer.preview(&checked.source, None, &values(mail).into()).unwrap();
                assert!(missing.is_empty(), "{mail_in}: {missing:?}");
                for link in content.html.split("href=\"").skip(1) {
                    let link = link.split_once('"').unwrap().0.replace("&amp;", "&");
                    let link = link.trim_start_matches("mailto:");
                    assert!(content.text.contains(link), "{mail_in}: {link} is not in the text");
                }
                fs::write(self.folder.path().join(format!("{mail_in}.html")), content.html).unwrap();
                self.count += 1;
            }
        }
    }
}

/// What a judge prints, which is one JSON object.
fn verdict(mut judge: Command) -> Value {
    let judged = judge.output().unwrap();
    let printed = String::from_utf8_lossy(&judged.stdout);
    assert!(judged.status.success(), "{printed}\n{}", String::from_utf8_lossy(&judged.stderr));
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mail_fits_its_page_and_can_be_read_by_day_and_by_night() {
    let mut pages = Pages::none();
    pages.add("hostile", Language::OF_BUILTIN_MAILS, |_| hostile_values());
    pages.add("hostile-brand", &[Language::De], |_| with_brand(hostile_values(), NAVY));
    pages.add("usual", &[Language::De], usual_values);
    pages.add("usual-yellow", &[Language::De], |mail| with_brand(usual_values(mail), YELLOW));
    pages.add("usual-navy", &[Language::Fr], |mail| with_brand(usual_values(mail), NAVY));
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
    fs::create_dir_all(&pictures).unwrap();
    let axe = tools().join("node/node_modules/axe-core/axe.min.js");
    let mut browser = mortal(tools().join("venv/bin/python"));
    browser.args(["-c", BROWSER]).args([pages.folder.path(), &pictures, &axe]);
    let seen = verdict(browser);
    assert_eq!(seen, json!({"looks": pages.count * 4, "wrong": []}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mail_is_valid_and_what_great_mail_programs_lack_is_excused() {
    let mut pages = Pages::none();
    pages.add("usual", Language::OF_BUILTIN_MAILS, usual_values);
    pages.add("usual-brand", Language::OF_BUILTIN_MAILS, |mail| with_brand(usual_values(mail), YELLOW));
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/builtin_mails");
    let mut judge = mortal("node");
    judge.arg(here.join("judge.mjs")).args([
        pages.folder.path(),
        &tools().join("node/package.json"),
        &here.join("excuses.json"),
    ]);
    let judged = verdict(judge);
    assert_eq!(
        judged,
        json!({"pages": pages.count, "invalid": [], "lacking": [], "excuses_for_nothing": []})
    );
}
