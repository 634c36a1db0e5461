//! Which brokers there are, and how each is started so that all can show what they can: no limits on queues and on messages on
//! their way, Nagle's algorithm off, no log.
use super::{Options, folder};
use crate::run::{self, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The version of aedes that is installed.
const AEDES: &str = "1.2.0";

/// A broker in one configuration.
pub(crate) struct Broker {
    pub(crate) name: String,
    pub(crate) version: String,
    /// What its configuration is about.
    pub(crate) settings: String,
    /// Program and arguments, with `{port}` and `{dir}`.
    pub(crate) command: Vec<String>,
    /// The content of `{dir}/broker.conf`, with the same.
    pub(crate) config: String,
}

impl Broker {
    fn new(name: &str, version: &str, settings: &str, command: &[&str], config: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            settings: settings.to_owned(),
            command: command.iter().map(|&part| part.to_owned()).collect(),
            config: config.to_owned(),
        }
    }
}

/// Each known peer: its program, or why it is not there.
pub(crate) fn found(options: &Options) -> Vec<(&'static str, std::result::Result<String, String>)> {
    let shown = |file: Result<PathBuf>| file.map(|file| file.display().to_string()).map_err(|error| error.to_string());
    vec![
        ("mosquitto", shown(mosquitto(options))),
        ("aedes", shown(program("npm"))),
        ("rumqttd", shown(program("rumqttd"))),
    ]
}

fn program(name: &str) -> Result<PathBuf> {
    run::find_program(name, &["/usr/sbin", "/usr/local/sbin"]).ok_or_else(|| format!("no `{name}` in PATH").into())
}

fn mosquitto(options: &Options) -> Result<PathBuf> {
    match &options.mosquitto {
        Some(file) if file.is_file() => Ok(file.clone()),
        Some(file) => Err(format!("{} is no file", file.display()).into()),
        None => program("mosquitto"),
    }
}

/// Finds a peer, in one configuration or several.
type Maker = fn(&Options) -> Result<Vec<Broker>>;

/// Ours first, then the peers that were asked for, or all that are there.
pub(crate) fn chosen(options: &Options, zanzara: &Path) -> Result<Vec<Broker>> {
    let mut brokers = ours(zanzara, options.durable())?;
    let names: Vec<&str> = options.peers.iter().map(String::as_str).collect();
    if let Some(unknown) = names.iter().find(|name| !matches!(**name, "mosquitto" | "aedes" | "rumqttd" | "none")) {
        return Err(format!("no peer `{unknown}`; --broker NAME=COMMAND takes any other").into());
    }
    let makers: [(&str, Maker); 3] = [("mosquitto", mosquittos), ("aedes", aedes), ("rumqttd", rumqttd)];
    for (name, make) in makers {
        if !names.is_empty() && !names.contains(&name) {
            continue;
        }
        match make(options) {
            Ok(found) => brokers.extend(found),
            Err(error) if names.contains(&name) => return Err(format!("{name}: {error}").into()),
            Err(error) => eprintln!("note: without {name}: {error}"),
        }
    }
    for (name, command) in &options.custom {
        brokers.push(Broker::new(name, "", command, &["sh", "-c", &format!("exec {command}")], ""));
    }
    Ok(brokers)
}

/// What a program says of its version.
fn version(program: &Path, argument: &str) -> String {
    let output = run::program(program).arg(argument).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let line = text.lines().find(|line| line.contains(|c: char| c.is_ascii_digit())).unwrap_or_default();
    line.split_whitespace()
        .rev()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        .unwrap_or_default()
        .to_owned()
}

