//! Python's smtplib, a client that we did not write.

use std::process::{Command, Output};

use super::{
    tls::{certificate, credentials},
    *,
};

const SCRIPT: &str = r#"
import smtplib, ssl, sys
from email.message import EmailMessage

port, way, trusted = int(sys.argv[1]), sys.argv[2], sys.argv[3]
message = EmailMessage()
message["From"], message["To"], message["Subject"] = "Käthe <shop@shop.test>", "ok@shop.test", "Grüße"
message.set_content("Hello\n.\n..dots\n")
message.add_alternative("<p>Hello</p>", subtype="html")
context = ssl.create_default_context(cafile=trusted) if trusted else None
if way == "implicit":
    client = smtplib.SMTP_SSL("localhost", port, context=context, timeout=20)
else:
    client = smtplib.SMTP("localhost", port, timeout=20)
with client:
    if way == "starttls":
        client.starttls(context=context)
    if way != "plain":
        client.login("shop", "s3cret")
    client.send_message(message)
    client.send_message(message)
"#;

async fn smtplib(catcher: &Catcher, way: &'static str, trusted: &str) -> Output {
    let arguments =
        ["-c".into(), SCRIPT.into(), catcher.smtp_addr().port().to_string(), way.into(), trusted.into()];
    let run =
        tokio::task::spawn_blocking(move || Command::new("python3").args::<_, String>(arguments).output());
    run.await.unwrap().expect("these tests need python3")
}

#[tokio::test]
async fn smtplib_delivers_in_the_clear_over_starttls_and_over_implicit_tls() {
    let (tls, certificate) = certificate();
    let directory = tempfile::tempdir().unwrap();
    let trusted = directory.path().join("trusted.pem");
    std::fs::write(&trusted, certificate.pem()).unwrap();
    for way in ["plain", "login", "starttls", "implicit"] {
        let encrypted = ["starttls", "implicit"].contains(&way);
        let options = CatcherOptions {
            tls: encrypted.then(|| tls.clone()),
            implicit_tls: way == "implicit",
            credentials: if way == "plain" { None } else { credentials() },
            ..Default::default()
        };
        let catcher = Catcher::start(options).await.unwrap();
        let output = smtplib(&catcher, way, if encrypted { trusted.to_str().unwrap() } else { "" }).await;
        assert!(output.status.success(), "{way}: {}", String::from_utf8_lossy(&output.stderr));
        let mails = catcher.mails();
        assert_eq!(mails.len(), 2, "{way}");
        assert_eq!((mails[1].tls, mails[1].authenticated_as.is_some()), (encrypted, way != "plain"), "{way}");
        assert_eq!((mails[1].subject(), mails[1].from()), ("Grüße", "Käthe <shop@shop.test>"));
        assert_eq!(mails[1].text().unwrap().replace('\r', ""), "Hello\n.\n..dots\n");
        assert_eq!(mails[1].html().unwrap().trim(), "<p>Hello</p>");
    }
}
