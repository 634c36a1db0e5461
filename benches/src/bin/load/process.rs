//! Broker processes: start, readiness, processor time, end.

use crate::options::Broker;
use crate::wire;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A broker that was started for one measurement; it ends with this value.
pub(crate) struct Running {
    child: Child,
    config: PathBuf,
    pub(crate) address: SocketAddr,
}

impl Running {
    /// Starts a broker on a free port and returns when it serves.
    pub(crate) fn start(broker: &Broker, pinned: bool) -> Result<Self, String> {
        let address =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).map_err(|error| error.to_string())?;
        let port = address.port();
        let config = std::env::temp_dir().join(format!("load-{}-{port}.conf", std::process::id()));
        let mosquitto = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nlog_type none\n\
             max_queued_messages 0\nmax_inflight_messages 0\n"
        );
        fs::write(&config, mosquitto).map_err(|error| format!("{}: {error}", config.display()))?;
        let text =
            broker.command.replace("{port}", &port.to_string()).replace("{mosquitto.conf}", &config.to_string_lossy());
        // The shell and taskset give way to the broker, which keeps their process id.
        let mut command = if pinned { Command::new("taskset") } else { Command::new("sh") };
        if pinned {
            command.args(["-c", "0", "sh"]);
        }
        command.args(["-c", &format!("exec {text}")]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| format!("{}: {error}", broker.name))?;
        let mut running = Self { child, config, address };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !serves(address) {
            if let Ok(Some(status)) = running.child.try_wait() {
                return Err(format!("{} ended at once: {status}", broker.name));
            }
            if Instant::now() > deadline {
                return Err(format!("{} does not serve on port {port}", broker.name));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(running)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.config);
    }
}

fn serves(address: SocketAddr) -> bool {
    let answer = || -> std::io::Result<u8> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(&wire::connect("load-probe", 4))?;
        let mut connack = [0; 4];
        stream.read_exact(&mut connack)?;
        stream.write_all(&wire::DISCONNECT)?;
        Ok(connack[0])
    };
    answer().is_ok_and(|first| first == 0x20)
}

/// Keeps this process on core 1, if there is one and a taskset to do it; whether it worked.
pub(crate) fn pin_to_core_1() -> bool {
    if thread::available_parallelism().map_or(1, usize::from) < 2 {
        return false;
    }
    let mut command = Command::new("taskset");
    command.args(["-c", "-p", "1", &std::process::id().to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Processor time of all threads of a process, in the hundredths of a second that Linux counts.
pub(crate) fn processor_time(pid: u32) -> Option<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may itself hold anything; user and system time are the 12th and 13th field behind it.
    let mut fields = text[text.rfind(')')? + 1..].split_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(10 * ticks))
}
