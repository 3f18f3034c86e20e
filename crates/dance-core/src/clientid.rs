//! The `dane_clientid` extension, and everything in which the wire profiles differ.
//!
//! A new draft revision that changes the empty form, the alert or the code point is a change to this module and its vectors.

use alloc::vec::Vec;
use core::fmt;

use crate::name::{ClientName, NameError, OwnerName, OwnerNameError, ServiceLabel};
use crate::reason::Reason;

/// A wire profile, chosen per listener and per target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Profile {
    /// draft-ietf-dance-client-auth-13: TLS 1.3 only, the signal is one zero octet, the name is always conveyed.
    #[default]
    Current,
    /// draft-ietf-dance-client-auth-00 with draft-ietf-dance-tls-clientid-00: TLS 1.2 too, the empty forms are empty.
    Draft2022,
}

impl Profile {
    /// The name used in settings, vectors and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Draft2022 => "2022",
        }
    }

    /// The profile of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "current" => Some(Self::Current),
            "2022" => Some(Self::Draft2022),
            _ => None,
        }
    }

    /// `extension_data` by which a server says that it can do this (draft section 7; clientid-00 section 3).
    #[must_use]
    pub const fn signal(self) -> &'static [u8] {
        match self {
            Self::Current => &[0],
            Self::Draft2022 => &[],
        }
    }

    /// Where the name of a client is that has presented a certificate or key, and in its extension `form`, if it has sent one
    /// (requirements 4.2 steps 6 and 7). `derive_without_signal`: in profile `2022`, in the certificate all the same.
    pub(crate) const fn name_source(
        self,
        form: Option<&ClientForm>,
        derive_without_signal: bool,
    ) -> Result<NameSource<'_>, Reason> {
        match (form, self) {
            (Some(ClientForm::Name(name)), _) => Ok(NameSource::Conveyed(name)),
            (Some(ClientForm::InCertificate), Self::Draft2022) => Ok(NameSource::Certificate),
            (None, Self::Draft2022) if derive_without_signal => Ok(NameSource::Certificate),
            (None, _) => Err(Reason::NoClientName),
            // The decoder of profile `current` never gives this form.
            (Some(ClientForm::InCertificate), Self::Current) => Err(Reason::ExtensionUndecodable),
        }
    }

    /// The owner name that a client name stands for at a listener of this service (requirements 2.2).
    pub(crate) fn owner_name(
        self,
        name: &ClientName,
        service: Option<&ServiceLabel>,
    ) -> Result<OwnerName, OwnerNameError> {
        match self {
            Self::Draft2022 => OwnerName::construct(name, service),
            Self::Current => {
                let first = name.labels().next().unwrap_or_default();
                let foreign = service.is_some_and(|label| first.starts_with('_') && first != label.as_str());
                if foreign { Err(OwnerNameError::OtherService) } else { Ok(OwnerName::verbatim(name)) }
            }
        }
    }
}

/// Where a client's name is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NameSource<'a> {
    /// In its extension.
    Conveyed(&'a ClientName),
    /// In its certificate (requirements 2.3).
    Certificate,
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The extension's code point. IANA has assigned none yet (draft section 13), so it is a setting from the private-use range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExtensionType(u16);

impl ExtensionType {
    /// What the test vectors use.
    pub const DEFAULT: Self = Self(0xffdc);

    /// Takes 0xFF00 to 0xFFFF without 0xFF01, which is renegotiation_info (CID-01).
    #[must_use]
    pub const fn new(value: u16) -> Option<Self> {
        if value >= 0xff00 && value != 0xff01 { Some(Self(value)) } else { None }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl Default for ExtensionType {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for ExtensionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:04x}", self.0)
    }
}

/// The code points that one end takes for `dane_clientid`, in order of preference: so that the change to the assigned number needs no
/// day on which everybody changes. A server signals every one of them; a client answers to one, and a client that answers to two in one
/// Certificate is refused (requirements 3.4 h). From 1 to [`MAX`](Self::MAX), all different.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtensionTypes {
    /// Those after `len` are [`ExtensionType::DEFAULT`].
    types: [ExtensionType; Self::MAX],
    len: usize,
}

impl ExtensionTypes {
    /// Most of them: the old number, the new one, and room for an accident.
    pub const MAX: usize = 4;

