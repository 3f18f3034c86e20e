//! What a client presents, and what it sees of the verdict.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::*;
use dance_core::clientid::{ClientForm, TlsVersion};
use dance_core::matching::Credential;
use dance_core::reason::Reason;
use dance_core::verdict::{ClientId, Verdict};
use dance_tls::{CredentialType, Resumed};

// CID-04, CLI-03, TLSA-23
#[tokio::test]
async fn x509_client_is_presented_as_received() {
    let (accepted, connected) = handshake(&acceptor(), &connector(x509())).await;
    let (pending, mut client) = (accepted.unwrap(), connected.unwrap());
    assert_eq!(certificates(pending.presented().credential.as_ref()), [vector("certs/ee-p256.der")]);
    assert_eq!(pending.presented().client_id, ClientId::Form(ClientForm::Name(name())));
    assert_eq!(pending.server_name(), Some(SERVER));
    assert_eq!(pending.version(), TlsVersion::Tls13);
    assert!(client.signal_seen() && client.name_sent());
    assert_eq!(client.credential_sent(), Some(CredentialType::X509));
    echo(&mut open(pending).await, &mut client).await;
}

// CID-04, RPK-03, TLSA-23
#[tokio::test]
async fn raw_public_key_client_is_presented_as_received() {
    let (accepted, connected) = handshake(&acceptor(), &connector(raw_public_key())).await;
    let (pending, mut client) = (accepted.unwrap(), connected.unwrap());
    let spki = vector("keys/ee-p256.spki.der");
    assert_eq!(pending.presented().credential, Some(Credential::RawPublicKey(spki.into())));
    assert_eq!(pending.presented().client_id, ClientId::Form(ClientForm::Name(name())));
    assert_eq!(client.credential_sent(), Some(CredentialType::RawPublicKey));
    echo(&mut open(pending).await, &mut client).await;
}

// SRV-16, CLI-07
#[tokio::test]
async fn refusal_is_handshake_failure_at_the_clients_first_read() {
    for credential in [x509(), raw_public_key()] {
        let (accepted, connected) = handshake(&acceptor(), &connector(credential)).await;
        let (pending, client) = (accepted.unwrap(), connected.unwrap());
        let (resumed, end) = tokio::join!(pending.resume(&Verdict::Abort(Reason::NoMatch)), read_end(client));
        assert!(matches!(resumed, Resumed::Refused));
        assert!(matches!(&end, ClientEnd::Read(error) if is_auth_refused(error)), "{end:?}");
    }
}
