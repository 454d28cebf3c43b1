//! The agent as a process: what it prints, and how it ends.

// A test that fails by a panic is a test that works.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

/// Longer than anything here takes on a slow and busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A directory for one test's files, removed at its end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("proximity-config-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes the configuration.
    pub(crate) fn configure(&self, text: &str) {
        fs::write(self.0.join("agent.toml"), text).unwrap();
    }

    /// `proximity-agent`, to be run in this directory.
    pub(crate) fn agent(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proximity-agent"));
        command.args(arguments).current_dir(&self.0).stdin(Stdio::null());
        for name in ["RUST_LOG", "JOURNAL_STREAM", "NOTIFY_SOCKET", "WATCHDOG_USEC"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs the agent with the configuration; not yet ready.
    pub(crate) fn serve(&self) -> Daemon {
        Daemon::start(&mut self.agent(&["serve", "-c", "agent.toml"]))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running agent; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

impl Daemon {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = Lines::of(child.stdout.take().unwrap());
        let stderr = Lines::of(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// Waits until it serves; returns its first address.
    pub(crate) fn ready(&mut self) -> String {
        let address = self.said("listening ");
        self.said("ready");
        address
    }

    /// Waits for a line on standard output that holds `part`; returns what follows that.
    pub(crate) fn said(&mut self, part: &str) -> String {
        self.stdout.wait_for(part)
    }

    /// Waits for a line in the log that holds `part`; returns what follows that.
    pub(crate) fn logged(&mut self, part: &str) -> String {
        self.stderr.wait_for(part)
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Waits for its end; returns how it ended and what it printed on standard output and error that
    /// nobody has waited for.
    pub(crate) fn end(mut self) -> (ExitStatus, String, String) {
        let status = wait(&mut self.child);
        (status, self.stdout.rest(), self.stderr.rest())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for the end of a process, at most as long as is sensible.
pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "the agent does not end");
        // A child cannot be waited for with a deadline but by looking again.
        thread::park_timeout(Duration::from_millis(2));
    }
}

/// The lines of a pipe, as they come.
struct Lines {
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Lines {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let (sender, lines): (Sender<String>, _) = channel();
        thread::spawn(move || {
            BufReader::new(pipe).lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
        });
        Self { lines, seen: Vec::new() }
    }

    fn wait_for(&mut self, part: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no line with '{part}' in {:#?}", self.seen);
            };
            self.seen.push(line.clone());
            if let Some((_, rest)) = line.split_once(part) {
                return rest.to_owned();
            }
        }
    }

    /// All further lines up to the end.
    fn rest(&self) -> String {
        self.lines.iter().map(|line| line + "\n").collect()
    }
}

/// Calls a method as any script can: a REQ socket and JSON. An exception is returned as it came.
pub(crate) fn call(address: &str, object: &str, method: &str, args: &Value) -> Value {
    let socket = send(address, object, method, args);
    let reply = socket.recv_bytes(0).expect("an answer in time");
    serde_json::from_slice(&reply).unwrap()
}

/// Sends a call, and leaves its answer to whoever wants it.
pub(crate) fn send(address: &str, object: &str, method: &str, args: &Value) -> zmq::Socket {
    let socket = zmq::Context::new().socket(zmq::REQ).unwrap();
    socket.set_linger(0).unwrap();
    socket.set_rcvtimeo(i32::try_from(PATIENCE.as_millis()).unwrap()).unwrap();
    socket.connect(address).unwrap();
    let request = json!({ "name": object, "proc": method, "args": args, "kwargs": {} });
    socket.send(request.to_string().as_bytes(), 0).unwrap();
    socket
}
