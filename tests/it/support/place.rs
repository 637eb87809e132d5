//! Where servers listen and how long they live.

use std::{
    ffi::OsStr,
    net::Ipv4Addr,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// A loopback address that no other server of this or another test run listens on, so that a well-known port on it is
/// free, and is still free when a server that was killed comes back.
pub fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let (process, place) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    assert!(place < 16 * 256, "this run has no loopback addresses left");
    let octet = |number: u32| u8::try_from(number).unwrap();
    let third = (process / 254 % 16) * 16 + place / 256;
    Ipv4Addr::new(127, octet(1 + process % 254), octet(third), octet(place % 256))
}

/// A command that is killed when the test's thread ends, however it does.
pub fn mortal(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Sends a signal, as in `TERM`, to one process. After `STOP` none of its threads runs any more.
pub fn signal(process: u32, signal: &str) {
    let sent = Command::new("kill").arg(format!("-{signal}")).arg(process.to_string()).status().unwrap();
    assert!(sent.success(), "process {process} was gone before it got {signal}");
    let began = Instant::now();
    while signal == "STOP" && !is_stopped(process) {
        assert!(began.elapsed() < Duration::from_secs(10), "process {process} does not stop");
        std::thread::yield_now();
    }
}

fn is_stopped(process: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state comes after the name, which is in brackets.
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
    })
}