    /// [`ExtensionType::DEFAULT`] alone.
    pub const DEFAULT: Self = Self { types: [ExtensionType::DEFAULT; Self::MAX], len: 1 };

    /// Takes them in order of preference. `None` for none, for more than [`MAX`](Self::MAX), and where one stands twice.
    #[must_use]
    pub fn new(types: impl AsRef<[ExtensionType]>) -> Option<Self> {
        let given = types.as_ref();
        let distinct = given.iter().enumerate().all(|(index, kind)| !given.iter().take(index).any(|it| it == kind));
        let mut set = Self { len: given.len(), ..Self::DEFAULT };
        set.types.get_mut(..given.len())?.copy_from_slice(given);
        (distinct && !given.is_empty()).then_some(set)
    }

    /// All of them, the preferred one first.
    #[must_use]
    pub fn as_slice(&self) -> &[ExtensionType] {
        self.types.get(..self.len).unwrap_or_default()
    }

    /// Whether a number on the wire is one of them.
    #[must_use]
    pub fn contains(&self, value: u16) -> bool {
        self.as_slice().iter().any(|it| it.get() == value)
    }
}

impl From<ExtensionType> for ExtensionTypes {
    fn from(one: ExtensionType) -> Self {
        let mut types = Self::DEFAULT.types;
        types[0] = one;
        Self { types, len: 1 }
    }
}

impl Default for ExtensionTypes {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for ExtensionTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, kind) in self.as_slice().iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            kind.fmt(f)?;
        }
        Ok(())
    }
}

/// What a client speaks. A server has one [`Profile`], because it speaks first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientProfile {
    /// This profile.
    Fixed(Profile),
    /// The one that the server's CertificateRequest reveals (requirements 3.4, notes).
    Auto,
}

impl ClientProfile {
    /// The name used in settings and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fixed(profile) => profile.name(),
            Self::Auto => "auto",
        }
    }

    /// The profile of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        if name == Self::Auto.name() { Some(Self::Auto) } else { Profile::from_name(name).map(Self::Fixed) }
    }

    /// Reads a server's `extension_data` as [`decode_signal`] does, and tells the profile that it is the signal of.
    ///
    /// # Errors
    /// As [`decode_signal`]; of [`Auto`](Self::Auto), which takes an empty signal, as that of profile `current`.
    pub fn decode_signal(self, data: &[u8]) -> Result<Profile, ExtensionError> {
        let profile = match self {
            Self::Fixed(profile) => profile,
            Self::Auto if data == Profile::Draft2022.signal() => Profile::Draft2022,
            Self::Auto => Profile::Current,
        };
        decode_signal(profile, data).map(|()| profile)
    }

    /// What a client does with an extension at a place: as [`placement`]. [`Auto`](Self::Auto) sends nothing in a ClientHello, so that
    /// until the CertificateRequest the profiles do not differ for it.
    #[must_use]
    pub const fn placement(self, version: TlsVersion, place: Place, asked: bool) -> Placement {
        let profile = match self {
            Self::Fixed(profile) => profile,
            Self::Auto => Profile::Current,
        };
        placement(profile, version, place, asked)
    }

    /// Whether a ClientHello may carry the extension at all: for TLS 1.2, which only profile `2022` knows (requirements 3.2, C11).
    #[must_use]
    pub const fn may_use_client_hello(self) -> bool {
        matches!(self, Self::Fixed(Profile::Draft2022))
    }

    /// What the ClientHello carries for a client that says `form` in its Certificate: nothing unless TLS 1.2 is enabled for this server,
    /// and the name, which anyone can read there, only if that was asked for (clientid-00 section 4, requirements C11, CLI-08).
    #[must_use]
    pub fn client_hello(self, tls12: bool, name_in_client_hello: bool, form: &ClientForm) -> Option<ClientForm> {
        match (tls12 && self.may_use_client_hello(), name_in_client_hello) {
            (false, _) => None,
            (true, false) => Some(ClientForm::InCertificate),
            (true, true) => Some(form.clone()),
        }
    }
}

impl Default for ClientProfile {
    fn default() -> Self {
        Self::Fixed(Profile::default())
    }
}

