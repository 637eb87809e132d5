//! `postroom doctor`: what it finds in the DNS, asked from a server of the test's own.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use serde_json::{Value, json};
use simple_dns::{
    CLASS, Name, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE,
    rdata::{A, MX, PTR, RData, TXT},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    task::JoinSet,
};

use super::support::{Backends, Ended};

/// What a name holds.
#[derive(Clone)]
enum Record {
    Text(String),
    Exchange(u16, &'static str),
    Address([u8; 4]),
    Name(&'static str),
    /// The server cannot answer.
    Broken,
}

type Zone = HashMap<String, Vec<Record>>;

/// The longest answer over UDP.
const LONGEST_UDP_ANSWER: usize = 512;

/// A DNS server on UDP and TCP; it ends with the test.
struct DnsServer {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl DnsServer {
    async fn start(zone: Zone) -> Self {
        let (zone, mut tasks) = (Arc::new(zone), JoinSet::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let socket = UdpSocket::bind(address).await.unwrap();
        let over_udp = Arc::clone(&zone);
        tasks.spawn(async move {
            let mut query = [0; 1_024];
            loop {
                let Ok((length, from)) = socket.recv_from(&mut query).await else { return };
                let whole = answer(&over_udp, &query[..length], false);
                let fits = whole.len() <= LONGEST_UDP_ANSWER;
                let sent = if fits { whole } else { answer(&over_udp, &query[..length], true) };
                drop(socket.send_to(&sent, from).await);
            }
        });
        tasks.spawn(async move {
            loop {
                let Ok((mut stream, _)) = listener.accept().await else { return };
                let Ok(length) = stream.read_u16().await else { continue };
                let mut query = vec![0; usize::from(length)];
                stream.read_exact(&mut query).await.unwrap();
                let answer = answer(&zone, &query, false);
                stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        });
        Self { address, _tasks: tasks }
    }
}

fn answer(zone: &Zone, query: &[u8], is_cut: bool) -> Vec<u8> {
    let query = Packet::parse(query).unwrap();
    let question = &query.questions[0];
    let (name, kind) = (question.qname.to_string().to_lowercase(), question.qtype);
    let mut reply = Packet::new_reply(query.id());
    reply.questions.push(question.clone());
    if is_cut {
        reply.set_flags(PacketFlag::TRUNCATION);
        return reply.build_bytes_vec().unwrap();
    }
    let Some(records) = zone.get(&name) else {
        *reply.rcode_mut() = RCODE::NameError;
        return reply.build_bytes_vec().unwrap();
    };
    for record in records {
        let (of, data) = match record {
            Record::Text(text) => (TYPE::TXT, RData::TXT(TXT::try_from(text.as_str()).unwrap())),
            Record::Exchange(preference, host) => {
                (TYPE::MX, RData::MX(MX { preference: *preference, exchange: Name::new(host).unwrap() }))
            }
            Record::Address(bytes) => (TYPE::A, RData::A(A { address: u32::from_be_bytes(*bytes) })),
            Record::Name(name) => (TYPE::PTR, RData::PTR(PTR(Name::new(name).unwrap()))),
            Record::Broken => {
                *reply.rcode_mut() = RCODE::ServerFailure;
                continue;
            }
        };
        if kind == QTYPE::TYPE(of) {
            reply.answers.push(ResourceRecord::new(question.qname.clone(), CLASS::IN, 60, data));
        }
    }
    reply.build_bytes_vec().unwrap()
}

fn text(text: &str) -> Record {
    Record::Text(text.to_owned())
}

/// A configuration with an RSA key and an Ed25519 key of `tea.example` and a relay, and the keys' records.
fn installation() -> (Backends, Vec<(String, String)>) {
    let backends = Backends::sqlite_memory();
    let folder = backends.folder().to_str().unwrap().to_owned();
    let (mut keys, mut records) = (Vec::new(), Vec::new());
    for algorithm in ["rsa", "ed25519"] {
        let words = [
            "dkim",
            "generate",
            "tea.example",
            "--algorithm",
            algorithm,
            "--selector",
            algorithm,
            "--out",
            &folder,
            "--json",
        ];
        let made = backends.command_line().run(&words).expect(0).json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut key = toml::toml! { domain = "tea.example" };
        key.insert("selector".to_owned(), algorithm.into());
        key.insert("key_file".to_owned(), text(&made["key_file"]).into());
        keys.push(key);
        records.push((text(&made["record"]["name"]), text(&made["record"]["value"])));
    }
    let route = toml::toml! { name = "main" host = "relay.example" port = 25 tls = "none" };
    (backends.with("dkim", keys).with("smtp.routes", vec![route]), records)
}

fn good_zone(records: &[(String, String)]) -> Zone {
    let mut zone: Zone = [
        (
            "tea.example",
            vec![
                text("v=spf1 include:relay.example -all"),
                text("unrelated"),
                Record::Exchange(10, "mx.tea.example"),
            ],
        ),
        ("_dmarc.tea.example", vec![text("v=DMARC1; p=reject")]),
        ("relay.example", vec![Record::Address([192, 0, 2, 25])]),
        ("25.2.0.192.in-addr.arpa", vec![Record::Name("relay.example")]),
    ]
    .into_iter()
    .map(|(name, records)| (name.to_owned(), records))
    .collect();
    zone.extend(records.iter().map(|(name, value)| (name.clone(), vec![text(value)])));
    zone
}

/// Runs the command on a thread of its own, because the server runs on this one.
async fn doctor(backends: &Backends, server: SocketAddr, domain: &str) -> Ended {
    let (commands, domain) = (backends.command_line(), domain.to_owned());
    let words = move || commands.run(&["doctor", &domain, "--resolver", &server.to_string(), "--json"]);
    tokio::task::spawn_blocking(words).await.unwrap()
}

/// The checks that found something wrong, with what they say.
fn faults(ended: &Ended) -> Vec<(String, String)> {
    let said = ended.json();
    let checks = said["checks"].as_array().unwrap().iter().filter(|check| check["ok"] == json!(false));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    checks.map(|check| (text(&check["check"]), text(&check["fault"]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_whose_records_are_all_there_is_well_and_one_below_it_too() {
    let (backends, records) = installation();
    let mut zone = good_zone(&records);
    zone.insert(
        "mail.tea.example".to_owned(),
        vec![text("v=spf1 -all"), Record::Exchange(20, "b.example"), Record::Exchange(10, "a.example")],
    );
    let server = DnsServer::start(zone).await;
    for domain in ["tea.example", "mail.tea.example"] {
        let said = doctor(&backends, server.address, domain).await.expect(0).json();
        let checks: Vec<_> = said["checks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|check| (check["check"].as_str().unwrap(), &check["ok"]))
            .collect();
        let expected =
            ["spf", "dkim", "dkim", "dmarc", "mx", "reverse_name"].map(|check| (check, &Value::Bool(true)));
        assert_eq!(checks, expected, "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_record_that_is_missing_or_wrong_is_named_with_what_to_do() {
    let (backends, records) = installation();
    for (name, held, check, expected) in [
        (
            "tea.example",
            vec![Record::Exchange(10, "mx.tea.example")],
            "spf",
            "publish a TXT record that begins with v=spf1",
        ),
        (
            "tea.example",
            vec![text("v=spf1 -all"), text("v=spf1"), Record::Exchange(1, "mx")],
            "spf",
            "only one",
        ),
        ("tea.example", vec![text("v=spf1 -all")], "mx", "publish an MX record"),
        ("_dmarc.tea.example", vec![], "dmarc", "v=DMARC1; p=none"),
        ("_dmarc.tea.example", vec![text("v=DMARC1")], "dmarc", "no policy"),
        (
            &*records[0].0,
            vec![],
            "dkim",
            &*format!("publish {}. IN TXT ( \"v=DKIM1; k=rsa; p=", records[0].0),
        ),
        (
            &*records[1].0,
            vec![text("v=DKIM1; k=ed25519; p=AAAA")],
            "dkim",
            "this is not the key that signs: publish",
        ),
        (&*records[1].0, vec![text("v=DKIM1; p=")], "dkim", "revoked"),
        ("relay.example", vec![], "reverse_name", "no address"),
        (
            "25.2.0.192.in-addr.arpa",
            vec![Record::Name("other.example")],
            "reverse_name",
            "192.0.2.25: no reverse name",
        ),
        ("_dmarc.tea.example", vec![Record::Broken], "dmarc", "answers with ServerFailure"),
    ] {
        let mut zone = good_zone(&records);
        zone.insert(name.to_owned(), held);
        let server = DnsServer::start(zone).await;
        let ended = doctor(&backends, server.address, "tea.example").await.expect(1);
        let faults = faults(&ended);
        assert!(
            faults.len() == 1 && faults[0].0 == check && faults[0].1.contains(expected),
            "{expected}: {faults:?}"
        );
        assert!(ended.err.contains("1 of 6 checks"), "{}", ended.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_without_a_key_is_told_how_to_make_one_and_wrong_usage_ends_with_status_2() {
    let (backends, records) = installation();
    let server = DnsServer::start(good_zone(&records)).await;
    let faults = faults(&doctor(&backends, server.address, "coffee.example").await.expect(1));
    let dkim = faults.iter().find(|(check, _)| check == "dkim").unwrap();
    assert!(dkim.1.contains("postroom dkim generate coffee.example"), "{faults:?}");
    for words in [&["doctor"][..], &["doctor", "localhost"], &["doctor", "tea.example", "--resolver", "here"]]
    {
        backends.command_line().run(words).expect(2);
    }
}
