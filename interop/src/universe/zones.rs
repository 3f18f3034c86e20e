//! Which zones there are: who signs each, how, who serves it, and what is wrong with it.

/// The data of `dev1._device` in every zone: SHA-256 of spec/vectors/keys/ee-p256.spki.der.
pub const DEV1: &str = "ee13f22ee41a355ee24a5f75c5659504191fc9deb93bcfb363ff6feec3856e93";
/// That of `*._wild`.
pub const WILD: &str = "1111111111111111111111111111111111111111111111111111111111111111";
/// That of `exact._wild`, which the wildcard does not stand for.
pub const EXACT: &str = "2222222222222222222222222222222222222222222222222222222222222222";
/// How many records `big._device.example.test` has: too many for a datagram.
pub const BIG: usize = 60;

/// Whose tool signs a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signer {
    /// BIND's dnssec-signzone.
    Bind,
    /// ldns-signzone.
    Ldns,
    /// Knot DNS's kzonesign.
    Knot,
    /// Nobody.
    Nobody,
}

/// Which daemon serves a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// NSD.
    Nsd,
    /// BIND's named.
    Named,
    /// Knot DNS's knotd.
    Knotd,
    /// One that the test starts itself, with what it has signed itself.
    Test,
}

/// How a zone denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    Nsec,
    Nsec3 { iterations: u16, opt_out: bool },
}

pub(crate) const NSEC: Denial = Denial::Nsec;
pub(crate) const NSEC3: Denial = nsec3(0);

const fn nsec3(iterations: u16) -> Denial {
    Denial::Nsec3 { iterations, opt_out: false }
}

/// The keys of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// A key-signing and a zone-signing key.
    Pair,
    /// One for both.
    Single,
    /// A pair of each of two algorithms, the second named here; DS records for both.
    TwoAlgorithms(&'static str),
    /// The same, with a DS record for the first alone: an algorithm rollover under way.
    NewAlgorithm(&'static str),
    /// Two key-signing keys, both with DS records: a rollover of the key-signing key under way.
    TwoKsks,
    /// Two key-signing keys, one of which is not in the parent yet.
    NewKsk,
    /// A second zone-signing key, published but not in use: a rollover of the zone-signing key, before.
    NewZsk,
    /// Two zone-signing keys whose signatures stand side by side.
    TwoZsks,
    /// A second key-signing key, which was revoked and signs the key set too (RFC 5011).
    RevokedKsk,
}

/// The DS records in the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ds {
    Right,
    Missing,
    UnknownAlgorithm,
    UnknownDigest,
    /// The digest is another's.
    Wrong,
    /// A wrong one before the right one.
    WrongBesideRight,
}

/// When the signatures are good, in seconds from now; `None` leaves it to the signer.
pub(crate) type Window = Option<(i64, i64)>;

/// What is done to the zone file after it was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    None,
    /// `dev1._device` has other data.
    Tampered,
    /// All RRSIG records are gone.
    NoSignatures,
    /// So are the keys and the proofs: nothing is left of DNSSEC but the DS record in the parent.
    NoDnssec,
}

/// What is between the zone's server and the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Straight,
    /// A proxy that tells lies about some names.
    Lies,
    /// A proxy that takes its time.
    Late,
    /// Nobody answers.
    Silent,
}

/// One zone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zone {
    pub(crate) name: &'static str,
    pub(crate) signer: Signer,
    /// By its name in dnssec-keygen.
    pub(crate) algorithm: &'static str,
    pub(crate) keys: Keys,
    pub(crate) denial: Denial,
    pub(crate) server: Server,
    pub(crate) ds: Ds,
    pub(crate) window: Window,
    pub(crate) edit: Edit,
    pub(crate) way: Way,
    pub(crate) ttl: u32,
    /// Records besides those that every zone has.
    pub(crate) more: &'static str,
}

const P256: &str = "ECDSAP256SHA256";
const P384: &str = "ECDSAP384SHA384";
const ED25519: &str = "ED25519";
const ED448: &str = "ED448";
const RSA: &str = "RSASHA256";

