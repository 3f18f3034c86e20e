//! Every branch of the protocol over live handshakes: TLS clients against a real gateway, with a signed DNS world beside it and a web
//! application behind it. Asserted for each handshake: the server's reason, the client's alert, the questions that DNS was asked, and
//! what came to the application.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed unwrap fails the test")]

// Shared with the tests of the gateway, each of which uses its part.
#[path = "../gateway/lab.rs"]
#[allow(dead_code, reason = "the gateway's tests use the rest")]
mod lab;

mod ground;
mod records;
mod vectors;
mod wire;

mod decisions;
mod extensions;
mod flights;
mod messages;
mod peers;
