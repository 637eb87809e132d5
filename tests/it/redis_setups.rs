//! Redis as it comes: with a user of its own, over TLS, on a Unix socket, as a node of a cluster, and set up dangerously.

use std::fs;

use postroom::demo::catcher::{Catcher, CatcherOptions};

use super::support::{Backends, Daemon, Redis, Shop, eventually};

/// Starts both roles on such a server, and has a mail sent that keeps a rate.
async fn mails_go(backends: Backends) -> (Daemon, Backends, Catcher) {
    let sink = Catcher::start(CatcherOptions::default()).await.unwrap();
    let backends = backends.with_route_to(&sink).with("limits.per_merchant", "2/s");
    let daemon = Daemon::start_as("ingress", &backends).await;
    let worker = Daemon::start_as("worker", &backends).await;
    let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
    shop.fill_shelves().await;
    let mut mails = Vec::new();
    for number in 0..4 {
        mails.push(shop.send_to(&format!("ok-{number}@example.net")).await);
    }
    for mail in &mails {
        shop.wait_until(mail, "sent").await;
    }
    assert_eq!(sink.count(), 4);
    let log = format!("{}{}", daemon.log_text(), worker.log_text());
    // On a busy machine an answer may come late; it is never a refusal.
    assert!(!log.contains("did not count") && !log.contains("did not carry out"), "{log}");
    (daemon, backends, sink)
}

/// What `readyz` says about the queue.
async fn detail(daemon: &Daemon) -> String {
    let ready = daemon.admin("/readyz").await.expect(200).json();
    let queue =
        ready["dependencies"].as_array().unwrap().iter().find(|each| each["name"] == "queue").unwrap();
    assert_eq!(queue["ok"], true, "{queue}");
    queue["detail"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_that_may_do_only_what_is_needed_is_enough() {
    let user = "--user postroom on >tea ~{postroom}:* resetchannels +@all -@admin -@dangerous +info";
    let redis = Redis::start_with(&format!("{user} --user default off")).await;
    let url = format!("redis://postroom:tea@{}:6379", redis.address());
    let (daemon, _backends, _sink) = mails_go(Backends::on_redis(redis, &url).await).await;
    assert_eq!(detail(&daemon).await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_with_a_private_authority_works_and_without_it_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let address = super::support::own_address();
    let made = rcgen::generate_simple_self_signed([address.to_string()]).unwrap();
    let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let [certificate, key] = [certificate, key].map(|path| path.to_str().unwrap().to_owned());
    let more = format!(
        "--tls-port 6380 --tls-cert-file {certificate} --tls-key-file {key} --tls-ca-cert-file {certificate} \
         --tls-auth-clients no"
    );
    let redis = Redis::start_at(address, &more).await;
    let url = format!("rediss://{address}:6380");
    let backends = Backends::on_redis(redis, &url).await;
    let stranger = backends.command_line().run(&["check", "--json"]).expect(1);
    assert!(stranger.err.contains("queue"), "{stranger:?}");
    let missing = backends.with("queue.ca_file", "/nowhere/ca.pem");
    let refused = missing.command_line().run(&["check", "--offline"]).expect(2);
    assert!(refused.err.contains("`/nowhere/ca.pem` cannot be read"), "{refused:?}");
    drop(mails_go(missing.with("queue.ca_file", certificate)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_works() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("redis.sock").to_str().unwrap().to_owned();
    let redis = Redis::start_with(&format!("--unixsocket {socket}")).await;
    drop(mails_go(Backends::on_redis(redis, &format!("unix://{socket}")).await).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_a_cluster_works_because_all_keys_are_in_one_slot() {
    let redis = Redis::start_with("--cluster-enabled yes").await;
    redis.say("CLUSTER ADDSLOTSRANGE 0 16383");
    eventually("the cluster is there", async || redis.say("CLUSTER INFO").contains("cluster_state:ok")).await;
    let url = redis.url();
    drop(mails_go(Backends::on_redis(redis, &url).await).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_evicts_or_keeps_nothing_is_named_in_the_log_and_to_operators() {
    let redis = Redis::start_with("--maxmemory-policy allkeys-lru --appendonly no").await;
    let url = redis.url();
    let (daemon, _backends, _sink) = mails_go(Backends::on_redis(redis, &url).await).await;
    let said = detail(&daemon).await;
    assert!(
        said.contains("maxmemory-policy allkeys-lru") && said.contains("keeps nothing on disk"),
        "{said}"
    );
    let log = daemon.log();
    let warned = log.iter().filter(|line| line["level"] == "WARN" && line["worry"].is_string()).count();
    assert_eq!(warned, 2);
}
