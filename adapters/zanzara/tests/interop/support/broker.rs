//! A broker process of a test's own.

use super::{PATIENCE, raw, scratch, tools};
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Which program serves.
#[derive(Clone, Copy, PartialEq)]
enum Vendor {
    Zanzara,
    Mosquitto,
}

/// A running broker; dropping it kills it, and shows its log if the test has failed.
pub(crate) struct Broker {
    child: Child,
    vendor: Vendor,
    log: PathBuf,
    config: PathBuf,
    pub(crate) port: u16,
}

impl Broker {
    /// The broker under test, ready to serve.
    pub(crate) fn start() -> Self {
        let mosquitto = std::env::var("ZANZARA_TEST_BROKER").is_ok_and(|name| name == "mosquitto");
        Self::on_a_free_port(if mosquitto { Vendor::Mosquitto } else { Vendor::Zanzara }, &[])
    }

    /// Whether this is mosquitto, whose 2.0 series departs from the standard in some tests; those ask and then expect less.
    pub(crate) fn is_mosquitto(&self) -> bool {
        self.vendor == Vendor::Mosquitto
    }

    /// The other vendor's broker, for tests of our client; `None` where it is not installed.
    pub(crate) fn mosquitto() -> Option<Self> {
        tools::mosquitto_broker().map(|_| Self::on_a_free_port(Vendor::Mosquitto, &[]))
    }

    /// Our broker with a configuration file, whatever `ZANZARA_TEST_BROKER` says.
    pub(crate) fn configured(text: &str) -> Self {
        let file = scratch("zanzara.toml");
        fs::write(&file, text).expect("a configuration file");
        let broker = Self::on_a_free_port(Vendor::Zanzara, &["--config", file.to_str().expect("a path in UTF-8")]);
        let _ = fs::remove_file(file);
        broker
    }

    /// Our broker with further addresses (of port 0) and options.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        Self::on_a_free_port(Vendor::Zanzara, arguments)
    }

    /// The other vendor's broker with further lines in its configuration.
    pub(crate) fn mosquitto_with(lines: &[&str]) -> Option<Self> {
        tools::mosquitto_broker().map(|_| Self::on_a_free_port(Vendor::Mosquitto, lines))
    }

    /// The port of our broker's address with this scheme, from its banner.
    pub(crate) fn port_of(&self, scheme: &str) -> u16 {
        let prefix = format!("  {scheme}://127.0.0.1:");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let address = log.lines().find_map(|line| line.strip_prefix(&prefix).filter(|_| log.contains("Ctrl-C")));
            if let Some(address) = address {
                let port = address.split('/').next().unwrap_or_default();
                return port.parse().expect("a port");
            }
            assert!(Instant::now() < deadline, "no {scheme} in the banner:\n{log}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        super::process::signal(self.child.id(), name);
    }

    /// Waits until the log has this text so many times.
    pub(crate) fn logged(&self, text: &str, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while fs::read_to_string(&self.log).unwrap_or_default().matches(text).count() < times {
            assert!(Instant::now() < deadline, "`{text}` is not logged {times} times");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn on_a_free_port(vendor: Vendor, arguments: &[&str]) -> Self {
        // Between finding a port free and its use another process may take it: then the broker ends and the next port is tried.
        for _ in 0..8 {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
            let port = listener.local_addr().expect("a bound address").port();
            drop(listener);
            if let Some(broker) = Self::on_port(vendor, port, arguments) {
                return broker;
            }
        }
        panic!("the broker starts on none of eight free ports");
    }

    fn on_port(vendor: Vendor, port: u16, arguments: &[&str]) -> Option<Self> {
        let (log, config) = (scratch("broker.log"), scratch("mosquitto.conf"));
        let output = File::create(&log).expect("a log file");
        let child = command(vendor, port, &config, arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle of the log"))
            .stderr(output)
            .spawn()
            .expect("the broker binary starts");
        let mut broker = Self { child, vendor, log, config, port };
        let deadline = Instant::now() + PATIENCE;
        while !raw::answers(port) {
            if broker.child.try_wait().expect("the broker's state").is_some() {
                eprintln!("the broker ended at once:\n{}", fs::read_to_string(&broker.log).unwrap_or_default());
                return None;
            }
            assert!(Instant::now() < deadline, "the broker does not answer on port {port}");
            thread::sleep(Duration::from_millis(10));
        }
        Some(broker)
    }

    /// The port as an argument.
    pub(crate) fn port(&self) -> String {
        self.port.to_string()
    }

    /// The address for clients that take a URL.
    pub(crate) fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Kills the broker as a crash would, and starts it again on the same port, with nothing kept.
    pub(crate) fn crash_and_restart(&mut self) {
        self.child.kill().expect("the broker is killed");
        self.child.wait().expect("the broker is gone");
        let deadline = Instant::now() + PATIENCE;
        let next = loop {
            match Self::on_port(self.vendor, self.port, &[]) {
                Some(next) => break next,
                None => assert!(Instant::now() < deadline, "port {} stays taken", self.port),
            }
        };
        *self = next;
    }

    /// Asks the broker to end (SIGTERM) and waits until it has.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        super::process::signal(self.child.id(), "TERM");
        super::process::wait(&mut self.child).expect("the broker ends when it is asked to")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let tail = log.char_indices().rev().nth(4000).map_or(0, |(at, _)| at);
            eprintln!("--- the broker's log ends so:\n{}", &log[tail..]);
        }
        for file in [&self.log, &self.config] {
            let _ = fs::remove_file(file); // (Only mosquitto has a configuration.)
        }
    }
}

/// For mosquitto the arguments are lines of its configuration.
fn command(vendor: Vendor, port: u16, config: &Path, arguments: &[&str]) -> Command {
    match vendor {
        Vendor::Zanzara => {
            let mut command = Command::new(env!("CARGO_BIN_EXE_zanzara"));
            command.arg("--listen").arg(format!("mqtt://127.0.0.1:{port}")).arg("--ephemeral").args(arguments);
            command
        }
        Vendor::Mosquitto => {
            let limits = "max_queued_messages 0\nset_tcp_nodelay true\n";
            let more = arguments.join("\n");
            let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\nlog_type all\n{limits}{more}\n");
            fs::write(config, text).expect("a configuration file");
            let mut command =
                Command::new(tools::mosquitto_broker().expect("ZANZARA_MOSQUITTO names the mosquitto broker"));
            command.arg("-c").arg(config);
            command
        }
    }
}
