//! How the story is told: plain sentences, a mark for every sentence that was checked.

use std::fmt::{self, Display};
use std::io::{self, Write as _};
use std::time::Duration;

use anstyle::{AnsiColor, Effects, Style};
use dance_core::clientid::Profile;
use tokio::time::sleep;

use crate::Error;
use crate::demo::client::{Saw, Seen};
use crate::demo::scene::{ALLOW, Dns, Event, ROBOT, SENSOR, Scene, TRUCK};
use crate::demo::stage::Record;

pub(super) const BOLD: Style = Style::new().effects(Effects::BOLD);
pub(super) const DIM: Style = Style::new().effects(Effects::DIMMED);
const GOOD: Style = AnsiColor::Green.on_default().effects(Effects::BOLD);

/// So many digits of a digest tell it apart.
const DIGEST_SHOWN: usize = 16;

/// Tells on standard output; colours only where a terminal shows them.
pub(super) struct Teller {
    checked: usize,
}

impl Teller {
    pub(super) const fn new() -> Self {
        Self { checked: 0 }
    }

    pub(super) fn line(&mut self, text: impl Display) -> Result<(), Error> {
        tell(format_args!("  {text}\n"))
    }

    pub(super) fn heading(&mut self, text: &str) -> Result<(), Error> {
        tell(format_args!("\n{BOLD}{text}{BOLD:#}\n"))
    }

    pub(super) fn opening(&mut self, scene: &Scene) -> Result<(), Error> {
        tell(format_args!(
            "{BOLD}Who is connecting? DANE client authentication answers with DNS.{BOLD:#}\n\n\
             A client's identity is a DNS name. Its credential is the TLSA record at that name, proven by DNSSEC:\n\
             a digest of the client's key, or of its organisation's CA. No PKI to run or to join, on either side.\n\
             {DIM}What follows runs in this one process, on loopback. Each ✓ was checked.{DIM:#}\n"
        ))?;
        if scene.profile == Profile::Draft2022 {
            tell(format_args!(
                "{DIM}It speaks as the drafts of 2022 did (profile 2022), over TLS 1.3 and TLS 1.2.{DIM:#}\n"
            ))?;
        }
        self.records(&scene.records)?;
        self.heading("On the server: a web application, and the gateway in front of it")?;
        self.line(format_args!(
            "application  http://{}   {DIM}knows nothing of TLS or DNS{DIM:#}",
            scene.app.address()
        ))?;
        self.line(format_args!(
            "gateway      https://{}  {DIM}lets in {}{DIM:#}",
            scene.gateway.address,
            ALLOW.join(" and ")
        ))
    }

    /// What DNS holds.
    pub(super) fn records(&mut self, records: &[Record]) -> Result<(), Error> {
        self.heading("In DNS: a zone signed with DNSSEC")?;
        for record in records {
            let shown: String = record.data.chars().take("U S M ".len() + DIGEST_SHOWN).collect();
            self.line(format_args!("{:<28} {:>3} s  TLSA {shown}...", record.owner, record.ttl))?;
            self.line(format_args!("{DIM}  {}{DIM:#}", record.meaning))?;
        }
        Ok(())
    }

    /// A step that went as it had to; facts follow.
    pub(super) fn went(&mut self, step: &str) -> Result<(), Error> {
        self.checked += 1;
        tell(format_args!("  {GOOD}✓{GOOD:#} {step}\n"))
    }

    /// A visit that went as it had to.
    pub(super) fn visit(
        &mut self,
        step: &str,
        profile: Profile,
        seen: &Seen,
        requests: &[String],
        event: &Event,
    ) -> Result<(), Error> {
        self.went(step)?;
        let client = match &seen.saw {
            Saw::Answer(text) => format!("\"{text}\""),
            Saw::Refusal { in_handshake: false } => "the TLS alert handshake_failure, and no reason".to_owned(),
            Saw::Refusal { in_handshake: true } => {
                "the TLS alert handshake_failure in the middle of its handshake, and no reason".to_owned()
            }
        };
        let application = match requests {
            [] => "nothing".to_owned(),
            names => format!("Dane-Clientid: {}", names.join(", ")),
        };
        self.fact("the client saw", client)?;
        self.fact("the application saw", application)?;
        if profile == Profile::Draft2022 {
            let readable = if seen.name_in_clear { "the client's name" } else { "no client's name" };
            self.fact("anybody could read", readable)?;
        }
        self.fact("the gateway logged", format_args!("{} ({}, {} ms)", event.in_words(), event.dns, event.millis))
    }

