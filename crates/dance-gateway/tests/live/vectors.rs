//! The cases of `spec/vectors`, read as they stand, and those of the larger set that the requirements cite and this one leaves out.

use std::collections::BTreeMap;
use std::path::PathBuf;

use dance_core::clientid::{Profile, TlsVersion};
use serde::Deserialize;

/// The sections that are about handshakes.
#[derive(Deserialize)]
pub(crate) struct Vectors {
    pub(crate) decision: Vec<DecisionCase>,
    pub(crate) extension: Vec<ExtensionCase>,
    pub(crate) message: Vec<MessageCase>,
}

/// A row of `decision`: what a server with these settings makes of such a client, and how many TLSA queries it sends.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct DecisionCase {
    pub(crate) name: String,
    pub(crate) policy: String,
    pub(crate) on_lookup_failure: Option<String>,
    pub(crate) ext: String,
    pub(crate) allow: Option<String>,
    pub(crate) dns: Option<String>,
    #[serde(rename = "match")]
    pub(crate) matching: Option<String>,
    pub(crate) expected: String,
    pub(crate) tlsa_queries_sent: usize,
}

/// A case of `extension`: octets in a place, and what its receiver makes of them.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ExtensionCase {
    pub(crate) name: String,
    profile: String,
    tls: String,
    pub(crate) message: String,
    pub(crate) sender: String,
    extension_data_hex: String,
    pub(crate) verdict: String,
    pub(crate) alert: Option<String>,
    pub(crate) client_name: Option<String>,
}

impl ExtensionCase {
    pub(crate) fn profile(&self) -> Profile {
        Profile::from_name(&self.profile).unwrap()
    }

    pub(crate) fn version(&self) -> TlsVersion {
        match self.tls.as_str() {
            "1.2" => TlsVersion::Tls12,
            "1.3" => TlsVersion::Tls13,
            other => panic!("{other}"),
        }
    }

    pub(crate) fn data(&self) -> Vec<u8> {
        data_encoding::HEXLOWER.decode(self.extension_data_hex.as_bytes()).unwrap()
    }

    /// Which case it is, besides its name.
    pub(crate) fn about(&self) -> String {
        format!("{} ({}, TLS {}, {})", self.name, self.profile, self.tls, self.message)
    }
}

/// A case of `message`: a whole handshake message, and what its receiver makes of the extension in it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct MessageCase {
    pub(crate) name: String,
    file: String,
    pub(crate) receiver: String,
    /// By profile.
    pub(crate) expected: BTreeMap<String, MessageExpected>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct MessageExpected {
    pub(crate) verdict: String,
    pub(crate) alert: Option<String>,
    pub(crate) client_name: Option<String>,
}

impl MessageCase {
    pub(crate) fn octets(&self) -> Vec<u8> {
        file(&self.file)
    }
}

/// A file of the set.
pub(crate) fn file(path: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors").join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn read() -> Vectors {
    serde_json::from_slice(&file("vectors.json")).unwrap()
}

/// The number of an alert that the set names.
pub(crate) fn alert(name: &str) -> u8 {
    match name {
        "handshake_failure" => 40,
        "illegal_parameter" => 47,
        "decode_error" => 50,
        "protocol_version" => 70,
        "unsupported_extension" => 110,
        other => panic!("{other}"),
    }
}

/// Rows of `decision` that requirements 4.2 has and the set leaves out.
pub(crate) fn more_decisions() -> Vec<DecisionCase> {
    let row = |policy: &str, ext: &str, dns: Option<&str>, expected: &str, tlsa_queries_sent| DecisionCase {
        name: format!("policy={policy}, ext={ext}, dns={dns:?}"),
        policy: policy.to_owned(),
        on_lookup_failure: dns.map(|_| "abort".to_owned()),
        ext: ext.to_owned(),
        allow: dns.map(|_| "yes".to_owned()),
        dns: dns.map(str::to_owned),
        matching: None,
        expected: expected.to_owned(),
        tlsa_queries_sent,
    };
    let abort = "ABORT handshake_failure";
    vec![
        row("require", "unsolicited", None, "ABORT unsupported_extension", 0),
        row("require", "good", Some("insecure"), abort, 1),
        row("require", "good", Some("bogus"), abort, 1),
        row("require", "good", Some("indeterminate"), abort, 1),
        row("require", "good", Some("resource limit"), abort, 0),
        row("optional", "absent", None, "NOT-DANE", 0),
        row("optional", "zero-length", None, abort, 0),
        row("optional", "good", Some("servfail"), abort, 1),
    ]
}

