//! Loads an HTTP endpoint that accepts mails, and measures what it answers and how soon the mails arrive.
//!
//! `benches/run` and `benches/ingress` start it, against postroom and against every peer alike; it knows none of them. It
//! shares two cores with what it measures, so it is plain threads and prebuilt bytes, without a runtime or a JSON
//! library. Two modes, both bounded in count and in time, each ends with one line of JSON on standard output:
//!
//! * `throughput`: `--count` requests as fast as `--connections` connections take them.
//! * `latency`: is itself the SMTP sink (it prints `listening PORT` first, and begins when a line comes on standard
//!   input), sends one mail after the other and notes when each arrives; the first `--warm-up` mails do not count.
//!
//! In `--path` and `--body` the text `{n}` stands for the number of the request, which counts from `--first`, else from 0.
//! In `latency`, which counts from 0, mail `n` must go to `m<n>@example.net`.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, BufReader, Error as IoError, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// How long one answer, or one mail after the last request, may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Fallible<()> {
    let mut arguments = std::env::args().skip(1);
    let mode = arguments.next().unwrap_or_default();
    if !matches!(mode.as_str(), "throughput" | "latency") {
        println!("started by benches/run and benches/ingress; see the head of benches/load.rs");
        return Ok(());
    }
    let options = Options::parse(arguments)?;
    if mode == "latency" && options.first > 0 {
        return Err("`--first` is for `throughput`: the sink counts arrivals from 0".into());
    }
    if options.warm_up >= options.count {
        return Err("`--warm-up` leaves nothing to count".into());
    }
    let summary = if mode == "latency" { latency(&options)? } else { throughput(options)? };
    println!("{summary}");
    Ok(())
}

// ---- What is asked

struct Options {
    address: String,
    path: String,
    token: String,
    body: String,
    first: usize,
    count: usize,
    warm_up: usize,
    connections: usize,
    interval: Duration,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Fallible<Self> {
        let mut given = BTreeMap::new();
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("`{name}` needs a value"))?;
            given.insert(name, value);
        }
        let mut take = |name: &str, default: &str| given.remove(name).unwrap_or_else(|| default.to_owned());
        let options = Self {
            address: take("--address", "127.0.0.1:8080"),
            path: take("--path", "/mail"),
            token: take("--token", ""),
            body: take("--body", "{}"),
            first: take("--first", "0").parse()?,
            count: take("--count", "1000").parse()?,
            warm_up: take("--warm-up", "0").parse()?,
            connections: take("--connections", "32").parse()?,
            interval: Duration::from_millis(take("--interval", "20").parse()?),
        };
        match given.into_keys().next() {
            Some(name) => Err(format!("unknown option `{name}`").into()),
            None => Ok(options),
        }
    }

    fn request(&self, number: usize) -> String {
        let number = (self.first + number).to_string();
        let (path, body) = (self.path.replace("{n}", &number), self.body.replace("{n}", &number));
        format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            self.token,
            body.len(),
        )
    }
}

// ---- HTTP, as little of it as needed

/// A kept-alive connection; answers must carry `Content-Length`.
struct Connection {
    reader: BufReader<TcpStream>,
    line: String,
    body: Vec<u8>,
}

impl Connection {
    fn open(address: &str) -> Fallible<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self { reader: BufReader::new(stream), line: String::new(), body: Vec::new() })
    }

    /// Sends one request and reads its answer whole; returns the status.
    fn ask(&mut self, request: &str) -> Fallible<u16> {
        self.reader.get_mut().write_all(request.as_bytes())?;
        let status = self.read_line()?.split(' ').nth(1).unwrap_or_default().parse()?;
        let mut length = None;
        loop {
            let header = self.read_line()?;
            if header.is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = Some(value.trim().parse()?);
            }
        }
        self.body.resize(length.ok_or("an answer without Content-Length")?, 0);
        self.reader.read_exact(&mut self.body)?;
        Ok(status)
    }

    fn read_line(&mut self) -> Fallible<&str> {
        self.line.clear();
        let read = self.reader.read_line(&mut self.line);
        if read.map_err(|error| format!("no answer within {ANSWER_TIMEOUT:?}: {error}"))? == 0 {
            return Err("the server closed the connection".into());
        }
        Ok(self.line.trim_end())
    }
}

// ---- Throughput

#[derive(Default)]
struct Tally {
    statuses: BTreeMap<u16, usize>,
    answered: Vec<Duration>,
}

impl Tally {
    fn note(&mut self, status: u16, took: Duration) {
        *self.statuses.entry(status).or_default() += 1;
        self.answered.push(took);
    }

    fn merge(&mut self, other: Self) {
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.answered.extend(other.answered);
    }

    /// The fields every summary has, without braces.
    fn fields(&self) -> String {
        let accepted: usize = self.statuses.range(200..300).map(|(_, count)| count).sum();
        let statuses: Vec<String> =
            self.statuses.iter().map(|(status, count)| format!("\"{status}\":{count}")).collect();
        format!(
            "\"accepted\":{accepted},\"statuses\":{{{}}},{}",
            statuses.join(","),
            percentiles("answer", &self.answered)
        )
    }
}

fn throughput(options: Options) -> Fallible<String> {
    let options = Arc::new(options);
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let workers: Vec<_> = (0..options.connections)
        .map(|_| {
            let (options, next) = (Arc::clone(&options), Arc::clone(&next));
            thread::spawn(move || send_all(&options, &next))
        })
        .collect();
    let mut tally = Tally::default();
    for worker in workers {
        tally.merge(worker.join().map_err(|_| "a sender panicked")??);
    }
    Ok(format!("{{{},\"seconds\":{:.4}}}", tally.fields(), began.elapsed().as_secs_f64()))
}

