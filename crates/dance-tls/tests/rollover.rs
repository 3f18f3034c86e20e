//! A client's credentials are replaced under a living [`Rollover`].
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs;
use std::path::PathBuf;

use common::{NAME, acceptor, handshake, name, trust_server};
use dance_core::clientid::ClientForm;
use dance_core::matching::Credential;
use dance_tls::{
    ClientConfig, ConfigError, CredentialError, CredentialFiles, Credentials, ReadyCredential, Rollover, RolloverError,
    Slot,
};
use tempfile::TempDir;

/// A certificate with its key, and the certificate in DER.
struct Made {
    certificate: String,
    key: String,
    der: Vec<u8>,
}

fn make() -> Made {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    Made { certificate: made.cert.pem(), key: made.signing_key.serialize_pem(), der: made.cert.der().to_vec() }
}

/// A client's directory.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn files(&self, name: &str) -> CredentialFiles {
        CredentialFiles { certificate: Some(self.path(&format!("{name}.pem"))), key: self.path(&format!("{name}.key")) }
    }

    fn put(&self, name: &str, made: &Made) {
        fs::write(self.path(&format!("{name}.pem")), &made.certificate).unwrap();
        fs::write(self.path(&format!("{name}.key")), &made.key).unwrap();
    }

    fn load(&self) -> Result<Rollover, RolloverError> {
        Rollover::load(config(), self.files("current"), Some(self.files("next")))
    }
}

fn config() -> ClientConfig {
    ClientConfig { client_id: Some(ClientForm::Name(name())), ..ClientConfig::new(trust_server()) }
}

fn is(ready: &ReadyCredential, made: &Made) -> bool {
    matches!(ready.presented(), Credential::X509(chain) if matches!(&chain[..], [leaf] if leaf[..] == made.der[..]))
}

fn slots(credentials: &Credentials) -> Vec<Slot> {
    credentials.iter().map(|(slot, _)| slot).collect()
}

#[tokio::test]
async fn files_replaced_under_a_living_object_are_presented_from_then_on() {
    let (home, old, new) = (Home::new(), make(), make());
    home.put("current", &old);
    let rollover = home.load().unwrap();
    let before = rollover.credentials();
    assert_eq!(slots(&before), [Slot::Current]);
    assert!(is(&before.current, &old));

    // The next key is made; both are there, whatever is presented.
    home.put("next", &new);
    let during = rollover.reload().unwrap();
    assert_eq!(slots(&during), [Slot::Current, Slot::Next]);
    assert!(is(&during.current, &old) && during.next.as_ref().is_some_and(|next| is(next, &new)));

    // The next key becomes the current one; there is no next one any more.
    for file in ["pem", "key"] {
        fs::rename(home.path(&format!("next.{file}")), home.path(&format!("current.{file}"))).unwrap();
    }
    rollover.reload().unwrap();
    let after = rollover.credentials();
    assert_eq!(slots(&after), [Slot::Current]);
    assert!(is(&after.current, &new));

    // What each of them presents is what a server sees, and a connector from before the reload still works.
    for (ready, made) in [(&before.current, &old), (during.next.as_ref().unwrap(), &new), (&after.current, &new)] {
        let (accepted, connected) = handshake(&acceptor(), ready.connector()).await;
        connected.unwrap();
        let presented = accepted.unwrap().presented().clone();
        assert_eq!(presented.credential.as_ref(), Some(ready.presented()));
        assert!(is(ready, made));
    }
}

#[test]
fn a_half_written_file_keeps_the_old_state_and_is_named() {
    let (home, old, new) = (Home::new(), make(), make());
    home.put("current", &old);
    let rollover = home.load().unwrap();
    let kept = |rollover: &Rollover| is(&rollover.credentials().current, &old);

    for (file, whole) in [("current.pem", &new.certificate), ("current.key", &new.key)] {
        // From an empty file to one that lacks its last line's end mark.
        for written in [0, 1, whole.len() / 2, whole.trim_end().len() - 1] {
            home.put("current", &old);
            fs::write(home.path(file), &whole[..written]).unwrap();
            let error = rollover.reload().unwrap_err();
            assert!(matches!(&error, RolloverError::Credential { slot: Slot::Current, .. }), "{error}");
            assert!(error.to_string().contains(home.path(file).to_str().unwrap()), "{error}");
            assert!(kept(&rollover), "{file} with {written} octets");
        }
    }

    // A next credential that is half there is an error too; neither of the two is replaced.
    home.put("current", &new);
    fs::write(home.path("next.key"), &new.key).unwrap();
    let error = rollover.reload().unwrap_err();
    assert!(
        matches!(
            &error,
            RolloverError::Credential { slot: Slot::Next, error: CredentialError::Read { path, .. }, .. }
                if *path == home.path("next.pem")
        ),
        "{error}"
    );
    assert!(kept(&rollover));

    // Whole again.
    fs::write(home.path("next.pem"), &new.certificate).unwrap();
    rollover.reload().unwrap();
    assert!(!kept(&rollover));
}

#[test]
fn a_key_that_is_not_the_certificates_keeps_the_old_state() {
    let (home, old, new) = (Home::new(), make(), make());
    home.put("current", &old);
    let rollover = home.load().unwrap();
    // In the middle of a replacement file by file.
    fs::write(home.path("current.pem"), &new.certificate).unwrap();
    let error = rollover.reload().unwrap_err();
    assert!(matches!(&error, RolloverError::Credential { error: CredentialError::Mismatch { .. }, .. }), "{error}");
    for file in ["current.pem", "current.key"] {
        assert!(error.to_string().contains(home.path(file).to_str().unwrap()), "{error}");
    }
    assert!(is(&rollover.credentials().current, &old));
    fs::write(home.path("current.key"), &new.key).unwrap();
    assert!(is(&rollover.reload().unwrap().current, &new));
}

#[test]
fn the_current_credential_must_be_there_and_the_settings_must_be_right() {
    let (home, made) = (Home::new(), make());
    home.put("next", &made);
    let error = home.load().unwrap_err();
    assert!(matches!(&error, RolloverError::Credential { slot: Slot::Current, .. }), "{error}");

    home.put("current", &made);
    home.load().unwrap();
    let config = ClientConfig { alpn: vec![Vec::new()], ..config() };
    let error = Rollover::load(config, home.files("current"), None).unwrap_err();
    assert!(matches!(&error, RolloverError::Config { error: ConfigError::Alpn { octets: 0 }, .. }), "{error}");
}

#[test]
fn a_key_alone_is_a_raw_public_key() {
    let (home, old, new) = (Home::new(), make(), make());
    home.put("current", &old);
    let files = CredentialFiles { certificate: None, key: home.path("current.key") };
    let rollover = Rollover::load(config(), files, None).unwrap();
    let key = |rollover: &Rollover| match rollover.credentials().current.presented() {
        Credential::RawPublicKey(spki) => spki.to_vec(),
        other => panic!("{other:?}"),
    };
    let before = key(&rollover);
    fs::write(home.path("current.key"), &new.key).unwrap();
    assert_eq!(key(&rollover), before);
    rollover.reload().unwrap();
    assert_ne!(key(&rollover), before);
}
