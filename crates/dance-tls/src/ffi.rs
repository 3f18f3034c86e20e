//! The workspace's only `unsafe`: what `openssl` and `openssl-sys` do not wrap, and the callbacks that OpenSSL makes
//! into this crate.
//!
//! Every callback finds its [`Conn`] in the SSL object's ex_data, so none needs a context pointer and none depends on
//! the SSL_CTX it was registered with. All of them take NULL for an answer and let no panic out: what cannot be judged
//! is refused with internal_error. What they decide is decided in `conn`, in safe code.

use std::ffi::{CStr, c_int, c_long, c_uchar, c_uint, c_void};
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::time::Duration;

use dance_core::clientid::ExtensionTypes;
use foreign_types::ForeignTypeRef;
use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::ssl::{Ssl, SslContextBuilder, SslRef};
use openssl_sys::{BIO_ADDR, SSL, SSL_CTX, X509, X509_STORE_CTX};
use tokio_openssl::SslStream;

use crate::conn::{Addition, Conn, Direction, Judgement};

/// SSL_EXT_TLS1_3_RAW_PUBLIC_KEY: the Certificate message of a peer with a raw public key (SSL_CTX_add_custom_ext(3)).
pub(crate) const EXT_RAW_PUBLIC_KEY: c_uint = 0x10000;
/// TLSEXT_cert_type_x509 (SSL_set1_client_cert_type(3)).
pub(crate) const CERT_TYPE_X509: u8 = 0;
/// TLSEXT_cert_type_rpk.
pub(crate) const CERT_TYPE_RPK: u8 = 2;
/// SSL_OP_NO_TX_CERTIFICATE_COMPRESSION and SSL_OP_NO_RX_CERTIFICATE_COMPRESSION: a Certificate is taken as it stands.
pub(crate) const OP_NO_CERTIFICATE_COMPRESSION: u64 = 1 << 32 | 1 << 33;
/// SSL3_RT_ALERT, as the message callback reports it.
pub(crate) const RT_ALERT: c_int = 21;
/// SSL3_RT_HANDSHAKE, likewise.
pub(crate) const RT_HANDSHAKE: c_int = 22;
/// SSL_R_BAD_EXTENSION.
pub(crate) const R_BAD_EXTENSION: c_int = 110;
/// SSL_R_EXCESSIVE_MESSAGE_SIZE.
pub(crate) const R_EXCESSIVE_MESSAGE_SIZE: c_int = 152;
/// SSL_R_UNSAFE_LEGACY_RENEGOTIATION_DISABLED.
pub(crate) const R_UNSAFE_LEGACY_RENEGOTIATION_DISABLED: c_int = 338;
/// SSL_R_NO_SHARED_CIPHER.
pub(crate) const R_NO_SHARED_CIPHER: c_int = 193;
/// SSL_R_UNSUPPORTED_PROTOCOL.
pub(crate) const R_UNSUPPORTED_PROTOCOL: c_int = 258;
/// SSL_R_UNEXPECTED_EOF_WHILE_READING.
pub(crate) const R_UNEXPECTED_EOF: c_int = 294;
/// SSL_AD_INTERNAL_ERROR.
const AD_INTERNAL_ERROR: u8 = 80;
/// SSL_CTRL_SET_MAX_CERT_LIST (SSL_CTX_set_max_cert_list(3)).
const CTRL_SET_MAX_CERT_LIST: c_int = 51;
/// DTLS_CTRL_GET_TIMEOUT (DTLSv1_get_timeout(3)).
const CTRL_DTLS_GET_TIMEOUT: c_int = 73;
/// X509_V_ERR_APPLICATION_VERIFICATION: the one verification result that OpenSSL turns into handshake_failure.
const V_ERR_APPLICATION_VERIFICATION: c_int = 50;
/// All the messages in which the extension may be met. A type that is not registered for a message is ignored there by
/// OpenSSL or answered with the wrong alert, so it is registered for every one, on listeners without DANE too (CID-10
/// to CID-12).
const EVERYWHERE: c_uint = openssl_sys::SSL_EXT_CLIENT_HELLO
    | openssl_sys::SSL_EXT_TLS1_2_SERVER_HELLO
    | openssl_sys::SSL_EXT_TLS1_3_SERVER_HELLO
    | openssl_sys::SSL_EXT_TLS1_3_ENCRYPTED_EXTENSIONS
    | openssl_sys::SSL_EXT_TLS1_3_HELLO_RETRY_REQUEST
    | openssl_sys::SSL_EXT_TLS1_3_CERTIFICATE
    | openssl_sys::SSL_EXT_TLS1_3_NEW_SESSION_TICKET
    | openssl_sys::SSL_EXT_TLS1_3_CERTIFICATE_REQUEST
    | EXT_RAW_PUBLIC_KEY;

