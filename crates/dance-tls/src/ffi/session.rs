//! Sessions and tickets: the part of the FFI that resumption needs. What is decided here is decided in `session`.

use std::ffi::{CStr, c_int, c_long, c_uchar, c_uint, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use foreign_types::{ForeignType, ForeignTypeRef};
use openssl::cipher::Cipher;
use openssl::cipher_ctx::CipherCtxRef;
use openssl::error::ErrorStack;
use openssl::rand::rand_bytes;
use openssl::ssl::{SslContextBuilder, SslRef, SslSession, SslSessionRef};
use openssl_sys::{EVP_CIPHER_CTX, EVP_MAC_CTX, EVP_PKEY, OSSL_PARAM, SSL, SSL_CTX, SSL_SESSION, X509};
use tokio_openssl::SslStream;

use super::{conn_of, octets};
use crate::session::without_peer;
use crate::ticket_keys::{NAME_LEN, TicketKey};

/// SSL_TICKET_SUCCESS (SSL_CTX_set_session_ticket_cb(3)).
pub(super) const TICKET_SUCCESS: c_int = 5;
/// SSL_TICKET_SUCCESS_RENEW.
pub(super) const TICKET_SUCCESS_RENEW: c_int = 6;
/// SSL_TICKET_RETURN_IGNORE: a full handshake, and no ticket of OpenSSL's own accord.
pub(super) const TICKET_RETURN_IGNORE: c_int = 1;
/// SSL_TICKET_RETURN_USE.
pub(super) const TICKET_RETURN_USE: c_int = 3;
/// SSL_OP_NO_TICKET.
pub(super) const OP_NO_TICKET: u64 = 1 << 14;
/// EVP_MAX_IV_LENGTH, which is the length of an initialisation vector for AES-256-CBC.
pub(super) const MAX_IV_LENGTH: usize = 16;
/// OSSL_PARAM_UTF8_STRING.
pub(super) const PARAM_UTF8_STRING: c_uint = 4;
/// OSSL_MAC_PARAM_DIGEST.
pub(super) const MAC_PARAM_DIGEST: &CStr = c"digest";
/// The digest under HMAC.
const SHA256: &CStr = c"SHA256";

type GenerateTicket = unsafe extern "C" fn(*mut SSL, *mut c_void) -> c_int;
type DecryptTicket =
    unsafe extern "C" fn(*mut SSL, *mut SSL_SESSION, *const c_uchar, usize, c_int, *mut c_void) -> c_int;
type TicketKeyCallback =
    unsafe extern "C" fn(*mut SSL, *mut c_uchar, *mut c_uchar, *mut EVP_CIPHER_CTX, *mut EVP_MAC_CTX, c_int) -> c_int;

declare! {
    /// SSL_CTX_set_session_ticket_cb(3)
    fn SSL_CTX_set_session_ticket_cb(ctx: *mut SSL_CTX, generate: GenerateTicket, decrypt: DecryptTicket, arg: *mut c_void) -> c_int;
    /// SSL_CTX_set_tlsext_ticket_key_evp_cb(3)
    fn SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx: *mut SSL_CTX, callback: TicketKeyCallback) -> c_int;
    /// SSL_SESSION_set1_ticket_appdata(3)
    fn SSL_SESSION_set1_ticket_appdata(session: *mut SSL_SESSION, data: *const c_void, len: usize) -> c_int;
    /// SSL_SESSION_get0_ticket_appdata(3)
    fn SSL_SESSION_get0_ticket_appdata(session: *mut SSL_SESSION, data: *mut *mut c_void, len: *mut usize) -> c_int;
    /// SSL_SESSION_set_timeout(3)
    fn SSL_SESSION_set_timeout(session: *mut SSL_SESSION, seconds: c_long) -> c_long;
    /// SSL_SESSION_get0_peer(3)
    fn SSL_SESSION_get0_peer(session: *mut SSL_SESSION) -> *mut X509;
    /// SSL_SESSION_get0_peer_rpk(3)
    fn SSL_SESSION_get0_peer_rpk(session: *mut SSL_SESSION) -> *mut EVP_PKEY;
    /// SSL_SESSION_dup(3)
    fn SSL_SESSION_dup(session: *const SSL_SESSION) -> *mut SSL_SESSION;
    /// SSL_set_options(3)
    fn SSL_set_options(ssl: *mut SSL, options: u64) -> u64;
    /// OPENSSL_cleanse(3)
    fn OPENSSL_cleanse(data: *mut c_void, len: usize) -> ();
}

