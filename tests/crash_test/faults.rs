//! Carries the faults of a plan out, one after the other, and heals each when its time is over.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    time::{Duration, Instant},
};

use postroom::{clock, mail::Timestamp};
use sqlx::{AnyConnection, Connection, Executor};
use tokio::time::{Instant as Moment, sleep, sleep_until};

use super::{
    fault::{Break, Fault, Hit, SECONDS_AHEAD},
    plan::PlannedFault,
    stage::Stage,
};

/// A fault that was carried out.
#[derive(Clone, Debug)]
pub struct Happened {
    /// What it was.
    pub fault: Fault,
    /// When it began.
    pub began: Timestamp,
    /// When it was over.
    pub healed: Timestamp,
    /// What should have happened at once and did not.
    pub broken: Option<String>,
}

/// Carries all of them out.
pub async fn carry_out(stage: &Stage, planned: &[PlannedFault], start: Moment, says: bool) -> Vec<Happened> {
    let mut all = Vec::new();
    for PlannedFault { at, lasts, fault } in planned {
        sleep_until(start + *at).await;
        if says {
            eprintln!("{:6.1} s  {fault}, for {:.1} s", start.elapsed().as_secs_f64(), lasts.as_secs_f64());
        }
        let began = clock::now();
        let broken = stage.suffer(fault, *lasts).await.err();
        all.push(Happened { fault: fault.clone(), began, healed: clock::now(), broken });
    }
    all
}

impl Stage {
    async fn suffer(&self, fault: &Fault, lasts: Duration) -> Result<(), String> {
        match fault {
            Fault::Kill(hit) => {
                self.each(hit, |process| process.kill_9());
                sleep(lasts).await;
                self.each(hit, |process| process.start_again());
            }
            Fault::Terminate(hit) => {
                self.each(hit, |process| process.terminate());
                sleep(lasts).await;
            }
            Fault::Freeze(hit) => {
                self.each(hit, |process| process.signal("STOP"));
                sleep(lasts).await;
                self.each(hit, |process| process.signal("CONT"));
            }
            Fault::RedisRestarts | Fault::RedisForgets | Fault::RedisIsFlushed | Fault::RedisHangs => {
                self.lose_redis(fault, lasts).await;
            }
            Fault::PostgresStops | Fault::PostgresCrashes | Fault::PostgresHangs => {
                self.lose_postgres(fault, lasts).await;
            }
            Fault::DatabaseIsLocked => self.lock_database(lasts).await,
            Fault::Breaks(link, how, hit) => {
                self.break_links(hit, *link, Some(*how));
                sleep(lasts).await;
                self.break_links(hit, *link, None);
            }
            Fault::DiskIsFull => {
                let disk = self.disk.as_ref().expect("the plan knows what can be done");
                disk.fill();
                sleep(lasts).await;
                disk.make_room();
            }
            Fault::FsyncFails => return self.fail_fsync(lasts).await,
            Fault::ClockTurns => {
                let hours = self.hours.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
                for place in 0..self.processes.len() {
                    self.set_clock(place, hours * 3_600);
                }
                sleep(lasts).await;
            }
            Fault::ClockIsOff(hit) => {
                let base = self.hours.load(std::sync::atomic::Ordering::SeqCst) * 3_600;
                hit.0.iter().for_each(|place| self.set_clock(*place, base + SECONDS_AHEAD));
                sleep(lasts).await;
                hit.0.iter().for_each(|place| self.set_clock(*place, base));
            }
        }
        Ok(())
    }

    fn each(&self, hit: &Hit, act: impl Fn(&super::process::Process)) {
        hit.0.iter().for_each(|place| act(&self.processes[*place]));
    }

    fn break_links(&self, hit: &Hit, link: super::fault::Link, how: Option<Break>) {
        for place in &hit.0 {
            self.proxies[&(*place, link)].set(how);
        }
    }

    async fn lose_redis(&self, fault: &Fault, lasts: Duration) {
        let mut redis = self.redis.as_ref().expect("there is a Redis").lock().await;
        match fault {
            Fault::RedisIsFlushed => {
                let address = redis.url().trim_start_matches("redis://").to_owned();
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(b"FLUSHALL\r\n").unwrap();
                stream.read_exact(&mut [0; 5]).unwrap();
            }
            Fault::RedisHangs => {
                redis.signal("STOP");
                sleep(lasts).await;
                redis.signal("CONT");
            }
            _ => {
                redis.kill_9();
                sleep(lasts).await;
                if *fault == Fault::RedisForgets {
                    redis.lose_data();
                }
                redis.start_again().await;
            }
        }
    }

    async fn lose_postgres(&self, fault: &Fault, lasts: Duration) {
        let mut cluster = self.cluster.as_ref().expect("there is a Postgres").lock().await;
        if *fault == Fault::PostgresHangs {
            cluster.freeze();
            sleep(lasts).await;
            cluster.thaw();
            return;
        }
        if *fault == Fault::PostgresStops {
            cluster.shut_down()
        } else {
            cluster.stop_server()
        }
        sleep(lasts).await;
        cluster.start_server();
    }

    /// Holds back every write of others.
    async fn lock_database(&self, lasts: Duration) {
        sqlx::any::install_default_drivers();
        let url = self.backends.database().url;
        let lock = if url.starts_with("sqlite:") {
            "BEGIN IMMEDIATE"
        } else {
            "BEGIN; LOCK TABLE mails IN ACCESS EXCLUSIVE MODE"
        };
        let mut connection = AnyConnection::connect(&url).await.unwrap();
        // Where others never let it have the lock, there is no fault.
        if connection.execute(lock).await.is_ok() {
            sleep(lasts).await;
        }
        let _ = connection.close().await;
    }

    /// Lets fsync fail in the process of the database, which has to end: what it wrote before may be lost.
    async fn fail_fsync(&self, patience: Duration) -> Result<(), String> {
        let (process, since) = (&self.processes[0], Instant::now());
        let Some(id) = process.id() else { return Ok(()) };
        for call in ["fsync", "fdatasync"] {
            let order = format!("enable name=posix/io/sync/{call},failinfo=5");
            let done = Command::new("fiu-ctrl")
                .args(["-f", &self.fiu_prefix(), "-c", &order])
                .arg(id.to_string())
                .output();
            if !done.as_ref().is_ok_and(|done| done.status.success()) {
                return Err(format!("fiu-ctrl failed: {done:?}"));
            }
        }
        while since.elapsed() < patience {
            if process.ended_since(since) {
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
        process.kill_9();
        process.start_again();
        Err(format!("{} went on although fsync failed", process.name))
    }

    fn set_clock(&self, place: usize, seconds: u32) {
        std::fs::write(self.clock_of(place), format!("+{seconds}")).unwrap();
    }
}
