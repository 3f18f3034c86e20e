//! What `cargo xtask test` runs, in order: quick and telling first.

use crate::fuzz;
use crate::memory;
use crate::peers;
use crate::requirements;
use crate::runner::{Context, Stop, run, succeeds};

/// A part of the test run that passes, fails or is skipped on its own.
pub(crate) struct Group {
    /// What `--only` takes.
    pub(crate) name: &'static str,
    /// What it shows.
    pub(crate) what: &'static str,
    /// Whether skipping it is fine under CI too.
    pub(crate) optional: bool,
    /// Runs it.
    pub(crate) run: fn(&Context) -> Result<(), Stop>,
}

/// In the order in which they run.
pub(crate) const GROUPS: &[Group] = &[
    Group { name: "fmt", what: "sources are formatted", optional: false, run: fmt },
    Group { name: "requirements", what: "docs/requirements.md is true", optional: false, run: requirements_table },
    Group { name: "clippy", what: "no lints", optional: false, run: clippy },
    Group { name: "test", what: "unit, vector, property and end-to-end tests", optional: false, run: test },
    Group { name: "memory", what: "the TLS tests under valgrind", optional: false, run: memory::check },
    Group { name: "wasm", what: "the core builds where there is no operating system", optional: true, run: wasm },
    Group { name: "vectors", what: "the command runs the conformance vectors", optional: false, run: vectors },
    Group { name: "demo", what: "the demo runs, in both profiles", optional: false, run: demo },
    Group { name: "interop", what: "programs that others wrote", optional: false, run: interop },
    Group { name: "doc", what: "documentation builds without warnings", optional: false, run: doc },
    Group { name: "fuzz", what: "each fuzz target, a few thousand inputs", optional: false, run: fuzz::smoke },
    Group { name: "deny", what: "licences, sources and bans of dependencies", optional: true, run: deny },
];

/// The group of this name.
pub(crate) fn find(name: &str) -> Option<&'static Group> {
    GROUPS.iter().find(|group| group.name == name)
}

/// Prints the groups.
pub(crate) fn list() {
    for group in GROUPS {
        println!("{:<12} {}{}", group.name, group.what, if group.optional { " (optional)" } else { "" });
    }
}

fn fmt(context: &Context) -> Result<(), Stop> {
    run(&mut context.cargo(["fmt", "--all", "--check"]))
}

fn requirements_table(context: &Context) -> Result<(), Stop> {
    println!("{}", requirements::check(&context.root).map_err(Stop::Failed)?);
    Ok(())
}

fn clippy(context: &Context) -> Result<(), Stop> {
    run(&mut context.cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn test(context: &Context) -> Result<(), Stop> {
    run(&mut context.cargo(["test", "--workspace", "--exclude", "dance-interop", "--no-fail-fast"]))
}

fn wasm(context: &Context) -> Result<(), Stop> {
    const TARGET: &str = "wasm32-unknown-unknown";
    let libdir = context.rustc(["--print", "target-libdir", "--target", TARGET])?;
    if !std::path::Path::new(&libdir).is_dir() {
        return Err(Stop::Skipped(format!("target {TARGET} is missing (rustup target add {TARGET})")));
    }
    run(&mut context.cargo(["build", "--package", "dance-core", "--target", TARGET]))
}

fn vectors(context: &Context) -> Result<(), Stop> {
    run(&mut context.dance(["vectors", "run", "spec/vectors/vectors.json"]))
}

fn demo(context: &Context) -> Result<(), Stop> {
    run(&mut context.dance(["demo"]))?;
    run(&mut context.dance(["demo", "--profile", "2022"]))
}

fn interop(context: &Context) -> Result<(), Stop> {
    peers::provide(context)?;
    run(&mut context.cargo(["test", "--package", "dance-interop", "--no-fail-fast"]))
}

fn doc(context: &Context) -> Result<(), Stop> {
    run(context.cargo(["doc", "--no-deps", "--workspace"]).env("RUSTDOCFLAGS", "-D warnings"))
}

fn deny(context: &Context) -> Result<(), Stop> {
    if !succeeds(&mut context.cargo(["deny", "--version"])) {
        return Err(Stop::Skipped("cargo-deny is not installed (cargo install cargo-deny)".into()));
    }
    // Not advisories: they need the network, and today's commit would fail tomorrow.
    run(&mut context.cargo(["deny", "--log-level", "error", "check", "bans", "licenses", "sources"]))
}
