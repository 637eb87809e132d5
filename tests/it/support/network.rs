//! Machines with addresses of their own, each a network namespace, and what may lie between them.
//!
//! The test itself runs in a namespace too, so nothing of this is left when it ends, however it does. It is the router
//! between all machines. The addresses are those that RFC 2544 sets aside for tests of networks.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
};

use super::{disk::as_root, place::mortal};

/// The router's address.
const ROUTER: &str = "198.18.0.1";
const INSIDE: &str = "POSTROOM_TEST_IS_IN_ITS_NETWORK";
/// Rules of cuts come before this one.
const RULE_OF_LOCAL_ADDRESSES: &str = "200";
const RULE_OF_CUTS: &str = "50";

/// Runs the test of this name in a network of its own. Within it, does nothing and returns the network.
pub fn in_own_network(test: &str) -> Option<Network> {
    if env::var_os(INSIDE).is_some() {
        return Some(Network::of_this_process());
    }
    let mut command = as_root("unshare");
    command.arg("--net").arg("env").arg(format!("{INSIDE}=1"));
    let done =
        command.arg(env::current_exe().unwrap()).args(["--exact", "--nocapture", test]).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
    None
}

/// A network with this process in its middle, which has several addresses.
pub struct Network {
    machines: u8,
}

/// A machine with one address. Dropping it ends it.
pub struct Machine {
    /// Its address.
    pub address: Ipv4Addr,
    holder: Child,
}

impl Network {
    fn of_this_process() -> Self {
        ip("link set lo up");
        // What the test itself asks comes from here, and is never cut off.
        ip(&format!("address add {ROUTER}/32 dev lo"));
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        // Packets to an address of this machine would come before all other rules.
        ip(&format!("rule add priority {RULE_OF_LOCAL_ADDRESSES} lookup local"));
        ip("rule delete priority 0");
        Self { machines: 0 }
    }

    /// An address of a server that this process runs.
    pub fn server(&self, number: u8) -> Ipv4Addr {
        let address = Ipv4Addr::new(198, 18, 0, number);
        ip(&format!("address add {address}/32 dev lo"));
        address
    }

    /// A machine more.
    pub fn machine(&mut self) -> Machine {
        self.machines += 1;
        let (link, address) =
            (format!("lan{}", self.machines), Ipv4Addr::new(198, 18, 0, 100 + self.machines));
        let script = format!(
            "echo unshared; ip link set lo up; read linked; ip address add {address}/32 dev eth0; \
             ip link set eth0 up; ip route add {ROUTER} dev eth0; ip route add default via {ROUTER}; \
             echo up; exec sleep infinity"
        );
        let mut holder = mortal("unshare")
            .args(["--net", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(holder.stdout.take().unwrap()).lines();
        assert_eq!(said.next().unwrap().unwrap(), "unshared");
        ip(&format!("link add {link} type veth peer name eth0 netns {}", holder.id()));
        ip(&format!("link set {link} up"));
        ip(&format!("route add {address} dev {link}"));
        writeln!(holder.stdin.take().unwrap(), "linked").unwrap();
        assert_eq!(said.next().unwrap().unwrap(), "up");
        Machine { address, holder }
    }
}

impl Machine {
    /// What comes before a command that is to run on this machine.
    pub fn wrapper(&self) -> [String; 4] {
        ["nsenter".to_owned(), "--target".to_owned(), self.holder.id().to_string(), "--net".to_owned()]
    }

    /// Nothing passes between it and this server any more, and nobody is told.
    pub fn cut_off_from(&self, server: Ipv4Addr) {
        self.rules("add", server);
    }

    /// All passes again.
    pub fn heal(&self, server: Ipv4Addr) {
        self.rules("delete", server);
    }

    fn rules(&self, verb: &str, server: Ipv4Addr) {
        for (from, to) in [(self.address, server), (server, self.address)] {
            ip(&format!("rule {verb} priority {RULE_OF_CUTS} from {from} to {to} blackhole"));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn ip(words: &str) {
    let done = Command::new("ip").args(words.split(' ')).output().unwrap();
    assert!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
}
