//! Load balancers in front of the check, each configured by the files that docs/load-balancers shows.
#![allow(clippy::unwrap_used, reason = "tests")]

/// What is shown of each balancer.
macro_rules! behaves_as_it_should {
    ($recipe:ident) => {
        // HTTP-07, HTTP-08, HTTP-09, HTTP-10, HTTP-11, HTTP-12, HTTP-13, TLSA-03
        #[test]
        fn clients_are_told_apart() {
            dance_interop::balancer::cases::clients_are_told_apart(&$recipe);
        }

        // HTTP-10
        #[test]
        fn bodies_come_through() {
            dance_interop::balancer::cases::bodies_come_through(&$recipe);
        }

        // HTTP-03, HTTP-04, HTTP-05, HTTP-14
        #[test]
        fn nobody_outside_sets_our_fields() {
            dance_interop::balancer::cases::nobody_outside_sets_our_fields(&$recipe);
        }

        // HTTP-16
        #[test]
        fn a_resumed_session_keeps_its_certificate() {
            dance_interop::balancer::cases::a_resumed_session_keeps_its_certificate(&$recipe);
        }

        // HTTP-19
        #[test]
        fn large_certificates_and_fields() {
            dance_interop::balancer::cases::large_certificates_and_fields(&$recipe);
        }
    };
}

/// And of one that asks `dance auth-service`.
macro_rules! asks_the_service {
    ($recipe:ident) => {
        // HTTP-12
        #[test]
        fn without_the_service_nobody_passes() {
            dance_interop::balancer::cases::without_the_service_nobody_passes(&$recipe);
        }
    };
}

mod apache;
mod caddy;
mod envoy_grpc;
mod envoy_http;
mod gateway;
mod haproxy;
mod nginx;
mod traefik;
