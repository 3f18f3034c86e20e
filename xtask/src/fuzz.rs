//! Builds the fuzz targets with stable Rust and runs each for a moment. fuzz/README.md explains the flags.

use std::fs;
use std::process::Command;

use crate::runner::{Context, Stop, run, succeeds};

const RUSTFLAGS: &str = "--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                         -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table";

/// Inputs for each target.
const RUNS: u32 = 5_000;

/// Where a target finds inputs to begin with, besides fuzz/seeds.
const SEEDS: &[(&str, &str)] = &[
    ("certificate_message", "spec/vectors/messages"),
    ("certificate_request", "spec/vectors/messages"),
    ("x509", "spec/vectors/certs"),
];

/// Builds and runs them all, and names those that failed.
pub(crate) fn smoke(context: &Context) -> Result<(), Stop> {
    if !succeeds(Command::new("c++").arg("--version")) {
        return Err(Stop::Skipped("libFuzzer needs a C++ compiler (Debian: g++)".into()));
    }
    // With a target named, build scripts are compiled without the flags.
    let host = context.rustc(["--print", "host-tuple"])?;
    let build = context.target.join("fuzz");
    let mut cargo = context.cargo(["build", "--quiet", "--locked", "--target", &host]);
    run(cargo.arg("--target-dir").arg(&build).current_dir(context.root.join("fuzz")).env("RUSTFLAGS", RUSTFLAGS))?;

    let mut failed = Vec::new();
    for name in targets(context)? {
        // Inputs that are found, and those that fail, stay below the target directory.
        let found = build.join("smoke").join(&name);
        fs::create_dir_all(found.join("corpus"))
            .map_err(|error| Stop::Failed(format!("{}: {error}", found.display())))?;
        let mut target = Command::new(build.join(&host).join("debug").join(&name));
        target.args([format!("-runs={RUNS}"), "-seed=1".into(), "-max_len=8192".into(), "-verbosity=0".into()]);
        target.arg(format!("-artifact_prefix={}/", found.display())).arg(found.join("corpus"));
        let seeds = SEEDS.iter().filter(|(target, _)| *target == name).map(|(_, seeds)| context.root.join(seeds));
        target.args(seeds.chain([context.root.join("fuzz/seeds").join(&name)]).filter(|seeds| seeds.is_dir()));
        if let Err(Stop::Failed(why) | Stop::Skipped(why)) = run(&mut target) {
            println!("{why}; the input is in {}", found.display());
            failed.push(name);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(Stop::Failed(failed.join(", "))) }
}

/// The names of the targets, by their files.
fn targets(context: &Context) -> Result<Vec<String>, Stop> {
    let directory = context.root.join("fuzz/fuzz_targets");
    let failed = |error| Stop::Failed(format!("{}: {error}", directory.display()));
    let mut names = Vec::new();
    for entry in fs::read_dir(&directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}
