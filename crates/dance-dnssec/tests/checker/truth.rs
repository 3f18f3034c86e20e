//! What is so in the world of the property tests, and in the one of the recorded look-ups.

use std::collections::BTreeSet;

/// What is so about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Truth {
    /// These records, as RDATA in hexadecimal.
    Records(BTreeSet<Vec<u8>>),
    Nxdomain,
    Nodata,
    Insecure,
    /// The attacker's own.
    Evil,
}

fn records(numbers: &[u8]) -> Truth {
    let rdata = |&number: &u8| [&[3, 1, 1][..], &[number; 32]].concat();
    Truth::Records(numbers.iter().map(rdata).collect())
}

/// Names, and what is so about them.
pub(crate) fn truths() -> Vec<(&'static str, Truth)> {
    vec![
        ("dev1._device.example.test", records(&[1])),
        ("dev2._device.example.test", records(&[2, 3])),
        ("foo._wild.example.test", records(&[4])),
        ("exact._wild.example.test", records(&[5])),
        ("exact._wtxt.example.test", records(&[6])),
        ("foo._wtxt.example.test", Truth::Nodata),
        ("nodata._device.example.test", Truth::Nodata),
        ("_device.example.test", Truth::Nodata),
        ("nx._device.example.test", Truth::Nxdomain),
        ("alias._device.example.test", records(&[1])),
        ("xzone._device.example.test", records(&[11])),
        ("tonx._device.example.test", Truth::Nxdomain),
        ("toinsec._device.example.test", Truth::Insecure),
        ("foo._wcname.example.test", records(&[11])),
        ("dev1._device.dn.example.test", records(&[11])),
        ("foo._wild.dn.example.test", records(&[12])),
        ("dev1._device.ed.test", records(&[11])),
        ("foo._wild.ed.test", records(&[12])),
        ("exact._wild.ed.test", records(&[13])),
        ("nodata._device.ed.test", Truth::Nodata),
        ("a.b.nx._device.ed.test", Truth::Nxdomain),
        ("dev1._device.rsa.test", records(&[21])),
        ("nx._device.rsa.test", Truth::Nxdomain),
        ("dev1._device.roles.test", records(&[31])),
        ("nx._device.roles.test", Truth::Nxdomain),
        ("dev1._device.below.roles.test", records(&[32])),
        ("dev1._device.optout.test", records(&[41])),
        ("nodata._device.optout.test", Truth::Nodata),
        ("nx._device.optout.test", Truth::Insecure),
        ("dev1._device.unsig.optout.test", Truth::Insecure),
        ("dev1._device.plain.test", Truth::Insecure),
        ("nx._device.plain.test", Truth::Insecure),
        ("tosec._device.plain.test", Truth::Insecure),
        ("dev1._device.island.test", Truth::Insecure),
        ("nosuch.test", Truth::Nxdomain),
        ("dev1._device.evil.test", Truth::Evil),
        ("foo._wild.evil.test", Truth::Evil),
    ]
}
