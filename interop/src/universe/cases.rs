//! What is asked, and what is right.

/// What is found where the verdict is Secure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finds {
    /// The record of `dev1._device`.
    Dev1,
    /// The same, at the end of an alias that is a wildcard.
    Dev1ByWildcard,
    /// The record of `*._wild`, through the wildcard.
    Wild,
    /// The record of `exact._wild`.
    Exact,
    /// The records of `big._device`.
    Big,
    /// No record.
    Nothing,
}

/// One look-up.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What it is called.
    pub name: &'static str,
    /// The owner name that is looked up, type TLSA.
    pub query: &'static str,
    /// The verdicts that are right: S secure, I insecure, B bogus, T no answer; X no such name, N no such data.
    pub expected: &'static str,
    /// The records.
    pub finds: Finds,
    /// Where aliases lead; empty where there are none.
    pub end: &'static str,
}

const fn case(name: &'static str, query: &'static str, expected: &'static str, finds: Finds) -> Case {
    Case { name, query, expected, finds, end: "" }
}

impl Case {
    /// Whether a verdict is right. What insecure zones say of a name is nobody's verdict.
    #[must_use]
    pub fn allows(&self, verdict: &str) -> bool {
        self.expected.split('/').any(|right| right == verdict || (right.starts_with('I') && verdict == "I"))
    }
}

/// The table of cases that every look-up must get right.
pub const TABLE: &[Case] = &[
    case("ecdsa256_nsec", "dev1._device.example.test", "S", Finds::Dev1),
    case("ed25519_nsec3", "dev1._device.ed.test", "S", Finds::Dev1),
    case("rsa2048_nsec3_it5", "dev1._device.rsa.test", "S", Finds::Dev1),
    case("p384_nsec", "dev1._device.p384.test", "S", Finds::Dev1),
    case("ed448", "dev1._device.ed448.test", "S/I", Finds::Dev1),
    case("rsasha1(alg5)", "dev1._device.rsasha1.test", "S/I", Finds::Dev1),
    case("wildcard_nsec", "foo._wild.example.test", "S", Finds::Wild),
    case("wildcard_nsec3", "foo._wild.ed.test", "S", Finds::Wild),
    case("wildcard_deep_nsec3", "a.b.c._wild.rsa.test", "S", Finds::Wild),
    case("exact_over_wildcard", "exact._wild.example.test", "S", Finds::Exact),
    case("60_records_TCP", "big._device.example.test", "S", Finds::Big),
    Case {
        end: "dev1._device.example.test",
        ..case("cname_same_zone", "alias._device.example.test", "S", Finds::Dev1)
    },
    Case { end: "dev1._device.ed.test", ..case("cname_cross_zone", "xzone._device.example.test", "S", Finds::Dev1) },
    Case {
        end: "dev1._device.rsa.test",
        ..case("wildcard_cname_cross", "foo._wcname.example.test", "S", Finds::Dev1ByWildcard)
    },
    Case {
        end: "foo._wild.ed.test",
        ..case("cname_to_wildcard_xzone", "towild._device.example.test", "S", Finds::Wild)
    },
    Case { end: "dev1._device.ed.test", ..case("dname_xzone", "dev1._device.dn.example.test", "S", Finds::Dev1) },
    Case { end: "foo._wild.ed.test", ..case("dname_to_wildcard", "foo._wild.dn.example.test", "S", Finds::Wild) },
    case("nxdomain_nsec", "nx._device.example.test", "SX", Finds::Nothing),
    case("nxdomain_nsec3", "nx._device.ed.test", "SX", Finds::Nothing),
    case("nxdomain_nsec3_it5", "nx._device.rsa.test", "SX", Finds::Nothing),
    case("nxdomain_deep_nsec3", "a.b.c.nx._device.ed.test", "SX", Finds::Nothing),
    case("nodata_nsec", "nodata._device.example.test", "SN", Finds::Nothing),
    case("nodata_nsec3", "nodata._device.ed.test", "SN", Finds::Nothing),
    case("nodata_ENT_nsec", "_device.example.test", "SN", Finds::Nothing),
    case("nodata_ENT_nsec3", "_device.ed.test", "SN", Finds::Nothing),
    case("cname_to_nx_same_zone", "tonx1._device.example.test", "SX", Finds::Nothing),
    case("cname_to_nx_xzone", "tonx._device.example.test", "SX", Finds::Nothing),
    case("cname_to_nodata_xzone", "tonodata._device.example.test", "SN", Finds::Nothing),
    case("cname_loop", "loop1._device.example.test", "B/T", Finds::Nothing),
    case("nxdomain_tld", "nosuch.test", "SX", Finds::Nothing),
    case("ttl86400_sigexp_3h", "dev1._device.shortsig.test", "S", Finds::Dev1),
    case("unsigned_delegation", "dev1._device.insecure.test", "I", Finds::Nothing),
    case("unsigned_nx", "nx._device.insecure.test", "IX", Finds::Nothing),
    case("unsigned_nodata", "nodata._device.insecure.test", "IN", Finds::Nothing),
    case("unsigned_cname", "alias._device.insecure.test", "I", Finds::Nothing),
    case("secure_cname_to_insecure", "toinsec._device.example.test", "I", Finds::Nothing),
    case("insecure_cname_to_secure", "tosec._device.insecure.test", "I", Finds::Nothing),
    case("signed_no_DS", "dev1._device.island.test", "I", Finds::Nothing),
    case("signed_no_DS_wildcard", "foo._wild.island.test", "I", Finds::Nothing),
    case("signed_no_DS_nx", "nx._device.island.test", "IX", Finds::Nothing),
    case("DS_unknown_alg", "dev1._device.unkalg.test", "I", Finds::Nothing),
    case("DS_unknown_digest", "dev1._device.unkdig.test", "I", Finds::Nothing),
    case("DS_unknown_alg_nx", "nx._device.unkalg.test", "IX", Finds::Nothing),
    case("optout_signed_name", "dev1._device.optout.test", "S", Finds::Dev1),
    case("optout_nx(AD=0)", "nx._device.optout.test", "IX", Finds::Nothing),
    case("optout_wildcard", "foo._wild.optout.test", "S/I", Finds::Wild),
    case("optout_unsigned_deleg", "dev1._device.unsig.optout.test", "I", Finds::Nothing),
    case("optout_unsigned_nx", "nx._device.unsig.optout.test", "IX", Finds::Nothing),
    case("nsec3_200it_positive", "dev1._device.n3200.test", "S", Finds::Dev1),
    case("nsec3_200it_nx", "nx._device.n3200.test", "IX", Finds::Nothing),
    case("nsec3_200it_wildcard", "foo._wild.n3200.test", "I/B", Finds::Nothing),
    case("nsec3_1000it_nx", "nx._device.n31000.test", "B/IX", Finds::Nothing),
    case("tampered_rdata", "dev1._device.badsig.test", "B", Finds::Nothing),
    case("badsig_zone_nx_ok", "nx._device.badsig.test", "SX", Finds::Nothing),
    case("cname_to_bogus", "tobogus._device.example.test", "B", Finds::Nothing),
    case("DS_mismatch", "dev1._device.badds.test", "B", Finds::Nothing),
    case("DS_mismatch_nx", "nx._device.badds.test", "B", Finds::Nothing),
    case("expired", "dev1._device.expired.test", "B", Finds::Nothing),
    case("not_yet_valid", "dev1._device.future.test", "B", Finds::Nothing),
    case("stripped_sigs", "dev1._device.nosig.test", "B", Finds::Nothing),
    case("stripped_sigs_nx", "nx._device.nosig.test", "B", Finds::Nothing),
    case("wildcard_no_nsec", "strip1._wild.strip.test", "B", Finds::Nothing),
    case("wildcard_no_nsec3", "strip1._wild.strip3.test", "B", Finds::Nothing),
    case("wildcard_replay_over_exact", "exact._wild.strip.test", "B", Finds::Nothing),
    case("wildcard_replay_over_exact_n3", "exact._wild.strip3.test", "B", Finds::Nothing),
    case("nx_without_nsec", "strip1._device.strip.test", "B", Finds::Nothing),
    case("fake_nodata_wrong_nsec", "dev1._device.strip.test", "B", Finds::Nothing),
    case("fake_nodata_wrong_nsec3", "dev1._device.strip3.test", "B", Finds::Nothing),
    case("fake_nx_wrong_nsec", "alias._device.strip.test", "B", Finds::Nothing),
    case("fake_nx_wrong_nsec3", "alias._device.strip3.test", "B", Finds::Nothing),
    case("0.7s_lag", "dev1._device.lag.test", "S", Finds::Dev1),
    case("blackhole", "dev1._device.slow.test", "T", Finds::Nothing),
];