const fn zone(name: &'static str, signer: Signer, algorithm: &'static str, denial: Denial, server: Server) -> Zone {
    Zone {
        name,
        signer,
        algorithm,
        keys: Keys::Pair,
        denial,
        server,
        ds: Ds::Right,
        window: None,
        edit: Edit::None,
        way: Way::Straight,
        ttl: 300,
        more: "",
    }
}

const fn unsigned(name: &'static str, server: Server) -> Zone {
    Zone { ds: Ds::Missing, ..zone(name, Signer::Nobody, "", NSEC, server) }
}

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

const EXAMPLE: &str = "\
xzone._device CNAME dev1._device.ed.test.
*._wcname CNAME dev1._device.rsa.test.
towild._device CNAME foo._wild.ed.test.
dn DNAME ed.test.
tonx1._device CNAME nx._device
tonx._device CNAME nx._device.rsa.test.
tonodata._device CNAME nodata._device.ed.test.
loop1._device CNAME loop2._device
loop2._device CNAME loop1._device
toinsec._device CNAME dev1._device.insecure.test.
tobogus._device CNAME dev1._device.badsig.test.
";

/// One true record; and two that stand between the names whose proofs are given and the names that are left without, lest a resolver
/// piece together what it was not told.
const HONEST: &str = "\
honest._device TLSA 3 1 1 ee13f22ee41a355ee24a5f75c5659504191fc9deb93bcfb363ff6feec3856e93
o._device TXT \"between\"
z._device TXT \"between\"
";

/// All of them. The first is the root.
pub(crate) const ZONES: &[Zone] = {
    use Server::{Knotd, Named, Nsd};
    use Signer::{Bind, Knot, Ldns};
    &[
        zone(".", Bind, P256, NSEC, Nsd),
        zone("test", Knot, P256, NSEC, Knotd),
        // The cases of the table, in its order.
        Zone { more: EXAMPLE, ..zone("example.test", Bind, P256, NSEC, Named) },
        zone("ed.test", Knot, ED25519, NSEC3, Knotd),
        zone("rsa.test", Ldns, RSA, nsec3(5), Nsd),
        zone("p384.test", Bind, P384, NSEC, Knotd),
        zone("ed448.test", Knot, ED448, NSEC, Nsd),
        zone("rsasha1.test", Ldns, "RSASHA1", NSEC, Nsd),
        Zone { window: Some((-HOUR, 3 * HOUR)), ttl: 86400, ..zone("shortsig.test", Bind, P256, NSEC, Named) },
        Zone { more: "tosec._device CNAME dev1._device.example.test.\n", ..unsigned("insecure.test", Nsd) },
        Zone { ds: Ds::Missing, ..zone("island.test", Ldns, P256, NSEC, Nsd) },
        Zone { ds: Ds::UnknownAlgorithm, ..zone("unkalg.test", Bind, P256, NSEC, Named) },
        Zone { ds: Ds::UnknownDigest, ..zone("unkdig.test", Knot, P256, NSEC, Knotd) },
        zone("optout.test", Ldns, P256, Denial::Nsec3 { iterations: 0, opt_out: true }, Nsd),
        unsigned("unsig.optout.test", Named),
        zone("n3200.test", Knot, P256, nsec3(200), Knotd),
        zone("n31000.test", Ldns, P256, nsec3(1000), Nsd),
        Zone { edit: Edit::Tampered, ..zone("badsig.test", Bind, P256, NSEC, Named) },
        Zone { ds: Ds::Wrong, ..zone("badds.test", Knot, P256, NSEC, Knotd) },
        Zone { window: Some((-60 * DAY, -30 * DAY)), ..zone("expired.test", Ldns, P256, NSEC, Nsd) },
        Zone { window: Some((3 * DAY, 30 * DAY)), ..zone("future.test", Bind, P256, NSEC, Named) },
        Zone { edit: Edit::NoSignatures, ..zone("nosig.test", Knot, P256, NSEC, Knotd) },
        Zone { way: Way::Lies, more: HONEST, ..zone("strip.test", Bind, P256, NSEC, Named) },
        Zone { way: Way::Lies, more: HONEST, ..zone("strip3.test", Knot, P256, NSEC3, Knotd) },
        Zone { way: Way::Late, ..zone("lag.test", Ldns, P256, NSEC, Nsd) },
        Zone { way: Way::Silent, ..zone("slow.test", Bind, P256, NSEC, Named) },
        // Besides.
        zone("sha512.test", Ldns, "RSASHA512", NSEC, Named),
        zone("alg7.test", Bind, "NSEC3RSASHA1", NSEC3, Knotd),
        Zone { keys: Keys::Single, ..zone("single.test", Knot, P256, NSEC3, Nsd) },
        Zone { ds: Ds::WrongBesideRight, ..zone("twods.test", Ldns, P256, NSEC, Nsd) },
        Zone { keys: Keys::TwoAlgorithms(P256), ..zone("twoalg.test", Bind, RSA, NSEC, Named) },
        Zone { keys: Keys::NewAlgorithm(ED25519), ..zone("newalg.test", Bind, P256, NSEC3, Knotd) },
        Zone { keys: Keys::TwoKsks, ..zone("twoksk.test", Bind, P256, NSEC, Nsd) },
        Zone { keys: Keys::NewKsk, ..zone("newksk.test", Bind, P256, NSEC, Named) },
        Zone { keys: Keys::NewZsk, ..zone("newzsk.test", Bind, P256, NSEC, Nsd) },
        Zone { keys: Keys::TwoZsks, ..zone("twozsk.test", Bind, P256, NSEC, Knotd) },
        Zone { keys: Keys::RevokedKsk, ..zone("revoked.test", Bind, P256, NSEC, Named) },
        Zone { edit: Edit::NoDnssec, ..zone("nokeys.test", Bind, P256, NSEC, Named) },
        // A signed zone in a signed zone on the same server, and a zone cut within a client's name.
        zone("sub.example.test", Ldns, P256, NSEC3, Named),
        zone("cut.test", Knot, ED25519, NSEC, Nsd),
        zone("_device.cut.test", Bind, P256, NSEC, Knotd),
        // What tests sign themselves.
        zone("brief.test", Bind, P256, NSEC, Server::Test),
        zone("rolling.test", Bind, P256, NSEC, Server::Test),
    ]
};