/// Registers the callbacks for tickets with a server's context.
pub(crate) fn register(ctx: &mut SslContextBuilder) -> Result<(), ErrorStack> {
    let ctx = ctx.as_ptr();
    // SAFETY: `ctx` is live and exclusively ours while the builder is borrowed; the callbacks are static functions that
    // fit their types; the argument is unused. SSL_CTX_set_session_ticket_cb(3),
    // SSL_CTX_set_tlsext_ticket_key_evp_cb(3).
    let done = unsafe {
        SSL_CTX_set_session_ticket_cb(ctx, generate_ticket, decrypt_ticket, ptr::null_mut()) == 1
            && SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, ticket_key) == 1
    };
    if done { Ok(()) } else { Err(ErrorStack::get()) }
}

/// From here on OpenSSL makes nothing for this connection that could resume it.
pub(crate) fn make_no_tickets<S>(stream: &mut SslStream<S>) {
    // SAFETY: the stream owns a live SSL object and is borrowed exclusively. SSL_set_options(3).
    unsafe { SSL_set_options(stream.ssl().as_ptr(), OP_NO_TICKET) };
}

/// A session with all that is in it, but of its own: OpenSSL marks the one that a connection holds as not resumable if
/// the connection is not shut down in good order.
pub(crate) fn copy_session(session: &SslSessionRef) -> Option<SslSession> {
    // SAFETY: `session` is live for the borrow; the result is NULL or a session that is ours alone. SSL_SESSION_dup(3).
    unsafe {
        let copy = SSL_SESSION_dup(session.as_ptr());
        if copy.is_null() { None } else { Some(SslSession::from_ptr(copy)) }
    }
}

/// Has a client's connection offer a session, which must come from a connection of the same context.
pub(crate) fn offer_session(ssl: &mut SslRef, session: &SslSessionRef) -> Result<(), ErrorStack> {
    // SAFETY: both are live; the callee takes a reference of its own. SSL_set_session(3).
    unsafe { ssl.set_session(session) }
}

/// Overwrites a secret that is not needed any more.
pub(crate) fn erase(secret: &mut [u8]) {
    // SAFETY: the octets are ours, exclusively. OPENSSL_cleanse(3).
    unsafe { OPENSSL_cleanse(secret.as_mut_ptr().cast(), secret.len()) };
}

/// `SSL_CTX_generate_session_ticket_fn` of SSL_CTX_set_session_ticket_cb(3): puts into the session what the ticket is to
/// say. 0 would end the connection; a ticket of which nothing has been said here gets no key.
pub(super) unsafe extern "C" fn generate_ticket(ssl: *mut SSL, _arg: *mut c_void) -> c_int {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: OpenSSL passes the SSL object it works on, which outlives the callback.
        let (ssl, conn) = unsafe { conn_of(ssl) }?;
        let tickets = conn.tickets()?;
        let ticket = tickets.contents()?;
        let session = ssl.session()?.as_ptr();
        let (data, seconds) = (ticket.application_data, c_long::try_from(ticket.lifetime.as_secs()).ok()?);
        // SAFETY: the session is live and, in this callback, to be changed; the octets are copied.
        // SSL_SESSION_set1_ticket_appdata(3), SSL_SESSION_set_timeout(3).
        let done = unsafe {
            SSL_SESSION_set1_ticket_appdata(session, data.as_ptr().cast(), data.len()) == 1
                && SSL_SESSION_set_timeout(session, seconds) == 1
        };
        if !done {
            return None;
        }
        // SAFETY: as above; OpenSSL keeps no session of a server but in its connection.
        unsafe { forget_peer(session) }?;
        tickets.make();
        Some(())
    }));
    1
}

/// Takes certificate and raw public key of the peer out of a session. `None`: they are still in there, or the session is
/// of no use.
///
/// # Safety
/// `session` points to a live session that nobody else uses.
unsafe fn forget_peer(session: *mut SSL_SESSION) -> Option<()> {
    // SAFETY: live by this function's contract. SSL_SESSION_get0_peer(3), SSL_SESSION_get0_peer_rpk(3).
    let has_peer =
        || unsafe { !SSL_SESSION_get0_peer(session).is_null() || !SSL_SESSION_get0_peer_rpk(session).is_null() };
    if !has_peer() {
        return Some(());
    }
    // There is no function for it; but decoding can be told to go into a session that there is, and replaces what that
    // holds.
    // SAFETY: live by this function's contract. i2d_SSL_SESSION(3).
    let mut whole = unsafe { SslSessionRef::from_ptr(session) }.to_der().ok()?;
    let kept = without_peer(&whole);
    erase(&mut whole);
    let mut kept = kept?;
    let (mut into, mut from) = (session, kept.as_ptr());
    // SAFETY: both pointers are to what they should be, `from` to as many octets as said, and nobody else holds what the
    // session held. d2i_SSL_SESSION(3), d2i_X509(3).
    let decoded =
        unsafe { openssl_sys::d2i_SSL_SESSION(&raw mut into, &raw mut from, c_long::try_from(kept.len()).ok()?) };
    erase(&mut kept);
    (decoded == session && !has_peer()).then_some(())
}

