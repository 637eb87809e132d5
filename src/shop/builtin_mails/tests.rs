//! Reads every built-in mail in every language as the renderer, a mail program and a reader will.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

fn every_mail() -> impl Iterator<Item = (BuiltinMail, Language, TemplateSource)> {
    BuiltinMail::ALL.iter().flat_map(|&mail| {
        Language::OF_BUILTIN_MAILS.iter().map(move |&language| (mail, language, template(mail, language)))
    })
}

/// What the handlebars tags of a template say, in their order.
fn tags(template: &str) -> Vec<&str> {
    template.split("{{").skip(1).map(|rest| rest.split_once("}}").unwrap().0).collect()
}

/// The handlebars tags and the cells, rows and paragraphs of a template, in their order: an HTML parser moves text that
/// stands directly in a table out of it.
fn skeleton(html: &str) -> Vec<&str> {
    let body = html.split_once("<body").unwrap().1;
    let starts = body.char_indices().filter(|&(at, _)| {
        ["{{", "<table", "<tr", "<td", "<p", "<div", "<img", "<a ", "</td", "</tr", "</table"]
            .iter()
            .any(|start| body[at..].starts_with(start))
    });
    starts.map(|(at, _)| body[at..].split(['}', '>', ' ']).next().unwrap()).collect()
}

/// What mail programs read of an order; a placeholder that is not escaped.
const LINKED_DATA: &str = "<script type=\"application/ld+json\">{{{json_ld}}}</script>";

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\'', "&#39;")
}

/// Fills a template as the renderer does: strictly, and escaped in HTML only.
fn fill(template: &str, values: &Value, escape: bool) -> Result<String, String> {
    let mut engine = handlebars::Handlebars::new();
    engine.set_strict_mode(true);
    if escape {
        engine.register_escape_fn(escaped);
    } else {
        engine.register_escape_fn(handlebars::no_escape);
    }
    engine.render_template(template, values).map_err(|error| error.to_string())
}

/// The values that the module's documentation says are required.
fn required(mail: BuiltinMail) -> Value {
    let mut values = match mail {
        BuiltinMail::CartLink => {
            json!({"merchant_name": "Tea & Co", "cart_link": "https://shop.example/c?a=1&b=2"})
        }
        BuiltinMail::AbandonedCartReminder => json!({
            "merchant_name": "Tea & Co", "subject": "Still there?", "message": "First line.\n<b>Second</b> line.",
            "recovery_link": "https://shop.example/r?a=1&b=2", "total": "€59.90"
        }),
        BuiltinMail::EndpointDisabled => json!({
            "merchant_name": "Tea & Co", "url": "https://shop.example/hook?a=1&b=2", "endpoint_id": "0192-77",
            "disabled_on": "20 November 2026"
        }),
        _ => json!({"store_name": "Tea & Co", "order_id": "ord_1001", "total": "€59.90"}),
    };
    let own = match mail {
        BuiltinMail::OrderCancellation => Some(("cancelled_on", "20 November 2026")),
        BuiltinMail::OrderPartialRefund => Some(("refunded_amount", "€10.00")),
        BuiltinMail::OrderNonRecurringPaymentSubscriptionExpired => Some(("expired_on", "1 November 2026")),
        _ => None,
    };
    if let Some((tag, value)) = own {
        values[tag] = value.into();
    }
    values
}

/// Adds the values that the module's documentation says are optional.
fn with_optional(mail: BuiltinMail, mut values: Value) -> Value {
    values["first_name"] = "Ann".into();
    values["last_name"] = "O’Lee".into();
    let own: &[&str] = match mail {
        BuiltinMail::AbandonedCartReminder => &["discount"],
        BuiltinMail::OrderPrebilling | BuiltinMail::OrderNonRecurringPrebilling => &["next_billing_date"],
        BuiltinMail::OrderConfirmation => &["paid_on"],
        BuiltinMail::OrderCancellation => &["reason"],
        BuiltinMail::EndpointDisabled => &["status"],
        BuiltinMail::OrderPartialRefund
        | BuiltinMail::OrderOfflinePaymentPending
        | BuiltinMail::OrderNonRecurringPaymentAttempt => &["payment_id"],
        BuiltinMail::CartLink | BuiltinMail::OrderNonRecurringPaymentSubscriptionExpired => &[],
    };
    for &tag in own {
        values[tag] = format!("the {tag}").into();
    }
    if !matches!(mail, BuiltinMail::CartLink | BuiltinMail::EndpointDisabled) {
        values["items"] = json!([
            {"name": "Tea <black>", "quantity": 2, "unit_price": "€24.95", "image_url": "https://shop.example/tea.png"},
            {"name": "Sieve", "quantity": "1", "unit_price": "€10.00"}
        ]);
    }
    values
}

