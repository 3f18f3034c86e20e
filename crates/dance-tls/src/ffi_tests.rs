//! The declarations against the C headers, and the callbacks against everything that OpenSSL should never do.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::ffi::{c_int, c_long, c_uchar, c_uint, c_void};
use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::ptr;

use dance_core::clientid::Profile;
use openssl::ssl::{Ssl, SslContext, SslMethod};
use openssl_sys::{EVP_CIPHER_CTX, EVP_MAC_CTX, EVP_PKEY, SSL_SESSION};

use super::*;
use crate::conn::{ServerSide, Side};
use crate::transport::Gate;

/// A Rust type's name in C.
pub(super) trait CType {
    fn c_name() -> String;
}

macro_rules! named {
    ($($type:ty = $name:literal),* $(,)?) => { $( impl CType for $type { fn c_name() -> String { $name.to_owned() } } )* };
}
named! {
    () = "void", c_void = "void", c_int = "int", c_uint = "unsigned int", c_uchar = "unsigned char", usize = "size_t",
    c_long = "long", u64 = "uint64_t", SSL = "SSL", SSL_CTX = "SSL_CTX", X509_STORE_CTX = "X509_STORE_CTX",
    SSL_SESSION = "SSL_SESSION", X509 = "X509", EVP_PKEY = "EVP_PKEY", EVP_CIPHER_CTX = "EVP_CIPHER_CTX",
    EVP_MAC_CTX = "EVP_MAC_CTX", BIO_ADDR = "BIO_ADDR",
}

impl<T: CType> CType for *mut T {
    fn c_name() -> String {
        format!("{} *", T::c_name())
    }
}

impl<T: CType> CType for *const T {
    fn c_name() -> String {
        format!("const {} *", T::c_name())
    }
}

macro_rules! function_pointers {
    ($( ($($arg:ident)*) ),*) => { $(
        impl<R: CType, $($arg: CType),*> CType for unsafe extern "C" fn($($arg),*) -> R {
            fn c_name() -> String {
                prototype(R::c_name(), "(*)", &[$($arg::c_name()),*]).trim_end_matches(';').to_owned()
            }
        }
    )* };
}
function_pointers!((A B), (A B C D E F), (A B C D E F G));

pub(super) fn prototype(returns: String, name: &str, args: &[String]) -> String {
    format!("{returns} {name}({});", args.join(", "))
}