impl From<Profile> for ClientProfile {
    fn from(profile: Profile) -> Self {
        Self::Fixed(profile)
    }
}

impl fmt::Display for ClientProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a client says in its extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientForm {
    /// Its name.
    Name(ClientName),
    /// Profile `2022`: the name is in the certificate.
    InCertificate,
}

impl ClientForm {
    /// The `extension_data` to send. `None` for a form that the profile does not have.
    #[must_use]
    pub fn encode(&self, profile: Profile) -> Option<Vec<u8>> {
        match (self, profile) {
            (Self::Name(name), _) => {
                let text = name.as_str().as_bytes();
                let mut data = Vec::with_capacity(1 + text.len());
                data.push(text.len() as u8);
                data.extend_from_slice(text);
                Some(data)
            }
            (Self::InCertificate, Profile::Draft2022) => Some(Vec::new()),
            (Self::InCertificate, Profile::Current) => None,
        }
    }
}

/// Reads a client's `extension_data` (requirements 3.4, rows a to d and m to s).
///
/// # Errors
/// [`ExtensionError`]; all of them abort the handshake under either policy.
pub fn decode_client(profile: Profile, data: &[u8]) -> Result<ClientForm, ExtensionError> {
    let Some((&len, name)) = data.split_first() else {
        return match profile {
            Profile::Current => Err(ExtensionError::NoLength),
            Profile::Draft2022 => Ok(ClientForm::InCertificate),
        };
    };
    if usize::from(len) != name.len() {
        return Err(ExtensionError::Length { said: len, found: name.len() });
    }
    if len == 0 {
        return match profile {
            Profile::Current => Err(ExtensionError::ZeroName),
            Profile::Draft2022 => Err(ExtensionError::Length { said: 0, found: 0 }),
        };
    }
    ClientName::parse(name).map(ClientForm::Name).map_err(ExtensionError::Name)
}

/// Reads a server's `extension_data` in CertificateRequest or, in TLS 1.2, ServerHello (requirements 3.4, rows e to g).
///
/// # Errors
/// [`ExtensionError`].
pub fn decode_signal(profile: Profile, data: &[u8]) -> Result<(), ExtensionError> {
    match (profile, data) {
        (Profile::Current, [0]) | (Profile::Draft2022, []) => Ok(()),
        (Profile::Current, []) => Err(ExtensionError::NoLength),
        (Profile::Current, [len, rest @ ..]) if usize::from(*len) == rest.len() => Err(ExtensionError::ServerNamed),
        (Profile::Current, [len, rest @ ..]) => Err(ExtensionError::Length { said: *len, found: rest.len() }),
        (Profile::Draft2022, _) => Err(ExtensionError::SignalNotEmpty { octets: data.len() }),
    }
}

/// TLS versions that the profiles know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// TLS 1.2, profile `2022` only.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// Where in a handshake the extension was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A ClientHello whose negotiation ended in the given version.
    ClientHello,
    /// A ServerHello.
    ServerHello,
    /// A HelloRetryRequest.
    HelloRetryRequest,
    /// EncryptedExtensions.
    EncryptedExtensions,
    /// A CertificateRequest.
    CertificateRequest,
    /// The server's Certificate.
    ServerCertificate,
    /// The first entry of the client's Certificate.
    ClientCertificate,
    /// A later entry of the client's Certificate.
    ClientCertificateLater,
    /// A NewSessionTicket.
    NewSessionTicket,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientHello => "a ClientHello",
            Self::ServerHello => "a ServerHello",
            Self::HelloRetryRequest => "a HelloRetryRequest",
            Self::EncryptedExtensions => "EncryptedExtensions",
            Self::CertificateRequest => "a CertificateRequest",
            Self::ServerCertificate => "a server's Certificate",
            Self::ClientCertificate => "a client's Certificate",
            Self::ClientCertificateLater => "a later entry of a client's Certificate",
            Self::NewSessionTicket => "a NewSessionTicket",
        })
    }
}

/// What a receiver does with an extension at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Decode it: it belongs here.
    Read,
    /// Neither use nor answer it.
    Ignore,
    /// Abort.
    Refuse(ExtensionError),
}

