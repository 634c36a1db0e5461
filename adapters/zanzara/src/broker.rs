//! `zanzara broker` and `zanzara check-config`.
//!
//! Invariant: nothing listens before the whole configuration is known to be right.
use crate::cli::BrokerArgs;
use crate::config::{self, Durability, File};
use crate::exit::Failure;
use crate::logging;
use crate::signals::{Signals, Wish};
use crate::storage;
use mqtt_tokio::broker::{
    Broker, BrokerHandle, ClientCertificates, Endpoint, Files, IdentityFrom, LoadedCertificates, Port, PortSettings,
    Scheme, ServerTls, StartError,
};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv6Addr, UdpSocket};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Runs a broker until it is told to stop.
pub(crate) fn run(arguments: &BrokerArgs) -> Result<(), Failure> {
    possible_yet(arguments)?;
    let file = match &arguments.config {
        Some(path) => config::read(path).map_err(Failure::usage)?,
        None => File::default(),
    };
    let ports = ports(arguments, &file)?;
    let ephemeral = arguments.ephemeral || file.ephemeral && arguments.data.is_none();
    let data = (!ephemeral).then(|| arguments.data.as_deref().unwrap_or(&file.data));
    let durability = arguments.durability.unwrap_or(file.durability);
    if data.is_none() && !matches!(arguments.durability, None | Some(Durability::Memory)) {
        return Err(Failure::usage(
            "--durability: everything is in memory; without --ephemeral it is kept in a folder",
        ));
    }
    let format = arguments.log_format.unwrap_or(file.log.format);
    logging::start(format, arguments.log_level.unwrap_or(file.log.level));
    raise_open_files();
    let drain = arguments.drain_timeout.unwrap_or(file.drain_timeout.0);

    // It waits for signals and runs hooks; the work is done on the shards' own threads.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::run)?;
    runtime.block_on(async {
        let mut builder = Broker::builder(file.config());
        let mut kept = "Messages are kept in memory.\n".to_owned();
        if let Some(dir) = data {
            let (store, contents, found) = storage::open(dir, durability)?;
            builder = builder.store(store, contents);
            kept = found;
        }
        for port in ports {
            builder = builder.listen_on(port);
        }
        let broker = builder.start().await.map_err(failed)?;
        let signals = Signals::new().map_err(Failure::run)?;
        // Whoever started it may have closed standard output: no reason not to serve.
        let _ = std::io::stdout().write_all(banner(broker.endpoints(), &kept).as_bytes());
        serve(&broker, signals, drain).await
    })
}

/// Says whether a configuration file is right.
pub(crate) fn check(path: &Path) -> Result<(), Failure> {
    let file = config::read(path).map_err(Failure::usage)?;
    for (port, key) in file.ports() {
        let endpoint = port.endpoint.clone();
        let wrong = |error| Failure::usage(format_args!("{}:{key}: {endpoint}: {error}", path.display()));
        if let (_, Some(loaded)) = Port::open(port).map_err(wrong)?
            && has_expired(&loaded)
        {
            println!("{}:{key}: {endpoint}: warning: the certificate has expired", path.display());
        }
    }
    println!("{}: ok", path.display());
    Ok(())
}

/// Refuses what the command line already knows but this version cannot do.
fn possible_yet(arguments: &BrokerArgs) -> Result<(), Failure> {
    let refuse = |text: &str| Err(Failure::usage(text));
    match arguments.shards {
        None | Some(1) => Ok(()),
        Some(_) => refuse("--shards: only 1 is possible until messages travel between shards"),
    }
}

/// Where to listen, and with what: as the command line says, else the file.
fn ports(arguments: &BrokerArgs, file: &File) -> Result<Vec<PortSettings>, Failure> {
    if !arguments.listen.is_empty() {
        return arguments.listen.iter().map(|url| port(url, arguments)).collect();
    }
    let mut ports: Vec<PortSettings> = file.ports().into_iter().map(|(port, _)| port).collect();
    if ports.is_empty() {
        return Err(Failure::usage("listen = []: there is nowhere to listen; name an address or leave the key out"));
    }
    if file.listen.is_default() && UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        // The default includes IPv6 only where it exists.
        let default = file.listen.endpoints();
        ports.retain(|port| port.endpoint.host() != "::1" || !default.contains(&port.endpoint));
    }
    Ok(ports)
}