fn compile(source: &str) -> Output {
    let mut compiler = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".to_owned()))
        .args(["-x", "c", "-fsyntax-only", "-Wall", "-Werror", "-I", env!("DANCE_OPENSSL_INCLUDE"), "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a C compiler, without which OpenSSL could not have been built either");
    compiler.stdin.take().unwrap().write_all(source.as_bytes()).unwrap();
    compiler.wait_with_output().unwrap()
}

const INCLUDES: &str = "#include <openssl/ssl.h>\n#include <openssl/x509_vfy.h>\n";

/// The C compiler takes a second declaration of a function only if it agrees with the first.
#[test]
fn declarations_agree_with_the_headers() {
    let constants: [(&str, i64); 23] = [
        ("TLSEXT_cert_type_x509", CERT_TYPE_X509.into()),
        ("TLSEXT_cert_type_rpk", CERT_TYPE_RPK.into()),
        ("SSL_EXT_TLS1_3_RAW_PUBLIC_KEY", EXT_RAW_PUBLIC_KEY.into()),
        ("SSL3_RT_ALERT", RT_ALERT.into()),
        ("SSL3_RT_HANDSHAKE", RT_HANDSHAKE.into()),
        ("SSL_R_BAD_EXTENSION", R_BAD_EXTENSION.into()),
        ("SSL_R_EXCESSIVE_MESSAGE_SIZE", R_EXCESSIVE_MESSAGE_SIZE.into()),
        ("SSL_R_UNSAFE_LEGACY_RENEGOTIATION_DISABLED", R_UNSAFE_LEGACY_RENEGOTIATION_DISABLED.into()),
        ("SSL_R_NO_SHARED_CIPHER", R_NO_SHARED_CIPHER.into()),
        ("SSL_R_UNSUPPORTED_PROTOCOL", R_UNSUPPORTED_PROTOCOL.into()),
        ("SSL_R_UNEXPECTED_EOF_WHILE_READING", R_UNEXPECTED_EOF.into()),
        ("SSL_AD_INTERNAL_ERROR", AD_INTERNAL_ERROR.into()),
        ("SSL_CTRL_SET_MAX_CERT_LIST", CTRL_SET_MAX_CERT_LIST.into()),
        ("SSL_TICKET_SUCCESS", session::TICKET_SUCCESS.into()),
        ("SSL_TICKET_SUCCESS_RENEW", session::TICKET_SUCCESS_RENEW.into()),
        ("SSL_TICKET_RETURN_IGNORE", session::TICKET_RETURN_IGNORE.into()),
        ("SSL_TICKET_RETURN_USE", session::TICKET_RETURN_USE.into()),
        ("SSL_OP_NO_TICKET", session::OP_NO_TICKET as i64),
        ("EVP_MAX_IV_LENGTH", session::MAX_IV_LENGTH as i64),
        ("OSSL_PARAM_UTF8_STRING", session::PARAM_UTF8_STRING.into()),
        ("DTLS_CTRL_GET_TIMEOUT", CTRL_DTLS_GET_TIMEOUT.into()),
        ("X509_V_ERR_APPLICATION_VERIFICATION", V_ERR_APPLICATION_VERIFICATION.into()),
        (
            "SSL_OP_NO_TX_CERTIFICATE_COMPRESSION | SSL_OP_NO_RX_CERTIFICATE_COMPRESSION",
            OP_NO_CERTIFICATE_COMPRESSION as i64,
        ),
    ];
    let asserts = constants.map(|(name, value)| format!("_Static_assert(({name}) == {value}, \"{name}\");"));
    let declarations = [declarations_in_c(), session::declarations_in_c()].concat();
    let source = format!("{INCLUDES}{}\n{}\n", declarations.join("\n"), asserts.join("\n"));
    let output = compile(&source);
    assert!(output.status.success(), "{source}\n{}", String::from_utf8_lossy(&output.stderr));

    // Control: the compiler does notice.
    for wrong in ["int SSL_new_session_ticket(const SSL *);", "_Static_assert(SSL_AD_INTERNAL_ERROR == 81, \"\");"] {
        assert!(!compile(&format!("{INCLUDES}{wrong}\n")).status.success(), "{wrong}");
    }
}

fn ssl() -> Ssl {
    let mut ctx = SslContext::builder(SslMethod::tls()).unwrap();
    register(&mut ctx, &ExtensionTypes::DEFAULT, 100, &[CERT_TYPE_X509]).unwrap();
    Ssl::new(&ctx.build()).unwrap()
}

fn dane_server() -> Conn {
    Conn::new(Side::Server(ServerSide {
        profile: Profile::Current,
        extension_types: ExtensionTypes::DEFAULT,
        dane: true,
        gate: Gate::default(),
    }))
}

fn call_add(ssl: *mut SSL, context: c_uint) -> (c_int, c_int) {
    let (mut out, mut len, mut alert) = (ptr::null(), 0, 0);
    // SAFETY: `ssl` is NULL or live; the out pointers are ours.
    let result = unsafe {
        add_extension(
            ssl,
            0xffdc,
            context,
            &raw mut out,
            &raw mut len,
            ptr::null_mut(),
            0,
            &raw mut alert,
            ptr::null_mut(),
        )
    };
    (result, alert)
}

fn call_parse(ssl: *mut SSL, data: *const c_uchar, len: usize) -> (c_int, c_int) {
    let mut alert = 0;
    // SAFETY: `ssl` is NULL or live, `data` NULL or of length `len`.
    let result = unsafe {
        parse_extension(
            ssl,
            0xffdc,
            openssl_sys::SSL_EXT_TLS1_3_CERTIFICATE,
            data,
            len,
            ptr::null_mut(),
            0,
            &raw mut alert,
            ptr::null_mut(),
        )
    };
    (result, alert)
}

/// NULL and connections without state end the handshake with internal_error, and nothing worse.
#[test]
fn callbacks_refuse_what_they_do_not_know() {
    let stranger = ssl();
    for ssl in [ptr::null_mut(), stranger.as_ptr()] {
        assert_eq!(call_add(ssl, openssl_sys::SSL_EXT_TLS1_3_CERTIFICATE_REQUEST), (-1, 80));
        assert_eq!(call_parse(ssl, ptr::null(), 0), (0, 80));
        // SAFETY: NULL is what this is about.
        unsafe { on_message(0, 0, RT_HANDSHAKE, ptr::null(), 5, ssl, ptr::null_mut()) };
    }
    // SAFETY: as above.
    unsafe {
        assert_eq!(verify_certificate(ptr::null_mut(), ptr::null_mut()), 0);
        let null = ptr::null_mut();
        assert_eq!(
            add_extension(null, 0, 0, ptr::null_mut(), ptr::null_mut(), null.cast(), 0, ptr::null_mut(), null.cast()),
            -1
        );
        assert_eq!(parse_extension(null, 0, 0, ptr::null(), 0, null.cast(), 0, ptr::null_mut(), null.cast()), 0);
    }
}

/// Control for the above: with state, the same calls do their work.
#[test]
fn callbacks_work_with_state() {
    let mut known = ssl();
    attach(&mut known, dane_server()).unwrap();
    assert_eq!(call_add(known.as_ptr(), openssl_sys::SSL_EXT_TLS1_3_CERTIFICATE_REQUEST), (1, 0));
    assert_eq!(call_parse(known.as_ptr(), ptr::null(), 0), (0, 50));
    // SAFETY: an alert of two octets.
    unsafe { on_message(0, 0, RT_ALERT, [2_u8, 40].as_ptr().cast(), 2, known.as_ptr(), ptr::null_mut()) };
    assert_eq!(conn(&known).unwrap().state().alert_received, Some(40));
}

/// A panic inside becomes internal_error; it does not unwind into C.
#[test]
fn callbacks_keep_panics_to_themselves() {
    let mut known = ssl();
    attach(&mut known, dane_server()).unwrap();
    conn(&known).unwrap().state().panic = true;
    assert_eq!(call_add(known.as_ptr(), openssl_sys::SSL_EXT_TLS1_3_NEW_SESSION_TICKET), (-1, 80));
    assert_eq!(call_parse(known.as_ptr(), ptr::null(), 0), (0, 80));
    // SAFETY: a message of four octets.
    unsafe { on_message(0, 0, RT_HANDSHAKE, [11_u8, 0, 0, 0].as_ptr().cast(), 4, known.as_ptr(), ptr::null_mut()) };
}

unsafe extern "C" {
    /// SSL_key_update(3)
    fn SSL_key_update(ssl: *mut SSL, update_type: c_int) -> c_int;
}
const SSL_KEY_UPDATE_REQUESTED: c_int = 1;

/// A client that asks for new keys while it is pending makes OpenSSL answer before it builds the ticket that becomes
/// the alert.
#[tokio::test]
async fn key_update_while_pending() {
    use dance_core::reason::Reason;
    use dance_core::verdict::Verdict;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use crate::{Acceptor, CertifiedKey, ClientConfig, Connector, Resumed, ServerConfig, ServerVerification};

    let made = rcgen::generate_simple_self_signed(["server.test".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let identity = CertifiedKey::parse(certificate.as_bytes(), key.as_bytes()).unwrap();
    let acceptor = Acceptor::new(&ServerConfig::new(identity)).unwrap();
    let connector = Connector::new(&ClientConfig::new(ServerVerification::UnsafeNone)).unwrap();
    for verdict in [Verdict::Abort(Reason::NoMatch), Verdict::NotDane(Reason::NoClientName)] {
        let (client, server) = tokio::io::duplex(10_000);
        let (pending, client) = tokio::join!(acceptor.accept(server), connector.connect("server.test", client));
        let (mut pending, mut client) = (pending.unwrap().pending().unwrap(), client.unwrap());
        // SAFETY: the stream owns a live SSL object. SSL_key_update(3).
        assert_eq!(unsafe { SSL_key_update(client.open.ssl().as_ptr(), SSL_KEY_UPDATE_REQUESTED) }, 1);
        client.write_all(b"request").await.unwrap();
        // Reads the KeyUpdate and the record behind it.
        let mut closed = Box::pin(pending.closed());
        assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(closed.as_mut().poll(cx).is_pending())).await);
        drop(closed);
        let client = async move {
            let mut answer = [0; 6];
            client.read_exact(&mut answer).await.map(|_| answer)
        };
        let server = async {
            let Resumed::Open(mut stream) = pending.resume(&verdict).await else { return };
            let mut request = [0; 7];
            stream.read_exact(&mut request).await.unwrap();
            stream.write_all(b"answer").await.unwrap();
        };
        let (answer, ()) = tokio::join!(client, server);
        match verdict {
            Verdict::Abort(_) => assert!(answer.unwrap_err().get_ref().unwrap().is::<crate::ClientAuthRefused>()),
            _ => assert_eq!(&answer.unwrap(), b"answer"),
        }
    }
}

unsafe extern "C" {
    /// SSL_renegotiate(3)
    fn SSL_renegotiate(ssl: *mut SSL) -> c_int;
}
/// SSL_R_NO_RENEGOTIATION
const R_NO_RENEGOTIATION: c_int = 339;

/// A server's identity, and the settings of a server of TLS 1.2 that has it.
fn old_server() -> (rcgen::CertifiedKey<rcgen::KeyPair>, crate::ServerConfig) {
    let made = rcgen::generate_simple_self_signed(["server.test".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let identity = crate::CertifiedKey::parse(certificate.as_bytes(), key.as_bytes()).unwrap();
    (made, crate::ServerConfig { profile: Profile::Draft2022, tls12: true, ..crate::ServerConfig::new(identity) })
}

/// An end that has other settings than this crate's: the stream, not connected yet.
fn stranger<S: tokio::io::AsyncRead + tokio::io::AsyncWrite>(
    method: SslMethod,
    stream: S,
    set: impl FnOnce(&mut SslContextBuilder),
) -> SslStream<S> {
    let mut ctx = SslContext::builder(method).unwrap();
    ctx.set_max_proto_version(Some(openssl::ssl::SslVersion::TLS1_2)).unwrap();
    set(&mut ctx);
    SslStream::new(Ssl::new(&ctx.build()).unwrap(), stream).unwrap()
}

/// Why a stranger's connection ended, by OpenSSL's account.
fn reason(error: &std::io::Error) -> c_int {
    let error = error.get_ref().and_then(|inner| inner.downcast_ref::<openssl::ssl::Error>()).unwrap();
    error.ssl_error().unwrap().errors().first().unwrap().reason_code()
}

// SRV-20: a client that asks to renegotiate is told no; one that insists has ended the connection.
#[tokio::test]
async fn server_does_not_renegotiate() {
    use dance_core::reason::Reason;
    use dance_core::verdict::Verdict;
    use std::pin::Pin;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    for renegotiate in [false, true] {
        let acceptor = crate::Acceptor::new(&old_server().1).unwrap();
        let (client, server) = tokio::io::duplex(10_000);
        let mut client = stranger(SslMethod::tls_client(), client, |_| {});
        let server = async {
            let pending = acceptor.accept(server).await.unwrap().pending().unwrap();
            let crate::Resumed::Open(stream) = pending.resume(&Verdict::NotDane(Reason::NoClientName)).await else {
                panic!()
            };
            stream
        };
        let (mut server, connected) = tokio::join!(server, Pin::new(&mut client).connect());
        connected.unwrap();
        if renegotiate {
            // SAFETY: the stream owns a live SSL object. SSL_renegotiate(3).
            assert_eq!(unsafe { SSL_renegotiate(client.ssl().as_ptr()) }, 1);
        }
        let client = async {
            client.write_all(b"hello").await?;
            client.read_exact(&mut [0; 5]).await
        };
        let server = async {
            let mut octets = [0; 5];
            server.read_exact(&mut octets).await?;
            server.write_all(&octets).await
        };
        let (client, server) = tokio::join!(client, server);
        if renegotiate {
            assert_eq!(reason(&client.unwrap_err()), R_NO_RENEGOTIATION);
            let error = server.unwrap_err();
            let alert = error.get_ref().unwrap().downcast_ref::<crate::PeerAlert>().unwrap();
            assert_eq!(alert.0.code(), 40);
        } else {
            client.unwrap();
            server.unwrap();
        }
    }
}

// SRV-20 at the other end: a client does not answer a HelloRequest.
#[tokio::test]
async fn client_does_not_renegotiate() {
    use std::pin::Pin;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use crate::{ClientConfig, Connector, ServerVerification};

    let config = ClientConfig {
        profile: Profile::Draft2022.into(),
        tls12: true,
        ..ClientConfig::new(ServerVerification::UnsafeNone)
    };
    let connector = Connector::new(&config).unwrap();
    for renegotiate in [false, true] {
        let made = old_server().0;
        let (client, server) = tokio::io::duplex(10_000);
        let mut server = stranger(SslMethod::tls_server(), server, |ctx| {
            ctx.set_certificate(&openssl::x509::X509::from_der(made.cert.der()).unwrap()).unwrap();
            let key = openssl::pkey::PKey::private_key_from_der(made.signing_key.serialized_der()).unwrap();
            ctx.set_private_key(&key).unwrap();
        });
        let (accepted, client) = tokio::join!(Pin::new(&mut server).accept(), connector.connect("server.test", client));
        accepted.unwrap();
        let mut client = client.unwrap();
        if renegotiate {
            // SAFETY: the stream owns a live SSL object. SSL_renegotiate(3).
            assert_eq!(unsafe { SSL_renegotiate(server.ssl().as_ptr()) }, 1);
        }
        // Dropped when it is done, for the client to see.
        let server = async move {
            server.write_all(b"hello").await?;
            server.read_exact(&mut [0; 5]).await
        };
        let client = async {
            let mut octets = [0; 5];
            client.read_exact(&mut octets).await?;
            client.write_all(&octets).await?;
            client.read_u8().await
        };
        let (server, client) = tokio::join!(server, client);
        let alert = client.unwrap_err().get_ref().and_then(|inner| inner.downcast_ref::<crate::PeerAlert>()).copied();
        if renegotiate {
            assert_eq!(reason(&server.unwrap_err()), R_NO_RENEGOTIATION);
            assert_eq!(alert.map(|alert| alert.0.code()), Some(40));
        } else {
            server.unwrap();
            assert_eq!(alert, None);
        }
    }
}

// Requirements 4.2 step 19: a client has not offered to authenticate after the handshake, and does not.
#[tokio::test]
async fn client_does_not_authenticate_after_the_handshake() {
    use dance_core::reason::Reason;
    use dance_core::verdict::Verdict;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use crate::{Acceptor, ClientConfig, Connector, Resumed, ServerVerification, misbehave};

    const NEW_SESSION_TICKET: u8 = 4;
    let honest = Acceptor::new(&old_server().1).unwrap();
    // A context of one octet, and signature_algorithms with ecdsa_secp256r1_sha256.
    let request = misbehave::with_body(&[misbehave::CERTIFICATE_REQUEST], &[1, 7, 0, 8, 0, 13, 0, 4, 0, 2, 4, 3]);
    let asking = misbehave::acceptor(&honest, misbehave::only(NEW_SESSION_TICKET, move |_| request.clone()));
    let profile = Profile::Draft2022.into();
    let config = ClientConfig { profile, ..ClientConfig::new(ServerVerification::UnsafeNone) };
    let connector = Connector::new(&config).unwrap();
    for (acceptor, asks) in [(honest, false), (asking, true)] {
        let (client, server) = tokio::io::duplex(10_000);
        let (pending, client) = tokio::join!(acceptor.accept(server), connector.connect("server.test", client));
        let (pending, mut client) = (pending.unwrap().pending().unwrap(), client.unwrap());
        let Resumed::Open(mut server) = pending.resume(&Verdict::NotDane(Reason::NoClientName)).await else { panic!() };
        // SAFETY: the stream owns a live SSL object. SSL_new_session_ticket(3).
        assert_eq!(unsafe { SSL_new_session_ticket(server.open.ssl().as_ptr()) }, 1);
        server.write_all(b"hello").await.unwrap();
        let read = client.read_exact(&mut [0; 5]).await;
        assert_eq!(read.is_err(), asks, "{read:?}");
        if asks {
            drop(client);
            let error = server.read_u8().await.unwrap_err();
            let alert = error.get_ref().unwrap().downcast_ref::<crate::PeerAlert>().unwrap();
            assert_eq!(alert.0.code(), 10);
        }
    }
}
