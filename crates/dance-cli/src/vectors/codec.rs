//! Sections about octets: names, the extension, whole messages, records, patterns.

use dance_core::clientid::{
    ClientForm, ExtensionError, ExtensionType, ExtensionTypes, Place, Placement, Profile, TlsVersion, decode_client,
    decode_signal, placement,
};
use dance_core::message::{
    CertificateMessage, CertificateRequestMessage, CertificateType, Extensions, Negotiated, read_client_certificate,
};
use dance_core::name::{ClientName, OwnerName, OwnerNameError, ServiceLabel};
use dance_core::policy::AllowList;
use dance_core::tlsa::{CertUsage, MatchingType, Selector, TlsaRdata};
use dance_core::verdict::ClientId;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Fault, Vectors, number, octets, text};

pub(super) fn name(_: &Vectors, case: &Value) -> Result<Value, Fault> {
    Ok(match ClientName::parse(&octets(case, "octets_hex")?) {
        Ok(name) => json!({
            "verdict": "accept",
            "normalised": name.as_str(),
            "qname_wire_hex": HEXLOWER.encode(name.to_wire().as_slice()),
        }),
        Err(_) => json!({ "verdict": "reject" }),
    })
}

pub(super) fn owner_name(_: &Vectors, case: &Value) -> Result<Value, Fault> {
    let name = client_name(case)?;
    let label = case.get("service_label").and_then(Value::as_str).map(ServiceLabel::parse).transpose();
    let label = label.map_err(|_| Fault::Missing("service_label"))?;
    let (owner, reject) = match OwnerName::construct(&name, label.as_ref()) {
        Ok(owner) => (Some(owner.to_string()), None),
        Err(OwnerNameError::OtherService) => (None, Some("name is for another service or class")),
        Err(OwnerNameError::TooLong { .. }) => (None, Some("constructed owner name too long")),
    };
    Ok(json!({
        "owner_2022": owner,
        "reject_2022": reject,
        "owner_current": OwnerName::verbatim(&name).as_str(),
    }))
}

pub(super) fn allow_list(_: &Vectors, case: &Value) -> Result<Value, Fault> {
    let patterns = case.get("patterns").and_then(Value::as_array).ok_or(Fault::Missing("patterns"))?;
    let list = AllowList::parse(patterns.iter().filter_map(Value::as_str)).map_err(|_| Fault::Missing("patterns"))?;
    let verdict = if list.admits(&client_name(case)?).is_some() { "allow" } else { "deny" };
    Ok(json!({ "expected": verdict }))
}

pub(super) fn tlsa_rdata(vectors: &Vectors, case: &Value) -> Result<Value, Fault> {
    let certificate = vectors.certificate(text(case, "cert")?)?;
    let record = TlsaRdata::for_certificate(
        CertUsage(number(case, "usage")?),
        Selector(number(case, "selector")?),
        MatchingType(number(case, "matching_type")?),
        &certificate,
    );
    let record = record.map_err(|_| Fault::Missing("usage, selector and matching type"))?;
    Ok(json!({
        "data_hex": record.fields().map(|fields| HEXLOWER.encode(fields.data)),
        "rdata_wire_hex": HEXLOWER.encode(record.as_wire()),
        "presentation": record.to_string(),
    }))
}

pub(super) fn client_name(case: &Value) -> Result<ClientName, Fault> {
    ClientName::parse(text(case, "client_name")?.as_bytes()).map_err(|_| Fault::Missing("client_name"))
}

fn profile(name: &str) -> Result<Profile, Fault> {
    Profile::from_name(name).ok_or_else(|| Fault::Unknown { member: "profile", value: name.to_owned() })
}

/// What a receiver makes of an extension.
enum Receipt {
    Name(ClientName),
    InCertificate,
    Signal,
    Absent,
    Ignored,
    Rejected(ExtensionError),
}

impl From<ClientId> for Receipt {
    fn from(client_id: ClientId) -> Self {
        match client_id {
            ClientId::Absent => Self::Absent,
            ClientId::Form(ClientForm::Name(name)) => Self::Name(name),
            ClientId::Form(ClientForm::InCertificate) => Self::InCertificate,
            ClientId::Invalid(error) => Self::Rejected(error),
        }
    }
}

