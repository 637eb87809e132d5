//! The dialogue itself: order, syntax, pipelining, transparency, limits, the end.

use super::*;

#[tokio::test]
async fn a_mail_is_in_the_inbox_before_its_client_reads_the_final_reply() {
    let catcher = catcher().await;
    let mut client = Client::greeted(catcher.smtp_addr()).await;
    assert_eq!(client.mail_to("Anna@Shop.Test").await, "250 2.0.0 Ok: queued as 00000001");
    let mail = catcher.find("anna@shop.test").unwrap();
    assert_eq!(
        (mail.number, mail.sender.as_str(), mail.recipient.as_str()),
        (1, "shop@shop.test", "Anna@Shop.Test")
    );
    assert_eq!(
        (mail.helo.as_str(), mail.tls, mail.authenticated_as.as_deref()),
        ("client.test", false, None)
    );
    assert_eq!((mail.queue_id.as_str(), mail.answered, mail.connection), ("00000001", true, 1));
    assert_eq!(mail.bytes, "Subject: Hello\r\n\r\nHi.\r\n");
    assert_eq!((mail.subject(), mail.from(), mail.to()), ("Hello", "shop@shop.test", "Anna@Shop.Test"));
    client.converse(&[("QUIT", "221 2.0.0")]).await;
    client.is_closed().await;
}

#[tokio::test]
async fn the_capabilities_are_those_that_the_options_ask_for() {
    let options = CatcherOptions { pipelining: false, largest: 5_000, ..Default::default() };
    let catcher = Catcher::start(options).await.unwrap();
    let mut client = Client::connect(catcher.smtp_addr()).await;
    assert_eq!(
        client.ask("EHLO client.test").await,
        "250-localhost greets client.test\r\n250-SIZE 5000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES"
    );
    assert_eq!(client.ask("HELO client.test").await, "250 localhost");
}

#[tokio::test]
async fn commands_out_of_order_are_refused_and_the_dialogue_goes_on() {
    let catcher = catcher().await;
    let mut client = Client::connect(catcher.smtp_addr()).await;
    client
        .converse(&[
            ("MAIL FROM:<a@b.test>", "503 5.5.1"),
            ("EHLO client.test", "250-"),
            ("RCPT TO:<a@b.test>", "503 5.5.1"),
            ("DATA", "503 5.5.1"),
            ("STARTTLS", "503 5.5.1"),
            ("AUTH PLAIN AGEAYg==", "502 5.5.1"),
            ("NONSENSE", "500 5.5.2"),
            ("MAIL FROM:<a@b.test> SIZE=99999999999", "552 5.3.4"),
            ("MAIL FROM:<grüße@b.test>", "553 5.6.7"),
            ("MAIL FROM:<a@b.test>", "250 2.1.0"),
            ("MAIL FROM:<a@b.test>", "503 5.5.1"),
            ("DATA", "554 5.5.1"),
            ("RCPT TO:<grüße@b.test>", "553 5.6.7"),
            ("RSET", "250 2.0.0"),
            ("RCPT TO:<a@b.test>", "503 5.5.1"),
            ("VRFY anna", "252 "),
            ("NOOP really", "250 2.0.0"),
        ])
        .await;
    assert!(client.mail_to("ok@shop.test").await.starts_with("250 2.0.0"));
}

#[tokio::test]
async fn a_client_that_gets_nothing_right_is_sent_away() {
    let catcher = catcher().await;
    let mut client = Client::greeted(catcher.smtp_addr()).await;
    for _ in 0..20 {
        client.converse(&[("NONSENSE", "500 5.5.2")]).await;
    }
    client.converse(&[("NONSENSE", "421 4.7.0")]).await;
    client.is_closed().await;
}

#[tokio::test]
async fn a_whole_session_in_one_packet_is_answered_in_order() {
    let catcher = catcher().await;
    let mut client = Client::connect(catcher.smtp_addr()).await;
    let one =
        "MAIL FROM:<a@b.test>\r\nRCPT TO:<reject@b.test>\r\nRCPT TO:<ok@b.test>\r\nDATA\r\nHi.\r\n.\r\n";
    client.send(&format!("EHLO client.test\r\n{one}{one}QUIT\r\n")).await;
    for begins in
        ["250-", "250", "550", "250", "354", "250 2.0.0", "250", "550", "250", "354", "250 2.0.0", "221"]
    {
        let reply = client.reply().await;
        assert!(reply.starts_with(begins), "{begins}: {reply}");
    }
    client.is_closed().await;
    assert_eq!(catcher.count(), 2);
}

#[tokio::test]
async fn pipelined_commands_are_answered_in_one_packet() {
    let catcher = catcher().await;
    let mut client = Client::greeted(catcher.smtp_addr()).await;
    client.send("MAIL FROM:<a@b.test>\r\nRCPT TO:<ok@b.test>\r\nRCPT TO:<ok@c.test>\r\nDATA\r\n").await;
    assert!(client.reply().await.starts_with("250 2.1.0"));
    let rest = String::from_utf8_lossy(client.stream.buffer()).into_owned();
    assert_eq!(rest.lines().count(), 3, "{rest}");
}