/// One address of the command line.
fn port(url: &str, arguments: &BrokerArgs) -> Result<PortSettings, Failure> {
    let endpoint: Endpoint = url.parse().map_err(|error| Failure::usage(format_args!("--listen {error}")))?;
    let mut port = PortSettings::new(endpoint);
    if port.endpoint.scheme().is_tls() {
        let Some((certificate, key)) = arguments.tls_certificate.as_ref().zip(arguments.tls_key.as_ref()) else {
            let missing = "needs --tls-certificate FILE and --tls-key FILE, or a [[listener]] in a configuration file";
            return Err(Failure::usage(format_args!("--listen {url}: {missing}")));
        };
        let client_ca = arguments.tls_client_ca.clone();
        let client_certificates =
            if client_ca.is_some() { ClientCertificates::Required } else { ClientCertificates::Ignored };
        port.tls = Some(ServerTls {
            files: Files { certificates: certificate.clone(), key: key.clone(), client_ca },
            client_certificates,
            identity: IdentityFrom::default(),
            identity_as_username: false,
        });
    }
    Ok(port)
}

/// Lets the process open as many files (connections are files) as the system allows: what it grants unasked is made for
/// programs of another kind.
#[cfg(unix)]
pub(crate) fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit of open files stays at {current:?}");
    }
}

#[cfg(not(unix))]
pub(crate) fn raise_open_files() {}

/// Waits for a signal, then ends in good order; a second signal ends at once.
async fn serve(broker: &BrokerHandle, mut signals: Signals, drain: Duration) -> Result<(), Failure> {
    let crashed = || Failure::run("a part of the broker has crashed; the reason stands above");
    loop {
        tokio::select! {
            stopped = broker.stopped() => return stopped.map_err(|_| crashed()),
            wish = signals.next() => match wish {
                Wish::Reload => reload(broker),
                Wish::End(signal) => {
                    tracing::info!(signal, seconds = drain.as_secs_f64(), "ending: waiting for connections to close");
                    break;
                }
            }
        }
    }
    let drained = broker.drain(drain);
    tokio::pin!(drained);
    loop {
        tokio::select! {
            drained = &mut drained => return drained.map_err(|_| crashed()),
            wish = signals.next() => if let Wish::End(_) = wish {
                return Err(Failure::run("a second signal: ended at once"));
            }
        }
    }
}

/// Reads certificates again, and says what came of it.
fn reload(broker: &BrokerHandle) {
    let reloaded = broker.reload_certificates();
    if reloaded.is_empty() {
        tracing::info!("SIGHUP: no address has certificates to read again");
    }
    for port in reloaded {
        match port.result {
            Ok(loaded) => {
                let days = days_left(&loaded);
                tracing::info!(listener = %port.endpoint, names = ?loaded.names, days, "certificates were read again");
            }
            Err(error) => {
                tracing::error!(listener = %port.endpoint, %error, "the new certificates are not used; the old ones stay");
            }
        }
    }
}

/// Days until a certificate ends; negative afterwards.
fn days_left(loaded: &LoadedCertificates) -> Option<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Some((loaded.not_after?.cast_signed() - now.cast_signed()).div_euclid(24 * 3600))
}

fn has_expired(loaded: &LoadedCertificates) -> bool {
    days_left(loaded).is_some_and(|days| days < 0)
}

fn failed(error: StartError) -> Failure {
    match error {
        StartError::Endpoint(_) | StartError::Port { .. } | StartError::Shards(_) | StartError::NoHooks => {
            Failure::usage(error)
        }
        _ => Failure::run(error),
    }
}

/// What a person sees first: where it listens, how to try it, and where data is kept.
fn banner(endpoints: &[Endpoint], kept: &str) -> String {
    let mut text = format!("Zanzara {} listens on\n", env!("CARGO_PKG_VERSION"));
    for endpoint in endpoints {
        let _ = writeln!(text, "  {endpoint}"); // writing to a String cannot fail
    }
    let plain = endpoints.iter().find(|endpoint| endpoint.scheme() == Scheme::Mqtt).or(endpoints.first());
    if let Some(first) = plain {
        let server = server_arguments(first);
        let _ = writeln!(text, "Try it, in two other terminals:");
        let _ = writeln!(text, "  zanzara sub{server} -v -t 'demo/#'");
        let _ = writeln!(text, "  zanzara pub{server} -t demo/greeting -m 'hello world!'");
    }
    text.push_str(kept);
    text.push_str("Ctrl-C ends it.\n");
    text
}

/// The arguments with which `zanzara pub` and `sub` reach an address.
fn server_arguments(endpoint: &Endpoint) -> String {
    if endpoint.scheme() != Scheme::Mqtt {
        return format!(" -L {endpoint}");
    }
    let mut server = String::new();
    let ip = endpoint.host().parse::<std::net::IpAddr>();
    if ip.is_ok_and(|ip| !ip.is_loopback() && !ip.is_unspecified()) {
        let _ = write!(server, " -h {}", endpoint.host());
    }
    if endpoint.port() != 1883 {
        let _ = write!(server, " -p {}", endpoint.port());
    }
    server
}
