use serde_json::{Value, json};

use crate::http::test_app::TestApp;

const FOOTER: &str = "<p>{{brand_name}}</p>";

async fn app() -> TestApp {
    let test = TestApp::start("DE").await;
    let brand = json!({"name": "Tea", "sender": {"email": "hello@tea.example"}});
    test.put("brands/tea", brand).await;
    test.put("members/ann", json!({"brand_id": "tea", "email": "ann@example.net"})).await;
    test
}

fn template(html: &str) -> Value {
    json!({"brand_id": "tea", "title": "Hello", "subject": "Hello", "html": html})
}

async fn refusal(test: &TestApp, path: &str, document: Value) -> (u16, Value) {
    let answer = test.json(&format!("PUT /api/v1/{path}"), &document).await;
    (answer.status, answer.json()["errors"].clone())
}

async fn send(test: &TestApp) {
    let body = json!({"brand_id": "tea", "template_id": "hello", "user": {"identifier": "ann"}});
    assert_eq!(test.json("POST /mail", &body).await.status, 200);
}

#[tokio::test]
async fn a_footer_that_changes_is_in_new_mails_and_not_in_those_on_record() {
    let test = app().await;
    test.put("partials/footer", json!({"html": FOOTER})).await;
    test.put("partials/layout", json!({"html": "<div>{{> @partial-block}}{{> footer}}</div>"})).await;
    test.put("templates/hello", template("{{#> layout}}<b>Hi {{email}}</b>{{/layout}}")).await;
    send(&test).await;
    test.put("partials/footer", json!({"html": "<i>{{brand_name}} &amp; Co</i>"})).await;
    send(&test).await;
    let htmls: Vec<_> = test.mails().await.into_iter().map(|(_, content)| content.html).collect();
    assert_eq!(
        htmls,
        [
            "<div><b>Hi ann@example.net</b><p>Tea</p></div>",
            "<div><b>Hi ann@example.net</b><i>Tea &amp; Co</i></div>"
        ]
    );
    // The template is shown as it was written.
    let shown = test.get("/api/v1/templates/hello").await.json();
    assert_eq!(shown["html"], "{{#> layout}}<b>Hi {{email}}</b>{{/layout}}");
    assert_eq!(test.get("/templates/hello").await.json()["data"]["custom_tags"], json!([]));
}

#[tokio::test]
async fn styles_of_a_partial_are_inlined_with_the_templates() {
    let test = app().await;
    let footer = json!({"html": "<style>.small{color:gray} p{margin:0}</style><p class=small>x</p>"});
    test.put("partials/footer", footer).await;
    test.put("templates/hello", template("<style>p{padding:1px}</style><p>a</p>{{> footer}}")).await;
    send(&test).await;
    let html = &test.mails().await[0].1.html;
    assert!(html.contains("<p style=\"padding: 1px;margin: 0\">a</p>"), "{html}");
    assert!(html.contains("<p style=\"padding: 1px;margin: 0;color: gray\" class=small>"), "{html}");
}

#[tokio::test]
async fn a_partial_that_is_unknown_or_uses_itself_is_refused_by_name() {
    let test = app().await;
    let (status, errors) = refusal(&test, "templates/hello", template("a\n{{> footer}}")).await;
    assert_eq!(status, 422);
    assert_eq!(errors, json!([{"path": "html", "message": "line 2 column 1: there is no partial `footer`"}]));

    test.put("partials/a", json!({"html": "a"})).await;
    test.put("partials/b", json!({"html": "{{> a}}"})).await;
    let (status, errors) = refusal(&test, "partials/a", json!({"html": "{{> b}}"})).await;
    assert_eq!(status, 422);
    assert!(errors[0]["message"].as_str().unwrap().contains("circle: a → b → a"), "{errors}");

    for (name, document, path) in [
        ("b%20c", json!({"html": "x"}), "id"),
        ("c", json!({"html": " "}), "html"),
        ("c", json!({"html": "{{#if x}}"}), "html"),
        ("c", json!({"html": "x", "subject": "y"}), "subject"),
        ("c", json!({}), "html"),
    ] {
        let (status, errors) = refusal(&test, &format!("partials/{name}"), document.clone()).await;
        assert_eq!((status, &errors[0]["path"]), (422, &json!(path)), "{document}: {errors}");
    }
}

#[tokio::test]
async fn a_partial_that_would_break_a_template_is_refused_and_names_it() {
    let test = app().await;
    test.put("partials/footer", json!({"html": FOOTER, "text": "-- {{brand_name}}"})).await;
    let mut with_text = template("{{> footer}}");
    with_text["text"] = json!("Hi\n{{> footer}}");
    test.put("templates/hello", with_text).await;
    let (status, errors) = refusal(&test, "partials/footer", json!({"html": "x"})).await;
    assert_eq!(status, 422);
    assert_eq!(errors[0]["path"], "templates.hello");
    assert!(errors[0]["message"].as_str().unwrap().contains("has no `text`"), "{errors}");
    // Nothing changed.
    send(&test).await;
    let content = &test.mails().await[0].1;
    assert_eq!((content.html.as_str(), content.text.as_str()), ("<p>Tea</p>", "Hi\n-- Tea"));
}

