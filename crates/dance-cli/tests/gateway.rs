//! `dance gateway`, and the client commands against it: the programs as they are shipped, side by side.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;

use dance_testkit::{Authority, CertSpec, Origin, SignedWorld, Zone};
use support::{Ran, dance, run};
use tempfile::TempDir;

const NAME: &str = "sensor7._device.example.com";

/// A signed zone, a web application, and files for a gateway and its client.
struct Scene {
    dns: SignedWorld,
    origin: Origin,
    files: TempDir,
}

impl Scene {
    async fn start() -> Self {
        let files = tempfile::tempdir().unwrap();
        let authority = Authority::root("Test servers").unwrap();
        let server = CertSpec::localhost_server().issued_by(&authority).unwrap();
        let client = CertSpec::client(NAME).self_signed().unwrap();
        let zone = Zone::new("example.com").tlsa(NAME, client.tlsa_311().unwrap(), 300);
        let dns = SignedWorld::builder().zone(zone).start().await.unwrap();
        for (file, content) in [
            ("ca.pem", authority.pem()),
            ("server.pem", &server.chain_pem()),
            ("server.key", server.key_pem()),
            ("client.pem", &client.chain_pem()),
            ("client.key", client.key_pem()),
            ("anchor", dns.trust_anchor_text()),
        ] {
            fs::write(files.path().join(file), content).unwrap();
        }
        Self { dns, origin: Origin::start().await.unwrap(), files }
    }

    fn file(&self, name: &str) -> String {
        self.files.path().join(name).to_str().unwrap().to_owned()
    }

    /// Flags that make a gateway for the whole scene.
    fn flags(&self) -> Vec<String> {
        let server = self.dns.addr().to_string();
        [
            ("--listen", "127.0.0.1:0"),
            ("--certificate", &self.file("server.pem")),
            ("--key", &self.file("server.key")),
            ("--origin", self.origin.address()),
            ("--allow", "*._device.example.com"),
            ("--resolver", &server),
            ("--trust-anchor", &self.file("anchor")),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()])
        .collect()
    }

    async fn request(&self, gateway: &Running, credential: &[&str]) -> Ran {
        // What is asked of DNS here, the gateway asks.
        self.request_with(gateway, &["--name", NAME, "--no-record-check"], credential).await
    }

    async fn request_with(&self, gateway: &Running, options: &[&str], credential: &[&str]) -> Ran {
        let mut args = vec!["request".to_owned(), format!("https://localhost:{}/", gateway.port())];
        args.extend(["--resolve-to".to_owned(), gateway.address.clone()]);
        args.extend(["--server-ca".to_owned(), self.file("ca.pem")]);
        args.extend(options.iter().map(|&option| option.to_owned()));
        args.extend(
            credential.iter().map(|&file| if file.starts_with('-') { file.to_owned() } else { self.file(file) }),
        );
        tokio::task::spawn_blocking(move || run(args)).await.unwrap()
    }
}

/// A gateway that listens. Dropping it kills it.
struct Running {
    child: Child,
    address: String,
    log: mpsc::Receiver<String>,
}

