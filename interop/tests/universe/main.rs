//! `dance resolve` against a DNS that was built, signed and served with other people's tools, through other people's resolvers.
#![allow(clippy::unwrap_used, reason = "tests")]

mod besides;
mod table;

use std::net::SocketAddr;

use dance_interop::process::{dance, run, text};
use dance_interop::universe::{BIG, Case, DEV1, EXACT, Finds, Universe, WILD};
use serde_json::Value;

/// What `dance resolve` prints.
fn resolve(universe: &Universe, resolver: SocketAddr, query: &str, options: &[&str]) -> Value {
    let mut command = dance();
    command.args(["resolve", query, "--format", "json", "--resolver", &resolver.to_string()]).args(options);
    let output = run(command.arg("--trust-anchor").arg(&universe.trust_anchor));
    let said = || format!("{command:?}: {}", text(&output));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said()));
    let code = match verdict(&found).as_str() {
        "S" => 0,
        "T" => 3,
        _ => 1,
    };
    assert_eq!(output.status.code(), Some(code), "{}", said());
    found
}

/// In the letters of [`Case::expected`].
fn verdict(found: &Value) -> String {
    match (found["state"].as_str().unwrap(), found["answer"].as_str().unwrap()) {
        ("secure", "records") => "S",
        ("secure", "nxdomain") => "SX",
        ("secure", "nodata") => "SN",
        ("insecure", "none") => "I",
        ("bogus", "none") => "B",
        ("indeterminate", "none") => "T",
        _ => panic!("no verdict: {found}"),
    }
    .to_owned()
}

/// What is wrong with what was found, beside the verdict.
fn fault(case: &Case, found: &Value) -> Option<String> {
    let one = |data: &str| vec![format!("3 1 1 {data}")];
    let records = match (found["answer"].as_str(), case.finds) {
        (Some("records"), Finds::Dev1 | Finds::Dev1ByWildcard) => one(DEV1),
        (Some("records"), Finds::Wild) => one(WILD),
        (Some("records"), Finds::Exact) => one(EXACT),
        (Some("records"), Finds::Big) => (0..BIG).map(|n| format!("3 1 1 {n:064x}")).collect(),
        _ => Vec::new(),
    };
    let mut given: Vec<&str> =
        found["records"].as_array().unwrap().iter().map(|record| record.as_str().unwrap()).collect();
    given.sort_unstable();
    if given != records {
        return Some(format!("records {given:?}"));
    }
    if found["answer"] != "records" {
        return None;
    }
    // In AD mode nobody knows.
    let wildcard = matches!(case.finds, Finds::Wild | Finds::Dev1ByWildcard);
    if found["wildcard"].as_bool().is_some_and(|found| found != wildcard) {
        return Some(format!("wildcard: {}", found["wildcard"]));
    }
    let owner = if case.end.is_empty() { case.query } else { case.end };
    (found["owner"] != owner).then(|| format!("owner {}", found["owner"]))
}