/// The table of requirements 3.2 with the refusals of 3.4, rows i to l. `asked` says whether the receiver had sent what this answers:
/// the CertificateRequest signal for a client's Certificate, the ClientHello extension for a ServerHello.
#[must_use]
pub const fn placement(profile: Profile, version: TlsVersion, place: Place, asked: bool) -> Placement {
    match (place, version, profile) {
        (Place::ClientHello, TlsVersion::Tls13, Profile::Current) => {
            Placement::Refuse(ExtensionError::Misplaced(place))
        }
        (Place::ClientHello, TlsVersion::Tls13, Profile::Draft2022)
        | (Place::ClientHello, TlsVersion::Tls12, Profile::Current) => Placement::Ignore,
        (Place::ClientHello, TlsVersion::Tls12, Profile::Draft2022) => Placement::Read,
        (Place::ServerHello, TlsVersion::Tls12, Profile::Draft2022) if asked => Placement::Read,
        (Place::CertificateRequest, TlsVersion::Tls13, _) => Placement::Read,
        (Place::ClientCertificate, TlsVersion::Tls13, _) if asked => Placement::Read,
        (Place::ClientCertificateLater, TlsVersion::Tls13, _) if asked => {
            Placement::Refuse(ExtensionError::Misplaced(place))
        }
        (
            Place::ServerHello
            | Place::HelloRetryRequest
            | Place::EncryptedExtensions
            | Place::CertificateRequest
            | Place::ServerCertificate
            | Place::ClientCertificate
            | Place::ClientCertificateLater
            | Place::NewSessionTicket,
            _,
            _,
        ) => Placement::Refuse(ExtensionError::Unsolicited(place)),
    }
}

/// What is wrong with an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtensionError {
    /// The same type twice in one block, or two accepted code points in one Certificate.
    Duplicate,
    /// The length octet does not cover the data exactly, or is out of the profile's range.
    Length {
        /// What the length octet says.
        said: u8,
        /// How many octets follow it.
        found: usize,
    },
    /// Known, but not defined for this place.
    Misplaced(Place),
    /// The name breaks requirements 2.4.
    Name(NameError),
    /// No octet at all where profile `current` has a length octet.
    NoLength,
    /// A server's signal that carries a name.
    ServerNamed,
    /// Profile `2022`: a signal that is not empty.
    SignalNotEmpty {
        /// How many octets it has.
        octets: usize,
    },
    /// It answers nothing that was asked.
    Unsolicited(Place),
    /// Profile `current`: a name of zero length from a client.
    ZeroName,
}

impl ExtensionError {
    /// The reason it becomes, and by that the alert.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Duplicate | Self::Misplaced(_) | Self::ServerNamed => Reason::ExtensionMisplaced,
            Self::Length { .. } | Self::NoLength | Self::SignalNotEmpty { .. } => Reason::ExtensionUndecodable,
            Self::Name(_) => Reason::InvalidClientName,
            Self::Unsolicited(_) => Reason::ExtensionUnsolicited,
            Self::ZeroName => Reason::EmptyClientName,
        }
    }
}

impl fmt::Display for ExtensionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate => f.write_str("expected dane_clientid once, found it more than once"),
            Self::Length { said, found: 1 } => write!(f, "the length octet says {said}, but 1 octet of name follows"),
            Self::Length { said, found } => {
                write!(f, "the length octet says {said}, but {found} octets of name follow")
            }
            Self::Misplaced(place) => write!(f, "dane_clientid does not belong in {place}"),
            Self::Name(error) => write!(f, "the client name is invalid: {error}"),
            Self::NoLength => {
                f.write_str("expected a length octet, found empty extension data (a peer of the 2022 profile?)")
            }
            Self::ServerNamed => f.write_str("expected a signal without name from the server, found a name"),
            Self::SignalNotEmpty { octets } => {
                let noun = if *octets == 1 { "octet" } else { "octets" };
                write!(
                    f,
                    "expected an empty signal (profile 2022), found {octets} {noun} (a peer of the current profile?)"
                )
            }
            Self::Unsolicited(place) => write!(f, "dane_clientid in {place} answers nothing that was asked"),
            Self::ZeroName => f.write_str("expected a client name, found one of zero length"),
        }
    }
}

impl core::error::Error for ExtensionError {}