type CertVerifyCallback = unsafe extern "C" fn(*mut X509_STORE_CTX, *mut c_void) -> c_int;
type MessageCallback = unsafe extern "C" fn(c_int, c_int, c_int, *const c_void, usize, *mut SSL, *mut c_void);

/// Declares C functions, and for the tests the same in C, made from the Rust types: the header must agree with it.
macro_rules! declare {
    ($( $(#[$meta:meta])* fn $name:ident($($arg:ident: $type:ty),*) -> $ret:ty; )*) => {
        unsafe extern "C" { $( $(#[$meta])* fn $name($($arg: $type),*) -> $ret; )* }

        #[cfg(test)]
        pub(super) fn declarations_in_c() -> Vec<String> {
            use crate::ffi::headers::{CType, prototype};
            vec![$( prototype(<$ret>::c_name(), stringify!($name), &[$(<$type>::c_name()),*]) ),*]
        }
    };
}

declare! {
    /// SSL_CTX_set_cert_verify_callback(3)
    fn SSL_CTX_set_cert_verify_callback(ctx: *mut SSL_CTX, callback: CertVerifyCallback, arg: *mut c_void) -> ();
    /// SSL_CTX_set_msg_callback(3)
    fn SSL_CTX_set_msg_callback(ctx: *mut SSL_CTX, callback: MessageCallback) -> ();
    /// SSL_CTX_set1_client_cert_type(3)
    fn SSL_CTX_set1_client_cert_type(ctx: *mut SSL_CTX, types: *const c_uchar, len: usize) -> c_int;
    /// SSL_get_negotiated_client_cert_type(3)
    fn SSL_get_negotiated_client_cert_type(ssl: *const SSL) -> c_int;
    /// SSL_certs_clear(3)
    fn SSL_certs_clear(ssl: *mut SSL) -> ();
    /// SSL_new_session_ticket(3)
    fn SSL_new_session_ticket(ssl: *mut SSL) -> c_int;
    /// DTLSv1_listen(3)
    fn DTLSv1_listen(ssl: *mut SSL, peer: *mut BIO_ADDR) -> c_int;
    /// BIO_ADDR(3)
    fn BIO_ADDR_new() -> *mut BIO_ADDR;
    /// BIO_ADDR(3)
    fn BIO_ADDR_free(address: *mut BIO_ADDR) -> ();
}

pub(crate) mod session;

static CONN: OnceLock<Index<Ssl, Conn>> = OnceLock::new();

/// Where the connection's state lies in the SSL object; made once, before any callback can run.
fn conn_index() -> Result<Index<Ssl, Conn>, ErrorStack> {
    if let Some(index) = CONN.get() {
        return Ok(*index);
    }
    let made = Ssl::new_ex_index()?;
    Ok(*CONN.get_or_init(|| made))
}

/// Registers every callback of this crate with a context. `extension_types` are met everywhere; `max_cert_list` bounds
/// the Certificate message in octets; `client_cert_types` are the RFC 7250 types, in order of preference, empty for
/// certificates without negotiation.
pub(crate) fn register(
    ctx: &mut SslContextBuilder,
    extension_types: &ExtensionTypes,
    max_cert_list: usize,
    client_cert_types: &[u8],
) -> Result<(), ErrorStack> {
    conn_index()?;
    let ctx = ctx.as_ptr();
    // SAFETY: `ctx` is live and exclusively ours while the builder is borrowed. The callbacks are static functions that
    // fit their types, the arguments are unused, and the types are copied by the callee. SSL_CTX_add_custom_ext(3),
    // SSL_CTX_set_cert_verify_callback(3), SSL_CTX_set_msg_callback(3), SSL_CTX_set_max_cert_list(3),
    // SSL_CTX_set1_client_cert_type(3).
    let done = unsafe {
        SSL_CTX_set_cert_verify_callback(ctx, verify_certificate, std::ptr::null_mut());
        SSL_CTX_set_msg_callback(ctx, on_message);
        openssl_sys::SSL_CTX_ctrl(ctx, CTRL_SET_MAX_CERT_LIST, max_cert_list as c_long, std::ptr::null_mut());
        extension_types.as_slice().iter().all(|extension_type| {
            openssl_sys::SSL_CTX_add_custom_ext(
                ctx,
                c_uint::from(extension_type.get()),
                EVERYWHERE,
                Some(add_extension),
                None,
                std::ptr::null_mut(),
                Some(parse_extension),
                std::ptr::null_mut(),
            ) == 1
        }) && (client_cert_types.is_empty()
            || SSL_CTX_set1_client_cert_type(ctx, client_cert_types.as_ptr(), client_cert_types.len()) == 1)
    };
    if done { Ok(()) } else { Err(ErrorStack::get()) }
}

/// Gives a connection its state.
pub(crate) fn attach(ssl: &mut SslRef, conn: Conn) -> Result<(), ErrorStack> {
    ssl.set_ex_data(conn_index()?, conn);
    Ok(())
}

/// A connection's state. `None` for an SSL object that never got one.
pub(crate) fn conn(ssl: &SslRef) -> Option<&Conn> {
    ssl.ex_data(*CONN.get()?)
}

/// The certificate type that the client uses (RFC 7250), once negotiated.
pub(crate) fn client_uses_raw_public_key(ssl: &SslRef) -> bool {
    // SAFETY: `ssl` is live for the borrow; the function only reads. SSL_get_negotiated_client_cert_type(3).
    unsafe { SSL_get_negotiated_client_cert_type(ssl.as_ptr()) == c_int::from(CERT_TYPE_RPK) }
}

/// Schedules a NewSessionTicket; the next handshake step builds it. False if the connection is past that.
pub(crate) fn new_session_ticket<S>(stream: &mut SslStream<S>) -> bool {
    // SAFETY: the stream owns a live SSL object and is borrowed exclusively. SSL_new_session_ticket(3).
    unsafe { SSL_new_session_ticket(stream.ssl().as_ptr()) == 1 }
}

/// Has a server of DTLS begin with the ClientHello that is there to be read, as the answer to a HelloVerifyRequest which
/// somebody else has sent. False if it is not that.
pub(crate) fn dtls_listen<S: Read + Write>(stream: &mut openssl::ssl::SslStream<S>) -> bool {
    // SAFETY: the address is live from new to free, or NULL and unused. The stream owns a live SSL object and its BIO, and
    // is borrowed exclusively. DTLSv1_listen(3), BIO_ADDR(3).
    unsafe {
        let peer = BIO_ADDR_new();
        let listening = !peer.is_null() && DTLSv1_listen(stream.ssl().as_ptr(), peer) == 1;
        BIO_ADDR_free(peer);
        listening
    }
}

/// In what time DTLS has to repeat its last flight, counted from now. `None` if it waits for nothing.
pub(crate) fn dtls_timeout(ssl: &SslRef) -> Option<Duration> {
    let mut left = libc::timeval { tv_sec: 0, tv_usec: 0 };
    // SAFETY: `ssl` is live for the borrow, `left` for the call; the control only reads the one and writes the other.
    // DTLSv1_get_timeout(3).
    let running = unsafe { openssl_sys::SSL_ctrl(ssl.as_ptr(), CTRL_DTLS_GET_TIMEOUT, 0, (&raw mut left).cast()) == 1 };
    let (seconds, micros) = (u64::try_from(left.tv_sec), u64::try_from(left.tv_usec));
    running.then(|| Duration::from_secs(seconds.unwrap_or(0)) + Duration::from_micros(micros.unwrap_or(0)))
}

/// The key exchange group, once negotiated.
pub(crate) fn group_name(ssl: &SslRef) -> Option<&str> {
    // SAFETY: `ssl` is live for the borrow; the result is NULL or a NUL-terminated string that lives as long as the
    // connection. SSL_get0_group_name(3).
    unsafe {
        let name = openssl_sys::SSL_get0_group_name(ssl.as_ptr());
        if name.is_null() { None } else { CStr::from_ptr(name).to_str().ok() }
    }
}

/// OpenSSL's words for an alert description.
pub(crate) fn alert_name(description: u8) -> &'static str {
    // SAFETY: any int is accepted; the result is NULL or a static string. SSL_alert_desc_string_long(3).
    unsafe {
        let name = openssl_sys::SSL_alert_desc_string_long(c_int::from(description));
        if name.is_null() { "unknown" } else { CStr::from_ptr(name).to_str().unwrap_or("unknown") }
    }
}

/// The state of the connection that a callback is about.
///
/// # Safety
/// `ssl` is NULL or points to an SSL object that outlives `'a`.
unsafe fn conn_of<'a>(ssl: *mut SSL) -> Option<(&'a SslRef, &'a Conn)> {
    if ssl.is_null() {
        return None;
    }
    // SAFETY: not NULL, and live by this function's contract.
    let ssl = unsafe { SslRef::from_ptr(ssl) };
    Some((ssl, conn(ssl)?))
}

/// `data` as a slice; empty where OpenSSL hands NULL.
///
/// # Safety
/// `data` is NULL or points to `len` octets that outlive `'a`.
unsafe fn octets<'a>(data: *const c_uchar, len: usize) -> &'a [u8] {
    if data.is_null() {
        return &[];
    }
    // SAFETY: not NULL, and as long as said by this function's contract.
    unsafe { std::slice::from_raw_parts(data, len) }
}

/// `SSL_custom_ext_add_cb_ex` of SSL_CTX_add_custom_ext(3): 1 adds `out`, 0 adds nothing, -1 ends the handshake with
/// `alert`.
unsafe extern "C" fn add_extension(
    ssl: *mut SSL,
    extension_type: c_uint,
    context: c_uint,
    out: *mut *const c_uchar,
    out_len: *mut usize,
    _certificate: *mut X509,
    chain_index: usize,
    alert: *mut c_int,
    _arg: *mut c_void,
) -> c_int {
    if out.is_null() || out_len.is_null() || alert.is_null() {
        return -1;
    }
    let addition = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: OpenSSL passes the SSL object it works on, which outlives the callback.
        let (_, conn) = unsafe { conn_of(ssl) }?;
        Some(conn.add_extension(extension_type, context, chain_index))
    }));
    match addition {
        Ok(Some(Addition::Nothing)) => 0,
        Ok(Some(Addition::Data(data))) => {
            // SAFETY: both checked above. The octets lie in the connection's state, which lives as long as the SSL
            // object and is immutable there, hence longer than OpenSSL needs them.
            unsafe {
                *out = data.as_ptr();
                *out_len = data.len();
            }
            1
        }
        Ok(Some(Addition::Alert(description))) => {
            // SAFETY: checked above.
            unsafe { *alert = c_int::from(description) };
            -1
        }
        Ok(None) | Err(_) => {
            // SAFETY: checked above.
            unsafe { *alert = c_int::from(AD_INTERNAL_ERROR) };
            -1
        }
    }
}