/// Besides.
pub const BESIDES: &[Case] = &[
    case("rsasha512", "dev1._device.sha512.test", "S", Finds::Dev1),
    // RFC 9905: SHA-1 is no longer to be relied on.
    case("rsasha1_nsec3(alg7)", "dev1._device.alg7.test", "S/I", Finds::Dev1),
    case("one_key_for_all", "dev1._device.single.test", "S", Finds::Dev1),
    case("one_key_for_all_nx", "nx._device.single.test", "SX", Finds::Nothing),
    case("two_DS_one_broken", "dev1._device.twods.test", "S", Finds::Dev1),
    case("two_algorithms", "dev1._device.twoalg.test", "S", Finds::Dev1),
    case("two_algorithms_nx", "nx._device.twoalg.test", "SX", Finds::Nothing),
    case("new_algorithm_without_DS", "dev1._device.newalg.test", "S", Finds::Dev1),
    case("two_KSKs", "dev1._device.twoksk.test", "S", Finds::Dev1),
    case("new_KSK_without_DS", "dev1._device.newksk.test", "S", Finds::Dev1),
    case("new_ZSK_published", "dev1._device.newzsk.test", "S", Finds::Dev1),
    case("two_ZSKs_sign", "dev1._device.twozsk.test", "S", Finds::Dev1),
    case("revoked_KSK", "dev1._device.revoked.test", "S", Finds::Dev1),
    case("DS_of_unsigned_zone", "dev1._device.nokeys.test", "B", Finds::Nothing),
    case("DS_of_unsigned_zone_nx", "nx._device.nokeys.test", "B", Finds::Nothing),
    case("zone_in_zone", "dev1._device.sub.example.test", "S", Finds::Dev1),
    case("zone_in_zone_nx", "nx._device.sub.example.test", "SX", Finds::Nothing),
    case("zone_in_zone_wildcard", "foo._wild.sub.example.test", "S", Finds::Wild),
    case("cut_within_name", "dev1._device.cut.test", "S", Finds::Dev1),
    case("cut_within_name_nx", "nx._device.cut.test", "SX", Finds::Nothing),
    case("optout_unsigned_deleg_wildcard", "foo._wild.unsig.optout.test", "I", Finds::Nothing),
    case("right_signatures_wrong_owner", "moved._device.strip.test", "B", Finds::Nothing),
    case("right_signatures_wrong_owner_n3", "moved._device.strip3.test", "B", Finds::Nothing),
    case("truth_among_lies", "honest._device.strip.test", "S", Finds::Dev1),
    case("truth_among_lies_n3", "honest._device.strip3.test", "S", Finds::Dev1),
];
