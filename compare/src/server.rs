//! The zones and their server, in a process of its own, so that its work is not taken for the contenders'.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use dance_testkit::{Fault, KeyKind, SignedWorld, Zone};

/// Names in the zone.
const NAMES: usize = 400;
const RECORD: &str = "3 1 1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// A name with a TLSA record, with its final dot. Not below `test`, which libunbound answers for itself.
pub fn name(number: usize) -> String {
    format!("dev{number}._device.device.zone.")
}

/// Serves until the end of standard input; for each line of it tells how many questions came since the last.
pub fn serve(kind: KeyKind, delay: Duration) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let text: String = (0..NAMES).map(|number| format!("{} 3600 IN TLSA {RECORD}\n", name(number))).collect();
    let zone = |apex| Zone::new(apex).key(kind);
    let world = SignedWorld::builder().zone(zone(".")).zone(zone("zone")).zone(zone("device.zone").text(&text));
    let world = if delay.is_zero() { world } else { world.server_fault(Fault::DelayedBy(delay)) };
    let world = runtime.block_on(world.start()).unwrap();
    println!("{}", world.addr());
    println!("{}", world.trust_anchor_text().trim());
    for _ in std::io::stdin().lines() {
        println!("{}", world.queries().len());
        world.clear_log();
    }
}

/// The server as the contenders see it.
pub struct Server {
    pub address: SocketAddr,
    /// A DNSKEY record.
    pub anchor: String,
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    child: Child,
}

impl Server {
    pub fn start(kind: &str, delay: Duration) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["serve", kind, &delay.as_millis().to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, mut output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let (mut address, mut anchor) = (String::new(), String::new());
        output.read_line(&mut address).unwrap();
        output.read_line(&mut anchor).unwrap();
        Self {
            address: address.trim().parse().unwrap(),
            anchor: anchor.trim().to_owned(),
            pipes: Mutex::new((input, output)),
            child,
        }
    }

    /// How many questions came since this was asked last.
    pub fn questions(&self) -> usize {
        let mut pipes = self.pipes.lock().unwrap();
        pipes.0.write_all(b"\n").unwrap();
        let mut line = String::new();
        pipes.1.read_line(&mut line).unwrap();
        line.trim().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
