//! Why a client was not authenticated, and what follows: three exhaustive functions of one enum.
//!
//! The peer learns the alert and nothing more. Logs, metrics, command line and vectors use [`Reason::code`], which never changes.

use core::fmt;

/// The TLS alerts that DANE client authentication can end in (RFC 9846 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Alert {
    /// 40: the one alert for everything about authentication (draft section 12).
    HandshakeFailure = 40,
    /// 47: a field out of place.
    IllegalParameter = 47,
    /// 50: octets that do not decode.
    DecodeError = 50,
    /// 51: CertificateVerify or Finished do not verify; sent by the TLS stack.
    DecryptError = 51,
    /// 70: no version in common.
    ProtocolVersion = 70,
    /// 110: an extension nobody asked for.
    UnsupportedExtension = 110,
}

impl Alert {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The name in the TLS alert registry.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HandshakeFailure => "handshake_failure",
            Self::IllegalParameter => "illegal_parameter",
            Self::DecodeError => "decode_error",
            Self::DecryptError => "decrypt_error",
            Self::ProtocolVersion => "protocol_version",
            Self::UnsupportedExtension => "unsupported_extension",
        }
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a reason becomes under policy `optional` (requirements 4.2: FAIL, LOOKUPFAIL, ABORT).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Softening {
    /// Aborts under either policy.
    Never,
    /// Becomes UNAUTHENTICATED under policy `optional`.
    ByPolicy,
    /// Becomes UNAUTHENTICATED under policy `optional` only if `on_lookup_failure` says so too.
    ByLookupSetting,
    /// The client did not ask for DANE: NOT-DANE under policy `optional`.
    NotDane,
}

/// Whose fault it is: decides log level, status and who is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The client or whoever configured it.
    Client,
    /// The client's zone, or the path to it.
    Dns,
    /// This server or its limits.
    Server,
}