impl Running {
    fn start(args: &[String]) -> Self {
        let mut command = dance();
        command.arg("gateway").args(args);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, log) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        let mut running = Self { child, address: String::new(), log };
        let first = running.line("listening");
        // Text ends with the field; in JSON a quote follows.
        let address = first.split("addr").nth(1).unwrap_or_else(|| panic!("no address in {first:?}"));
        running.address = address.trim_matches(|c: char| !c.is_ascii_digit()).split('"').next().unwrap().to_owned();
        running
    }

    fn port(&self) -> &str {
        self.address.rsplit(':').next().unwrap()
    }

    /// The next log line that contains `part`.
    fn line(&self, part: &str) -> String {
        self.log.iter().find(|line| line.contains(part)).unwrap_or_else(|| panic!("the log ended without {part:?}"))
    }

    fn signal(mut self, signal: &str) -> (ExitStatus, Vec<String>) {
        let kill = Command::new("sh")
            .args(["-c", "kill \"$0\" \"$1\"", signal, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(kill.success());
        let status = self.child.wait().unwrap();
        (status, self.log.iter().collect())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// HTTP-02, SRV-07, RPK-03
#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_record_reaches_the_application_under_its_name() {
    let scene = Scene::start().await;
    let gateway = Running::start(&scene.flags());
    for credential in [&["--cert", "client.pem", "--key", "client.key"][..], &["--key", "client.key"]] {
        let ran = scene.request(&gateway, credential).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "ok\n"), "{ran:?}");
        let seen = scene.origin.seen();
        assert_eq!(seen.last().unwrap().values("Dane-Clientid"), [NAME]);
        let line = gateway.line("outcome=");
        assert!(line.contains("authenticated") && line.contains(NAME), "{line}");
    }

    // HTTP-01, CLI-07
    let ran = scene.request(&gateway, &["--key", "server.key"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("client authentication refused"), "{ran:?}");
    assert_eq!(scene.origin.seen().len(), 2);
    let line = gateway.line("outcome=");
    assert!(line.contains("no-match"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_and_sigint_end_it_in_order() {
    let scene = Scene::start().await;
    for signal in ["-TERM", "-INT"] {
        let gateway = Running::start(&scene.flags());
        let (status, log) = gateway.signal(signal);
        assert_eq!(status.code(), Some(0), "{log:?}");
        assert!(log.last().unwrap().contains("ended"), "{log:?}");
    }
}

/// A gateway under limits of open files, soft and hard; what it logs to its end.
fn limited(scene: &Scene, soft: u32, hard: u32) -> Vec<String> {
    let mut command = Command::new("sh");
    let limits = format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$0\" \"$@\"");
    command.args(["-c", &limits]).arg(dance().get_program()).arg("gateway").args(scene.flags());
    let (status, log) = Running::spawn(command).signal("-TERM");
    assert_eq!(status.code(), Some(0), "{log:?}");
    log
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_open_files_is_raised_or_warned_about() {
    let scene = Scene::start().await;
    let log = limited(&scene, 256, 1024);
    assert!(log.iter().any(|line| line.contains("WARN") && line.contains("allowed=1024")), "{log:?}");
    // 4096 connections, 1024 to the origin, 256 look-ups, and some: the hard limit allows it.
    let log = limited(&scene, 256, 6000);
    assert!(!log.iter().any(|line| line.contains("WARN")), "{log:?}");
}

// SEC-09
#[tokio::test(flavor = "multi_thread")]
async fn both_profiles_can_be_set_by_flags_and_tls_1_2_is_warned_about() {
    let scene = Scene::start().await;
    let with = |more: &[&str]| [scene.flags(), more.iter().map(|&flag| flag.to_owned()).collect()].concat();
    let flags = with(&["--profile", "2022", "--tls12", "--resumption", "bound", "--extension-type", "0xff5a,0xffdc"]);
    let gateway = Running::start(&flags);
    let ran = scene.request(&gateway, &["--profile=2022", "--key", "client.key"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    drop(gateway);

    let check = |flags: Vec<String>| run([vec!["gateway".to_owned()], flags, vec!["--check".to_owned()]].concat());
    let ran = check(flags);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("TLS 1.2 is on"), "{ran:?}");
    for line in ["tls12 = true", "resumption = \"bound\"", "extension-type = [\"0xff5a\", \"0xffdc\"]"] {
        assert!(ran.stdout.contains(line), "{line} in {}", ran.stdout);
    }
    assert_eq!(check(with(&["--tls12"])).code, 2);
    assert_eq!(check(with(&["--extension-type", "0xff5a,0xff5a"])).code, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_any_more_does_not_refuse_clients() {
    let scene = Scene::start().await;
    let mut child = dance().arg("gateway").args(scene.flags()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut first).unwrap();
    let address = first.trim_end().rsplit('=').next().unwrap().to_owned();
    // The reading end of its standard error is closed now.
    let gateway = Running { child, address, log: mpsc::channel().1 };
    for _ in 0..2 {
        let ran = scene.request(&gateway, &["--key", "client.key"]).await;
        assert_eq!(ran.code, 0, "{ran:?}");
    }
}

// SEC-06
#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_json_and_without_names_where_asked() {
    let scene = Scene::start().await;
    let mut flags = scene.flags();
    flags.extend(["--log-format", "json", "--log-names", "off", "--header", "X-Who"].map(str::to_owned));
    let gateway = Running::start(&flags);
    let ran = scene.request(&gateway, &["--key", "client.key"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let seen = scene.origin.seen();
    assert_eq!((seen[0].values("X-Who"), seen[0].values("Dane-Clientid")), (vec![NAME], vec![]));
    let line = gateway.line("outcome");
    let fields: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&fields["outcome"], &fields["matched"].is_string()), (&"authenticated".into(), &true), "{line}");
    assert!(!line.contains("sensor7"), "{line}");
}

/// Clients that verify the server refuse it; its administrator hears of it before they do.
#[tokio::test(flavor = "multi_thread")]
async fn an_expired_server_certificate_draws_a_warning() {
    let scene = Scene::start().await;
    let warned = |ran: &Ran| ran.stderr.contains("has expired") && ran.stderr.contains("renew it");
    let check = || run(["gateway".to_owned(), "--check".to_owned()].into_iter().chain(scene.flags()));
    let good = check();
    assert!(good.code == 0 && !warned(&good), "{good:?}");

    let expired = CertSpec::localhost_server().expired().self_signed().unwrap();
    fs::write(scene.file("server.pem"), expired.chain_pem()).unwrap();
    fs::write(scene.file("server.key"), expired.key_pem()).unwrap();
    let checked = check();
    assert!(checked.code == 0 && warned(&checked), "{checked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_can_say_it_all_and_a_flag_wins() {
    let scene = Scene::start().await;
    let text = format!(
        "listen = \"127.0.0.1:0\"\ncertificate = \"server.pem\"\nkey = \"server.key\"\norigin = \"{}\"\nallow = [\"other.example.com\"]\n\
         [dns]\nresolver = [\"{}\"]\ntrust-anchor = \"anchor\"\n",
        scene.origin.address(),
        scene.dns.addr()
    );
    fs::write(scene.files.path().join("gateway.toml"), &text).unwrap();
    let config = ["--config".to_owned(), scene.file("gateway.toml")];
    let gateway = Running::start(&config);
    let ran = scene.request(&gateway, &["--key", "client.key"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    let line = gateway.line("outcome=");
    assert!(line.contains("name-not-allowed"), "{line}");
    assert!(scene.dns.tlsa_queries().is_empty());

    let mut flags = config.to_vec();
    flags.extend(["--allow", NAME, "--timeout", "1s"].map(str::to_owned));
    let gateway = Running::start(&flags);
    let ran = scene.request(&gateway, &["--key", "client.key"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");

    // The effective configuration holds both, and can be used as a file itself.
    let checked = run(["gateway".to_owned(), "--check".to_owned()].iter().chain(&flags));
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(checked.stdout.contains(&format!("allow = [\"{NAME}\"]")), "{checked:?}");
    assert!(checked.stdout.contains("timeout = \"1s\"") && checked.stdout.contains("max-connections"), "{checked:?}");
    let copy = scene.file("copy.toml");
    fs::write(&copy, &checked.stdout).unwrap();
    assert_eq!(run(["gateway", "--check", "--config", &copy]).stdout, checked.stdout);
}

// HTTP-07, HTTP-08, HTTP-14
#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_forwarded_where_a_flag_says_so_and_nobody_is_looked_up() {
    let scene = Scene::start().await;
    let all = scene.flags();
    let at = all.iter().position(|flag| flag == "--allow").unwrap();
    let (where_to, who) = all.split_at(at);
    let forward = [where_to, &["--client-certificates".to_owned(), "forward".to_owned()]].concat();
    let gateway = Running::start(&forward);
    let ran = scene.request_with(&gateway, &[], &["--cert", "client.pem", "--key", "client.key"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let line = gateway.line("outcome=");
    assert!(line.contains("outcome=\"forwarded\" certificates=1"), "{line}");
    assert_eq!(scene.origin.seen()[0].values("client-cert").len(), 1);
    assert!(scene.dns.queries().is_empty());
    assert_eq!(gateway.signal("-TERM").0.code(), Some(0));

    // Each flag about who clients are, with why it has no place here.
    let start = |more: &[String]| run([&["gateway".to_owned(), "--check".to_owned()], &forward[..], more].concat());
    let checked = start(&[]);
    assert!(checked.code == 0 && checked.stdout.contains("client-certificates = \"forward\""), "{checked:?}");
    start(&who[..2]).assert_usage_error("`allow` is about finding out who clients are");
    start(&who[2..4]).assert_usage_error("`dns` is about");
    start(&["--resumption".to_owned(), "bound".to_owned()]).assert_usage_error("leave `resumption` out");
    start(&["--header".to_owned(), "X-Device".to_owned()]).assert_usage_error("Client-Cert");
}

// HTTP-18, DNS-02
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_does_not_start() {
    let scene = Scene::start().await;
    let without = |flag: &str| {
        let mut flags = scene.flags();
        let at = flags.iter().position(|found| found == flag).unwrap();
        flags.drain(at..at + 2);
        flags
    };
    let start = |flags: &[String], more: &[&str]| {
        let mut args = vec!["gateway".to_owned(), "--check".to_owned()];
        args.extend(flags.iter().cloned());
        args.extend(more.iter().map(|&arg| arg.to_owned()));
        run(args)
    };
    assert_eq!(start(&scene.flags(), &[]).code, 0);
    start(&without("--allow"), &[]).assert_usage_error("the allow-list is empty");
    start(&without("--certificate"), &[]).assert_usage_error("`certificate` has no default");
    start(&without("--origin"), &["--origin", "192.0.2.1:80"]).assert_usage_error("not on this host");
    start(&without("--resolver"), &["--resolver", "192.0.2.1", "--dns-mode", "ad"]).assert_usage_error("AD bit");
    start(&without("--key"), &["--key", &scene.file("client.key")]).assert_usage_error("does not belong");
    start(&scene.flags(), &["--allow", "*.com"]).assert_usage_error("would admit strangers");

    fs::write(scene.files.path().join("bad.toml"), "alow = []\n").unwrap();
    run(["gateway", "--config", &scene.file("bad.toml")]).assert_usage_error("unknown field `alow`");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut flags = without("--listen");
    flags.extend(["--listen".to_owned(), address]);
    let ran = run(["gateway".to_owned()].iter().chain(&flags));
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.contains("cannot listen on"), "{ran:?}");
}
