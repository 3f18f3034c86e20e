//! The kinds of clients: how often each comes, and what becomes of it.

/// What becomes of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It is told to the web application by its name.
    Served,
    /// It gets an alert.
    Refused,
    /// It goes away, at a point that chance has chosen.
    BrokenOff,
}

macro_rules! kinds {
    ($( $(#[$doc:meta])* $variant:ident = $words:literal, $end:ident, $share:literal, $told:literal, $alert:expr; )*) => {
        /// A kind of client.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(crate) enum Kind { $( $(#[$doc])* $variant, )* }

        impl Kind {
            /// All of them.
            pub(crate) const ALL: &'static [Self] = &[$( Self::$variant, )*];

            /// What it does, for the report.
            pub(crate) const fn words(self) -> &'static str {
                match self { $( Self::$variant => $words, )* }
            }

            /// What becomes of it.
            pub(crate) const fn end(self) -> End {
                match self { $( Self::$variant => End::$end, )* }
            }

            /// So many of [`SHARES`] clients are of this kind.
            const fn share(self) -> u64 {
                match self { $( Self::$variant => $share, )* }
            }

            /// What the gateway says about it: outcome and reason; the name follows where it is authenticated.
            pub(crate) const fn told(self) -> &'static str {
                match self { $( Self::$variant => $told, )* }
            }

            /// The alert that it gets.
            pub(crate) const fn alert(self) -> Option<u8> {
                match self { $( Self::$variant => $alert, )* }
            }
        }
    };
}

/// The wire profile and version that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Speaks {
    /// Profile `current`, TLS 1.3.
    Current,
    /// Profile `2022`, TLS 1.3.
    Draft2022,
    /// Profile `2022`, TLS 1.2.
    Tls12,
}

/// What a client shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Shows {
    Certificate,
    RawPublicKey,
}

/// How a client goes about its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Way {
    pub(crate) speaks: Speaks,
    pub(crate) shows: Shows,
}

impl Way {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = {
        use {Shows::*, Speaks::*};
        [
            Self { speaks: Current, shows: Certificate },
            Self { speaks: Current, shows: RawPublicKey },
            Self { speaks: Draft2022, shows: Certificate },
            Self { speaks: Draft2022, shows: RawPublicKey },
            Self { speaks: Tls12, shows: Certificate },
            Self { speaks: Tls12, shows: RawPublicKey },
        ]
    };

    /// Whether a client of this kind may go about it like this.
    fn suits(self, kind: Kind) -> bool {
        let (current, certificate) = (self.speaks == Speaks::Current, self.shows == Shows::Certificate);
        match kind {
            Kind::Certificate | Kind::Chain => current && certificate,
            Kind::RawPublicKey => current && !certificate,
            Kind::Draft2022 => self.speaks == Speaks::Draft2022,
            Kind::Tls12 => self.speaks == Speaks::Tls12,
            Kind::NameInCertificate => !current && certificate,
            // The extension stands in a TLS 1.3 Certificate.
            Kind::Malformed => self.speaks != Speaks::Tls12,
            // Only TLS 1.3 has tickets here.
            Kind::Returns => self.speaks != Speaks::Tls12,
            _ => true,
        }
    }
}

// One row a kind: half of the shares are served, a quarter is refused, a quarter breaks off.
kinds! {
    Certificate = "certificate, usage 3", Served, 3, "authenticated", None;
    RawPublicKey = "raw public key", Served, 3, "authenticated", None;
    Chain = "chain, usage 2 at a wildcard", Served, 3, "authenticated", None;
    Draft2022 = "profile 2022, TLS 1.3", Served, 4, "authenticated", None;
    Tls12 = "profile 2022, TLS 1.2", Served, 4, "authenticated", None;
    /// Over either version.
    NameInCertificate = "profile 2022, name in the certificate", Served, 3, "authenticated", None;
    /// Drawn from so many that answers are forgotten and looked up again. From here on clients of both profiles.
    ManyNames = "one of many names, mostly looked up anew", Served, 4, "authenticated", None;
    /// Told `resumed` where it says so itself, as are those who break off later.
    Returns = "comes back, with a ticket where it has one", Served, 4, "authenticated", None;
    Http2 = "HTTP/2", Served, 4, "authenticated", None;

    WrongKey = "another key than the published one", Refused, 4, "refused no-match", Some(40);
    NotAllowed = "a name off the allow-list", Refused, 3, "refused name-not-allowed", Some(40);
    NoName = "a certificate without the extension", Refused, 2, "refused no-client-name", Some(40);
    Malformed = "an extension that does not decode", Refused, 2, "refused extension-undecodable", Some(50);
    NoProof = "a CertificateVerify that does not verify", Refused, 2, "handshake-failed", Some(51);
    NoRecord = "a name without records", Refused, 1, "refused tlsa-absent", Some(40);
    Unsigned = "a name in an unsigned zone", Refused, 1, "refused dnssec-insecure", Some(40);
    Bogus = "a record that was tampered with", Refused, 1, "refused dnssec-bogus", Some(40);

    Closes = "closes in the middle of the handshake", BrokenOff, 4, "handshake-failed", None;
    Resets = "resets in the middle of the handshake", BrokenOff, 4, "handshake-failed", None;
    FallsSilent = "falls silent in the middle of the handshake", BrokenOff, 1, "handshake-timeout", None;
    ClosesPending = "closes while its look-up is pending", BrokenOff, 2, "client-gone", None;
    ResetsPending = "resets while its look-up is pending", BrokenOff, 2, "client-gone", None;
    ResetsResponse = "resets in the middle of a response", BrokenOff, 2, "authenticated", None;
    StopsReading = "stops reading in the middle of a response", BrokenOff, 1, "authenticated", None;
}

/// What the shares add up to.
const SHARES: u64 = 64;

/// What chance decides about one client, the same for the same seed and number (SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64, number: u64) -> Self {
        Self(seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// A number below `end`, which is not 0.
    pub(crate) const fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % end
    }

    /// How a client of this kind goes about its handshake.
    pub(crate) fn way(&mut self, kind: Kind) -> Way {
        loop {
            let way = Way::ALL[self.below(Way::ALL.len() as u64) as usize];
            if way.suits(kind) {
                return way;
            }
        }
    }

    /// The kind of the client.
    pub(crate) fn kind(&mut self) -> Kind {
        let mut drawn = self.below(SHARES);
        let mut kinds = Kind::ALL.iter();
        loop {
            match kinds.next() {
                Some(kind) if drawn < kind.share() => return *kind,
                Some(kind) => drawn -= kind.share(),
                None => unreachable!("the shares add up"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_are_refused_or_break_off() {
        let shares = |end| Kind::ALL.iter().filter(|kind| kind.end() == end).map(|kind| kind.share()).sum::<u64>();
        assert_eq!([End::Served, End::Refused, End::BrokenOff].map(shares), [SHARES / 2, SHARES / 4, SHARES / 4]);
        assert!(Kind::ALL.iter().all(|kind| kind.alert().is_some() == (kind.end() == End::Refused)));
    }

    #[test]
    fn chance_repeats_itself_and_leaves_nobody_out() {
        let drawn = |seed| (0..2_000).map(|number| Random::new(seed, number).kind()).collect::<Vec<_>>();
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        assert!(Kind::ALL.iter().all(|kind| drawn(1).contains(kind)));
    }
}
