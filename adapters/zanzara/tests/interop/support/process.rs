//! Child processes whose output is read line by line, each wait with a deadline.

use super::PATIENCE;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A running client program; dropping it kills it.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<Vec<u8>>,
    errors: Option<JoinHandle<String>>,
    name: String,
}

impl Process {
    /// Starts a command with its standard output and error captured.
    pub(crate) fn start(command: &mut Command) -> Self {
        let name = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let output = child.stdout.take().expect("a piped standard output");
        let mut error = child.stderr.take().expect("a piped standard error");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while output.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                if sender.send(std::mem::take(&mut line)).is_err() {
                    break;
                }
            }
        });
        let errors = thread::spawn(move || {
            let mut text = Vec::new();
            let _ = error.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Self { child, lines, errors: Some(errors), name }
    }

    /// The standard input, which ends when it is dropped.
    pub(crate) fn input(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("the standard input is taken once")
    }

    /// Writes all of the standard input and ends it.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.input().write_all(bytes).expect("the child reads its standard input");
    }

    /// The next line of standard output, without its end.
    pub(crate) fn line(&mut self) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned(),
            Err(RecvTimeoutError::Timeout) => self.fail("prints nothing more"),
            Err(RecvTimeoutError::Disconnected) => self.fail("ended without a further line"),
        }
    }

    /// The next lines of standard output.
    pub(crate) fn lines(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.line()).collect()
    }

    /// Skips output up to and with the first line that contains `text`.
    pub(crate) fn until(&mut self, text: &str) {
        while !self.line().contains(text) {}
    }

    /// A line of standard output if one comes soon; for tests that watch several processes in turn.
    pub(crate) fn line_soon(&mut self) -> Option<String> {
        let line = self.lines.recv_timeout(Duration::from_millis(20)).ok()?;
        Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Waits for a successful end; the rest of the output.
    pub(crate) fn success(mut self) -> Vec<u8> {
        let status = wait(&mut self.child);
        if !status.is_some_and(|status| status.success()) {
            self.fail(&format!("should succeed, yet: {status:?}"));
        }
        self.lines.iter().flatten().collect()
    }

    /// Waits for a successful end; the lines of the rest of the output.
    pub(crate) fn rest(self) -> Vec<String> {
        String::from_utf8_lossy(&self.success()).lines().map(str::to_owned).collect()
    }

    /// Waits for the end, however it comes.
    pub(crate) fn end(mut self) -> ExitStatus {
        match wait(&mut self.child) {
            Some(status) => status,
            None => self.fail("does not end"),
        }
    }

    /// Ends the process without giving it a chance to say anything (SIGKILL); the lines it had printed and nobody read.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().expect("the child can be killed");
        self.child.wait().expect("the child is gone");
        self.lines.iter().map(|line| String::from_utf8_lossy(&line).trim_end().to_owned()).collect()
    }

    /// Asks the process to end (SIGTERM) and waits until it has.
    pub(crate) fn terminate(self) -> ExitStatus {
        signal(self.child.id(), "TERM");
        self.end()
    }

    fn fail(&mut self, what: &str) -> ! {
        let _ = self.child.kill();
        let errors = self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default();
        let output: Vec<u8> = self.lines.iter().flatten().take(4000).collect();
        panic!("{} {what}\n--- output:\n{}\n--- errors:\n{errors}", self.name, String::from_utf8_lossy(&output));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal by name to one process.
pub(crate) fn signal(id: u32, name: &str) {
    let status = Command::new("kill").args(["-s", name, &id.to_string()]).status().expect("the kill command");
    assert!(status.success(), "process {id} takes the signal {name}");
}

/// Waits for a child; `None` when it has not ended in time.
pub(crate) fn wait(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("the state of a child") {
            return Some(status);
        }
        if Instant::now() > deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
}