/// `SSL_custom_ext_parse_cb_ex` of SSL_CTX_add_custom_ext(3): 1 goes on, 0 ends the handshake with `alert`.
unsafe extern "C" fn parse_extension(
    ssl: *mut SSL,
    extension_type: c_uint,
    context: c_uint,
    data: *const c_uchar,
    len: usize,
    _certificate: *mut X509,
    chain_index: usize,
    alert: *mut c_int,
    _arg: *mut c_void,
) -> c_int {
    if alert.is_null() {
        return 0;
    }
    let parsed = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: OpenSSL passes the SSL object it works on, and `len` octets of `data`; both outlive the callback.
        let ((ssl, conn), data) = unsafe { (conn_of(ssl)?, octets(data, len)) };
        Some(conn.parse_extension(ssl, extension_type, context, chain_index, data))
    }));
    let description = match parsed {
        Ok(Some(Ok(()))) => return 1,
        Ok(Some(Err(description))) => description,
        Ok(None) | Err(_) => AD_INTERNAL_ERROR,
    };
    // SAFETY: checked above.
    unsafe { *alert = c_int::from(description) };
    0
}

/// The callback of SSL_CTX_set_cert_verify_callback(3), for certificates and raw public keys: 1 accepts, 0 refuses.
unsafe extern "C" fn verify_certificate(store: *mut X509_STORE_CTX, _arg: *mut c_void) -> c_int {
    if store.is_null() {
        return 0;
    }
    let judgement = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: `store` is live; OpenSSL keeps the SSL object in its ex_data. SSL_get_ex_data_X509_STORE_CTX_idx(3).
        let (ssl, conn) = unsafe {
            let index = openssl_sys::SSL_get_ex_data_X509_STORE_CTX_idx();
            conn_of(openssl_sys::X509_STORE_CTX_get_ex_data(store, index).cast())?
        };
        // SAFETY: `store` is live and set up for verification by OpenSSL. X509_verify_cert(3).
        Some(conn.judge_certificate(ssl, || unsafe { openssl_sys::X509_verify_cert(store) == 1 }))
    }));
    match judgement {
        Ok(Some(Judgement::Accept { unusable_credential })) => {
            if unusable_credential {
                // SAFETY: `store` is live, and its SSL object is not NULL, or there were no judgement. The object is in the
                // hands of this thread, which runs its handshake. SSL_certs_clear(3).
                unsafe {
                    let index = openssl_sys::SSL_get_ex_data_X509_STORE_CTX_idx();
                    SSL_certs_clear(openssl_sys::X509_STORE_CTX_get_ex_data(store, index).cast());
                }
            }
            // SAFETY: `store` is live. X509_STORE_CTX_set_error(3).
            unsafe { openssl_sys::X509_STORE_CTX_set_error(store, openssl_sys::X509_V_OK) };
            1
        }
        // X509_verify_cert has left its result in `store`; OpenSSL makes the alert of it.
        Ok(Some(Judgement::Untrusted)) => 0,
        Ok(Some(Judgement::HandshakeFailure) | None) | Err(_) => {
            // SAFETY: `store` is live. X509_STORE_CTX_set_error(3).
            unsafe { openssl_sys::X509_STORE_CTX_set_error(store, V_ERR_APPLICATION_VERIFICATION) };
            0
        }
    }
}

