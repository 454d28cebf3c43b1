//! Programs of this project as processes of their own.

use crate::PATIENCE;
use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

/// Where the program `name` was built, beside this test's own binary or as `NAME_BIN` says.
///
/// # Panics
///
/// If it has not been built: `cargo xtask test` builds everything first.
pub fn program(name: &str) -> PathBuf {
    let variable = format!("{}_BIN", name.to_uppercase().replace('-', "_"));
    if let Some(path) = std::env::var_os(&variable) {
        return path.into();
    }
    let test = std::env::current_exe().expect("a running test has a path");
    // target/debug/deps/test -> target/debug/NAME
    let built = test.ancestors().nth(2).expect("tests run in target/PROFILE/deps").join(name);
    assert!(built.exists(), "{} is missing: run cargo build --workspace", built.display());
    built
}

/// What `proximity shell`, which reads `script`, prints on both, and its exit status.
///
/// # Panics
///
/// If it does not start, or does not read all of it.
pub fn shell(endpoint: &str, options: &[&str], script: impl AsRef<[u8]>) -> (String, String, i32) {
    let mut child = Command::new(program("proximity"))
        .args(["-a", endpoint, "shell"])
        .args(options)
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    child.stdin.take().expect("piped").write_all(script.as_ref()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr), output.status.code().unwrap_or(-1))
}

/// A running program; killed when dropped.
pub struct Process {
    name: String,
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Process {
    /// Starts a program whose standard output is read line by line.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        let name = Path::new(command.get_program()).display().to_string();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let output = child.stdout.take().expect("the output is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let sent = |line: String| sender.send(line).is_ok();
            let _ = BufReader::new(output).lines().map_while(Result::ok).all(sent);
        });
        Self { name, child, lines, seen: Vec::new() }
    }

    /// Waits for a line that starts with `start`, and returns what follows that.
    ///
    /// # Panics
    ///
    /// If the program ends or is silent for too long first.
    pub fn line(&mut self, start: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if let Some(rest) = line.strip_prefix(start) {
                        return rest.trim().to_owned();
                    }
                }
                Err(end) => {
                    let why = match end {
                        RecvTimeoutError::Timeout => "was silent for too long",
                        RecvTimeoutError::Disconnected => "ended",
                    };
                    panic!("{} {why} before a line '{start}'; it said {:?}", self.name, self.seen);
                }
            }
        }
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, as a power cut would, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends it a signal by its name, as `kill` does.
    ///
    /// # Panics
    ///
    /// If `kill` fails.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -s {name} failed");
    }

    /// Whether it still runs.
    ///
    /// # Panics
    ///
    /// If the system cannot tell.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked for").is_none()
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// If it does not end in time.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be asked for") {
                return status;
            }
            assert!(Instant::now() < deadline, "{} does not end", self.name);
            // There is no portable way to wait for a child with a deadline but to look again.
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A running agent.
pub struct Agent {
    /// Its process.
    pub process: Process,
    /// Where it listens.
    pub endpoint: String,
    directory: PathBuf,
    program: PathBuf,
}

impl Agent {
    /// Starts the agent with `objects`, the object tables of its configuration, on a free port.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    pub fn start(objects: &str) -> Self {
        Self::start_as(&program("proximity-agent"), objects)
    }

    /// Starts another build of the agent.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    pub fn start_as(program: &Path, objects: &str) -> Self {
        let directory = scratch();
        let (process, endpoint) = Self::launch(program, &directory, "127.0.0.1:0", objects);
        Self { process, endpoint, directory, program: program.to_owned() }
    }

    /// Starts the agent so that it tells its figures too; the second is the URL at which it does.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    pub fn with_metrics(objects: &str) -> (Self, String) {
        let (directory, program) = (scratch(), program("proximity-agent"));
        let mut command = Self::command(&program, &directory, "127.0.0.1:0", objects);
        let mut process = Process::start(command.args(["--metrics", "0"]));
        let url = process.line("metrics ");
        let endpoint = process.line("listening ");
        process.line("ready");
        (Self { process, endpoint, directory, program }, url)
    }

    /// Starts the agent with its log, of level info, in a file; the second is the file's path.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    pub fn logged(objects: &str) -> (Self, PathBuf) {
        let (directory, program) = (scratch(), program("proximity-agent"));
        let log = directory.join("log");
        let file = std::fs::File::create(&log).expect("the scratch directory can be written");
        let mut command = Self::command(&program, &directory, "127.0.0.1:0", objects);
        let mut process = Process::start(command.stderr(file).env_remove("RUST_LOG"));
        let endpoint = process.line("listening ");
        process.line("ready");
        (Self { process, endpoint, directory, program }, log)
    }

    /// Kills the agent and starts it again on the same port.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    pub fn restart(&mut self, objects: &str) {
        self.process.kill();
        let address = self.endpoint.trim_start_matches("tcp://").to_owned();
        let (process, endpoint) = Self::launch(&self.program, &self.directory, &address, objects);
        (self.process, self.endpoint) = (process, endpoint);
    }

    /// The file that it was configured with.
    pub fn configuration(&self) -> PathBuf {
        self.directory.join("agent.toml")
    }

    /// Writes the configuration, and returns the command that serves it.
    fn command(program: &Path, directory: &Path, address: &str, objects: &str) -> Command {
        let file = directory.join("agent.toml");
        std::fs::write(&file, format!("listen = [\"tcp://{address}\"]\n{objects}"))
            .expect("the scratch directory can be written");
        let mut command = Command::new(program);
        command.args(["serve", "-c"]).arg(&file);
        command
    }

    fn launch(program: &Path, directory: &Path, address: &str, objects: &str) -> (Process, String) {
        let mut process = Process::start(&mut Self::command(program, directory, address, objects));
        let endpoint = process.line("listening ");
        process.line("ready");
        (process, endpoint)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.process.kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A new directory for one test's files.
///
/// # Panics
///
/// If there can be none.
pub fn scratch() -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("proximity-test-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&path).expect("a scratch directory can be made");
    path
}

/// A running agent with the objects of `test-agent`.
pub struct TestAgent {
    /// Its process.
    pub process: Process,
    /// Where it listens.
    pub endpoint: String,
}

impl TestAgent {
    /// Starts it on a free port, in the build that is at hand.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    pub fn start() -> Self {
        Self::start_as(&program("test-agent"))
    }

    /// Starts another build of it.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    pub fn start_as(program: &Path) -> Self {
        Self::launch(program, "tcp://127.0.0.1:0")
    }

    /// Kills it and starts it again on the same port.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    pub fn restart(&mut self) {
        self.process.kill();
        *self = Self::launch(&program("test-agent"), &self.endpoint);
    }

    fn launch(program: &Path, address: &str) -> Self {
        let mut process = Process::start(Command::new(program).arg(address));
        let endpoint = process.line("listening ");
        process.line("ready");
        Self { process, endpoint }
    }
}