/// A case in short: what it is about; profile and version; place; data; the alert that it draws, if any.
type Short<'a> = (&'a str, [&'a str; 2], &'a str, Vec<u8>, Option<&'a str>);

/// Cases of `extension` that requirements 3.4 has and the set leaves out.
pub(crate) fn more_extensions() -> Vec<ExtensionCase> {
    const CURRENT: [&str; 2] = ["current", "1.3"];
    const DRAFT: [&str; 2] = ["2022", "1.3"];
    const DRAFT12: [&str; 2] = ["2022", "1.2"];
    const HANDSHAKE: Option<&str> = Some("handshake_failure");
    const DECODE: Option<&str> = Some("decode_error");
    const ILLEGAL: Option<&str> = Some("illegal_parameter");
    const UNSUPPORTED: Option<&str> = Some("unsupported_extension");
    let named = |name: &[u8]| [&[name.len() as u8], name].concat();
    let name = || named(b"device1.example.com");
    let rows: Vec<Short<'_>> = vec![
        ("zero-length name", CURRENT, "CT", vec![0], HANDSHAKE),
        ("zero-length name", DRAFT, "CT", vec![0], DECODE),
        ("zero-length name", DRAFT12, "CH", vec![0], DECODE),
        ("257 octets", CURRENT, "CT", vec![b'a'; 257], DECODE),
        ("257 octets", DRAFT, "CT", vec![b'a'; 257], DECODE),
        ("257 octets", DRAFT12, "CH", vec![b'a'; 257], DECODE),
        ("bad name: NUL", CURRENT, "CT", named(b"a\0.example.com"), HANDSHAKE),
        ("bad name: NUL", DRAFT12, "CH", named(b"a\0.example.com"), HANDSHAKE),
        ("bad name: line feed", CURRENT, "CT", named(b"a\r\nb.example.com"), HANDSHAKE),
        ("bad name: single label", CURRENT, "CT", named(b"device1"), HANDSHAKE),
        ("bad name: single label", DRAFT12, "CH", named(b"device1"), HANDSHAKE),
        ("bad name: trailing hyphen", CURRENT, "CT", named(b"dev-.example.com"), HANDSHAKE),
        ("bad name: leading dot", CURRENT, "CT", named(b".device1.example.com"), HANDSHAKE),
        ("bad name: last label with underscore", CURRENT, "CT", named(b"device1._com"), HANDSHAKE),
        ("in client Certificate but not in CertificateRequest", DRAFT, "CT_unasked", name(), UNSUPPORTED),
        ("on second CertificateEntry only", DRAFT, "CT_second", name(), ILLEGAL),
        ("on first and second CertificateEntry", DRAFT, "CT_first_and_second", name(), ILLEGAL),
        ("twice in one extension block", DRAFT, "CT_duplicate", name(), ILLEGAL),
        ("in second ClientHello", CURRENT, "CH_second", named(b"a.example.com"), ILLEGAL),
        ("server signal", CURRENT, "CR", vec![0], None),
        ("server signal", DRAFT, "CR", vec![], None),
        ("server signal with a length octet", DRAFT, "CR", vec![0], DECODE),
        ("server sends a name", CURRENT, "CR", name(), ILLEGAL),
        ("server sends a name", DRAFT, "CR", name(), DECODE),
        ("server signal twice", CURRENT, "CR_duplicate", vec![0], ILLEGAL),
        ("server signal twice", DRAFT, "CR_duplicate", vec![], ILLEGAL),
        ("server signal", DRAFT12, "SH", vec![], None),
        ("server signal with a length octet", DRAFT12, "SH", vec![0], DECODE),
        ("server sends a name", DRAFT12, "SH", name(), DECODE),
        ("server signal twice", DRAFT12, "SH_duplicate", vec![], ILLEGAL),
        ("in EncryptedExtensions", DRAFT, "EE", vec![], UNSUPPORTED),
        ("in ServerHello", DRAFT, "SH", vec![], UNSUPPORTED),
        ("in HelloRetryRequest", DRAFT, "HRR", vec![], UNSUPPORTED),
        ("in server Certificate", DRAFT, "CT_server", vec![], UNSUPPORTED),
        ("on second entry of server Certificate", CURRENT, "CT_server_second", vec![0], UNSUPPORTED),
        ("on second entry of server Certificate", DRAFT, "CT_server_second", vec![], UNSUPPORTED),
    ];
    let server = ["CR", "SH", "EE", "HRR", "CT_server"];
    let case = |(about, [profile, tls], message, data, alert): Short<'_>| {
        let sent_by_server = server.iter().any(|place| message.starts_with(place));
        ExtensionCase {
            name: about.to_owned(),
            profile: profile.to_owned(),
            tls: tls.to_owned(),
            message: message.to_owned(),
            sender: if sent_by_server { "server" } else { "client" }.to_owned(),
            extension_data_hex: data_encoding::HEXLOWER.encode(&data),
            verdict: if alert.is_none() { "accept" } else { "reject" }.to_owned(),
            alert: alert.map(str::to_owned),
            client_name: None,
        }
    };
    rows.into_iter().map(case).collect()
}
