//! The binary `dance`.

use std::process::ExitCode;

fn main() -> ExitCode {
    dance_cli::run(std::env::args_os()).into()
}