    pub(super) fn fact(&mut self, what: &str, text: impl Display) -> Result<(), Error> {
        tell(format_args!("      {DIM}{what:<20}{DIM:#}{text}\n"))
    }

    /// Counts the seconds down, each as it passes, and one more: the last may have begun when the record was fetched.
    pub(super) async fn countdown(&mut self, seconds: u32) -> Result<(), Error> {
        tell("  ")?;
        for left in (0..=seconds).rev() {
            tell(format_args!("{DIM}{left} ...{DIM:#} "))?;
            sleep(Duration::from_secs(1)).await;
        }
        tell("over\n")
    }

    pub(super) fn closing(&mut self, elapsed: Duration, keep: bool) -> Result<(), Error> {
        let (checked, seconds) = (self.checked, elapsed.as_secs_f32());
        let hint = if keep { "" } else { " With --keep it stays, and there are commands to try." };
        tell(format_args!("\n{GOOD}All {checked} went as told{GOOD:#}, in {seconds:.1} s.{DIM}{hint}{DIM:#}\n"))
    }

    /// What to try against the scene.
    pub(super) fn commands(&mut self, scene: &Scene) -> Result<(), Error> {
        let directory = scene.stage.write_clients(&scene.clients())?.display();
        let dns = format!("--resolver {} --trust-anchor {directory}/trust-anchor", scene.stage.dns.addr());
        let profile = match scene.profile {
            Profile::Current => "",
            Profile::Draft2022 => " --profile 2022",
        };
        let url = format!(
            "https://localhost:{}/ --server-ca {directory}/server-ca.pem{profile}",
            scene.gateway.address.port()
        );
        let key = |name: &str| format!("--key {directory}/{name}.key.pem");
        let mut commands = vec![
            ("robot3, by its bare key", format!("request {url} {dns} --name {ROBOT} {}", key("robot3"))),
            (
                "truck12, by its certificate",
                format!("request {url} {dns} --name {TRUCK} --cert {directory}/truck12.cert.pem {}", key("truck12")),
            ),
            (
                "robot3's name with truck12's key: the client looks into DNS first, and does not even connect",
                format!("request {url} {dns} --name {ROBOT} {}", key("truck12")),
            ),
            (
                "the same without looking: refused by the gateway",
                format!("request {url} --no-record-check --name {ROBOT} {}", key("truck12")),
            ),
            ("what DNS says about truck12", format!("resolve {TRUCK} {dns}")),
            ("and about sensor7, whose record is gone", format!("resolve {SENSOR} {dns}")),
        ];
        if scene.profile == Profile::Draft2022 {
            commands.push((
                "robot3 over TLS 1.2, where its name can be read",
                format!(
                    "request {url} {dns} --tls12 --no-tls13 --name-in-client-hello --name {ROBOT} {}",
                    key("robot3")
                ),
            ));
        }
        self.invite(directory, &commands)
    }

    /// Commands of this program, each with its title.
    pub(super) fn invite(&mut self, directory: impl Display, commands: &[(&str, String)]) -> Result<(), Error> {
        let dance = std::env::args().next().unwrap_or_else(|| "dance".to_owned());
        self.heading("It stays as it is. In another terminal, try:")?;
        for (title, command) in commands {
            tell(format_args!("\n  {DIM}# {title}{DIM:#}\n  {dance} {command}\n"))?;
        }
        tell(format_args!("\n{DIM}Ctrl-C ends it and removes {directory}.{DIM:#}\n\n"))
    }

    /// Somebody who came by while the scene was kept.
    pub(super) fn event(&mut self, event: &Event) -> Result<(), Error> {
        let name = event.name.as_deref().unwrap_or("no name");
        self.line(format_args!("gateway: {name} {} ({}, {} ms)", event.in_words(), event.dns, event.millis))
    }
}

impl Display for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAsked => f.write_str("DNS not asked"),
            Self::Cached => f.write_str("DNS answer still cached"),
            Self::Queries(1) => f.write_str("1 DNS query"),
            Self::Queries(many) => write!(f, "{many} DNS queries"),
        }
    }
}

/// A reader that has gone away has heard enough.
pub(super) fn tell(text: impl Display) -> Result<(), Error> {
    let mut out = anstream::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::Output(error)),
        _ => Ok(()),
    }
}