#[test]
fn every_mark_of_every_mail_has_words_in_every_language() {
    for (mail, language, source) in every_mail() {
        for part in [&source.subject, &source.html, source.text.as_ref().unwrap()] {
            let left = part.split_once("[[").map(|(_, rest)| rest.chars().take(30).collect::<String>());
            assert_eq!(left, None, "{mail} {language}");
            assert!(!part.contains("]]"), "{mail} {language}");
        }
    }
}

#[test]
fn all_languages_have_the_same_words_and_none_too_many() {
    let marks = |language| {
        let sections = words(language).iter();
        sections
            .flat_map(|(section, words)| words.keys().map(move |mark| (section.clone(), mark.clone())))
            .collect::<BTreeSet<_>>()
    };
    let english = marks(Language::En);
    assert!(english.len() > 50);
    for &language in Language::ALL {
        assert_eq!(marks(language), english, "{language}");
    }

    let markup: String = BuiltinMail::ALL
        .iter()
        .map(|mail| mail.fragment())
        .chain(
            ["opening", "button", "summary", "order", "pay", "view", "view_quiet"]
                .map(|name| Fragment::shared(name).unwrap()),
        )
        .chain([LAYOUT])
        .flat_map(|part| [part.html, part.text])
        .chain(["[[subject]]"])
        .collect();
    for (section, mark) in english {
        assert!(markup.contains(&format!("[[{mark}]]")), "[{section}] {mark} is used nowhere");
    }
}

#[test]
fn all_languages_use_the_same_tags_and_words_hold_no_markup() {
    for &language in Language::OF_BUILTIN_MAILS {
        for (section, words) in words(language) {
            for (mark, text) in words {
                let place = format!("{language} [{section}] {mark}");
                let english = &super::words(Language::En)[section][mark];
                let sorted = |text| tags(text).into_iter().collect::<BTreeSet<_>>();
                assert_eq!(sorted(text), sorted(english), "{place}");
                assert!(!text.contains(['<', '>', '&', '"', '\'', '\n']), "{place}");
                assert_eq!(text.trim(), text, "{place}");
            }
        }
    }
}

#[test]
fn brazil_and_portugal_have_their_own_words() {
    let everything = |language| {
        let sources = BuiltinMail::ALL.iter().map(|&mail| template(mail, language));
        sources.map(|it| [it.subject, it.html, it.text.unwrap()].concat()).collect::<String>()
    };
    let (brazil, portugal) = (everything(Language::PtBr), everything(Language::Pt));
    for (there, here) in [
        ("Encomenda {{order_id}}", "Pedido {{order_id}}"),
        ("Endereço de faturação", "Endereço de cobrança"),
        ("Envio: ", "Frete: "),
        ("Desativámos", "Desativamos"),
        ("<html lang=\"pt\"", "<html lang=\"pt-BR\""),
    ] {
        assert!(portugal.contains(there) && !portugal.contains(here), "{here}");
        assert!(brazil.contains(here) && !brazil.contains(there), "{there}");
    }
    assert!(!brazil.contains("ncomenda") && !portugal.contains("você"));
    // What Brazil says otherwise replaces words that there are.
    for (section, of_brazil) in words(Language::PtBr) {
        for (mark, text) in of_brazil {
            assert_ne!(words(Language::Pt)[section][mark], *text, "[{section}] {mark}");
        }
    }
}

#[test]
fn french_has_its_narrow_spaces() {
    for (section, words) in words(Language::Fr) {
        for (mark, text) in words {
            for (at, sign) in text.match_indices([':', ';', '!', '?']) {
                assert!(text[..at].ends_with('\u{202f}'), "[{section}] {mark}: {sign}");
            }
        }
    }
}

