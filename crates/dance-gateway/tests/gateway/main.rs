//! The gateway on real sockets: TLS clients in front of it, a signed DNS world beside it, a web application that remembers behind it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed unwrap fails the test")]

mod http;
mod lab;
mod time;

mod a_client_is_told_to_the_origin;
mod a_client_of_either_profile_is_served;
mod a_gateway_that_cannot_start_has_not_started;
mod a_refused_client_reaches_nothing;
mod a_session_is_bound_to_its_record;
mod a_terminator_forwards_what_it_was_shown;
mod an_open_connection_ends_with_its_record;
mod an_ordinary_certificate_has_its_own_header;
mod bodies_pass_unchanged;
mod forged_headers_do_not_pass;
mod look_ups_have_limits;
mod the_listener_keeps_its_limits;
mod the_log_shows_what_it_may;
mod trouble_with_the_origin_stays_there;
mod what_is_counted_is_told;