fn ours(zanzara: &Path, durable: bool) -> Result<Vec<Broker>> {
    if !zanzara.is_file() {
        return Err(format!("{} is no file", zanzara.display()).into());
    }
    let (version, program) = (version(zanzara, "--version"), zanzara.display().to_string());
    // There is no option for queues on the command line.
    let config = "[session]\nmax_queued_messages = 1000000\nmax_queued_bytes = \"1GiB\"\n";
    let common = [
        &*program,
        "broker",
        "--listen",
        "mqtt://127.0.0.1:{port}",
        "--log-level",
        "error",
        "--config",
        "{dir}/broker.conf",
    ];
    if !durable {
        let command = [&common[..], &["--ephemeral"]].concat();
        return Ok(vec![Broker::new("zanzara", &version, "in memory", &command, config)]);
    }
    let at = |level: &str, settings: &str| {
        let command = [&common[..], &["--data", "{dir}/data", "--durability", level]].concat();
        Broker::new(&format!("zanzara {level}"), &version, settings, &command, config)
    };
    Ok(vec![
        at("disk", "--durability disk: acknowledged when the disk has it"),
        at("os", "--durability os: acknowledged when the operating system has it"),
        at("memory", "--durability memory: acknowledged at once, written soon"),
    ])
}

fn mosquittos(options: &Options) -> Result<Vec<Broker>> {
    let file = mosquitto(options)?;
    let (version, program) = (version(&file, "-h"), file.display().to_string());
    let config = "listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nlog_type none\n\
                  max_queued_messages 0\nmax_inflight_messages 0\n";
    let with = |name: &str, settings: &str, more: &str| {
        Broker::new(name, &version, settings, &[&program, "-c", "{dir}/broker.conf"], &format!("{config}{more}"))
    };
    if !options.durable() {
        return Ok(vec![with("mosquitto", "persistence false", "")]);
    }
    let persistence = "persistence true\npersistence_location {dir}/\n";
    Ok(vec![
        with(
            "mosquitto",
            "persistence true, autosave_interval 1800 (default): acknowledged at once, written every 30 minutes and at the end",
            persistence,
        ),
        with(
            "mosquitto 1s",
            "persistence true, autosave_interval 1: acknowledged at once, the whole state written every second",
            &format!("{persistence}autosave_interval 1\n"),
        ),
    ])
}

const AEDES_SERVER: &str = "\
import { createServer } from 'node:net'
import { Aedes } from 'aedes'
const broker = await Aedes.createBroker({ id: 'aedes' })
createServer({ noDelay: true }, broker.handle).listen(Number(process.argv[2]), '127.0.0.1')
";

/// Installs it unless it is there. It keeps everything in memory.
fn aedes(_: &Options) -> Result<Vec<Broker>> {
    let node = program("node")?;
    let dir = folder().join("aedes");
    let package = dir.join("node_modules/aedes/package.json");
    let installed = || fs::read_to_string(&package).is_ok_and(|text| text.contains(&format!("\"{AEDES}\"")));
    if !installed() {
        let npm = program("npm")?;
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("package.json"), "{ \"private\": true, \"type\": \"module\" }\n")?;
        let mut npm = run::program(npm);
        npm.current_dir(&dir).args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
        run::run(npm.arg(format!("aedes@{AEDES}")))?;
    }
    let server = dir.join("server.js");
    fs::write(&server, AEDES_SERVER)?;
    let (node, server) = (node.display().to_string(), server.display().to_string());
    Ok(vec![Broker::new("aedes", AEDES, "in memory", &[&node, &server, "{port}"], "")])
}

/// It has a listener for MQTT 3.1.1 only in this configuration, and keeps everything in memory.
fn rumqttd(_: &Options) -> Result<Vec<Broker>> {
    let file = program("rumqttd")?;
    let config = "id = 0\n[router]\nid = 0\nmax_connections = 20000\nmax_outgoing_packet_count = 200\n\
                  max_segment_size = 104857600\nmax_segment_count = 10\n\
                  [v4.1]\nname = \"v4-1\"\nlisten = \"127.0.0.1:{port}\"\nnext_connection_delay_ms = 1\n\
                  [v4.1.connections]\nconnection_timeout_ms = 60000\nmax_payload_size = 1048576\n\
                  max_inflight_count = 1000\ndynamic_filters = true\n\
                  [console]\nlisten = \"127.0.0.1:0\"\n";
    let (version, program) = (version(&file, "--version"), file.display().to_string());
    Ok(vec![Broker::new("rumqttd", &version, "in memory", &[&program, "--config", "{dir}/broker.conf"], config)])
}