#[test]
fn every_mail_is_filled_with_its_required_values_alone() {
    for (mail, language, source) in every_mail() {
        let values = required(mail);
        for (part, escape) in
            [(&source.subject, false), (&source.html, true), (source.text.as_ref().unwrap(), false)]
        {
            let filled =
                fill(part, &values, escape).unwrap_or_else(|error| panic!("{mail} {language}: {error}"));
            assert!(!filled.contains("{{"), "{mail} {language}");
        }
        for tag in values.as_object().unwrap().keys() {
            let mut fewer = values.clone();
            fewer.as_object_mut().unwrap().remove(tag);
            let strict =
                fill(&source.html, &fewer, true).is_err() || fill(&source.subject, &fewer, false).is_err();
            assert!(strict, "{mail} {language} goes out without its {tag}");
        }
    }
}

#[test]
fn every_value_is_shown_in_both_parts_and_only_the_html_is_escaped() {
    for (mail, language, source) in every_mail() {
        let values = with_optional(mail, required(mail));
        let html = fill(&source.html, &values, true).unwrap();
        let text = fill(source.text.as_ref().unwrap(), &values, false).unwrap();
        let mut shown: Vec<String> = Vec::new();
        for (tag, value) in values.as_object().unwrap() {
            match value {
                Value::String(_) if tag == "subject" => {}
                Value::String(value) => shown.push(value.clone()),
                items => shown.extend(items.as_array().unwrap().iter().flat_map(|item| {
                    ["name", "unit_price"].map(|tag| item[tag].as_str().unwrap().to_owned())
                })),
            }
        }
        for value in shown {
            assert!(text.contains(&value), "{mail} {language}: no {value} in {text}");
            let escaped = escaped(&value);
            assert!(html.contains(&escaped), "{mail} {language}: no {escaped}");
        }
        assert!(!html.contains("<b>Second") && !html.contains("<black>"), "{mail}");
    }
}

#[test]
fn every_link_of_the_html_is_in_the_text() {
    for (mail, language, source) in every_mail() {
        let text = source.text.unwrap();
        for link in source.html.split("href=\"").skip(1) {
            let link = link.split_once('"').unwrap().0;
            let is_there = match link.strip_prefix("mailto:") {
                Some(address) => text.contains(address),
                None => text.lines().any(|line| line == link),
            };
            assert!(is_there, "{mail} {language}: {link}");
        }
    }
}

/// Without the styles that have placeholders in them, which are no CSS yet.
fn without_own_styles(html: &str) -> String {
    let (before, rest) = html.split_once("{{#if colour}}<style>").unwrap();
    let html = format!("{before}{}", rest.split_once("</style>{{/if}}").unwrap().1);
    let mut pieces = html.split(" style=\"{{");
    let first = pieces.next().unwrap().to_owned();
    first + &pieces.map(|piece| piece.split_once('"').unwrap().1).collect::<String>()
}

#[test]
fn inlining_the_styles_moves_no_tag_and_keeps_the_media_queries() {
    for (mail, language, source) in every_mail() {
        let inliner = css_inline::CSSInliner::options().keep_at_rules(true).build();
        let html = without_own_styles(&source.html);
        let inlined = inliner.inline(&html).unwrap();
        assert_eq!(skeleton(&inlined), skeleton(&html), "{mail} {language}");
        assert!(inlined.contains("prefers-color-scheme") && inlined.contains("max-width: 480px"));
        assert!(inlined.contains(&format!("<html lang=\"{language}\"")));
        assert!(inlined.contains("style=\""));
    }
}

#[test]
fn a_mail_needs_nothing_from_outside() {
    for (mail, language, source) in every_mail() {
        for outside in ["http:", "https:", "@import", "@font-face", "<script", "<link", "{{>", "{{{"] {
            let html = source.html.replace(LINKED_DATA, "");
            assert!(!html.contains(outside), "{mail} {language}: {outside}");
        }
        assert!(source.html.len() < 20_000, "{mail} {language} is too long");
    }
}

#[test]
fn every_name_parses_back() {
    for &mail in BuiltinMail::ALL {
        assert_eq!(mail.as_str().parse::<BuiltinMail>().unwrap(), mail);
    }
    assert!("welcome".parse::<BuiltinMail>().unwrap_err().to_string().contains("cart_link"));
}

