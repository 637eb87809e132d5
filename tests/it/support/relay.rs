//! A relay that says nothing any more from one phase on, until it is mended.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// A relay that may hang before its answer to one thing: `greeting`, a command, or `.`, the end of the message.
pub struct Relay {
    /// Where it listens.
    pub address: SocketAddr,
    hangs: watch::Sender<bool>,
    reached: Arc<AtomicUsize>,
    taken: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Relay {
    /// Starts one that hangs in this phase.
    pub async fn start(phase: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let hangs = watch::Sender::new(true);
        let (reached, taken) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (still, seen, got) = (hangs.subscribe(), Arc::clone(&reached), Arc::clone(&taken));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut clients = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (still, seen, got) = (still.clone(), Arc::clone(&seen), Arc::clone(&got));
                clients.spawn(async move { drop(talk(client, phase, still, &seen, &got).await) });
            }
        });
        Self { address, hangs, reached, taken, _serving: serving }
    }

    /// Hangs from now on.
    pub fn hang(&self) {
        self.hangs.send_replace(true);
    }

    /// Hangs no more, and says what it owes.
    pub fn mend(&self) {
        self.hangs.send_replace(false);
    }

    /// How many times it hung.
    pub fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }

    /// How many messages it took.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }

    /// A route of this name to it, for the merchant of the same name alone.
    pub fn route(&self, name: &str) -> toml::Table {
        let port = self.address.port();
        let text = format!(
            "name = \"{name}\"\nhost = \"127.0.0.1\"\ntls = \"none\"\nport = {port}\nmerchants = [\"{name}\"]"
        );
        toml::from_str(&text).unwrap()
    }
}

async fn talk(
    client: TcpStream,
    phase: &str,
    mut hangs: watch::Receiver<bool>,
    reached: &AtomicUsize,
    taken: &AtomicUsize,
) -> std::io::Result<()> {
    let mut at = async |here: &str| {
        if here.eq_ignore_ascii_case(phase) && *hangs.borrow_and_update() {
            reached.fetch_add(1, Ordering::SeqCst);
            let _ = hangs.wait_for(|hangs| !hangs).await;
        }
    };
    let mut client = BufReader::new(client);
    at("greeting").await;
    client.get_mut().write_all(b"220 relay\r\n").await?;
    let (mut line, mut is_message) = (String::new(), false);
    while client.read_line(&mut line).await? > 0 {
        let word = line.trim_end().split([' ', ':']).next().unwrap_or_default().to_owned();
        line.clear();
        if is_message && word != "." {
            continue;
        }
        at(&word).await;
        let answer = match word.as_str() {
            "DATA" => "354 go on\r\n",
            _ => "250 ok\r\n",
        };
        taken.fetch_add(usize::from(is_message), Ordering::SeqCst);
        is_message = word == "DATA";
        client.get_mut().write_all(answer.as_bytes()).await?;
    }
    Ok(())
}
