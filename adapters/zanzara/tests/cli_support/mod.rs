//! Runs the real binary.
#![allow(dead_code, unreachable_pub)] // each test file uses a part of it

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

/// How long a test waits for what must come before it fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// `zanzara` with these arguments.
pub fn zanzara(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zanzara"));
    command.args(arguments);
    command
}

/// Runs to the end.
pub fn run(arguments: &[&str]) -> Output {
    zanzara(arguments).stdin(Stdio::null()).output().expect("the binary starts")
}

/// Runs to the end with this on standard input.
pub fn run_with(arguments: &[&str], input: &[u8]) -> Output {
    let mut command = zanzara(arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut stdin = child.stdin.take().expect("standard input");
    let input = input.to_vec();
    let writer = thread::spawn(move || stdin.write_all(&input).expect("the input is read"));
    let output = child.wait_with_output().expect("the binary ends");
    writer.join().expect("the writer ends");
    output
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// A file in the folder for tests, removed when it is dropped.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str, content: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
        std::fs::write(&path, content).expect("the file is written");
        Self(path)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().expect("a path in UTF-8")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A running process whose lines are read as they come; killed when it is dropped.
pub struct Running {
    pub child: Child,
    lines: Receiver<String>,
}

impl Running {
    /// Starts it; the lines are those of standard output.
    pub fn start(arguments: &[&str]) -> Self {
        Self::spawn(zanzara(arguments))
    }

    pub fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stdout = child.stdout.take().expect("standard output");
        Self { child, lines: lines(stdout) }
    }

    /// The next line.
    pub fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line comes in time")
    }

    /// All lines until it ends.
    pub fn rest(&self) -> Vec<String> {
        self.lines.iter().collect()
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status();
        assert!(status.expect("a shell").success(), "the signal is sent");
    }

    /// Waits for its end; gives the exit code and standard error.
    pub fn end(mut self) -> (Option<i32>, String) {
        let mut errors = String::new();
        let mut stderr = self.child.stderr.take().expect("standard error");
        stderr.read_to_string(&mut errors).expect("UTF-8");
        let status = self.child.wait().expect("it ends");
        (status.code(), errors)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A broker on a free port.
pub struct Broker {
    pub running: Running,
    pub port: String,
    pub banner: Vec<String>,
}

impl Broker {
    pub fn start(arguments: &[&str]) -> Self {
        let mut all = vec!["--listen", "mqtt://127.0.0.1:0"];
        if !arguments.contains(&"--data") {
            all.push("--ephemeral");
        }
        all.extend(arguments);
        Self::from(Running::start(&all))
    }

    /// Whatever was started is a broker: reads where it listens.
    pub fn from(running: Running) -> Self {
        let mut banner = Vec::new();
        while !banner.last().is_some_and(|line: &String| line.contains("Ctrl-C")) {
            banner.push(running.line());
        }
        let address = banner[1].trim().strip_prefix("mqtt://127.0.0.1:").expect("the address is in the banner");
        Self { port: address.to_owned(), running, banner }
    }

    /// `zanzara pub` or `sub` towards it, to its end.
    pub fn client(&self, command: &str, arguments: &[&str]) -> Output {
        let mut all = vec![command, "-h", "127.0.0.1", "-p", &self.port];
        all.extend(arguments);
        run(&all)
    }

    /// `zanzara sub` towards it, once it is subscribed.
    pub fn subscriber(&self, arguments: &[&str]) -> Running {
        let mut all = vec!["sub", "-h", "127.0.0.1", "-p", &self.port, "-d"];
        all.extend(arguments);
        let mut running = Running::start(&all);
        let stderr = running.child.stderr.take().expect("standard error");
        let mut stderr = BufReader::new(stderr);
        let mut line = String::new();
        while !line.contains("subscribed to") {
            line.clear();
            assert!(stderr.read_line(&mut line).expect("UTF-8") > 0, "it says that it is subscribed");
        }
        running.child.stderr = Some(stderr.into_inner());
        running
    }
}