pub(super) fn extension(_: &Vectors, case: &Value) -> Result<Value, Fault> {
    let data = octets(case, "extension_data_hex")?;
    let block = extension_block(&[&data]);
    let receipt = receive(case, &data)?;
    let (verdict, alert, name) = match &receipt {
        Receipt::Name(name) => ("accept", None, Some(name.as_str())),
        // The set writes a client's name that is not there as an empty one. A server has none, however that is written.
        Receipt::Signal if case.get("client_name").is_none_or(Value::is_null) => ("accept", None, None),
        Receipt::InCertificate | Receipt::Signal => ("accept", None, Some("")),
        Receipt::Ignored | Receipt::Absent => ("ignore", None, None),
        Receipt::Rejected(error) => ("reject", Some(error.reason().alert().name()), None),
    };
    Ok(json!({ "extension_hex": HEXLOWER.encode(&block), "verdict": verdict, "alert": alert, "client_name": name }))
}

/// Puts the extension where the case says, and reads that.
fn receive(case: &Value, data: &[u8]) -> Result<Receipt, Fault> {
    let profile = profile(text(case, "profile")?)?;
    let version = match text(case, "tls")? {
        "1.2" => TlsVersion::Tls12,
        "1.3" => TlsVersion::Tls13,
        other => return Err(Fault::Unknown { member: "tls", value: other.to_owned() }),
    };
    let message = text(case, "message")?;
    // Whether the other side asked is not a member of its own; in the Certificate message it is in the case's name.
    let asked = !text(case, "name")?.contains("not in CertificateRequest");
    let read = |place, block: &[u8]| {
        let block = Extensions::parse(block).map_err(|_| Fault::Missing("extension_data_hex"))?;
        Ok(read_block(profile, version, place, &block))
    };
    let once = extension_block(&[data]);
    let twice = extension_block(&[data, data]);
    match message {
        "CT" => certificate(profile, asked, &[&once]),
        "CT_second" => certificate(profile, asked, &[&[], &once]),
        "CT_first_and_second" => certificate(profile, asked, &[&once, &once]),
        "CT_duplicate" => certificate(profile, asked, &[&twice]),
        "CR" => read(Place::CertificateRequest, &once),
        "CR_duplicate" => read(Place::CertificateRequest, &twice),
        "CH" => read(Place::ClientHello, &once),
        "CH_duplicate" => read(Place::ClientHello, &twice),
        "SH" | "SH_unsolicited" => Ok(read_at(profile, version, Place::ServerHello, message == "SH", data)),
        "HRR" => read(Place::HelloRetryRequest, &once),
        "EE" => read(Place::EncryptedExtensions, &once),
        "CT_server" => read(Place::ServerCertificate, &once),
        "NST" => read(Place::NewSessionTicket, &once),
        other => Err(Fault::Unknown { member: "message", value: other.to_owned() }),
    }
}

fn read_block(profile: Profile, version: TlsVersion, place: Place, block: &Extensions<'_>) -> Receipt {
    match block.get(&ExtensionTypes::DEFAULT) {
        Ok(Some(data)) => read_at(profile, version, place, true, data),
        Ok(None) => Receipt::Absent,
        Err(error) => Receipt::Rejected(error),
    }
}

fn read_at(profile: Profile, version: TlsVersion, place: Place, asked: bool, data: &[u8]) -> Receipt {
    match placement(profile, version, place, asked) {
        Placement::Ignore => Receipt::Ignored,
        Placement::Refuse(error) => Receipt::Rejected(error),
        Placement::Read => match place {
            Place::ServerHello | Place::CertificateRequest => match decode_signal(profile, data) {
                Ok(()) => Receipt::Signal,
                Err(error) => Receipt::Rejected(error),
            },
            _ => match decode_client(profile, data) {
                Ok(form) => ClientId::Form(form).into(),
                Err(error) => Receipt::Rejected(error),
            },
        },
    }
}

