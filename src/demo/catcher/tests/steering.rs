//! What the recipient's local part makes the catcher do.

use super::*;

#[tokio::test]
async fn words_that_refuse_do_so_where_they_say_and_nothing_is_caught() {
    let catcher = catcher().await;
    let mut client = Client::greeted(catcher.smtp_addr()).await;
    for (recipient, begins) in [
        ("defer@b.test", "451 4.3.0"),
        ("defer-data@b.test", "451 4.3.0"),
        ("reject+anna@b.test", "550 5.1.1"),
        ("reject-data-7@b.test", "554 5.6.0"),
    ] {
        for _ in 0..2 {
            let reply = client.mail_to(recipient).await;
            assert!(reply.starts_with(begins), "{recipient}: {reply}");
            client.converse(&[("RSET", "250")]).await;
        }
    }
    assert_eq!(catcher.count(), 0);
}

#[tokio::test]
async fn a_greylisted_address_is_deferred_once_and_taken_afterwards() {
    let catcher = catcher().await;
    let mut client = Client::greeted(catcher.smtp_addr()).await;
    for address in ["greylist-once@b.test", "greylist-once+2@b.test"] {
        assert!(client.mail_to(address).await.starts_with("451 4.7.1"));
        client.converse(&[("RSET", "250")]).await;
        assert!(client.mail_to(&address.to_uppercase()).await.starts_with("250 2.0.0"));
        assert!(client.mail_to(address).await.starts_with("250 2.0.0"));
    }
    assert_eq!(catcher.count(), 4);
}

#[tokio::test]
async fn a_slow_mail_is_answered_late_but_not_before() {
    let catcher = catcher().await;
    let mut client = Client::greeted(catcher.smtp_addr()).await;
    let before = std::time::Instant::now();
    assert!(client.mail_to("slow-120@b.test").await.starts_with("250 2.0.0"));
    assert!(before.elapsed() >= Duration::from_millis(120), "{:?}", before.elapsed());
    assert!(catcher.mails()[0].answered);
}

#[tokio::test]
async fn a_client_that_does_not_wait_for_a_slow_reply_leaves_an_unanswered_mail() {
    let catcher = catcher().await;
    let mut client = Client::greeted(catcher.smtp_addr()).await;
    client
        .converse(&[("MAIL FROM:<a@b.test>", "250"), ("RCPT TO:<slow-60000@b.test>", "250"), ("DATA", "354")])
        .await;
    client.send("Hi.\r\n.\r\n").await;
    drop(client);
    assert!(catcher.wait_for(1, LONG).await);
    assert!(!catcher.mails()[0].answered);
}

#[tokio::test]
async fn a_hang_up_closes_the_connection_without_a_reply() {
    let catcher = catcher().await;
    let mut client = Client::greeted(catcher.smtp_addr()).await;
    assert_eq!(client.mail_to("hang-up@b.test").await, "");
    client.is_closed().await;
    assert_eq!(catcher.count(), 0);
}

#[tokio::test]
async fn a_mail_that_is_dropped_after_data_is_kept_and_never_answered() {
    let catcher = catcher().await;
    let mut client = Client::greeted(catcher.smtp_addr()).await;
    assert_eq!(client.mail_to("drop-after-data-1@b.test").await, "");
    client.is_closed().await;
    let mails = catcher.mails();
    assert_eq!((mails.len(), mails[0].answered), (1, false));
}

#[tokio::test]
async fn a_busy_catcher_says_so_to_recipients_and_senders_and_closes() {
    let catcher = catcher().await;
    for line in ["MAIL FROM:<busy@b.test>", "RCPT TO:<busy+1@b.test>"] {
        let mut client = Client::greeted(catcher.smtp_addr()).await;
        if line.starts_with("RCPT") {
            client.converse(&[("MAIL FROM:<a@b.test>", "250")]).await;
        }
        client.converse(&[(line, "421 4.3.2")]).await;
        client.is_closed().await;
    }
}
