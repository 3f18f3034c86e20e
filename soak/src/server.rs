//! The gateway's process: it serves until its standard input ends, and writes a line about each client.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc;

use dance_gateway::{Config, Gateway, VerdictEvent};
use tokio::io::AsyncReadExt as _;
use tokio::task::JoinSet;

/// One gateway for each configuration file. First come their addresses, one a line.
#[tokio::main]
pub(crate) async fn run(configurations: &[&str]) -> ExitCode {
    // A task that panics must not go unseen.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{panic}");
        std::process::abort();
    }));
    // The log is written as ever, and read by nobody.
    tracing_subscriber::fmt().with_writer(std::io::sink).init();
    let (lines, to_write) = mpsc::channel::<String>();
    std::thread::spawn(move || {
        let mut out = std::io::stdout();
        // Until the gateways are gone, or nobody reads any more.
        while let Ok(line) = to_write.recv()
            && writeln!(out, "{line}").is_ok()
        {}
    });
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut gateways = JoinSet::new();
    for configuration in configurations {
        let config = Config::read(Path::new(configuration)).unwrap();
        let lines = lines.clone();
        let gateway = Gateway::bind(&config, dance_gateway::resolver(&config).unwrap()).unwrap();
        lines.send(gateway.local_addr().to_string()).unwrap();
        let gateway = gateway.observed_by(move |event| drop(lines.send(line(event))));
        let mut stopped = stopped.clone();
        gateways.spawn(gateway.run(async move { drop(stopped.wait_for(|stopped| *stopped).await) }));
    }
    let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
    stop.send_replace(true);
    let orderly = gateways.join_all().await.into_iter().all(|orderly| orderly);
    if orderly { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Address, outcome, and who it is or why it is nobody.
fn line(event: &VerdictEvent) -> String {
    let client = event.client().map(|client| client.identity().to_owned());
    let detail = client.or_else(|| Some(event.reason()?.code().to_owned())).unwrap_or_default();
    format!("{} {} {detail}", event.peer, event.code()).trim_end().to_owned()
}
