//! How the story is told.

use crate::Error;
use crate::demo::scene::{ALLOW, ROBOT, SENSOR, STRANGER, TRUCK};
use crate::demo::teller::{BOLD, DIM, Teller, tell};

use super::app::Heard;
use super::client::Saw;
use super::scene::{Check, Scene};

pub(super) fn opening(teller: &mut Teller, scene: &Scene) -> Result<(), Error> {
    tell(format_args!(
        "{BOLD}Who is connecting? The application finds out, and the load balancer stays as it is.{BOLD:#}\n\n\
         The balancer ends TLS. It takes any certificate, has the client prove that it holds the key, and forwards\n\
         it in a header (RFC 9440). The request says the client's name. The application looks up the TLSA record at\n\
         that name, proven by DNSSEC, and compares.\n\
         {DIM}What follows runs in this one process, on loopback. Each ✓ was checked.{DIM:#}\n"
    ))?;
    teller.records(&scene.records)?;
    teller.heading("On the server: a web application, and a load balancer in front of it")?;
    let (application, balancer) = (scene.app.address(), scene.terminator.address);
    teller.line(format_args!("application  http://{application}   {DIM}lets in {}{DIM:#}", ALLOW.join(" and ")))?;
    teller
        .line(format_args!("balancer     https://{balancer}  {DIM}takes any certificate, knows nothing of DNS{DIM:#}"))
}

/// A visit that went as it had to.
pub(super) fn visit(
    teller: &mut Teller,
    step: &str,
    shown: usize,
    saw: &Saw,
    heard: &[Heard],
    check: &Check,
) -> Result<(), Error> {
    teller.went(step)?;
    let client = match saw.body.as_str() {
        "" => format!("{}, and no reason", saw.status),
        body => format!("{}: \"{body}\"", saw.status),
    };
    let forwarded = match shown {
        0 => "no certificate".to_owned(),
        1 => "its certificate".to_owned(),
        many => format!("its certificate, and {} more of the chain", many - 1),
    };
    let names: Vec<_> = heard.iter().filter_map(|heard| heard.client.as_deref()).collect();
    let application = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    teller.fact("the client saw", client)?;
    teller.fact("the balancer passed", forwarded)?;
    teller.fact("the check said", check.in_words())?;
    teller.fact("the application saw", application)
}

impl Check {
    /// The log line about a request, in words.
    pub(super) fn in_words(&self) -> String {
        let matched = self.matched.as_ref().map_or(String::new(), |matched| format!(" by {matched}"));
        format!("{}{matched} ({})", self.outcome, self.dns)
    }
}

/// What to try against the scene.
pub(super) fn commands(teller: &mut Teller, scene: &Scene) -> Result<(), Error> {
    let directory = scene.stage.write_clients(&scene.clients())?.display();
    let url = format!("https://localhost:{}/ --server-ca {directory}/server-ca.pem", scene.terminator.address.port());
    let holds = |name: &str| format!("--cert {directory}/{name}.cert.pem --key {directory}/{name}.key.pem");
    let says = |name: &str| format!("-H Dane-Clientid-Asserted:{name}");
    let commands = [
        ("sensor7", format!("request {url} {} {}", holds("sensor7"), says(SENSOR))),
        ("robot3, whose certificate has expired", format!("request {url} {} {}", holds("robot3"), says(ROBOT))),
        ("truck12, by the CA of its fleet", format!("request {url} {} {}", holds("truck12"), says(TRUCK))),
        (
            "robot3's name with truck12's certificate: 401",
            format!("request {url} {} {}", holds("truck12"), says(ROBOT)),
        ),
        ("a name that is not on the list: 403", format!("request {url} {} {}", holds("sensor7"), says(STRANGER))),
        ("no certificate: 401", format!("request {url} {}", says(SENSOR))),
    ];
    teller.invite(directory, &commands)
}
