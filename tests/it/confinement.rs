//! The daemon in what its unit leaves it: nothing to write to but its folder, no rights, and few system calls. systemd does not
//! run here, so bubblewrap makes the same of the file system, and strace says what the filters would have to let through.

use std::{collections::HashSet, fs, path::Path, process::Command};

use postroom::demo::catcher::{Catcher, CatcherOptions};

use super::support::{Backends, Daemon, Shop, addresses, binary, eventually};

/// A daemon that is started like this sends a mail and a batch.
async fn works(wrapper: &[&str], backends: Backends) -> (Daemon, Backends) {
    let sink = Catcher::start(CatcherOptions::default()).await.unwrap();
    let backends = backends.with_route_to(&sink);
    let daemon = Daemon::start_under(wrapper, &backends).await;
    let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
    shop.fill_shelves().await;
    let mail = shop.send_to("ok@example.net").await;
    shop.wait_until(&mail, "sent").await;
    let users = addresses("ok", 1_500);
    shop.enrol_all(&users).await;
    let batch = shop.send_all(&users).await;
    shop.until_batch(&batch, "finished").await;
    eventually("all came", async || sink.mails().len() == users.len() + 1).await;
    (daemon, backends)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daemon_works_with_nothing_to_write_to_but_its_folder() {
    let backends = Backends::sqlite_memory();
    let (folder, program) = (backends.folder().to_str().unwrap().to_owned(), binary());
    let programs = Path::new(&program).parent().unwrap().to_str().unwrap().to_owned();
    let wrapper = [
        // ProtectSystem=strict, ProtectHome=yes, PrivateTmp=yes, PrivateDevices=yes
        "bwrap --ro-bind / / --tmpfs /home --tmpfs /root --tmpfs /tmp --tmpfs /var/tmp --dev /dev --proc /proc",
        // StateDirectory=
        &format!("--ro-bind {programs} {programs} --bind {folder} {folder} --chdir {folder}"),
        // PrivateUsers=yes, RemoveIPC=yes, ProtectHostname=yes, ProtectControlGroups=yes, CapabilityBoundingSet=
        "--unshare-user --unshare-ipc --unshare-uts --unshare-cgroup-try --cap-drop ALL --die-with-parent",
    ]
    .join(" ");
    works(&wrapper.split(' ').collect::<Vec<_>>(), backends).await;
}

/// The system calls of a set, as in `@system-service`, and of the sets in it.
fn calls_of(set: &str) -> HashSet<String> {
    let asked = Command::new("systemd-analyze").args(["syscall-filter", "--no-pager", set]).output().unwrap();
    let text = String::from_utf8(asked.stdout).unwrap();
    let mut calls = HashSet::new();
    for word in text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        if word.starts_with('@') {
            calls.extend(calls_of(word));
        } else {
            calls.insert(word.to_owned());
        }
    }
    assert!(!calls.is_empty(), "{set}: {text}");
    calls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daemon_makes_only_system_calls_that_its_unit_allows() {
    let backends = Backends::sqlite_memory();
    let calls = backends.folder().join("calls").to_str().unwrap().to_owned();
    // With -D the daemon is our child and strace is not.
    let wrapper = ["strace", "-D", "-f", "-qq", "-s", "8", "-o", &calls];
    let (mut daemon, _backends) = works(&wrapper, backends).await;
    assert_eq!(daemon.stop().await, 0);

    let mut allowed = calls_of("@system-service");
    for set in ["@privileged", "@resources"] {
        let denied = calls_of(set);
        allowed.retain(|call| !denied.contains(call));
    }
    // SQLite calls it only as root, which the unit's user is not.
    allowed.insert("fchown".to_owned());
    let (mut refused, mut seen) = (HashSet::new(), 0);
    for line in fs::read_to_string(&calls).unwrap().lines() {
        // As in `1234 openat(AT_FDCWD, …) = 3`; lines of signals and of calls that go on begin otherwise.
        let Some((_, call)) = line.split_once(' ') else { continue };
        let Some((name, arguments)) = call.trim_start().split_once('(') else { continue };
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue;
        }
        seen += 1;
        let is_writable_code = arguments.contains("PROT_WRITE") && arguments.contains("PROT_EXEC");
        let is_strange_socket = name == "socket"
            && !["AF_INET,", "AF_INET6,", "AF_UNIX,"].iter().any(|family| arguments.starts_with(family));
        if !allowed.contains(name) || is_writable_code || is_strange_socket {
            refused.insert(call.trim_start().to_owned());
        }
    }
    assert!(seen > 1_000, "{seen} calls were seen");
    assert!(refused.is_empty(), "{refused:#?}");
}