/// A client's Certificate message with these extension blocks, one an entry, read as a server reads it.
fn certificate(profile: Profile, signal_sent: bool, blocks: &[&[u8]]) -> Result<Receipt, Fault> {
    let certificate: &[u8] = b"read by nobody";
    let entries: Vec<_> = blocks.iter().map(|block| (certificate, *block)).collect();
    let message = certificate_message(&entries);
    let presented = read_client_certificate(&message, &negotiated(profile, signal_sent, CertificateType::X509, &[]));
    presented.map(|presented| presented.client_id.into()).map_err(|_| Fault::Missing("extension_data_hex"))
}

fn negotiated(
    profile: Profile,
    signal_sent: bool,
    certificate_type: CertificateType,
    context: &[u8],
) -> Negotiated<'_> {
    Negotiated { extension_types: &ExtensionTypes::DEFAULT, profile, signal_sent, certificate_type, context }
}

/// A block with our extension once for each data.
pub(super) fn extension_block(data: &[&[u8]]) -> Vec<u8> {
    let mut block = Vec::new();
    for data in data {
        block.extend(ExtensionType::DEFAULT.get().to_be_bytes());
        block.extend((data.len() as u16).to_be_bytes());
        block.extend_from_slice(data);
    }
    block
}

/// A Certificate message of the main handshake: certificate and extension block of each entry.
pub(super) fn certificate_message(entries: &[(&[u8], &[u8])]) -> Vec<u8> {
    let three = |len: usize| [(len >> 16) as u8, (len >> 8) as u8, len as u8];
    let mut list = Vec::new();
    for (certificate, extensions) in entries {
        list.extend(three(certificate.len()));
        list.extend_from_slice(certificate);
        list.extend((extensions.len() as u16).to_be_bytes());
        list.extend_from_slice(extensions);
    }
    let mut message = vec![11];
    message.extend(three(list.len() + 4));
    message.push(0);
    message.extend(three(list.len()));
    message.extend(list);
    message
}

pub(super) fn message(vectors: &Vectors, case: &Value) -> Result<Value, Fault> {
    let message = vectors.file(text(case, "file")?)?;
    let receiver = text(case, "receiver")?;
    let receive = |profile| {
        let (verdict, alert, name) = match read_message(receiver, profile, &message)? {
            Receipt::Name(name) => ("name", None, Some(name.to_string())),
            Receipt::InCertificate | Receipt::Signal => ("signal", None, None),
            Receipt::Absent | Receipt::Ignored => ("absent", None, None),
            Receipt::Rejected(error) => ("reject", Some(error.reason().alert().name()), None),
        };
        Ok(json!({ "verdict": verdict, "alert": alert, "client_name": name }))
    };
    Ok(json!({
        "length": message.len(),
        "sha256": HEXLOWER.encode(&Sha256::digest(&message)),
        "expected": { "current": receive(Profile::Current)?, "2022": receive(Profile::Draft2022)? },
    }))
}

fn read_message(receiver: &str, profile: Profile, message: &[u8]) -> Result<Receipt, Fault> {
    let undecodable = |_| Fault::Missing("message that decodes");
    match receiver {
        "client" => {
            let request = CertificateRequestMessage::parse(message).map_err(undecodable)?;
            Ok(match request.signal(&ExtensionTypes::DEFAULT, profile.into()) {
                Ok(Some(_)) => Receipt::Signal,
                Ok(None) => Receipt::Absent,
                Err(error) => Receipt::Rejected(error),
            })
        }
        "server" => {
            // The set asks about the extension. The rest is taken as negotiated as the message has it.
            let found = CertificateMessage::parse(message).map_err(undecodable)?;
            let raw = found.entries.first().is_some_and(|entry| dance_core::x509::check_spki(entry.data).is_ok());
            let kind = if raw { CertificateType::RawPublicKey } else { CertificateType::X509 };
            let presented = read_client_certificate(message, &negotiated(profile, true, kind, found.context));
            Ok(presented.map_err(undecodable)?.client_id.into())
        }
        other => Err(Fault::Unknown { member: "receiver", value: other.to_owned() }),
    }
}
