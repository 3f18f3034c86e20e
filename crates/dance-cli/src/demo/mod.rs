//! The demonstration: three clients get in, three do not, and every sentence that is told is checked.

use std::time::Duration;

use dance_core::reason::Reason;
use dance_testkit::{CertSpec, Identity};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, timeout};

use crate::Error;

mod app;
mod client;
mod scene;
mod teller;

use client::{Presents, Saw, visit};
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
    name: &'static str,
    identity: &'a Identity,
    presents: Presents,
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
pub(crate) async fn run(keep: bool) -> Result<(), Error> {
    let started = Instant::now();
    let mut teller = Teller::new();
    let mut scene = Scene::set().await?;
    teller.opening(&scene)?;

    teller.heading("Three clients connect")?;
    let (sensor, robot, truck) = (scene.sensor.clone(), scene.robot.clone(), scene.truck.clone());
    let let_in = |record, wildcard| End::Authenticated { record, wildcard };
    for (step, name, identity, presents, ends) in [
        ("sensor7, with a self-signed certificate", SENSOR, &sensor, Presents::Certificate, let_in("3 1 1", false)),
        (
            "robot3, with a bare key and no certificate at all",
            ROBOT,
            &robot,
            Presents::RawPublicKey,
            let_in("3 1 1", false),
        ),
        (
            "truck12, with a certificate of the fleet's CA; DNS has no record of its own for it",
            TRUCK,
            &truck,
            Presents::Certificate,
            let_in("2 0 1", true),
        ),
    ] {
        perform(&mut scene, &mut teller, Visit { step, name, identity, presents, ends }).await?;
    }

    teller.heading("Two that should not get in")?;
    let thief = CertSpec::client(SENSOR).self_signed().map_err(Error::DemoCertificates)?;
    perform(
        &mut scene,
        &mut teller,
        Visit {
            step: "somebody who says to be sensor7, with another key",
            name: SENSOR,
            identity: &thief,
            presents: Presents::Certificate,
            ends: End::Refused { reason: Reason::NoMatch, asks_dns: true },
        },
    )
    .await?;
    let stranger = CertSpec::client(STRANGER).self_signed().map_err(Error::DemoCertificates)?;
    perform(
        &mut scene,
        &mut teller,
        Visit {
            step: "a name that nobody has let in: refused before DNS is asked",
            name: STRANGER,
            identity: &stranger,
            presents: Presents::Certificate,
            ends: End::Refused { reason: Reason::NameNotAllowed, asks_dns: false },
        },
    )
    .await?;

    teller.heading("Deleting the record is the revocation")?;
    scene.dns.withdraw(SENSOR).map_err(Error::DemoDns)?;
    teller.line(format_args!("The record of {SENSOR} is gone from DNS. Its TTL was {SENSOR_TTL} s:"))?;
    teller.countdown(SENSOR_TTL).await?;
    perform(
        &mut scene,
        &mut teller,
        Visit {
            step: "sensor7, with the certificate that was good before",
            name: SENSOR,
            identity: &sensor,
            presents: Presents::Certificate,
            ends: End::Refused { reason: Reason::TlsaAbsent, asks_dns: true },
        },
    )
    .await?;

    teller.closing(started.elapsed(), keep)?;
    if keep {
        teller.commands(&scene)?;
        watch(&mut scene, &mut teller).await?;
    }
    scene.strike().await
}

/// Has a client visit, and compares what everybody saw with what must have happened.
async fn perform(scene: &mut Scene, teller: &mut Teller, visit_: Visit<'_>) -> Result<(), Error> {
    let Visit { step, name, identity, presents, ends } = visit_;
    scene.dns.clear_log();
    let saw = visit(scene, name, identity, presents).await?;
    let event = timeout(LOG_PATIENCE, scene.events.recv())
        .await
        .ok()
        .flatten()
        .ok_or_else(|| differs(step, "the gateway's log", "a line about this client", "none"))?;
    let requests = scene.app.take_seen();
    let asked = scene.dns.queries().len();

    let (outcome, reason, client, application) = match ends {
        End::Authenticated { .. } => {
            ("authenticated", None, Saw::Answer(format!("hello, {name}")), vec![name.to_owned()])
        }
        End::Refused { reason, .. } => ("refused", Some(reason), Saw::Refusal, Vec::new()),
    };
    same(step, "the gateway's outcome", &outcome, &event.outcome)?;
    same(step, "the gateway's reason", &reason, &event.reason)?;
    same(step, "the name in the gateway's log", &Some(name.to_owned()), &event.name)?;
    same(step, "what the client saw", &client, &saw)?;
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
    teller.visit(step, &saw, &requests, &event)
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
        let mut scene = Scene::set().await.unwrap();
        let sensor = scene.sensor.clone();
        let teller = &mut Teller::new();
        let sensor_visit = |ends| Visit {
            step: "sensor7 comes",
            name: SENSOR,
            identity: &sensor,
            presents: Presents::Certificate,
            ends,
        };
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
