//! The octets on the wire, as Wireshark reads them: a relay notes what passes, text2pcap makes a capture of it, tshark dissects that
//! with the keys that a peer of ours wrote down.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::process::{program, run_ok};

/// Stands between one client and a server.
pub struct Tap {
    /// Where the client connects.
    pub address: String,
    passed: Arc<Mutex<String>>,
    relay: JoinHandle<()>,
}

/// A handshake message as Wireshark sees it.
#[derive(Debug)]
pub struct Message {
    /// Its name there, such as `Certificate Request`.
    pub name: String,
    /// Its lines there, trimmed.
    pub lines: Vec<String>,
}

impl Tap {
    /// Starts one for one connection.
    #[must_use]
    pub fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (server, passed) = (server.to_owned(), Arc::new(Mutex::new(String::new())));
        let noted = passed.clone();
        let relay = std::thread::spawn(move || {
            let client = listener.accept().unwrap().0;
            let server = TcpStream::connect(server).unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| pump(&client, &server, 'I', &noted));
                scope.spawn(|| pump(&server, &client, 'O', &noted));
            });
        });
        Self { address, passed, relay }
    }

    /// What has passed, once both ends have closed.
    #[must_use]
    pub fn dissected(self, directory: &Path, keys: Option<&Path>) -> Vec<Message> {
        self.relay.join().unwrap();
        let [dump, capture] = ["dump", "pcap"].map(|suffix| directory.join(format!("wire.{suffix}")));
        fs::write(&dump, self.passed.lock().unwrap().as_str()).unwrap();
        // To port 443, where Wireshark expects TLS.
        run_ok(program("text2pcap").args(["-q", "-D", "-T", "50000,443"]).arg(dump).arg(&capture));
        let mut tshark = program("tshark");
        // Its settings are not to be those of whoever runs the tests.
        tshark.env("HOME", directory).env("XDG_CONFIG_HOME", directory).arg("-r").arg(capture).arg("-V");
        if let Some(keys) = keys {
            tshark.arg("-o").arg(format!("tls.keylog_file:{}", keys.display()));
        }
        messages(&run_ok(&tshark))
    }
}

/// Passes octets on, and notes them as text2pcap reads them.
fn pump(mut from: &TcpStream, mut to: &TcpStream, direction: char, noted: &Mutex<String>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let mut note = format!("{direction}\n0000");
        for octet in &buffer[..length] {
            let _ = write!(note, " {octet:02x}");
        }
        noted.lock().unwrap().push_str(&format!("{note}\n"));
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    // The other end may be gone already.
    let _ = to.shutdown(Shutdown::Write);
}

fn messages(dissection: &str) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    let mut depth = None;
    for line in dissection.lines() {
        let indent = line.len() - line.trim_start().len();
        if let Some(name) = line.trim().strip_prefix("Handshake Protocol: ") {
            messages.push(Message { name: name.to_owned(), lines: Vec::new() });
            depth = Some(indent);
        } else if depth.is_some_and(|depth| indent > depth) {
            messages.last_mut().unwrap().lines.push(line.trim().to_owned());
        } else {
            depth = None;
        }
    }
    messages
}

impl Message {
    /// The extensions of this code point, each as hexadecimal octets.
    #[must_use]
    pub fn extensions(&self, code_point: u16) -> Vec<String> {
        let kind = format!("Type: Unknown ({code_point})");
        let at = self.lines.iter().enumerate().filter(|(_, line)| **line == kind).map(|(at, _)| at);
        at.map(|at| {
            let length = self.lines[at + 1].strip_prefix("Length: ").unwrap();
            let data = self.lines.get(at + 2).and_then(|line| line.strip_prefix("Data: "));
            let data = data.filter(|_| length != "0").unwrap_or_default();
            assert_eq!(data.len(), 2 * length.parse::<usize>().unwrap(), "{:?}", &self.lines[at..]);
            data.to_owned()
        })
        .collect()
    }
}
