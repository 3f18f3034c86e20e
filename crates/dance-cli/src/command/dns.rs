//! The options that every command which looks names up shares.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use dance_gateway::config::DnsConfig;
use dance_gateway::config::Span;
use dance_resolver::{ConfigError, DnsMode, Resolver, ResolverConfig, Server, Servers, TrustAnchorSource};
use jiff::SignedDuration;

use crate::Error;

/// How names are looked up.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "DNS options")]
pub(crate) struct DnsOptions {
    #[command(flatten)]
    path: DnsPath,

    /// Longest time for a look-up, such as 500ms or 10s [default: 10s; for the gateway 3s]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    timeout: Option<Duration>,
}

/// Who is asked, and who is believed.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "DNS options")]
pub(crate) struct DnsPath {
    /// A recursive resolver to ask; may be given several times, in order of preference [default: the system's]
    ///
    /// ADDR or ADDR:PORT; over TLS tls://ADDR[:PORT]#NAME, whose certificate must be good for NAME, tls://ADDR[:PORT]#sha256:HEX, whose
    /// key must have this digest, or tls://ADDR[:PORT], which hides the questions from others but does not show who the resolver is
    #[arg(long, value_name = "SERVER")]
    resolver: Vec<Server>,

    /// Certificates in PEM that those of resolvers with a NAME may come from [default: those that the system trusts]
    #[arg(long, value_name = "FILE")]
    resolver_ca: Option<PathBuf>,

    /// DS or DNSKEY records to start validation from, as in a zone file [default: the root zone's, built in]
    #[arg(long, value_name = "FILE")]
    trust_anchor: Option<PathBuf>,

    /// Who checks DNSSEC signatures [default: validate]
    #[arg(long, value_enum)]
    dns_mode: Option<Mode>,
}

/// How long a person waits for an answer.
const DEFAULT_TIME: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// This program, so that resolvers need not be trusted
    Validate,
    /// The resolver: its AD bit is believed; on loopback, or over TLS with a name or key to know it by
    Ad,
}

impl DnsPath {
    /// A resolver as the options say. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The options contradict each other, or name what is not there.
    pub(crate) fn resolver(self, timeout: Duration) -> Result<Resolver, ConfigError> {
        Resolver::new(ResolverConfig {
            servers: if self.resolver.is_empty() { Servers::System } else { Servers::List(self.resolver) },
            resolver_ca: self.resolver_ca,
            mode: match self.dns_mode {
                None | Some(Mode::Validate) => DnsMode::Validate,
                Some(Mode::Ad) => DnsMode::AdBit,
            },
            trust_anchor: self.trust_anchor.map_or(TrustAnchorSource::Root, TrustAnchorSource::File),
            timeout,
            ..ResolverConfig::default()
        })
    }
}

impl DnsOptions {
    /// A resolver as the options say. Must be called within a tokio runtime.
    pub(crate) fn resolver(self) -> Result<Resolver, Error> {
        self.path.resolver(self.timeout.unwrap_or(DEFAULT_TIME)).map_err(Error::Resolver)
    }

    /// Puts what was typed into a gateway's configuration.
    pub(crate) fn configure(self, config: &mut DnsConfig) {
        let DnsPath { resolver, resolver_ca, trust_anchor, dns_mode } = self.path;
        if !resolver.is_empty() {
            config.resolver = resolver.iter().map(ToString::to_string).collect();
        }
        if let Some(mode) = dns_mode {
            config.mode = match mode {
                Mode::Validate => dance_gateway::config::DnsMode::Validate,
                Mode::Ad => dance_gateway::config::DnsMode::Ad,
            };
        }
        if resolver_ca.is_some() {
            config.resolver_ca = resolver_ca;
        }
        if trust_anchor.is_some() {
            config.trust_anchor = trust_anchor;
        }
        if let Some(timeout) = self.timeout {
            config.timeout = Span(timeout);
        }
    }
}

/// The longest time that may be given for a look-up: more is a slip.
const MAX_TIME: Duration = Duration::from_secs(3600);

/// Reads a time: a number with its unit, or seconds.
pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<u64>().ok().map(Duration::from_secs);
    seconds
        .or_else(|| Duration::try_from(text.parse::<SignedDuration>().ok()?).ok())
        .filter(|time| (Duration::from_millis(1)..=MAX_TIME).contains(time))
        .ok_or_else(|| "expected a time from 1ms to 1h, such as 500ms, 10s or 2m".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;

    #[test]
    fn times_have_a_unit_or_are_seconds() {
        let parse = parse_time;
        assert_eq!(parse("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(parse("10s").unwrap(), Duration::from_secs(10));
        assert_eq!(parse("2m").unwrap(), Duration::from_secs(120));
        assert_eq!(parse("3").unwrap(), Duration::from_secs(3));
        for refused in ["", "0", "0s", "-1s", "ten", "2h", "1us"] {
            assert!(parse(refused).is_err(), "{refused:?} was taken");
        }
    }
}
