//! Brokers and loads as processes: pinned, ready, measured, ended.
//!
//! Invariant: what was started is ended by its process id when its value is dropped, and its folder is removed.
use super::brokers::Broker;
use super::scenarios::Scenario;
use super::{Measured, Options, folder};
use crate::run::{self, Result};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a broker may take until it serves.
const READY: Duration = Duration::from_secs(20);
/// How long one measurement may take.
const LIMIT: Duration = Duration::from_mins(10);

/// Which cores brokers and loads have.
pub(crate) struct Pins {
    broker: String,
    load: String,
    possible: bool,
}

impl Pins {
    /// Where there is one core, or no `taskset`, nothing is pinned.
    pub(crate) fn new(broker: &str, load: &str) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let possible = cores > 1 && run::find_program("taskset", &[]).is_some();
        if !possible {
            eprintln!("note: nothing is pinned: it takes two cores and taskset");
        }
        Self { broker: broker.to_owned(), load: load.to_owned(), possible }
    }

    pub(crate) fn broker(&self) -> Option<&str> {
        self.possible.then_some(&*self.broker)
    }

    pub(crate) fn load(&self) -> Option<&str> {
        self.possible.then_some(&*self.load)
    }
}

/// A program on its cores. taskset gives way to it, so that the process id is its own.
fn pinned(cores: Option<&str>, program: &str) -> Command {
    match cores {
        Some(cores) => {
            let mut command = run::program("taskset");
            command.args(["-c", cores, program]);
            command
        }
        None => run::program(program),
    }
}

/// A broker that was started for one measurement; it ends with this value.
pub(crate) struct Running {
    child: Child,
    dir: PathBuf,
    address: SocketAddr,
}

impl Running {
    /// Starts a broker on a free port, with a folder of its own, and returns when it serves.
    pub(crate) fn start(broker: &Broker, pins: &Pins) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let port = address.port().to_string();
        let dir = folder().join(format!("run-{}-{port}", std::process::id()));
        fs::create_dir_all(&dir)?;
        let fill = |text: &String| text.replace("{port}", &port).replace("{dir}", &dir.to_string_lossy());
        fs::write(dir.join("broker.conf"), fill(&broker.config))?;
        let log = fs::File::create(dir.join("log"))?;
        let arguments: Vec<String> = broker.command.iter().map(fill).collect();
        let mut command = pinned(pins.broker(), &arguments[0]);
        command.args(&arguments[1..]).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                fs::remove_dir_all(&dir)?;
                return Err(format!("{}: {error}", broker.name).into());
            }
        };
        let mut running = Self { child, dir, address };
        let start = Instant::now();
        while !serves(address) {
            if let Some(status) = running.child.try_wait()? {
                let log = fs::read_to_string(running.dir.join("log")).unwrap_or_default();
                return Err(format!("{} ended at once ({status}): {}", broker.name, log.trim()).into());
            }
            if start.elapsed() > READY {
                return Err(format!("{} does not serve on port {port}", broker.name).into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Whether somebody answers CONNECT there.
fn serves(address: SocketAddr) -> bool {
    let answer = || -> std::io::Result<u8> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"\x10\x11\0\x04MQTT\x04\x02\0\0\0\x05probe")?;
        let mut connack = [0; 4];
        stream.read_exact(&mut connack)?;
        stream.write_all(&[0xe0, 0])?;
        Ok(connack[0])
    };
    answer().is_ok_and(|first| first == 0x20)
}

/// Runs `zanzara bench` against a broker.
pub(crate) fn load(
    zanzara: &Path,
    scenario: &Scenario,
    options: &Options,
    pins: &Pins,
    broker: &Running,
) -> Result<Measured> {
    let mut command = pinned(pins.load(), &zanzara.to_string_lossy());
    command.arg("bench").args(&scenario.arguments);
    command.arg(format!("mqtt://{}", broker.address)).args(["--json", "--pid", &broker.child.id().to_string()]);
    if scenario.is_flow() {
        if !scenario.has("--duration") && !scenario.has("-d") {
            command.args(["--duration", &options.duration]);
        }
        if let Some(threads) = &options.load_threads {
            command.args(["--threads", threads]);
        }
    }
    let (out, err) = (broker.dir.join("found.json"), broker.dir.join("complaints"));
    command.stdin(Stdio::null()).stdout(fs::File::create(&out)?).stderr(fs::File::create(&err)?);
    let mut child = command.spawn()?;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
            return Ok(Measured::Failed(format!("no end after {} s", LIMIT.as_secs())));
        }
        thread::sleep(Duration::from_millis(50));
    };
    match serde_json::from_str(&fs::read_to_string(&out)?) {
        Ok(value) => Ok(Measured::Found(value)),
        Err(_) => Ok(Measured::Failed(format!("{status}: {}", fs::read_to_string(&err)?.trim()))),
    }
}