#[test]
fn a_german_cart_link_reads_like_this() {
    let source = template(BuiltinMail::CartLink, Language::De);
    let values = with_optional(BuiltinMail::CartLink, required(BuiltinMail::CartLink));
    assert_eq!(fill(&source.subject, &values, false).unwrap(), "Ihr Warenkorb bei Tea & Co");
    assert_eq!(
        fill(source.text.as_ref().unwrap(), &values, false).unwrap(),
        "Guten Tag Ann O’Lee,\n\n\
         hier ist der Link zu Ihrem Warenkorb bei Tea & Co. Sie können ihn auf jedem Gerät öffnen und Ihren Einkauf \
         dort abschließen.\n\n\
         Warenkorb öffnen\n\
         https://shop.example/c?a=1&b=2\n\n\
         -- \n\
         Tea & Co\n\
         Sie erhalten diese E-Mail, weil bei Tea & Co mit dieser Adresse ein Einkauf begonnen wurde. Falls Sie das \
         nicht waren, können Sie sie einfach ignorieren.\n"
    );
}

#[test]
fn a_preview_is_filled_with_a_sample_that_lacks_nothing() {
    for (mail, language, source) in every_mail() {
        let values = Value::Object(sample_values(mail));
        for part in [&source.subject, &source.html, source.text.as_ref().unwrap()] {
            fill(part, &values, true).unwrap_or_else(|error| panic!("{mail} {language}: {error}"));
        }
    }
}

#[test]
fn an_order_shows_what_it_costs_where_it_goes_and_the_way_on() {
    for (mail, language, source) in every_mail().filter(|(mail, ..)| mail.is_about_an_order()) {
        let more = json!({
            "items": [{"name": "Tea", "quantity": "0,75", "unit_price": "€10.00", "line_total": "€7.50"}],
            "subtotal": "€60.01", "shipping": "€4.90", "order_discount": "-€5.00", "tax": "€9.55",
            "shipping_address": "Ann Lee, 1 Quay", "billing_address": "Bo Ray, 2 Quay", "order_url": "https://a.example/o",
            "payment_url": "https://a.example/pay", "json_ld": "{\"@type\":\"Order\"}", "logo_url": "https://a.example/l.png",
            "colour": "#ffcc00", "colour_of_letters": "#14201d", "support_email": "help@a.example",
            "support_url": "https://a.example/help", "postal_address": "3 Quay, Bonn", "website": "https://a.example/",
        });
        let mut values = required(mail);
        values.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let html = fill(&source.html, &values, true).unwrap();
        let text = fill(source.text.as_ref().unwrap(), &values, false).unwrap();
        for shown in [
            "€7.50",
            "€60.01",
            "€4.90",
            "-€5.00",
            "€9.55",
            "1 Quay",
            "2 Quay",
            "https://a.example/o",
            "help@a.example",
            "https://a.example/help",
            "3 Quay",
        ] {
            assert!(html.contains(shown) && text.contains(shown), "{mail} {language}: {shown}");
        }
        assert!(
            html.contains("<script type=\"application/ld+json\">{\"@type\":\"Order\"}</script>"),
            "{mail}"
        );
        assert!(
            html.contains("src=\"https://a.example/l.png\"") && html.contains("background-color:#ffcc00")
        );
        let is_due = !matches!(
            mail,
            BuiltinMail::OrderConfirmation | BuiltinMail::OrderCancellation | BuiltinMail::OrderPartialRefund
        );
        assert_eq!(html.contains("https://a.example/pay"), is_due, "{mail}");
        assert_eq!(text.contains("https://a.example/pay"), is_due, "{mail}");
        assert!(!text.contains("\n\n\n"), "{mail} {language}: {text}");
    }
}

#[test]
fn nobody_is_asked_to_pay_what_is_charged_by_itself() {
    let words_on_button = |mail, language| {
        let mut values = required(mail);
        values["payment_url"] = "https://a.example/pay".into();
        let html = fill(&template(mail, language).html, &values, true).unwrap();
        let (_, button) = html.split_once("href=\"https://a.example/pay\"").unwrap();
        let (_, words) = button.split_once('>').unwrap();
        words.split_once('<').unwrap().0.to_owned()
    };
    for &language in Language::OF_BUILTIN_MAILS {
        let charged = words_on_button(BuiltinMail::OrderPrebilling, language);
        let owed = words_on_button(BuiltinMail::OrderOfflinePaymentPending, language);
        assert_ne!(charged, owed, "{language}");
    }
}
