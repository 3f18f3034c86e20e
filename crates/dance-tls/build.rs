//! Refuses builds of OpenSSL that cannot do the work.

use std::env;

/// OpenSSL 3.5.0, in the form of `OPENSSL_VERSION_NUMBER`. Raw public keys are older (3.2), but 3.5 is the oldest series
/// that is supported.
const OLDEST: u64 = 0x3050_0000;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for name in ["OPENSSL_NO_VENDOR", "OPENSSL_STATIC"] {
        println!("cargo::rerun-if-env-changed={name}");
    }

    // `links` metadata of openssl-sys.
    let found = env::var("DEP_OPENSSL_VERSION_NUMBER").ok().and_then(|hex| u64::from_str_radix(&hex, 16).ok());
    match found {
        None => println!(
            "cargo::error=dance-tls needs OpenSSL 3.5 or newer, and openssl-sys found a library that is not OpenSSL \
             (LibreSSL, BoringSSL or AWS-LC?). Set OPENSSL_DIR to an OpenSSL, or build with the feature `vendored`."
        ),
        Some(number) if number < OLDEST => println!(
            "cargo::error=dance-tls needs OpenSSL 3.5 or newer, and found {}.{}.{}. Set OPENSSL_DIR to a newer one, or \
             build with the feature `vendored` and without OPENSSL_NO_VENDOR.",
            number >> 28,
            number >> 20 & 0xff,
            number >> 4 & 0xff
        ),
        Some(_) => {}
    }

    // For the check of our declarations against the C headers.
    if let Ok(include) = env::var("DEP_OPENSSL_INCLUDE") {
        println!("cargo::rustc-env=DANCE_OPENSSL_INCLUDE={include}");
    }
    // A shared libssl does not export the function that `misbehave` needs.
    let set = |name| env::var(name).is_ok_and(|value| value != "0");
    let feature = |name: &str| env::var_os(format!("CARGO_FEATURE_{name}")).is_some();
    let linked_statically = set("OPENSSL_STATIC") || (feature("VENDORED") && !set("OPENSSL_NO_VENDOR"));
    if feature("MISBEHAVE") && !linked_statically {
        println!(
            "cargo::error=the tests need OpenSSL linked statically: set OPENSSL_STATIC=1 (libssl.a comes with the \
             development package), or build with the feature `vendored` and without OPENSSL_NO_VENDOR."
        );
    }
}
