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
    EVP_MAC_CTX = "EVP_MAC_CTX",
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
    let constants: [(&str, i64); 22] = [
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
