//! `dance auth-service`: the daemon that load balancers ask, from a configuration file, flags, or both.

use std::net::SocketAddr;
use std::path::PathBuf;

use dance_auth_service::config::{ConfigError, ForwardedBySetting, Listen};
use dance_auth_service::{AuthService, Config, StartError};
use tracing::info;

use crate::command::daemon::{Names, Shutdown, ended, tell_metrics};
use crate::command::dns::DnsOptions;
use crate::logging::{self, LogFormat};
use crate::output;
use crate::{Error, Exit, runtime};

/// Run the service that load balancers ask: is the client of this request who it says it is, by DANE?
///
/// For nginx auth_request, Caddy forward_auth, Traefik ForwardAuth, HAProxy by Lua, and Envoy ext_authz over HTTP or gRPC. The balancer
/// accepts any client certificate and forwards it; the answer is 200 with the client's name in a header, or the status of the refusal.
/// Everything can be set in a file, the simple case with flags alone; a flag wins over the file.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The configuration, in TOML; auth-service.example.toml explains every key
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Check the configuration and everything it names, print the effective configuration, and end
    #[arg(long)]
    check: bool,

    /// Where the load balancer connects: ADDR:PORT on this host, or unix:/PATH [default: 127.0.0.1:9181]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<Listen>,

    /// How the load balancer forwards certificates: rfc9440, escaped-pem, base64-der, xfcc, traefik, or ext-authz (Envoy over gRPC)
    #[arg(long, value_name = "DIALECT")]
    forwarded_by: Option<ForwardedBySetting>,

    /// The header in which it does; needed for escaped-pem and base64-der
    #[arg(long, value_name = "NAME")]
    certificate_header: Option<String>,

    /// A client to let in: a name, *.NAME for one more label, **.NAME for any number; may be given several times
    #[arg(long, value_name = "PATTERN")]
    allow: Vec<String>,

    /// How log lines are written
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,

    /// How clients' names stand in the log [default: full]
    #[arg(long, value_enum)]
    log_names: Option<Names>,

    #[command(flatten)]
    dns: DnsOptions,
}

const AFTER_HELP: &str = "\
EXAMPLES:
    dance auth-service --forwarded-by rfc9440 --allow '*._device.example.com'
    dance auth-service --forwarded-by escaped-pem --certificate-header X-Client-Cert \\
        --listen unix:/run/dance/auth.sock --allow '*._device.example.com'
    dance auth-service --config /etc/dance/auth-service.toml --check

    The log begins with the address, as `listening addr=127.0.0.1:9181`; then comes a line for every
    request. RUST_LOG sets how much is logged. SIGTERM and SIGINT end the service once requests
    under way are finished, or after drain-timeout.

EXIT CODES:
    0  ended in order; with --check: the configuration is good
    1  ended, but requests under way had to be cut off
    2  wrong usage or configuration
    3  the address cannot be listened on";

impl Args {
    pub(crate) fn run(self) -> Result<Exit, Error> {
        let (check, log_format) = (self.check, self.log_format);
        let config = self.config()?;
        let runtime = runtime()?;
        // Warnings are part of what a check finds.
        logging::start(log_format);
        runtime.block_on(async { if check { examine(&config) } else { serve(&config).await } })
    }

    /// The file, or the defaults, with the flags put over it.
    fn config(self) -> Result<Config, Error> {
        let mut config = match &self.config {
            Some(path) => Config::read(path).map_err(Error::DaemonConfig)?,
            None => Config::default(),
        };
        if let Some(listen) = self.listen {
            config.listen = listen;
        }
        config.forwarded_by = self.forwarded_by.or(config.forwarded_by);
        config.certificate_header = self.certificate_header.or(config.certificate_header);
        if !self.allow.is_empty() {
            config.allow = self.allow;
        }
        if let Some(names) = self.log_names {
            config.log_names = names.into();
        }
        self.dns.configure(&mut config.dns);
        Ok(config)
    }
}

/// Starts everything as it would be started, but on a free loopback port, so that a service which is running is not in the way.
fn examine(config: &Config) -> Result<Exit, Error> {
    let start = |error| Error::AuthServiceStart(StartError::Config(error));
    // Where it would listen is looked at too.
    config.check().map_err(start)?;
    let free = Listen::Address(SocketAddr::from(([127, 0, 0, 1], 0)));
    bind(&Config { listen: free, ..config.clone() })?;
    output::print(config.to_string().trim_end())?;
    Ok(Exit::Yes)
}

fn bind(config: &Config) -> Result<AuthService<dance_resolver::Resolver>, Error> {
    let resolver = dance_auth_service::resolver(config).map_err(Error::AuthServiceStart)?;
    AuthService::bind(config, resolver).map_err(Error::AuthServiceStart)
}

async fn serve(config: &Config) -> Result<Exit, Error> {
    let shutdown = Shutdown::expect()?;
    let setting = |error| Error::AuthServiceStart(StartError::Config(ConfigError::Setting(error)));
    if let Some(address) = config.metrics_address().map_err(setting)? {
        tell_metrics(address).map_err(|error| Error::AuthServiceStart(StartError::Daemon(error)))?;
    }
    let service = bind(config)?;
    info!(addr = %service.local(), "listening");
    dance_auth_service::raise_open_files(config);
    Ok(ended(service.run(shutdown.wait()).await))
}