#[tokio::test]
async fn a_partial_in_use_stays_and_is_listed_like_any_document() {
    let test = app().await;
    test.put("partials/footer", json!({"html": FOOTER})).await;
    test.put("templates/hello", template("{{> footer}}")).await;
    let listed = test.get("/api/v1/partials").await.json();
    assert_eq!(listed["data"], json!([{"id": "footer", "html": FOOTER}]));
    let refused = test.request("DELETE /api/v1/partials/footer", &[&test.bearer("tea")], "").await;
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("in_use")));
    assert!(refused.text.contains("templates/hello"), "{refused:?}");
    test.put("templates/hello", template("none")).await;
    let deleted = test.request("DELETE /api/v1/partials/footer", &[&test.bearer("tea")], "").await;
    assert_eq!(deleted.status, 204, "{deleted:?}");
    assert_eq!(test.get("/api/v1/partials/footer").await.status, 404);
    let again = test.request("DELETE /api/v1/partials/footer", &[&test.bearer("tea")], "").await;
    assert_eq!(again.status, 404);
}

#[tokio::test]
async fn another_merchants_partials_do_not_exist() {
    let test = app().await;
    test.add_merchant("oak", "DE").await;
    test.put("partials/footer", json!({"html": FOOTER})).await;
    let headers = [test.bearer("oak"), "content-type: application/json".to_owned()];
    let headers = headers.each_ref().map(String::as_str);
    let document = json!({"html": "{{> footer}}"}).to_string();
    let refused = test.request("PUT /api/v1/partials/x", &headers, &document).await;
    assert!(refused.status == 422 && refused.text.contains("there is no partial"), "{refused:?}");
}

#[tokio::test]
async fn an_import_takes_partials_before_the_templates_that_have_them() {
    let test = app().await;
    let lines = [
        json!({"kind": "partials", "id": "footer", "html": FOOTER}),
        json!({"kind": "templates", "id": "hello", "brand_id": "tea", "title": "t", "subject": "s", "html": "{{> footer}}"}),
        json!({"kind": "templates", "id": "bad", "brand_id": "tea", "title": "t", "subject": "s", "html": "{{> nobody}}"}),
        json!({"kind": "templates", "id": "lost", "brand_id": "oak", "title": "t", "subject": "s", "html": "{{> footer}}"}),
    ];
    let lines = lines.map(|line| line.to_string()).join("\n");
    let headers = [&*test.bearer("tea"), "content-type: application/x-ndjson"];
    let answer = test.request("POST /api/v1/import", &headers, &lines).await.json();
    assert_eq!((&answer["accepted"], &answer["refused"]), (&json!(2), &json!(2)), "{answer}");
    assert!(answer["errors"][0]["message"].as_str().unwrap().contains("no partial `nobody`"), "{answer}");
    assert_eq!(answer["errors"][1]["path"], "brand_id");
    send(&test).await;
    assert_eq!(test.mails().await[0].1.html, "<p>Tea</p>");
}

#[tokio::test]
async fn of_two_lines_about_one_template_the_later_one_stays() {
    let test = app().await;
    test.put("partials/footer", json!({"html": FOOTER})).await;
    let line = |html| json!({"kind": "templates", "id": "hello", "brand_id": "tea", "title": "t", "subject": "s", "html": html});
    let headers = [&*test.bearer("tea"), "content-type: application/x-ndjson"];
    for htmls in [["first", "second{{> footer}}"], ["second{{> footer}}", "first"]] {
        let lines = htmls.map(|html| line(html).to_string()).join("\n");
        let answer = test.request("POST /api/v1/import", &headers, &lines).await.json();
        assert_eq!(answer["accepted"], 2, "{answer}");
        assert_eq!(test.get("/api/v1/templates/hello").await.json()["html"], htmls[1]);
    }
}

#[tokio::test]
async fn templates_and_partials_stored_at_once_end_with_the_newest() {
    let test = app().await;
    test.put("partials/footer", json!({"html": "<i>0</i>"})).await;
    test.put("templates/hello", template("{{> footer}}")).await;
    for round in 1..6 {
        let footer = json!({"html": format!("<i>{round}</i>")});
        let hello = template(&format!("{round}{{{{> footer}}}}"));
        tokio::join!(test.put("partials/footer", footer), test.put("templates/hello", hello));
        let preview = test.json("POST /api/v1/templates/hello/preview", &json!({})).await.json();
        assert_eq!(preview["html"], format!("{round}<i>{round}</i>"));
    }
}

#[tokio::test]
async fn mjml_is_taken_with_its_placeholders_and_partials() {
    let test = app().await;
    let section = "<mj-section><mj-column><mj-text>{{brand_name}}</mj-text></mj-column></mj-section>";
    test.put("partials/footer", json!({"html": section})).await;
    let mjml = "<mjml><mj-body>{{#if email}}<mj-section><mj-column><mj-button href=\"https://x.example/?a=1&amp;to={{email}}\">\
        Hi {{email}}</mj-button></mj-column></mj-section>{{/if}}{{> footer}}</mj-body></mjml>";
    test.put("templates/hello", template(mjml)).await;
    send(&test).await;
    let (_, content) = &test.mails().await[0];
    assert!(content.html.contains("to=ann@example.net\""), "{}", content.html);
    assert!(
        content.html.contains("<!doctype html>") && content.html.contains(">Tea</div>"),
        "{}",
        content.html
    );
    assert!(content.text.contains("Hi ann@example.net"), "{}", content.text);
    let (status, errors) = refusal(
        &test,
        "templates/bad",
        template("<mjml><mj-body>\n <mj-include path=\"a\" /></mj-body></mjml>"),
    )
    .await;
    assert_eq!(status, 422, "{errors}");
    assert!(errors[0]["message"].as_str().unwrap().starts_with("line 2 column 3: "), "{errors}");
}
