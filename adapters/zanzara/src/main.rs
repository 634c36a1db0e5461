//! The `zanzara` command: an MQTT broker, a publisher, a subscriber and a load for brokers.
//!
//! Exit codes: 0 all went well; 1 it failed while it ran; 2 the command line or the configuration is wrong; 27 `-W`
//! ended a wait (as with mosquitto's clients).
//!
//! Invariant: this crate composes the adapters and decides nothing about the protocol.
#![forbid(unsafe_code)]

// Doc comments of arguments are help texts, in which brackets are not links.
#[allow(rustdoc::broken_intra_doc_links)]
mod bench;
mod broker;
#[allow(rustdoc::broken_intra_doc_links)]
mod cli;
#[allow(rustdoc::broken_intra_doc_links)]
mod client;
mod config;
mod exit;
mod logging;
mod signals;
mod storage;

use clap::Parser as _;
use cli::{Cli, Command};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Cli { command, broker } = Cli::parse();
    let result = match command.unwrap_or(Command::Broker(broker)) {
        Command::Broker(arguments) => broker::run(&arguments),
        Command::Pub(arguments) => client::publish(&arguments),
        Command::Sub(arguments) => client::subscribe(&arguments),
        Command::CheckConfig { file } => broker::check(&file),
        Command::Store(command) => storage::run(&command),
        Command::Bench(command) => bench::run(&command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