/// The callback of SSL_CTX_set_msg_callback(3): sees whole handshake messages and alerts, in both directions.
unsafe extern "C" fn on_message(
    write: c_int,
    _version: c_int,
    content_type: c_int,
    data: *const c_void,
    len: usize,
    ssl: *mut SSL,
    _arg: *mut c_void,
) {
    // What it learns is missed later if it panics here, and then the connection is refused; there is no way to refuse
    // it now.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: OpenSSL passes the SSL object it works on, and `len` octets of `data`; both outlive the callback.
        let (found, data) = unsafe { (conn_of(ssl), octets(data.cast(), len)) };
        let Some((ssl, conn)) = found else {
            return;
        };
        let direction = if write == 0 { Direction::Received } else { Direction::Sent };
        match content_type {
            RT_ALERT => conn.on_alert(ssl, direction, data),
            RT_HANDSHAKE => conn.on_handshake_message(ssl, direction, data),
            _ => {}
        }
    }));
}

/// Handshake messages rewritten before they are hashed and sent: how the tests' peers misbehave.
#[cfg(feature = "misbehave")]
mod mutator {
    use super::{AssertUnwindSafe, SSL, SslRef, c_int, c_uchar, c_void, catch_unwind, conn_of, octets};
    use foreign_types::ForeignTypeRef;

