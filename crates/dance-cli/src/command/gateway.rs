//! `dance gateway`: the daemon, from a configuration file, flags, or both.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::ValueEnum;
use dance_core::clientid::{ExtensionTypes, Profile};
use dance_gateway::config::{
    ClientCertificates, ExtensionTypeSetting, PolicySetting, ProfileSetting, ResumptionSetting,
};
use dance_gateway::origin::Origin;
use dance_gateway::{Config, Gateway, StartError};
use tracing::info;

use crate::command::daemon::{Names, Shutdown, ended, tell_metrics};
use crate::command::dns::DnsOptions;
use crate::command::{parse_extension_type, parse_profile};
use crate::logging::{self, LogFormat};
use crate::output;
use crate::{Error, Exit, runtime};

/// Run the gateway: terminate TLS, authenticate clients by DANE during the handshake, and tell the web application behind who connected.
///
/// The application finds the client's name in a request header; the gateway removes whatever clients send under that name. Everything
/// can be set in a file, the simple case with flags alone; a flag wins over the file.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The configuration, in TOML; gateway.example.toml explains every key
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Check the configuration and everything it names, print the effective configuration, and end
    #[arg(long)]
    check: bool,

    /// The address that clients connect to [default: 0.0.0.0:8443]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,

    /// The server's certificate chain, its own first
    #[arg(long, value_name = "PEM")]
    certificate: Option<PathBuf>,

    /// The key of the server's certificate
    #[arg(long, value_name = "PEM")]
    key: Option<PathBuf>,

    /// The web application: HOST:PORT or unix:/PATH, on this host
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<Origin>,

    /// Let the web application be on another host: whoever reaches the connection to it can forge the header
    #[arg(long)]
    unsafe_origin: bool,

    /// What is done about clients' certificates [default: dane]
    #[arg(long, value_enum)]
    client_certificates: Option<Certificates>,

    /// A client to let in: a name, *.NAME for one more label, **.NAME for any number; may be given several times
    #[arg(long, value_name = "PATTERN")]
    allow: Vec<String>,

    /// What becomes of clients that DANE does not authenticate [default: require]
    #[arg(long, value_enum)]
    policy: Option<Policy>,

    /// The request header that tells the application who connected [default: Dane-Clientid]
    #[arg(long, value_name = "NAME")]
    header: Option<String>,

    /// Wire profile: `current` or `2022` [default: current]
    #[arg(long, value_parser = parse_profile)]
    profile: Option<Profile>,

    /// Speak TLS 1.2 too, which shows names and certificates to anyone on the way
    #[arg(long)]
    tls12: bool,

    /// The extension's code point, or up to four with commas between them; both sides must agree on one [default: 0xffdc]
    #[arg(long, value_name = "TYPE[,TYPE]", value_parser = parse_extension_types)]
    extension_type: Option<ExtensionTypes>,

    /// Let authenticated clients resume their sessions for as long as their record stands [default: off]
    #[arg(long, value_enum)]
    resumption: Option<Resumption>,

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
    dance gateway --certificate server-chain.pem --key server-key.pem --origin 127.0.0.1:8080 \\
        --allow '*._device.example.com'
    dance gateway --config /etc/dance/gateway.toml
    dance gateway --config /etc/dance/gateway.toml --check
    dance gateway --certificate server-chain.pem --key server-key.pem --origin 127.0.0.1:8080 \\
        --client-certificates forward

    The log begins with warnings, if any, and the address, as `listening addr=0.0.0.0:8443`; then
    comes a line for every client. RUST_LOG sets how much is logged. SIGTERM and SIGINT end the
    gateway once requests under way are finished, or after drain-timeout.

EXIT CODES:
    0  ended in order; with --check: the configuration is good
    1  ended, but requests under way had to be cut off
    2  wrong usage or configuration
    3  the address cannot be listened on";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Certificates {
    /// The gateway finds out by DANE whose they are
    Dane,
    /// Any is taken and forwarded in Client-Cert (RFC 9440), for the application to find out
    Forward,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Policy {
    /// They are refused during the handshake
    Require,
    /// They go on anonymously, and the application must look at the header
    Optional,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Resumption {
    /// Every connection has a full handshake
    Off,
    /// Sessions are bound to the record that authenticated them, and end with it
    Bound,
}

/// Reads `--extension-type`.
fn parse_extension_types(text: &str) -> Result<ExtensionTypes, String> {
    let types = text.split(',').map(parse_extension_type).collect::<Result<Vec<_>, _>>()?;
    ExtensionTypes::new(types)
        .ok_or_else(|| format!("expected no more than {} numbers, all different", ExtensionTypes::MAX))
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit, Error> {
        let (check, log_format) = (self.check, self.log_format);
        let config = self.config()?;
        let runtime = runtime()?;
        // Warnings are part of what a check finds.
        logging::start(log_format);
        if check {
            return runtime.block_on(examine(&config));
        }
        runtime.block_on(serve(&config))
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
        config.certificate = self.certificate.or(config.certificate);
        config.key = self.key.or(config.key);
        config.origin = self.origin.or(config.origin);
        config.unsafe_origin |= self.unsafe_origin;
        match self.client_certificates {
            None => {}
            Some(Certificates::Dane) => config.client_certificates = ClientCertificates::Dane,
            Some(Certificates::Forward) => config.client_certificates = ClientCertificates::Forward,
        }
        if !self.allow.is_empty() {
            config.allow = self.allow;
        }
        match self.policy {
            None => {}
            Some(Policy::Require) => config.policy = PolicySetting::Require,
            Some(Policy::Optional) => config.policy = PolicySetting::Optional,
        }
        if let Some(header) = self.header {
            config.header = header;
        }
        match self.profile {
            None => {}
            Some(Profile::Current) => config.profile = ProfileSetting::Current,
            Some(Profile::Draft2022) => config.profile = ProfileSetting::Draft2022,
        }
        config.tls12 |= self.tls12;
        if let Some(types) = self.extension_type {
            config.extension_type = ExtensionTypeSetting(types);
        }
        match self.resumption {
            None => {}
            Some(Resumption::Off) => config.resumption = ResumptionSetting::Off,
            Some(Resumption::Bound) => config.resumption = ResumptionSetting::Bound,
        }
        if let Some(names) = self.log_names {
            config.log_names = names.into();
        }
        self.dns.configure(&mut config.dns);
        Ok(config)
    }
}

/// Starts everything as it would be started, but on a free loopback port, so that a gateway which is running is not in the way.
async fn examine(config: &Config) -> Result<Exit, Error> {
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let elsewhere = Config { listen: free, ..config.clone() };
    bind(&elsewhere)?;
    output::print(config.to_string().trim_end())?;
    Ok(Exit::Yes)
}

fn bind(config: &Config) -> Result<Gateway<dance_resolver::Resolver>, Error> {
    Gateway::from_config(config).map_err(Error::GatewayStart)
}

async fn serve(config: &Config) -> Result<Exit, Error> {
    let shutdown = Shutdown::expect()?;
    let metrics = config.metrics_address().map_err(|error| Error::GatewayStart(StartError::Config(error.into())))?;
    if let Some(address) = metrics {
        tell_metrics(address).map_err(|error| Error::GatewayStart(StartError::Daemon(error)))?;
    }
    let gateway = bind(config)?;
    info!(addr = %gateway.local_addr(), "listening");
    dance_gateway::raise_open_files(config);
    Ok(ended(gateway.run(shutdown.wait()).await))
}
