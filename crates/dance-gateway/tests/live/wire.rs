//! Clients of every kind, and the octets that they put where they do not belong.

use dance_core::clientid::{ClientForm, ExtensionType, Profile, TlsVersion};
use dance_core::name::ClientName;
use dance_gateway::Config;
use dance_gateway::config::ProfileSetting;
use dance_testkit::Identity;
use dance_tls::misbehave::{self, CERTIFICATE_REQUEST, CLIENT_HELLO, ENCRYPTED_EXTENSIONS};
use dance_tls::{ClientConfig, Connector};

use crate::lab::Lab;

pub(crate) const TYPE: u16 = ExtensionType::DEFAULT.get();

/// A name as long as names can be. No zone of its own: its record is in the root.
pub(crate) const LONGEST: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.\
    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.\
    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.\
    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// What is spoken: a profile over a version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) profile: Profile,
    pub(crate) version: TlsVersion,
}

impl Wire {
    pub(crate) const CURRENT: Self = Self { profile: Profile::Current, version: TlsVersion::Tls13 };
    pub(crate) const DRAFT: Self = Self { profile: Profile::Draft2022, version: TlsVersion::Tls13 };
    pub(crate) const DRAFT_TLS12: Self = Self { profile: Profile::Draft2022, version: TlsVersion::Tls12 };
    /// Every way in which a client can say its name.
    pub(crate) const ALL: [Self; 3] = [Self::CURRENT, Self::DRAFT, Self::DRAFT_TLS12];

    /// A gateway that speaks it.
    pub(crate) fn config(self, lab: &Lab) -> Config {
        Config {
            profile: match self.profile {
                Profile::Current => ProfileSetting::Current,
                Profile::Draft2022 => ProfileSetting::Draft2022,
            },
            tls12: self.version == TlsVersion::Tls12,
            ..lab.config()
        }
    }
}

/// What a client presents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    X509,
    RawKey,
}

impl Credential {
    pub(crate) const ALL: [Self; 2] = [Self::X509, Self::RawKey];
}

/// An honest client. Without a name it does not ask for DANE.
pub(crate) fn client(
    lab: &Lab,
    wire: Wire,
    credential: Credential,
    name: Option<&str>,
    identity: &Identity,
) -> Connector {
    Connector::new(&config(lab, wire, credential, name, identity)).unwrap()
}

/// An honest client that is sent a HelloRetryRequest: the group that it begins with is none of the gateway's.
pub(crate) fn retried(
    lab: &Lab,
    wire: Wire,
    credential: Credential,
    name: Option<&str>,
    identity: &Identity,
) -> Connector {
    let groups = Some("secp521r1:secp384r1".to_owned());
    Connector::new(&ClientConfig { groups, ..config(lab, wire, credential, name, identity) }).unwrap()
}

pub(crate) fn config(
    lab: &Lab,
    wire: Wire,
    credential: Credential,
    name: Option<&str>,
    identity: &Identity,
) -> ClientConfig {
    let any = "a.example.com";
    let config = match credential {
        Credential::X509 => lab.certificate(any, identity),
        Credential::RawKey => lab.raw_key(any, identity),
    };
    // A client of profile `current` has nothing to say in TLS 1.2, and so our client does not speak that.
    let tls12 = wire.version == TlsVersion::Tls12;
    ClientConfig {
        client_id: name.map(|name| ClientForm::Name(ClientName::parse_config(name).unwrap())),
        profile: if tls12 { Profile::Draft2022 } else { wire.profile }.into(),
        tls12,
        tls13: !tls12,
        name_in_client_hello: tls12 && name.is_some(),
        ..config
    }
}

/// Our extension in wire form, once for each data.
pub(crate) fn block(data: &[&[u8]]) -> Vec<u8> {
    data.iter().flat_map(|data| misbehave::extension(TYPE, data)).collect()
}

/// A client that says this in the place where its wire has the extension.
pub(crate) fn says(honest: &Connector, wire: Wire, data: &[&[u8]]) -> Connector {
    match wire.version {
        TlsVersion::Tls13 => misbehave::sends_in_certificate(honest, &[block(data)]),
        TlsVersion::Tls12 => says_in_client_hello(honest, data),
    }
}

/// A client that says this in its ClientHello, in the place of what it had there.
pub(crate) fn says_in_client_hello(honest: &Connector, data: &[&[u8]]) -> Connector {
    let block = block(data);
    misbehave::connector(honest, misbehave::only(CLIENT_HELLO, move |message| with_ours(message, &block)))
}

/// A message whose last field is its extensions, with this block in the place of ours.
pub(crate) fn with_ours(message: &[u8], block: &[u8]) -> Vec<u8> {
    let length = match message[0] {
        ENCRYPTED_EXTENSIONS => 0,
        // The request context of a handshake is empty.
        CERTIFICATE_REQUEST => 1,
        _ => misbehave::hello_length(message),
    };
    let (head, mut rest) = message[4..].split_at(length);
    rest = rest.get(2..).unwrap_or_default();
    let mut extensions = Vec::new();
    while let [a, b, c, d, after @ ..] = rest {
        let (data, after) = after.split_at(usize::from(u16::from_be_bytes([*c, *d])));
        let found = u16::from_be_bytes([*a, *b]);
        if found != TYPE {
            extensions.extend(misbehave::extension(found, data));
        }
        rest = after;
    }
    extensions.extend(block);
    let length = (extensions.len() as u16).to_be_bytes();
    misbehave::with_body(message, &[head, &length, &extensions].concat())
}