#[tokio::test]
async fn a_client_that_pipelines_unasked_is_refused_where_pipelining_is_not_offered() {
    let options = CatcherOptions { pipelining: false, ..Default::default() };
    let catcher = Catcher::start(options).await.unwrap();
    let mut client = Client::greeted(catcher.smtp_addr()).await;
    assert!(client.mail_to("ok@shop.test").await.starts_with("250 2.0.0"));
    client.send("MAIL FROM:<a@b.test>\r\nRCPT TO:<ok@b.test>\r\n").await;
    assert!(client.reply().await.starts_with("554 5.5.0"));
    client.is_closed().await;
}

#[tokio::test]
async fn dots_survive_and_a_refused_message_leaves_the_dialogue_in_step() {
    let options = CatcherOptions { largest: 2_000, ..Default::default() };
    let catcher = Catcher::start(options).await.unwrap();
    let mut client = Client::greeted(catcher.smtp_addr()).await;
    let long = "x".repeat(999);
    let big = "0123456789\r\n".repeat(300);
    for (content, begins) in [
        ("..\r\n..dot\r\nQUIT\r\n.", "250 2.0.0"),
        ("bare\n.\r\nQUIT\r\n.", "554 5.6.0"),
        (&*format!("{long}\r\n."), "554 5.6.0"),
        (&*format!("{big}."), "552 5.3.4"),
        ("fine\r\n.", "250 2.0.0"),
    ] {
        client
            .converse(&[("MAIL FROM:<a@b.test>", "250"), ("RCPT TO:<ok@b.test>", "250"), ("DATA", "354")])
            .await;
        client.converse(&[(content, begins)]).await;
    }
    let bodies: Vec<_> = catcher.mails().iter().map(|mail| mail.bytes.clone()).collect();
    assert_eq!(bodies, [&b".\r\n.dot\r\nQUIT\r\n"[..], b"fine\r\n"]);
}

#[tokio::test]
async fn a_message_to_several_recipients_is_caught_once_for_each() {
    let catcher = catcher().await;
    let mut client = Client::greeted(catcher.smtp_addr()).await;
    client
        .converse(&[
            ("MAIL FROM:<> BODY=8BITMIME SMTPUTF8", "250"),
            ("RCPT TO:<anna@b.test>", "250"),
            ("RCPT TO:<grüße@b.test>", "250"),
            ("RCPT TO:<reject@b.test>", "550"),
            ("DATA", "354"),
            ("Hi.\r\n.", "250 2.0.0"),
        ])
        .await;
    let mails = catcher.mails();
    let recipients: Vec<_> = mails.iter().map(|mail| mail.recipient.as_str()).collect();
    assert_eq!(recipients, ["anna@b.test", "grüße@b.test"]);
    assert!(mails.iter().all(|mail| mail.eight_bit && mail.smtputf8 && mail.sender.is_empty()));
    assert_eq!(mails[0].queue_id, mails[1].queue_id);
}

#[tokio::test]
async fn two_clients_at_once_do_not_disturb_each_other() {
    let catcher = catcher().await;
    let mut anna = Client::greeted(catcher.smtp_addr()).await;
    let mut ben = Client::greeted(catcher.smtp_addr()).await;
    anna.converse(&[("MAIL FROM:<anna@a.test>", "250")]).await;
    ben.converse(&[("MAIL FROM:<ben@b.test>", "250"), ("RCPT TO:<to-ben@b.test>", "250")]).await;
    anna.converse(&[("RCPT TO:<to-anna@a.test>", "250"), ("DATA", "354")]).await;
    ben.converse(&[("DATA", "354"), ("from ben\r\n.", "250")]).await;
    anna.converse(&[("from anna\r\n.", "250")]).await;
    assert_eq!(catcher.find("to-ben@b.test").unwrap().bytes, "from ben\r\n");
    assert_eq!(catcher.find("to-anna@a.test").unwrap().sender, "anna@a.test");
    assert_eq!(catcher.connections(), 2);
}

#[tokio::test]
async fn subscribers_and_waiters_learn_of_every_mail() {
    let catcher = catcher().await;
    let mut news = catcher.subscribe();
    assert!(!catcher.wait_for(1, Duration::ZERO).await);
    let (arrived, ()) = tokio::join!(catcher.wait_for(2, LONG), async {
        let mut client = Client::greeted(catcher.smtp_addr()).await;
        client.mail_to("a@shop.test").await;
        client.mail_to("b@shop.test").await;
    });
    assert!(arrived);
    assert_eq!(news.recv().await.unwrap().recipient, "a@shop.test");
    assert_eq!(news.recv().await.unwrap().recipient, "b@shop.test");
}

#[tokio::test]
async fn stopping_or_dropping_the_catcher_closes_its_connections_and_ports() {
    for stop in [true, false] {
        let options = CatcherOptions { http: Some(([127, 0, 0, 1], 0).into()), ..Default::default() };
        let catcher = Catcher::start(options).await.unwrap();
        let (smtp, http, tasks) = (catcher.smtp_addr(), catcher.http_addr().unwrap(), catcher.tasks.clone());
        let mut client = Client::greeted(smtp).await;
        if stop {
            catcher.stop().await;
        } else {
            drop(catcher);
        }
        client.is_closed().await;
        tokio::time::timeout(LONG, tasks.wait()).await.expect("all tasks end");
        assert!(TcpStream::connect(smtp).await.is_err());
        assert!(TcpStream::connect(http).await.is_err());
    }
}