macro_rules! reasons {
    ($( $(#[$doc:meta])* $variant:ident = $code:literal, $alert:ident, $softening:ident, $blame:ident; )*) => {
        /// Why a client is not authenticated.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $( $(#[$doc])* $variant, )* }

        impl Reason {
            /// Every reason, for tables and tests.
            pub const ALL: &'static [Self] = &[$( Self::$variant, )*];

            /// The stable code: log field, metric label, JSON value.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $( Self::$variant => $code, )* }
            }

            /// The alert that ends the handshake, where it ends.
            #[must_use]
            pub const fn alert(self) -> Alert {
                match self { $( Self::$variant => Alert::$alert, )* }
            }

            /// What policy `optional` makes of it.
            #[must_use]
            pub const fn softening(self) -> Softening {
                match self { $( Self::$variant => Softening::$softening, )* }
            }

            /// Whose fault it is.
            #[must_use]
            pub const fn blame(self) -> Blame {
                match self { $( Self::$variant => Blame::$blame, )* }
            }
        }
    };
}

// One row a reason; a reason without a column does not compile.
reasons! {
    /// The TLS version is below what the listener allows (4.2 step 1).
    VersionTooLow = "version-too-low", ProtocolVersion, Never, Client;
    /// TLS 1.2 without extended_master_secret, renegotiation_info, or with a suite that is not AEAD over ECDHE (4.2 steps 1, 20).
    LegacyHandshake = "legacy-handshake", HandshakeFailure, Never, Client;
    /// extension_data does not decode (3.4 a, c, d, s).
    ExtensionUndecodable = "extension-undecodable", DecodeError, Never, Client;
    /// The extension stands twice, or in a message or entry where it does not belong (3.4 h, k, l).
    ExtensionMisplaced = "extension-misplaced", IllegalParameter, Never, Client;
    /// The extension answers nothing that was asked (3.4 i, j).
    ExtensionUnsolicited = "extension-unsolicited", UnsupportedExtension, Never, Client;
    /// The Certificate message itself is malformed or exceeds our limits (4.2 step 4, SEC-14).
    CertificateMalformed = "certificate-malformed", DecodeError, Never, Client;
    /// A ClientName of zero length (draft section 8.2).
    EmptyClientName = "empty-client-name", HandshakeFailure, Never, Client;
    /// The ClientName breaks the syntax of requirements 2.4.
    InvalidClientName = "invalid-client-name", HandshakeFailure, Never, Client;
    /// No extension, or no certificate to carry it (4.2 step 6).
    NoClientName = "no-client-name", HandshakeFailure, NotDane, Client;
    /// Profile `2022`: the certificate does not hold exactly one usable dNSName (2.3).
    NoNameInCertificate = "no-name-in-certificate", HandshakeFailure, ByPolicy, Client;
    /// The allow-list does not have the name (4.2 step 8).
    NameNotAllowed = "name-not-allowed", HandshakeFailure, ByPolicy, Client;
    /// The name belongs to another service (2.2 d, SEC-07) or makes no owner name.
    WrongServiceLabel = "wrong-service-label", HandshakeFailure, ByPolicy, Client;
    /// Too many look-ups in flight in total (SEC-01).
    LookupLimitTotal = "lookup-limit-total", HandshakeFailure, ByLookupSetting, Server;
    /// Too many look-ups in flight for this client address (SEC-01).
    LookupLimitAddress = "lookup-limit-address", HandshakeFailure, ByLookupSetting, Server;
    /// Too many look-ups in flight for this allow-list entry (SEC-01).
    LookupLimitEntry = "lookup-limit-entry", HandshakeFailure, ByLookupSetting, Server;
    /// The zone proves that the name does not exist or has no TLSA records.
    TlsaAbsent = "tlsa-absent", HandshakeFailure, ByPolicy, Dns;
    /// The name, or an alias on the way, is not signed.
    DnssecInsecure = "dnssec-insecure", HandshakeFailure, ByPolicy, Dns;
    /// A signature or chain of trust fails.
    DnssecBogus = "dnssec-bogus", HandshakeFailure, ByLookupSetting, Dns;
    /// No trust anchor covers the name, or the channel to the resolver is not trusted.
    DnssecIndeterminate = "dnssec-indeterminate", HandshakeFailure, ByLookupSetting, Server;
    /// No answer within the time budget.
    LookupTimeout = "lookup-timeout", HandshakeFailure, ByLookupSetting, Dns;
    /// The resolver answered SERVFAIL.
    LookupServfail = "lookup-servfail", HandshakeFailure, ByLookupSetting, Dns;
    /// The resolver answered REFUSED or another error code.
    LookupRefused = "lookup-refused", HandshakeFailure, ByLookupSetting, Dns;
    /// The resolver's reply does not decode or does not answer the question.
    LookupMalformed = "lookup-malformed", HandshakeFailure, ByLookupSetting, Dns;
    /// An alias loop, or more than 8 links.
    LookupAliasLimit = "lookup-alias-limit", HandshakeFailure, ByLookupSetting, Dns;
    /// To prove the answer would cost more than one look-up may (SEC-14).
    LookupTooCostly = "lookup-too-costly", HandshakeFailure, ByLookupSetting, Dns;
    /// The zone's servers are slow or silent: it is asked nothing for some seconds (SEC-01).
    LookupZoneSuspended = "lookup-zone-suspended", HandshakeFailure, ByLookupSetting, Dns;
    /// The resolver cannot be reached.
    LookupUnreachable = "lookup-unreachable", HandshakeFailure, ByLookupSetting, Server;
    /// Records there are, but none that can be used (5.2).
    NoUsableRecord = "no-usable-record", HandshakeFailure, ByPolicy, Dns;
    /// No usable record matches the credential.
    NoMatch = "no-match", HandshakeFailure, ByPolicy, Client;
    /// A record matched the chain, but the certificate does not hold the name (4.2 step 15).
    SanMismatch = "san-mismatch", HandshakeFailure, Never, Client;
    /// A DANE-EE match at a wildcard, where `wildcard_ee` is `reject` (SEC-08).
    WildcardEndEntity = "wildcard-end-entity", HandshakeFailure, ByPolicy, Dns;
    /// The whole check took longer than its budget (section 7).
    CheckTimeout = "check-timeout", HandshakeFailure, ByLookupSetting, Server;
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
