//! The web page and its JSON, asked for over a socket.

use serde_json::Value;

use super::*;

async fn with_page() -> Catcher {
    let options = CatcherOptions { http: Some(([127, 0, 0, 1], 0).into()), ..Default::default() };
    Catcher::start(options).await.unwrap()
}

/// Catches a message as it stands.
async fn catch(catcher: &Catcher, recipient: &str, message: &str) {
    let mut client = Client::greeted(catcher.smtp_addr()).await;
    let rcpt = format!("RCPT TO:<{recipient}>");
    client.converse(&[("MAIL FROM:<shop@shop.test> SMTPUTF8", "250"), (&rcpt, "250"), ("DATA", "354")]).await;
    client.converse(&[(&format!("{}\r\n.", message.replace('\n', "\r\n")), "250")]).await;
}

/// The response to a request under a host's name, head and body.
async fn request_as(catcher: &Catcher, host: &str, method: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(catcher.http_addr().unwrap()).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

async fn get(catcher: &Catcher, path: &str) -> (String, String) {
    request_as(catcher, "localhost", "GET", path).await
}

async fn json(catcher: &Catcher, path: &str) -> Value {
    serde_json::from_str(&get(catcher, path).await.1).unwrap()
}

const HOSTILE: &str = "Subject: <script>alert('a & b')</script>\nFrom: \"<img src=x>\" <a@b.test>\n\
     Content-Type: text/html; charset=utf-8\n\n<html><head></head><script>alert(1)</script><p>Hi</p>";

#[tokio::test]
async fn a_mails_html_never_becomes_part_of_our_page() {
    let catcher = with_page().await;
    catch(&catcher, "ok@b.test", HOSTILE).await;
    for path in ["/", "/rows", "/mails/1", "/mails/1/pane?view=source", "/mails/1/pane?view=headers", "/help"]
    {
        let (head, body) = get(&catcher, path).await;
        assert!(
            head.contains("200 ok") && head.contains("default-src 'none'; script-src 'self'"),
            "{path}: {head}"
        );
        assert!(body.contains("&lt;script&gt;"), "{path} does not show the subject");
        assert!(!body.contains("<script>") && !body.contains("<img"), "{path}: {body}");
    }
}

#[tokio::test]
async fn the_html_of_a_mail_is_served_in_a_sandbox_of_its_own() {
    let catcher = with_page().await;
    catch(&catcher, "ok@b.test", HOSTILE).await;
    let (head, body) = get(&catcher, "/mails/1/html").await;
    let policy = head.lines().find(|line| line.starts_with("content-security-policy:")).unwrap();
    assert!(policy.contains("sandbox") && policy.contains("default-src 'none'"), "{policy}");
    assert!(!policy.contains("allow-scripts") && !policy.contains("allow-same-origin"), "{policy}");
    assert!(body.contains("<p>Hi</p>") && body.contains(r#"<head><base target="_blank">"#), "{body}");
}

#[tokio::test]
async fn the_json_tells_what_was_caught() {
    let catcher = with_page().await;
    catch(&catcher, "anna@b.test", "Subject: One\nMessage-ID: <1@shop.test>\n\nText").await;
    catch(&catcher, "ben@b.test", "Subject: Two\nTo: Ben <ben@b.test>\nContent-Type: text/html\n\n<p>Hi")
        .await;
    let list = json(&catcher, "/mails.json").await;
    let subjects: Vec<_> =
        list.as_array().unwrap().iter().map(|mail| mail["subject"].as_str().unwrap()).collect();
    assert_eq!(subjects, ["Two", "One"]);
    assert_eq!(list[1]["message_id"], "1@shop.test");
    assert_eq!((&list[0]["to"], &list[1]["to"]), (&"Ben <ben@b.test>".into(), &"anna@b.test".into()));
    assert_eq!((&list[0]["tls"], &list[0]["answered"]), (&false.into(), &true.into()));
    assert_eq!(list[1]["size"], catcher.mails()[0].bytes.len());
    assert_eq!(json(&catcher, "/mails.json?after=1").await.as_array().unwrap().len(), 1);
    let two = json(&catcher, "/mails/2.json").await;
    assert_eq!((two["html"].as_str().map(str::trim), &two["text"]), (Some("<p>Hi"), &Value::Null));
    assert_eq!(two["headers"][0], serde_json::json!(["Subject", "Two"]));
    assert_eq!(get(&catcher, "/mails/1/text").await.1.trim(), "Text");
    assert_eq!(
        get(&catcher, "/mails/1/source").await.1,
        "Subject: One\r\nMessage-ID: <1@shop.test>\r\n\r\nText\r\n"
    );
}

#[tokio::test]
async fn a_page_that_is_not_there_is_answered_404() {
    let catcher = with_page().await;
    catch(&catcher, "anna@b.test", "Subject: One\n\nText").await;
    for path in ["/mails/2", "/mails/x", "/mails/2.json", "/mails/1/html", "/mails/2/source", "/nowhere"] {
        assert!(get(&catcher, path).await.0.contains(" 404 "), "{path}");
    }
}

#[tokio::test]
async fn clearing_empties_the_list_and_shows_how_to_send_a_mail() {
    let catcher = with_page().await;
    catch(&catcher, "anna@b.test", "Subject: One\n\nText").await;
    assert!(request_as(&catcher, "localhost", "DELETE", "/mails").await.0.contains(" 204 "));
    assert_eq!(json(&catcher, "/mails.json").await, serde_json::json!([]));
    let page = get(&catcher, "/").await.1;
    assert!(page.contains(&format!("curl smtp://{}", catcher.smtp_addr())), "{page}");
}

#[tokio::test]
async fn a_page_that_listens_learns_of_a_new_mail_and_of_the_end() {
    let catcher = with_page().await;
    let mut stream = BufReader::new(TcpStream::connect(catcher.http_addr().unwrap()).await.unwrap());
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut heard = String::new();
    for expected in [r#"data: {"caught":0,"cleared":0}"#, r#"data: {"caught":1,"cleared":0}"#] {
        while !heard.contains(expected) {
            let read = tokio::time::timeout(LONG, stream.read_line(&mut heard)).await;
            assert!(read.expect("no news").unwrap() > 0, "{heard}");
        }
        if catcher.count() == 0 {
            catch(&catcher, "anna@b.test", "Subject: One\n\nText").await;
        }
    }
    catcher.stop().await;
    tokio::time::timeout(LONG, stream.read_to_string(&mut heard)).await.expect("the stream ends").unwrap();
}

#[tokio::test]
async fn a_foreign_name_that_points_here_is_refused() {
    let catcher = with_page().await;
    let (head, _) = request_as(&catcher, "evil.test", "GET", "/mails.json").await;
    assert!(head.contains(" 421 "), "{head}");
}

#[tokio::test]
async fn every_word_of_the_steering_table_is_on_the_help_page_and_in_the_module_docs() {
    let catcher = with_page().await;
    let (_, help) = get(&catcher, "/help").await;
    for (word, _, _) in crate::demo::catcher::TABLE {
        assert!(help.contains(&format!("<code>{word}</code>")), "{word}");
        assert!(include_str!("../mod.rs").contains(&format!("//! | `{word}`")), "{word}");
    }
}