impl Zone {
    /// With the dot at the end.
    pub(crate) fn apex(&self) -> String {
        if self.name == "." { ".".to_owned() } else { format!("{}.", self.name) }
    }

    /// The zone that delegates to it.
    pub(crate) fn parent(&self) -> Option<&'static Self> {
        let mut above = self.name;
        while let Some((_, rest)) = above.split_once('.') {
            if let Some(parent) = ZONES.iter().find(|zone| zone.name == rest) {
                return Some(parent);
            }
            above = rest;
        }
        (self.name != ".").then(|| &ZONES[0])
    }

    /// How many labels; a zone is signed after those below it.
    pub(crate) fn depth(&self) -> usize {
        self.name.split('.').filter(|label| !label.is_empty()).count()
    }

    /// The zone in presentation format, unsigned, without delegations.
    pub(crate) fn text(&self, address: std::net::IpAddr) -> String {
        let Self { ttl, more, .. } = self;
        let apex = self.apex();
        let ns = if self.name == "." { "ns.".to_owned() } else { format!("ns.{apex}") };
        let start = format!(
            "$ORIGIN {apex}\n$TTL {ttl}\n@ SOA {ns} hostmaster.{apex} 1 3600 600 86400 60\n@ NS {ns}\n{ns} A {address}\n"
        )
        .replace("hostmaster..", "hostmaster.");
        if self.depth() < 2 {
            return start;
        }
        // A zone that is itself named `_device` holds its clients right below.
        let device = if self.name.starts_with("_device.") { "" } else { "._device" };
        let big = if self.name == "example.test" {
            (0..BIG).map(|n| format!("big._device TLSA 3 1 1 {n:064x}\n")).collect()
        } else {
            String::new()
        };
        format!(
            "{start}dev1{device} TLSA 3 1 1 {DEV1}
alias{device} CNAME dev1{device}
nodata{device} TXT \"here\"
*._wild TLSA 3 1 1 {WILD}
exact._wild TLSA 3 1 1 {EXACT}
{big}{more}"
        )
    }
}
