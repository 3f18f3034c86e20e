//! The same demonstration behind a load balancer: it forwards certificates, the application finds out whose they are, and every
//! sentence that is told is checked.

use dance_testkit::{CertSpec, Identity};
use data_encoding::BASE64;
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, timeout};

use crate::Error;
use crate::demo::scene::{Dns, ROBOT, SENSOR, STRANGER, TRUCK};
use crate::demo::teller::Teller;
use crate::demo::{LOG_PATIENCE, differs, same};

mod app;
mod client;
mod scene;
mod told;

use app::Heard;
use client::{Saw, Visitor, visit};
use scene::Scene;

const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const CLIENTID: HeaderName = HeaderName::from_static("dane-clientid");

/// How a visit ends.
#[derive(Clone, Copy)]
enum End {
    /// The application greets the client, by a record with these parameters.
    Greeted { record: &'static str },
    /// The client is refused before the application hears of it.
    Refused { status: StatusCode, reason: &'static str, asks_dns: bool },
}

/// Tells the story; with `keep` leaves the scene standing until a signal comes.
pub(crate) async fn run(keep: bool) -> Result<(), Error> {
    let started = Instant::now();
    let mut teller = Teller::new();
    let mut scene = Scene::set().await?;
    told::opening(&mut teller, &scene)?;
    tell(&mut scene, &mut teller).await?;
    teller.closing(started.elapsed(), keep)?;
    if keep {
        told::commands(&mut teller, &scene)?;
        watch(&mut scene, &mut teller).await?;
    }
    scene.strike().await
}

/// A client that says its name, and whatever else.
const fn somebody<'a>(asserts: &'static str, holds: &'a Identity) -> Visitor<'a> {
    Visitor { asserts, holds: Some(holds), forges: Vec::new() }
}

async fn tell(scene: &mut Scene, teller: &mut Teller) -> Result<(), Error> {
    let (sensor, robot, truck) = (scene.sensor.clone(), scene.robot.clone(), scene.truck.clone());
    teller.heading("Three clients that the application knows")?;
    for (step, visitor, record) in [
        ("sensor7, with a self-signed certificate", somebody(SENSOR, &sensor), "3 1 1"),
        ("robot3, whose certificate expired yesterday; its record is about the key", somebody(ROBOT, &robot), "3 1 1"),
        ("truck12, with a certificate of the fleet's CA, which is forwarded with it", somebody(TRUCK, &truck), "2 0 1"),
    ] {
        perform(scene, teller, step, &visitor, End::Greeted { record }).await?;
    }

    teller.heading("Three that it never hears of")?;
    let thief = CertSpec::client(SENSOR).self_signed().map_err(Error::DemoCertificates)?;
    let stranger = CertSpec::client(STRANGER).self_signed().map_err(Error::DemoCertificates)?;
    let unauthorized = |reason, asks_dns| End::Refused { status: StatusCode::UNAUTHORIZED, reason, asks_dns };
    let forbidden = End::Refused { status: StatusCode::FORBIDDEN, reason: "name-not-allowed", asks_dns: false };
    let nothing = Visitor { asserts: SENSOR, holds: None, forges: Vec::new() };
    for (step, visitor, end) in [
        ("somebody who says to be sensor7, with another key", somebody(SENSOR, &thief), unauthorized("no-match", true)),
        ("a name that nobody has let in: refused before DNS is asked", somebody(STRANGER, &stranger), forbidden),
        (
            "somebody who says to be sensor7, without a certificate",
            nothing.clone(),
            unauthorized("no-certificate", false),
        ),
    ] {
        perform(scene, teller, step, &visitor, end).await?;
    }

    teller.heading("What requests say beyond that gets nowhere")?;
    let claimed = vec![(CLIENTID, HeaderValue::from_static(SENSOR))];
    let step = "robot3, with \"Dane-Clientid: sensor7...\" in its request";
    let visitor = Visitor { forges: claimed, ..somebody(ROBOT, &robot) };
    perform(scene, teller, step, &visitor, End::Greeted { record: "3 1 1" }).await?;
    let copied = format!(":{}:", BASE64.encode(sensor.leaf_der()));
    // Base64 is always a value.
    let copied = HeaderValue::from_str(&copied).unwrap_or(HeaderValue::from_static("::"));
    let step = "somebody without a certificate, with sensor7's in \"Client-Cert\" in its request";
    let visitor = Visitor { forges: vec![(CLIENT_CERT, copied)], ..nothing };
    perform(scene, teller, step, &visitor, unauthorized("no-certificate", false)).await
}

/// Has a client visit, and compares what everybody saw with what must have happened.
async fn perform(
    scene: &mut Scene,
    teller: &mut Teller,
    step: &'static str,
    visitor: &Visitor<'_>,
    end: End,
) -> Result<(), Error> {
    scene.stage.dns.clear_log();
    let saw = visit(scene.terminator.address, &scene.stage.server_ca, visitor).await?;
    let forwarded = timeout(LOG_PATIENCE, scene.forwarded.recv()).await.ok().flatten();
    let forwarded =
        forwarded.ok_or_else(|| differs(step, "the terminator's log", "a line about this client", "none"))?;
    let check = timeout(LOG_PATIENCE, scene.checks.recv()).await.ok().flatten();
    let check = check.ok_or_else(|| differs(step, "the application's log", "a line about this request", "none"))?;
    let heard = scene.app.take_heard();
    let asked = scene.stage.dns.queries().len();

    let shown = visitor.holds.map_or(0, |identity| identity.chain_der().len());
    same(step, "how many certificates the terminator forwarded", &Some(shown), &forwarded)?;
    let name = visitor.asserts;
    let (expected, outcome, matched, hears) = match end {
        End::Greeted { record } => {
            let saw = Saw { status: StatusCode::OK, body: format!("hello, {name}"), challenged: false };
            let hears = Heard { client: Some(name.to_owned()), header: Some(name.to_owned()) };
            (saw, "authenticated", Some(record.to_owned()), vec![hears])
        }
        End::Refused { status, reason, .. } => {
            let challenged = status == StatusCode::UNAUTHORIZED;
            (Saw { status, body: String::new(), challenged }, reason, None, Vec::new())
        }
    };
    same(step, "what the client saw", &expected, &saw)?;
    same(step, "the outcome in the application's log", &outcome, &check.outcome)?;
    same(step, "the record that matched", &matched, &check.matched)?;
    same(step, "what the application heard", &hears, &heard)?;
    match end {
        End::Refused { asks_dns: false, .. } => {
            same(step, "what the check needed of DNS", &Dns::NotAsked, &check.dns)?;
            same(step, "the queries that DNS saw", &0, &asked)?;
        }
        // From the zone or from memory: that depends on who came before.
        End::Greeted { .. } | End::Refused { asks_dns: true, .. } => {
            if check.dns == Dns::NotAsked {
                return Err(differs(step, "what the check needed of DNS", "an answer", "DNS was not asked"));
            }
        }
    }
    told::visit(teller, step, shown, &saw, &heard, &check)
}

/// Tells about every request, until a signal comes.
async fn watch(scene: &mut Scene, teller: &mut Teller) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            Some(check) = scene.checks.recv() => teller.line(format_args!("application: {}", check.in_words()))?,
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
        let visitor = somebody(SENSOR, &sensor);
        perform(&mut scene, teller, "sensor7 comes", &visitor, End::Greeted { record: "3 1 1" }).await.unwrap();

        let refused = End::Refused { status: StatusCode::FORBIDDEN, reason: "name-not-allowed", asks_dns: false };
        for (end, what) in
            [(refused, "what the client saw"), (End::Greeted { record: "2 0 1" }, "the record that matched")]
        {
            let error = perform(&mut scene, teller, "sensor7 comes", &visitor, end).await.unwrap_err();
            assert_eq!(error.exit(), crate::Exit::No);
            assert!(
                matches!(&error, Error::Demo(found) if found.what == what && found.step == "sensor7 comes"),
                "{error}"
            );
        }
        scene.strike().await.unwrap();
    }
}
