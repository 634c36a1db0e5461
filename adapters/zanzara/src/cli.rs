//! The command line.
//!
//! Invariant: what a later version will do is accepted by name and refused with a message that says so.
use crate::bench::BenchCommand;
use crate::client::{PubArgs, SubArgs};
use crate::config::Durability;
use crate::logging::{Format, Level};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// MQTT 3.1, 3.1.1 and 5.0: a broker, a publisher, a subscriber and a load.
///
/// Without a command it is `zanzara broker`.
#[derive(Debug, Parser)]
#[command(name = "zanzara", version, args_conflicts_with_subcommands = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
}

const EXIT_CODES: &str = "Exit codes: 0 all went well; 1 it failed while it ran; 2 the command line or the \
                          configuration is wrong; 27 `-W` ended a wait.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a broker.
    Broker(BrokerArgs),
    /// Publish a message, or each line of standard input.
    Pub(PubArgs),
    /// Subscribe, and print the messages that come.
    Sub(SubArgs),
    /// Say whether a configuration file is right, and what is wrong with it.
    CheckConfig {
        /// The file.
        file: PathBuf,
    },
    /// Look into a folder of --data while no broker uses it, or move what is in it.
    #[command(subcommand)]
    Store(StoreCommand),
    /// Load a broker, this one or any other, and check what it does; exit code 1 if something was lost, repeated or out of order
    #[command(subcommand)]
    Bench(BenchCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Say whether everything in it can be read, and what cannot; exit code 1 if something cannot.
    Check {
        /// The folder.
        dir: PathBuf,
    },
    /// Say how much is in it.
    Stats {
        /// The folder.
        dir: PathBuf,
    },
    /// Write everything in it as lines of JSON; see docs/storage.md.
    Export {
        /// The folder.
        dir: PathBuf,
        /// A new file [default: standard output]
        file: Option<PathBuf>,
    },
    /// Read such lines into a new folder.
    Import {
        /// The folder; made if it is not there.
        dir: PathBuf,
        /// The file [default: standard input]
        file: Option<PathBuf>,
    },
}

/// What `zanzara broker` takes. Each overrides the configuration file.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct BrokerArgs {
    /// Address to listen on: mqtt://host:port, mqtts://host:port, ws://host:port/path, wss://host:port/path or
    /// unix:///path; may be repeated [default: mqtt://127.0.0.1:1883 and mqtt://[::1]:1883]
    #[arg(long, value_name = "URL")]
    pub(crate) listen: Vec<String>,
    /// With --listen, the certificate for mqtts:// and wss://, followed by those between it and the root (PEM)
    #[arg(long, value_name = "FILE", requires_all = ["listen", "tls_key"])]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Requires certificates of clients, signed by an authority in this file (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub(crate) tls_client_ca: Option<PathBuf>,
    /// Configuration file (TOML); see zanzara.example.toml
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Folder for what survives a restart: sessions, queued and retained messages; made if it is not there [default: zanzara-data]
    #[arg(long, value_name = "DIR", conflicts_with = "ephemeral")]
    pub(crate) data: Option<PathBuf>,
    /// Keep everything in memory, and nothing beyond the end
    #[arg(long)]
    pub(crate) ephemeral: bool,
    /// Threads that share the work; only 1 is possible yet [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) shards: Option<usize>,
    /// When a change is acknowledged: memory (at once; a crash can lose the last moments), os (a power cut can),
    /// disk (synced) [default: disk]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) durability: Option<Durability>,
    /// How long SIGTERM or Ctrl-C lets connections end by themselves, such as 5s [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = crate::config::duration)]
    pub(crate) drain_timeout: Option<Duration>,
    /// How logs look [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<Format>,
    /// Which logs are written [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<Level>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_broker_is_the_default_command() {
        let plain = Cli::parse_from(["zanzara", "--listen", "mqtt://a", "--listen", "mqtt://b"]);
        assert!(plain.command.is_none());
        assert_eq!(plain.broker.listen, ["mqtt://a", "mqtt://b"]);
        let Some(Command::Broker(named)) = Cli::parse_from(["zanzara", "broker", "--listen", "mqtt://a"]).command
        else {
            panic!("`broker` is a command");
        };
        assert_eq!(named.listen, ["mqtt://a"]);
        assert!(Cli::try_parse_from(["zanzara", "--data", "x", "--ephemeral"]).is_err());
    }
}