    type Mutate = unsafe extern "C" fn(*const c_uchar, usize, *mut *mut c_uchar, *mut usize, *mut c_void) -> c_int;
    type FinishMutate = unsafe extern "C" fn(*mut c_void);

    unsafe extern "C" {
        /// Not in the manual: OpenSSL's own tests use it (include/internal/statem.h). Exported by the static library
        /// only.
        fn ossl_statem_set_mutator(ssl: *mut SSL, mutate: Mutate, finish: FinishMutate, arg: *mut c_void) -> c_int;
    }

    /// Has every handshake message of this connection go through [`crate::conn::Conn::rewrite`].
    pub(crate) fn rewrite_messages(ssl: &mut SslRef) {
        // SAFETY: `ssl` is live and borrowed exclusively; the argument is the SSL object itself, which outlives its own
        // callbacks.
        unsafe { ossl_statem_set_mutator(ssl.as_ptr(), mutate, finish, ssl.as_ptr().cast()) };
    }

    unsafe extern "C" fn mutate(
        message: *const c_uchar,
        len: usize,
        out: *mut *mut c_uchar,
        out_len: *mut usize,
        arg: *mut c_void,
    ) -> c_int {
        let rewritten = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: `arg` is the SSL object that calls; `message` has `len` octets. Both outlive the callback.
            let (found, message) = unsafe { (conn_of(arg.cast()), octets(message, len)) };
            found.map(|(_, conn)| conn.rewrite(message))
        }));
        let Ok(Some((data, len))) = rewritten else {
            return 0;
        };
        // SAFETY: OpenSSL passes two valid pointers. It copies the octets before anything else can touch the
        // connection's state.
        unsafe {
            *out = data;
            *out_len = len;
        }
        1
    }

    unsafe extern "C" fn finish(_arg: *mut c_void) {}
}
#[cfg(feature = "misbehave")]
pub(crate) use mutator::rewrite_messages;

#[cfg(test)]
#[path = "ffi_tests.rs"]
mod headers;
