//! The DNS that the other tests rely on, as ldns's drill sees it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;

use dance_interop::dns::World;
use dance_interop::process::{program, run_ok};

fn drill(resolver: SocketAddr, name: &str) -> String {
    let mut command = program("drill");
    command.args(["-D", "-p", &resolver.port().to_string(), name, &format!("@{}", resolver.ip()), "TLSA"]);
    run_ok(&command)
}

#[test]
fn the_world_is_as_it_should_be() {
    let world = World::shared();
    for zone in ["example.com", "example.net"] {
        for name in ["sensor7._device", "any._device", "device1", "alias._alias"] {
            let answer = drill(world.validating, &format!("{name}.{zone}"));
            assert!(answer.contains("flags: qr rd ra ad ") && answer.contains("\tTLSA\t"), "{answer}");
            let answer = drill(world.iterating, &format!("{name}.{zone}"));
            assert!(answer.contains("flags: qr rd ra ;") && answer.contains("\tRRSIG\tTLSA"), "{answer}");
        }
        let answer = drill(world.validating, &format!("absent.{zone}"));
        assert!(answer.contains("NXDOMAIN") && answer.contains(" ad "), "{answer}");
    }
    for zone in ["broken.example", "expired.example"] {
        let answer = drill(world.validating, &format!("sensor7._device.{zone}"));
        assert!(answer.contains("SERVFAIL"), "{answer}");
        let answer = drill(world.iterating, &format!("sensor7._device.{zone}"));
        assert!(answer.contains("\tTLSA\t"), "{answer}");
    }
    let answer = drill(world.validating, "sensor7._device.unsigned.example");
    assert!(answer.contains("flags: qr rd ra ;") && answer.contains("\tTLSA\t"), "{answer}");
    let answer = drill(world.stripping, "sensor7._device.example.com");
    assert!(answer.contains("\tTLSA\t") && !answer.contains("RRSIG"), "{answer}");
}

#[test]
fn queries_are_counted() {
    let world = World::shared();
    assert_eq!(world.queries("counted._device.example.com"), 0);
    drill(world.validating, "counted._device.example.com");
    assert_eq!(world.queries("counted._device.example.com"), 1);
}