fn send_all(options: &Options, next: &AtomicUsize) -> Fallible<Tally> {
    let mut connection = Connection::open(&options.address)?;
    let mut tally = Tally::default();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= options.count {
            return Ok(tally);
        }
        let request = options.request(number);
        let asked = Instant::now();
        let status = connection.ask(&request)?;
        tally.note(status, asked.elapsed());
    }
}

// ---- Latency

fn latency(options: &Options) -> Fallible<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let arrivals = Arc::new(Arrivals::new(options.count));
    println!("listening {}", listener.local_addr()?.port());
    {
        let arrivals = Arc::clone(&arrivals);
        thread::spawn(move || accept_mail(&listener, &arrivals));
    }
    std::io::stdin().read_line(&mut String::new())?;

    let mut connection = Connection::open(&options.address)?;
    let mut tally = Tally::default();
    let mut accepted = Vec::with_capacity(options.count);
    let began = Instant::now();
    for number in 0..options.count {
        let due = options.interval * u32::try_from(number)?;
        thread::park_timeout(due.saturating_sub(began.elapsed()));
        let asked = Instant::now();
        let status = connection.ask(&options.request(number))?;
        accepted.push(Instant::now());
        if number >= options.warm_up {
            tally.note(status, asked.elapsed());
        }
    }
    arrivals.wait_for_all();

    let arrived = arrivals.times.lock().unwrap_or_else(PoisonError::into_inner);
    // A mail that arrives before the answer to its request has been read took no time.
    let took: Vec<Duration> = accepted
        .iter()
        .zip(arrived.iter())
        .skip(options.warm_up)
        .filter_map(|(accepted, arrived)| Some(arrived.as_ref()?.saturating_duration_since(*accepted)))
        .collect();
    Ok(format!(
        "{{{},\"missing\":{},{}}}",
        tally.fields(),
        options.count - options.warm_up - took.len(),
        percentiles("delivered", &took)
    ))
}

/// When each mail arrived whole, by its number.
struct Arrivals {
    times: Mutex<Vec<Option<Instant>>>,
    arrived: mpsc::SyncSender<()>,
    waiting: Mutex<mpsc::Receiver<()>>,
}

impl Arrivals {
    fn new(count: usize) -> Self {
        let (arrived, waiting) = mpsc::sync_channel(count);
        Self { times: Mutex::new(vec![None; count]), arrived, waiting: Mutex::new(waiting) }
    }

    /// Notes the first arrival of a mail; one that comes twice counts once.
    fn note(&self, number: usize, when: Instant) {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(time @ None) = times.get_mut(number) {
            *time = Some(when);
            // Cannot be full: it has room for every mail.
            let _ = self.arrived.try_send(());
        }
    }

    fn wait_for_all(&self) {
        let count = self.times.lock().unwrap_or_else(PoisonError::into_inner).len();
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + ANSWER_TIMEOUT;
        for _ in 0..count {
            if waiting.recv_timeout(until.saturating_duration_since(Instant::now())).is_err() {
                return;
            }
        }
    }
}

fn accept_mail(listener: &TcpListener, arrivals: &Arc<Arrivals>) {
    for stream in listener.incoming().flatten() {
        let arrivals = Arc::clone(arrivals);
        // A client that hangs up ends its thread; the mails it owed show up as missing.
        thread::spawn(move || speak_smtp(stream, &arrivals));
    }
}

/// Speaks the server's side of RFC 5321 with PIPELINING, and takes everything.
fn speak_smtp(stream: TcpStream, arrivals: &Arrivals) -> Result<(), IoError> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    let mut number = None;
    let mut in_message = false;
    writer.write_all(b"220 sink.example.net ESMTP\r\n")?;
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if in_message {
            if line == b".\r\n" {
                if let Some(number) = number.take() {
                    arrivals.note(number, Instant::now());
                }
                in_message = false;
                writer.write_all(b"250 2.0.0 taken\r\n")?;
            }
            continue;
        }
        let command = String::from_utf8_lossy(&line).to_ascii_uppercase();
        let reply: &[u8] = match command.get(..4).unwrap_or_default() {
            "EHLO" => b"250-sink.example.net\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
            "RCPT" => {
                number = numbered(&command);
                b"250 2.1.5 ok\r\n"
            }
            "DATA" => {
                in_message = true;
                b"354 go on\r\n"
            }
            "QUIT" => return writer.write_all(b"221 2.0.0 bye\r\n"),
            _ => b"250 2.0.0 ok\r\n",
        };
        writer.write_all(reply)?;
    }
}

/// The number in `RCPT TO:<M17@EXAMPLE.NET>`.
fn numbered(command: &str) -> Option<usize> {
    let (_, address) = command.split_once("<M")?;
    address.split_once('@')?.0.parse().ok()
}

// ---- What is told

/// The median and the 99th percentile in milliseconds, as two JSON fields; `null` when there is nothing to rank.
fn percentiles(name: &str, took: &[Duration]) -> String {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    let at = |percent: usize| {
        let rank = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(rank).map_or("null".to_owned(), |time| format!("{:.3}", time.as_secs_f64() * 1000.0))
    };
    format!("\"{name}_p50_ms\":{},\"{name}_p99_ms\":{}", at(50), at(99))
}
