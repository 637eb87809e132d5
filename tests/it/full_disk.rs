//! The disk of the database is full for a while: what is refused is not sent, what was promised is, and nobody has to start
//! anything again but Postgres, which ends when it cannot write its log.

use std::{collections::HashSet, fs, io::Write, path::PathBuf, time::Duration};

use postroom::demo::catcher::{Catcher, CatcherOptions};

use super::support::{Backends, Cluster, Daemon, Disk, Shop, addresses, times_caught, welcome, within};

const RECOVERY_TIMEOUT: Duration = Duration::from_secs(60);
/// Mails that are asked for before the disk is full, while it is, and when there is room again.
const BEFORE: usize = 50;
const MEANWHILE: usize = 2_000;

/// Takes all the room that there is, and returns what takes it.
fn fill(disk: &Disk) -> PathBuf {
    let filler = disk.path().join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    filler
}

/// Asks for a mail to each; who was promised one, and how many were not.
async fn ask(shop: &Shop, users: &[String]) -> (HashSet<String>, usize) {
    let (mut promised, mut refused) = (HashSet::new(), 0);
    for user in users {
        let answer = shop.post("/mail", &welcome(user)).await;
        match answer.status {
            200 => drop(promised.insert(user.clone())),
            503 => refused += 1,
            _ => panic!("{answer:?}"),
        }
    }
    (promised, refused)
}

async fn is_survived(disk: Disk, mut cluster: Option<Cluster>, backends: Backends) {
    let sink = Catcher::start(CatcherOptions { keep: 100_000, ..CatcherOptions::default() }).await.unwrap();
    let backends = backends.with_route_to(&sink).with("retry.first", "1s").with("retry.longest", "2s");
    let daemon = Daemon::start(&backends).await;
    let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
    shop.fill_shelves().await;
    let users = addresses("ok", BEFORE * 2 + MEANWHILE);
    shop.enrol_all(&users).await;
    let (mut promised, refused) = ask(&shop, &users[..BEFORE]).await;
    assert_eq!(refused, 0);

    let filler = fill(&disk);
    let (some, refused) = ask(&shop, &users[BEFORE..BEFORE + MEANWHILE]).await;
    assert!(refused > 0, "{} found room", some.len());
    promised.extend(some);

    fs::remove_file(filler).unwrap();
    if let Some(cluster) = &mut cluster {
        cluster.start_if_it_ended();
    }
    within(RECOVERY_TIMEOUT, "it takes mails again", async || daemon.admin("/readyz").await.status == 200)
        .await;
    let (some, refused) = ask(&shop, &users[BEFORE + MEANWHILE..]).await;
    assert_eq!(refused, 0);
    promised.extend(some);
    within(RECOVERY_TIMEOUT, "all that were promised came", async || {
        let caught = times_caught(&sink);
        promised.iter().all(|user| caught.contains_key(user))
    })
    .await;
    let caught = times_caught(&sink);
    let uninvited: Vec<_> = caught.keys().filter(|user| !promised.contains(*user)).collect();
    assert!(uninvited.is_empty(), "sent after 503: {uninvited:?}");
    backends.nobody_got_more_than_is_on_record(&sink).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_of_sqlite_is_full_for_a_while() {
    let disk = Disk::format();
    let backends = Backends::sqlite_memory().with("database.url", disk.sqlite());
    is_survived(disk, None, backends).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_of_postgres_is_full_for_a_while() {
    let disk = Disk::format();
    let cluster = Cluster::start_in(&disk.postgres(), "");
    let database = cluster.new_database().await;
    is_survived(disk, Some(cluster), Backends::on(database).await).await;
}
