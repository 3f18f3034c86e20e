//! The demonstration: some clients get in, others do not, and every sentence that is told is checked.

use std::time::Duration;

use dance_core::clientid::{Profile, TlsVersion};
use dance_core::reason::Reason;
use dance_testkit::{CertSpec, Identity};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, timeout};

use crate::Error;

mod app;
mod client;
pub(crate) mod cooperative;
mod scene;
mod stage;
mod teller;

use client::{Presents, Saw, Says, Seen, Visitor, visit};
use scene::{Dns, ROBOT, SENSOR, SENSOR_TTL, STRANGER, Scene, TRUCK};
use teller::Teller;

/// Something that did not go as it was told.
#[derive(Debug)]
pub struct Difference {
    /// The step's title.
    pub step: &'static str,
    /// What was looked at.
    pub what: &'static str,
    /// What should have been there.
    pub expected: String,
    /// What was.
    pub found: String,
}

/// One client's visit, and how it must end.
struct Visit<'a> {
    step: &'static str,
    visitor: Visitor<'a>,
    ends: End,
}

/// How a visit ends.
#[derive(Clone, Copy)]
enum End {
    /// The application knows the client, by a record with these parameters.
    Authenticated { record: &'static str, wildcard: bool },
    /// The client is refused during its handshake.
    Refused { reason: Reason, asks_dns: bool },
}

/// How long the gateway's account of a visit may come after the visit.
const LOG_PATIENCE: Duration = Duration::from_secs(5);

/// Tells the story; with `keep` leaves the scene standing until a signal comes.
pub(crate) async fn run(profile: Profile, keep: bool) -> Result<(), Error> {
    let started = Instant::now();
    let mut teller = Teller::new();
    let mut scene = Scene::set(profile).await?;
    teller.opening(&scene)?;
    match profile {
        Profile::Current => tell_current(&mut scene, &mut teller).await?,
        Profile::Draft2022 => tell_2022(&mut scene, &mut teller).await?,
    }
    teller.closing(started.elapsed(), keep)?;
    if keep {
        teller.commands(&scene)?;
        watch(&mut scene, &mut teller).await?;
    }
    scene.strike().await
}

/// A client that says its name over TLS 1.3 and presents its certificate.
const fn somebody<'a>(name: &'static str, identity: &'a Identity) -> Visitor<'a> {
    Visitor { name, identity, presents: Presents::Certificate, says: Says::Name, over: TlsVersion::Tls13 }
}

/// Likewise over TLS 1.2, where the certificate says the name.
const fn in_tls12<'a>(name: &'static str, identity: &'a Identity) -> Visitor<'a> {
    Visitor { says: Says::InCertificate, over: TlsVersion::Tls12, ..somebody(name, identity) }
}

const fn let_in(record: &'static str, wildcard: bool) -> End {
    End::Authenticated { record, wildcard }
}

async fn tell_current(scene: &mut Scene, teller: &mut Teller) -> Result<(), Error> {
    let (sensor, robot, truck) = (scene.sensor.clone(), scene.robot.clone(), scene.truck.clone());
    teller.heading("Three clients connect")?;
    for (step, visitor, ends) in [
        ("sensor7, with a self-signed certificate", somebody(SENSOR, &sensor), let_in("3 1 1", false)),
        (
            "robot3, with a bare key and no certificate at all",
            Visitor { presents: Presents::RawPublicKey, ..somebody(ROBOT, &robot) },
            let_in("3 1 1", false),
        ),
        (
            "truck12, with a certificate of the fleet's CA; DNS has no record of its own for it",
            somebody(TRUCK, &truck),
            let_in("2 0 1", true),
        ),
    ] {
        perform(scene, teller, Visit { step, visitor, ends }).await?;
    }

    teller.heading("Two that should not get in")?;
    let thief = CertSpec::client(SENSOR).self_signed().map_err(Error::DemoCertificates)?;
    let step = "somebody who says to be sensor7, with another key";
    let ends = End::Refused { reason: Reason::NoMatch, asks_dns: true };
    perform(scene, teller, Visit { step, visitor: somebody(SENSOR, &thief), ends }).await?;
    strange(scene, teller).await?;
    withdrawn(scene, teller, somebody(SENSOR, &sensor)).await
}

async fn tell_2022(scene: &mut Scene, teller: &mut Teller) -> Result<(), Error> {
    let (sensor, robot, truck) = (scene.sensor.clone(), scene.robot.clone(), scene.truck.clone());
    teller.heading("Three clients connect over TLS 1.3")?;
    for (step, visitor, ends) in [
        ("sensor7, with a self-signed certificate", somebody(SENSOR, &sensor), let_in("3 1 1", false)),
        (
            "robot3, with a bare key and no certificate at all",
            Visitor { presents: Presents::RawPublicKey, ..somebody(ROBOT, &robot) },
            let_in("3 1 1", false),
        ),
        (
            "truck12, which sends an empty extension: its name is the one in its certificate",
            Visitor { says: Says::InCertificate, ..somebody(TRUCK, &truck) },
            let_in("2 0 1", true),
        ),
    ] {
        perform(scene, teller, Visit { step, visitor, ends }).await?;
    }

    teller.heading("Two connect over TLS 1.2, which hides no names")?;
    teller.line("There certificates and the ClientHello go in clear. Whoever can, should use TLS 1.3.")?;
    let robot = Visitor { presents: Presents::RawPublicKey, says: Says::Name, ..in_tls12(ROBOT, &robot) };
    for (step, visitor) in [
        (
            "sensor7, with its certificate; its ClientHello says only that the name is in there",
            in_tls12(SENSOR, &sensor),
        ),
        ("robot3, with its bare key; its ClientHello has to say the name", robot),
    ] {
        perform(scene, teller, Visit { step, visitor, ends: let_in("3 1 1", false) }).await?;
    }

    teller.heading("Two that should not get in")?;
    let thief = CertSpec::client(SENSOR).self_signed().map_err(Error::DemoCertificates)?;
    let step = "somebody with sensor7's name and another key, over TLS 1.2: refused within the handshake";
    let ends = End::Refused { reason: Reason::NoMatch, asks_dns: true };
    perform(scene, teller, Visit { step, visitor: in_tls12(SENSOR, &thief), ends }).await?;
    strange(scene, teller).await?;
    withdrawn(scene, teller, in_tls12(SENSOR, &sensor)).await
}

/// Another organisation's client.
async fn strange(scene: &mut Scene, teller: &mut Teller) -> Result<(), Error> {
    let stranger = CertSpec::client(STRANGER).self_signed().map_err(Error::DemoCertificates)?;
    let step = "a name that nobody has let in: refused before DNS is asked";
    let ends = End::Refused { reason: Reason::NameNotAllowed, asks_dns: false };
    perform(scene, teller, Visit { step, visitor: somebody(STRANGER, &stranger), ends }).await
}

/// The record is deleted, and its client comes once more.
async fn withdrawn(scene: &mut Scene, teller: &mut Teller, visitor: Visitor<'_>) -> Result<(), Error> {
    teller.heading("Deleting the record is the revocation")?;
    scene.stage.dns.withdraw(SENSOR).map_err(Error::DemoDns)?;
    teller.line(format_args!("The record of {SENSOR} is gone from DNS. Its TTL was {SENSOR_TTL} s:"))?;
    teller.countdown(SENSOR_TTL).await?;
    let step = "sensor7, with the certificate that was good before";
    let ends = End::Refused { reason: Reason::TlsaAbsent, asks_dns: true };
    perform(scene, teller, Visit { step, visitor, ends }).await
}

/// Has a client visit, and compares what everybody saw with what must have happened.
async fn perform(scene: &mut Scene, teller: &mut Teller, visit_: Visit<'_>) -> Result<(), Error> {
    let Visit { step, visitor, ends } = visit_;
    let Visitor { name, over, .. } = visitor;
    scene.stage.dns.clear_log();
    let seen = visit(scene, visitor).await?;
    let event = timeout(LOG_PATIENCE, scene.events.recv())
        .await
        .ok()
        .flatten()
        .ok_or_else(|| differs(step, "the gateway's log", "a line about this client", "none"))?;
    let requests = scene.app.take_seen();
    let asked = scene.stage.dns.queries().len();

    let (outcome, reason, client, application) = match ends {
        End::Authenticated { .. } => {
            ("authenticated", None, Saw::Answer(format!("hello, {name}")), vec![name.to_owned()])
        }
        End::Refused { reason, .. } => {
            ("refused", Some(reason), Saw::Refusal { in_handshake: over == TlsVersion::Tls12 }, Vec::new())
        }
    };
    let client = Seen { saw: client, name_in_clear: over == TlsVersion::Tls12 };
    same(step, "the gateway's outcome", &outcome, &event.outcome)?;
    same(step, "the gateway's reason", &reason, &event.reason)?;
    same(step, "the name in the gateway's log", &Some(name.to_owned()), &event.name)?;
    same(step, "what the client saw and showed", &client, &seen)?;
    same(step, "the names that the application saw", &application, &requests)?;
    match ends {
        End::Authenticated { record, wildcard } => {
            same(step, "the record that matched", &Some(record.to_owned()), &event.matched)?;
            same(step, "whether it came from a wildcard", &wildcard, &event.wildcard)?;
        }
        End::Refused { asks_dns: false, .. } => {
            same(step, "what the gateway needed of DNS", &Dns::NotAsked, &event.dns)?;
            same(step, "the queries that DNS saw", &0, &asked)?;
        }
        End::Refused { asks_dns: true, .. } => {
            // From the zone or from memory: that depends on how fast this machine is.
            if event.dns == Dns::NotAsked {
                return Err(differs(step, "what the gateway needed of DNS", "an answer", "DNS was not asked"));
            }
        }
    }
    teller.visit(step, scene.profile, &seen, &requests, &event)
}

fn same<T: PartialEq + std::fmt::Debug>(
    step: &'static str,
    what: &'static str,
    expected: &T,
    found: &T,
) -> Result<(), Error> {
    if expected == found {
        return Ok(());
    }
    Err(differs(step, what, &format!("{expected:?}"), &format!("{found:?}")))
}

fn differs(step: &'static str, what: &'static str, expected: &str, found: &str) -> Error {
    Error::Demo(Difference { step, what, expected: expected.to_owned(), found: found.to_owned() })
}

/// Tells about everyone who connects, until a signal comes.
async fn watch(scene: &mut Scene, teller: &mut Teller) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            Some(event) = scene.events.recv() => teller.event(&event)?,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_differs_is_told_with_its_step() {
        let mut scene = Scene::set(Profile::Current).await.unwrap();
        let sensor = scene.sensor.clone();
        let teller = &mut Teller::new();
        let sensor_visit = |ends| Visit { step: "sensor7 comes", visitor: somebody(SENSOR, &sensor), ends };
        let as_it_is = End::Authenticated { record: "3 1 1", wildcard: false };
        perform(&mut scene, teller, sensor_visit(as_it_is)).await.unwrap();

        for (ends, what) in [
            (End::Refused { reason: Reason::NoMatch, asks_dns: true }, "the gateway's outcome"),
            (End::Authenticated { record: "2 0 1", wildcard: false }, "the record that matched"),
            (End::Authenticated { record: "3 1 1", wildcard: true }, "whether it came from a wildcard"),
        ] {
            let error = perform(&mut scene, teller, sensor_visit(ends)).await.unwrap_err();
            assert_eq!(error.exit(), crate::Exit::No);
            assert!(
                matches!(&error, Error::Demo(found) if found.what == what && found.step == "sensor7 comes"),
                "{error}"
            );
        }
        scene.strike().await.unwrap();
    }
}