/// `SSL_CTX_decrypt_session_ticket_fn`, likewise: whether a session is used. What is not is as if it had not been
/// offered.
pub(super) unsafe extern "C" fn decrypt_ticket(
    ssl: *mut SSL,
    session: *mut SSL_SESSION,
    _key_name: *const c_uchar,
    _key_name_len: usize,
    status: c_int,
    _arg: *mut c_void,
) -> c_int {
    let good = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: OpenSSL passes the SSL object it works on, which outlives the callback.
        let Some((ssl, conn)) = (unsafe { conn_of(ssl) }) else {
            return false;
        };
        let Some(tickets) = conn.tickets() else {
            return false;
        };
        let opened = matches!(status, TICKET_SUCCESS | TICKET_SUCCESS_RENEW) && !session.is_null();
        // SAFETY: if it could be opened, `session` is live and in nobody else's hands.
        tickets.judge(ssl, opened.then(|| unsafe { application_data(session) }))
    }));
    if matches!(good, Ok(true)) { TICKET_RETURN_USE } else { TICKET_RETURN_IGNORE }
}

/// What a session's ticket said besides the session; empty if nothing.
///
/// # Safety
/// `session` points to a session that outlives `'a`, and is not changed meanwhile.
unsafe fn application_data<'a>(session: *mut SSL_SESSION) -> &'a [u8] {
    let (mut data, mut len) = (ptr::null_mut(), 0);
    // SAFETY: live by this function's contract; the octets are the session's. SSL_SESSION_get0_ticket_appdata(3).
    unsafe {
        if SSL_SESSION_get0_ticket_appdata(session, &raw mut data, &raw mut len) != 1 {
            return &[];
        }
        octets(data.cast(), len)
    }
}

/// The callback of SSL_CTX_set_tlsext_ticket_key_evp_cb(3): 1 with cipher and MAC set up, 0 for no ticket, or for one
/// that cannot be opened.
pub(super) unsafe extern "C" fn ticket_key(
    ssl: *mut SSL,
    name: *mut c_uchar,
    iv: *mut c_uchar,
    cipher: *mut EVP_CIPHER_CTX,
    mac: *mut EVP_MAC_CTX,
    make: c_int,
) -> c_int {
    if name.is_null() || iv.is_null() || cipher.is_null() || mac.is_null() {
        return 0;
    }
    let done = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: OpenSSL passes the SSL object it works on, which outlives the callback.
        let (_, conn) = unsafe { conn_of(ssl) }?;
        let tickets = conn.tickets()?;
        // SAFETY: both checked above. OpenSSL has room for so many octets at both places; in the other direction, it has
        // checked that the ticket has so many.
        unsafe {
            if make == 0 {
                let key = tickets.key_to_open(octets(name, NAME_LEN))?;
                set_up(cipher, mac, &key, octets(iv, MAX_IV_LENGTH), false)
            } else {
                let key = tickets.key_to_make()?;
                let mut fresh = [0; MAX_IV_LENGTH];
                rand_bytes(&mut fresh).ok()?;
                ptr::copy_nonoverlapping(key.name().as_ptr(), name, NAME_LEN);
                ptr::copy_nonoverlapping(fresh.as_ptr(), iv, MAX_IV_LENGTH);
                set_up(cipher, mac, &key, &fresh, true)
            }
        }
    }));
    c_int::from(matches!(done, Ok(Some(()))))
}

/// Sets up AES-256-CBC and HMAC-SHA-256.
///
/// # Safety
/// `cipher` and `mac` point to contexts that nobody else uses.
unsafe fn set_up(
    cipher: *mut EVP_CIPHER_CTX,
    mac: *mut EVP_MAC_CTX,
    key: &TicketKey,
    iv: &[u8],
    encrypt: bool,
) -> Option<()> {
    let digest = OSSL_PARAM {
        key: MAC_PARAM_DIGEST.as_ptr(),
        data_type: PARAM_UTF8_STRING,
        // Only read.
        data: SHA256.as_ptr().cast_mut().cast(),
        data_size: SHA256.count_bytes(),
        return_size: 0,
    };
    // SAFETY: live and ours alone by this function's contract. The parameters end as they must, and are copied, as is
    // the key. EVP_MAC_init(3).
    let cipher = unsafe {
        let params = [digest, openssl_sys::OSSL_PARAM_construct_end()];
        if openssl_sys::EVP_MAC_init(mac, key.mac().as_ptr(), key.mac().len(), params.as_ptr()) != 1 {
            return None;
        }
        CipherCtxRef::from_ptr_mut(cipher)
    };
    let (algorithm, key) = (Some(Cipher::aes_256_cbc()), Some(key.cipher().as_slice()));
    if encrypt { cipher.encrypt_init(algorithm, key, Some(iv)) } else { cipher.decrypt_init(algorithm, key, Some(iv)) }
        .ok()
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
