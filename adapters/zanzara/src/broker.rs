//! `zanzara broker` and `zanzara check-config`.
//!
//! Invariant: nothing listens before the whole configuration is known to be right.
use crate::cli::BrokerArgs;
use crate::config::{self, Durability, File};
use crate::exit::Failure;
use crate::logging;
use crate::signals::Signals;
use crate::storage;
use mqtt_tokio::broker::{Broker, BrokerHandle, Endpoint, StartError};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

/// Runs a broker until it is told to stop.
pub(crate) fn run(arguments: &BrokerArgs) -> Result<(), Failure> {
    possible_yet(arguments)?;
    let file = match &arguments.config {
        Some(path) => config::read(path).map_err(Failure::usage)?,
        None => File::default(),
    };
    let endpoints = endpoints(arguments, &file)?;
    let data = arguments.data.as_deref().or(file.data.as_deref()).filter(|_| !arguments.ephemeral);
    let durability = arguments.durability.unwrap_or(file.durability);
    if data.is_none() && !matches!(arguments.durability, None | Some(Durability::Memory)) {
        return Err(Failure::usage("--durability: needs --data DIR; without a folder everything is in memory"));
    }
    let format = arguments.log_format.unwrap_or(file.log.format);
    logging::start(format, arguments.log_level.unwrap_or(file.log.level));
    raise_open_files();
    let drain = arguments.drain_timeout.unwrap_or(file.drain_timeout.0);

    // It waits for signals and runs hooks; the work is done on the shards' own threads.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::run)?;
    runtime.block_on(async {
        let mut config = file.config();
        if data.is_some() {
            storage::limit(&mut config);
        }
        let mut builder = Broker::builder(config);
        let mut kept = "Messages are kept in memory.\n".to_owned();
        if let Some(dir) = data {
            let (store, contents, found) = storage::open(dir, durability)?;
            builder = builder.store(store, contents);
            kept = found;
        }
        for endpoint in endpoints {
            builder = builder.listen(endpoint.to_string());
        }
        let broker = builder.start().await.map_err(failed)?;
        let signals = Signals::new().map_err(Failure::run)?;
        // Whoever started it may have closed standard output: no reason not to serve.
        let _ = std::io::stdout().write_all(banner(broker.local_addrs(), &kept).as_bytes());
        serve(&broker, signals, drain).await
    })
}

/// Says whether a configuration file is right.
pub(crate) fn check(path: &Path) -> Result<(), Failure> {
    config::read(path).map_err(Failure::usage)?;
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

/// Where to listen: as the command line says, else the file.
fn endpoints(arguments: &BrokerArgs, file: &File) -> Result<Vec<Endpoint>, Failure> {
    if !arguments.listen.is_empty() {
        let parse = |url: &String| url.parse().map_err(|error| Failure::usage(format_args!("--listen {error}")));
        return arguments.listen.iter().map(parse).collect();
    }
    let mut endpoints: Vec<Endpoint> = file.listen.iter().map(|listen| listen.0.clone()).collect();
    if endpoints.is_empty() {
        return Err(Failure::usage("listen = []: there is nowhere to listen; name an address or leave the key out"));
    }
    if *file.listen == File::default().listen && UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        endpoints.pop(); // the default includes IPv6 only where it exists
    }
    Ok(endpoints)
}

/// Lets the process open as many files (connections are files) as the system allows: what it grants unasked is made for
/// programs of another kind.
#[cfg(unix)]
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit of open files stays at {current:?}");
    }
}

#[cfg(not(unix))]
fn raise_open_files() {}

/// Waits for a signal, then ends in good order; a second signal ends at once.
async fn serve(broker: &BrokerHandle, mut signals: Signals, drain: Duration) -> Result<(), Failure> {
    let crashed = || Failure::run("a part of the broker has crashed; the reason stands above");
    tokio::select! {
        stopped = broker.stopped() => return stopped.map_err(|_| crashed()),
        signal = signals.next() => {
            tracing::info!(signal, seconds = drain.as_secs_f64(), "ending: waiting for connections to close");
        }
    }
    tokio::select! {
        drained = broker.drain(drain) => drained.map_err(|_| crashed()),
        _ = signals.next() => Err(Failure::run("a second signal: ended at once")),
    }
}

fn failed(error: StartError) -> Failure {
    match error {
        StartError::Endpoint(_) | StartError::Shards(_) | StartError::NoHooks => Failure::usage(error),
        _ => Failure::run(error),
    }
}

/// What a person sees first: where it listens, how to try it, and where data is kept.
fn banner(addresses: &[SocketAddr], kept: &str) -> String {
    let mut text = format!("Zanzara {} listens on\n", env!("CARGO_PKG_VERSION"));
    for address in addresses {
        let _ = writeln!(text, "  mqtt://{address}"); // writing to a String cannot fail
    }
    if let Some(first) = addresses.first() {
        let mut server = String::new();
        if !first.ip().is_loopback() && !first.ip().is_unspecified() {
            let _ = write!(server, " -h {}", first.ip());
        }
        if first.port() != 1883 {
            let _ = write!(server, " -p {}", first.port());
        }
        let _ = writeln!(text, "Try it, in two other terminals:");
        let _ = writeln!(text, "  zanzara sub{server} -v -t 'demo/#'");
        let _ = writeln!(text, "  zanzara pub{server} -t demo/greeting -m 'hello world!'");
    }
    text.push_str(kept);
    text.push_str("Ctrl-C ends it.\n");
    text
}
