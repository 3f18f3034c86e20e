//! `dance extension encode|decode`: the octets of `dane_clientid`, offline.

use clap::{Subcommand, ValueEnum};
use dance_core::clientid::{
    ClientForm, ExtensionError, ExtensionType, Place, Placement, Profile, TlsVersion, decode_client, decode_signal,
    placement,
};
use dance_core::name::ClientName;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::Serialize;

use crate::command::{Verdict, parse_extension_type, parse_profile};
use crate::output::{self, Format};
use crate::{Error, Exit};

/// Write or read the dane_clientid extension.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
EXAMPLES:
    dance extension encode --from client --name sensor7._device.example.com
    dance extension decode --from server 00

EXIT CODES:
    as of the command that follows";

#[derive(Debug, Subcommand)]
enum Command {
    Encode(Encode),
    Decode(Decode),
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit, Error> {
        match self.command {
            Command::Encode(args) => args.run(),
            Command::Decode(args) => args.run(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sender {
    Client,
    Server,
}

/// Print the extension that a client or server sends.
#[derive(Debug, clap::Args)]
#[command(after_help = ENCODE_AFTER_HELP)]
struct Encode {
    /// Wire profile: `current` or `2022`
    #[arg(long, value_parser = parse_profile, default_value = "current")]
    profile: Profile,

    /// Who sends it
    #[arg(long, value_enum)]
    from: Sender,

    /// The client's name; without it a client of profile 2022 says that its name is in its certificate
    #[arg(long, allow_hyphen_values = true)]
    name: Option<String>,

    /// The extension's code point, from the private-use range
    #[arg(long, value_parser = parse_extension_type, default_value_t = ExtensionType::DEFAULT)]
    extension_type: ExtensionType,

    /// How to print the result
    #[arg(long, value_enum, default_value = "json")]
    format: Format,
}

const ENCODE_AFTER_HELP: &str = "\
EXAMPLES:
    dance extension encode --from client --name sensor7._device.example.com
    dance extension encode --from server --profile 2022
    dance extension encode --from client --name host.example.com --format text

JSON KEYS:
    extension_data_hex  the content of the extension
    extension_hex       the same behind its type and length, as on the wire

    Text output is the content alone.

EXIT CODES:
    0  printed
    1  the name is not one that may be sent
    2  wrong usage, or a form that the profile does not have";

#[derive(Serialize)]
struct Encoded {
    extension_data_hex: String,
    extension_hex: String,
}

impl Encode {
    fn run(self) -> Result<Exit, Error> {
        let data = match (self.from, self.name) {
            (Sender::Server, None) => self.profile.signal().to_vec(),
            (Sender::Server, Some(_)) => return Err(Error::ServerHasNoName),
            (Sender::Client, name) => {
                let form = match name {
                    None => ClientForm::InCertificate,
                    Some(name) => ClientForm::Name(
                        ClientName::parse(name.as_bytes()).map_err(|error| Error::Name { name, error })?,
                    ),
                };
                form.encode(self.profile).ok_or(Error::NameMissing)?
            }
        };
        let data_hex = HEXLOWER.encode(&data);
        match self.format {
            Format::Text => output::print(data_hex)?,
            Format::Json => {
                let extension_hex = format!("{:04x}{:04x}{data_hex}", self.extension_type.get(), data.len());
                output::print_json(&Encoded { extension_data_hex: data_hex, extension_hex })?;
            }
        }
        Ok(Exit::Yes)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Message {
    /// ClientHello
    #[value(name = "CH")]
    ClientHello,
    /// ServerHello
    #[value(name = "SH")]
    ServerHello,
    /// CertificateRequest
    #[value(name = "CR")]
    CertificateRequest,
    /// Certificate, first entry
    #[value(name = "CT")]
    Certificate,
}

/// Say what a receiver makes of an extension's content.
#[derive(Debug, clap::Args)]
#[command(after_help = DECODE_AFTER_HELP)]
struct Decode {
    /// Wire profile: `current` or `2022`
    #[arg(long, value_parser = parse_profile, default_value = "current")]
    profile: Profile,

    /// Who sent it
    #[arg(long, value_enum)]
    from: Sender,

    /// The message that carried it; by default the one in which this sender sends it in this version of TLS
    #[arg(long, value_enum, ignore_case = true)]
    message: Option<Message>,

    /// The TLS version that was negotiated
    #[arg(long, value_parser = parse_version, default_value = "1.3")]
    tls: TlsVersion,

    /// extension_data in hexadecimal, without type and length; may be empty ("")
    #[arg(value_name = "HEX")]
    hex: String,

    /// How to print the result
    #[arg(long, value_enum, default_value = "json")]
    format: Format,
}

const DECODE_AFTER_HELP: &str = "\
EXAMPLES:
    dance extension decode --from client 1b73656e736f72372e5f6465766963652e6578616d706c652e636f6d
    dance extension decode --from server --profile 2022 \"\"
    dance extension decode --from client --profile 2022 --tls 1.2 --message CH \"\"

    The answer is for an extension that was asked for: in a client's Certificate, that the
    CertificateRequest had the signal; in a ServerHello, that the ClientHello had the extension.

JSON KEYS:
    verdict      accept, reject or ignore
    alert        the TLS alert that ends the handshake, or null
    client_name  the client's name as its server uses it; \"\" where it is in the certificate; null
                 where there is none
    normalised   the same
    reason       a stable code, or null
    detail       what was expected and what was found, or null

EXIT CODES:
    0  accepted or ignored: the handshake goes on
    1  rejected
    2  wrong usage";

#[derive(Serialize)]
struct Decoded {
    verdict: Verdict,
    alert: Option<&'static str>,
    client_name: Option<String>,
    normalised: Option<String>,
    reason: Option<&'static str>,
    detail: Option<String>,
}

impl Decode {
    fn run(self) -> Result<Exit, Error> {
        let data = HEXLOWER_PERMISSIVE.decode(self.hex.as_bytes()).map_err(|error| Error::Hex { error })?;
        let place = self.place()?;
        let (verdict, result) = match placement(self.profile, self.tls, place, true) {
            Placement::Ignore => (Verdict::Ignore, Ok(None)),
            Placement::Refuse(error) => (Verdict::Reject, Err(error)),
            Placement::Read => {
                let result = self.read(&data);
                (if result.is_ok() { Verdict::Accept } else { Verdict::Reject }, result)
            }
        };
        self.print(verdict, &result)?;
        Ok(if verdict == Verdict::Reject { Exit::No } else { Exit::Yes })
    }

    fn read(&self, data: &[u8]) -> Result<Option<ClientName>, ExtensionError> {
        match self.from {
            Sender::Server => decode_signal(self.profile, data).map(|()| None),
            Sender::Client => match decode_client(self.profile, data)? {
                ClientForm::Name(name) => Ok(Some(name)),
                ClientForm::InCertificate => Ok(None),
            },
        }
    }

    fn place(&self) -> Result<Place, Error> {
        let message = self.message.unwrap_or(match (self.from, self.tls) {
            (Sender::Client, TlsVersion::Tls12) => Message::ClientHello,
            (Sender::Client, TlsVersion::Tls13) => Message::Certificate,
            (Sender::Server, TlsVersion::Tls12) => Message::ServerHello,
            (Sender::Server, TlsVersion::Tls13) => Message::CertificateRequest,
        });
        match (self.from, message) {
            (Sender::Client, Message::ClientHello) => Ok(Place::ClientHello),
            (Sender::Client, Message::Certificate) => Ok(Place::ClientCertificate),
            (Sender::Server, Message::ServerHello) => Ok(Place::ServerHello),
            (Sender::Server, Message::CertificateRequest) => Ok(Place::CertificateRequest),
            (Sender::Server, Message::Certificate) => Ok(Place::ServerCertificate),
            (Sender::Client, Message::ServerHello | Message::CertificateRequest) => {
                Err(Error::MessageOfOtherSide { sender: "client", others: "SH or CR" })
            }
            (Sender::Server, Message::ClientHello) => Err(Error::MessageOfOtherSide { sender: "server", others: "CH" }),
        }
    }

    fn print(&self, verdict: Verdict, result: &Result<Option<ClientName>, ExtensionError>) -> Result<(), Error> {
        let error = result.as_ref().err();
        let name = result.as_ref().ok().and_then(Option::as_ref).map(ToString::to_string);
        let in_certificate = verdict == Verdict::Accept && self.from == Sender::Client;
        match (self.format, error) {
            (Format::Json, _) => output::print_json(&Decoded {
                verdict,
                alert: error.map(|error| error.reason().alert().name()),
                client_name: name.clone().or(in_certificate.then(String::new)),
                normalised: name.or(in_certificate.then(String::new)),
                reason: error.map(|error| error.reason().code()),
                detail: error.map(ToString::to_string),
            }),
            (Format::Text, Some(error)) => {
                output::print(format_args!("reject: {error}; alert {}", error.reason().alert()))
            }
            (Format::Text, None) => match (verdict, name, self.from) {
                (Verdict::Ignore, _, _) => output::print("ignore: not used in this version of TLS"),
                (_, Some(name), _) => output::print(format_args!("accept: {name}")),
                (_, None, Sender::Server) => output::print("accept: the server can do DANE client authentication"),
                (_, None, Sender::Client) => output::print("accept: the client's name is in its certificate"),
            },
        }
    }
}

fn parse_version(text: &str) -> Result<TlsVersion, String> {
    match text {
        "1.2" => Ok(TlsVersion::Tls12),
        "1.3" => Ok(TlsVersion::Tls13),
        _ => Err("expected `1.2` or `1.3`".to_owned()),
    }
}
