//! The Unix socket and its file.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;

use dance_auth_service::config::Listen;
use dance_auth_service::{AuthService, Config, StartError};

use crate::lab::{Lab, NAME, unix};

// HTTP-14: who may open the file is trusted, so who may is a matter of its mode.
#[tokio::test]
async fn is_for_owner_and_group_and_goes_with_the_service() {
    let (lab, dir) = (Lab::new().await, tempfile::tempdir().unwrap());
    let path = dir.path().join("auth.sock");
    let config = Config { listen: Listen::Unix(path.clone()), ..lab.config() };
    let mut service = lab.start(&config);
    assert_eq!(service.local.to_string(), format!("unix:{}", path.display()));
    let found = fs::metadata(&path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o660);
    unix(&path, lab.good()).await.assert_welcome(NAME);
    service.stop();
    assert!((&mut service.task).await.unwrap());
    assert!(!path.exists());
    let loopback_only = Config { trusted_peers: vec!["127.0.0.0/8".to_owned()], ..config };
    let _service = lab.start(&loopback_only);
    unix(&path, lab.good()).await.assert_refused(401, "not trusted");
}

#[tokio::test]
async fn replaces_what_nobody_listens_on_and_nothing_else() {
    let (lab, dir) = (Lab::new().await, tempfile::tempdir().unwrap());
    let path = dir.path().join("auth.sock");
    let config = Config { listen: Listen::Unix(path.clone()), ..lab.config() };
    let bind = || AuthService::bind(&config, lab.resolver());
    // Left over.
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let service = lab.start(&config);
    unix(&path, lab.good()).await.assert_welcome(NAME);
    // In use.
    let error = bind().unwrap_err();
    assert!(matches!(&error, StartError::ListenUnix { .. }) && error.is_the_systems(), "{error}");
    assert!(error.to_string().contains("another process does"), "{error}");
    unix(&path, lab.good()).await.assert_welcome(NAME);
    drop(service);
    // A file of somebody else's, and a directory that is not there.
    let file = dir.path().join("file");
    fs::write(&file, "precious").unwrap();
    let at = |path| Config { listen: Listen::Unix(path), ..lab.config() };
    let error = AuthService::bind(&at(file.clone()), lab.resolver()).unwrap_err();
    assert!(error.to_string().contains("no socket"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    let error = AuthService::bind(&at(dir.path().join("none/auth.sock")), lab.resolver()).unwrap_err();
    assert!(error.to_string().contains("make the directory"), "{error}");
}

#[tokio::test]
async fn is_left_to_whoever_has_taken_its_place() {
    let (lab, dir) = (Lab::new().await, tempfile::tempdir().unwrap());
    let path = dir.path().join("auth.sock");
    let mut service = lab.start(&Config { listen: Listen::Unix(path.clone()), ..lab.config() });
    fs::rename(&path, dir.path().join("before")).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    service.stop();
    assert!((&mut service.task).await.unwrap());
    assert!(path.exists());
}
