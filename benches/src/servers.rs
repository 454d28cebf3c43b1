//! The processes that are measured.

use crate::Failure;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A server process, ended when this value goes.
pub(crate) struct Server {
    child: Child,
    /// What it said it listens on; the last, where that is several.
    pub(crate) address: String,
    /// All of that.
    pub(crate) addresses: Vec<String>,
}

impl Server {
    /// Starts one of libzmq's floors.
    pub(crate) fn floor(name: &str) -> Result<Self, Failure> {
        Self::start(&std::env::current_exe()?, &["--serve", name], "ready", 1)
    }

    /// Starts a mock board.
    pub(crate) fn mock() -> Result<Self, Failure> {
        Self::mock_with(&[], 1)
    }

    /// Starts a process of so many mock boards, with these options beside.
    pub(crate) fn mock_with(options: &[&str], boards: usize) -> Result<Self, Failure> {
        let count = boards.to_string();
        let args = [&["--boards", &count], options].concat();
        Self::start(&beside("MOCK_FPGA_BIN", "mock-fpga")?, &args, "listening", boards)
    }

    /// Starts an agent with the objects of `config`.
    pub(crate) fn agent(config: &Config) -> Result<Self, Failure> {
        let serve = [OsStr::new("serve"), OsStr::new("-c"), config.path.as_os_str()];
        Self::start(&agent_binary()?, &serve, "ready", 1)
    }

    /// Starts a script in Python that serves.
    pub(crate) fn script(script: &str, args: &[&str]) -> Result<Self, Failure> {
        Self::start(&clients_python(), &[&[script], args].concat(), "listening", 1)
    }

    /// Returns its number, for what /proc tells.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Starts `program` and returns once it has said `last`, and so many addresses.
    fn start<S: AsRef<OsStr>>(
        program: &Path,
        args: &[S],
        last: &str,
        addresses: usize,
    ) -> Result<Self, Failure> {
        let mut command = Command::new(program);
        // A floor ends when this pipe does; the others do not read it.
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).env("RUST_LOG", "warn");
        let child = command
            .spawn()
            .map_err(|error| format!("cannot run {}: {error}", program.display()))?;
        let mut server = Self { child, address: String::new(), addresses: Vec::new() };
        let stdout = server.child.stdout.take().ok_or("no pipe to read from")?;
        let mut lines = BufReader::new(stdout).lines();
        for line in lines.by_ref() {
            let line = line?;
            if let Some(address) = line.strip_prefix("listening ") {
                address.clone_into(&mut server.address);
                server.addresses.push(address.to_owned());
            }
            if line.starts_with(last) && server.addresses.len() >= addresses {
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(server);
            }
        }
        Err(format!("{} ended before it said '{last}'", program.display()).into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An agent's configuration file, removed when this value goes.
pub(crate) struct Config {
    path: PathBuf,
}

impl Config {
    /// Writes a configuration with a calculator `foo`, a `counter`, and a board `srbs` at `mock`.
    pub(crate) fn new(mock: &Server) -> Result<Self, Failure> {
        let text =
            "[objects.foo]\ndriver = \"calculator\"\n[objects.counter]\ndriver = \"counter\"\n";
        Self::write(mock, &(text.to_owned() + &board("srbs", &mock.address)))
    }

    /// Writes a configuration with boards `board0` and so on.
    pub(crate) fn boards(mock: &Server) -> Result<Self, Failure> {
        let boards = mock.addresses.iter().enumerate();
        let tables = boards.map(|(n, address)| board(&format!("board{n}"), address));
        Self::write(mock, &tables.collect::<String>())
    }

    /// Writes a configuration with a serial instrument `synth`.
    pub(crate) fn serial(instrument: &Server) -> Result<Self, Failure> {
        let port = &instrument.address;
        Self::write(
            instrument,
            &format!("[objects.synth]\ndriver = \"serial\"\nport = \"{port}\"\nbaud = 115200\n"),
        )
    }

    fn write(server: &Server, objects: &str) -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("proximity-bench-{}.toml", server.pid()));
        fs::write(&path, "listen = [\"tcp://127.0.0.1:0\"]\n".to_owned() + objects)?;
        Ok(Self { path })
    }
}

/// The table of a board in a configuration.
fn board(name: &str, address: &str) -> String {
    let port = address.rsplit(':').next().unwrap_or_default();
    format!("[objects.{name}]\ndriver = \"fpga\"\nhost = \"127.0.0.1\"\nport = {port}\n")
}

impl Drop for Config {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Returns the Python that has the packages of tests/requirements-clients.txt.
pub(crate) fn clients_python() -> PathBuf {
    std::env::var_os("PROXIMITY_CLIENTS_PYTHON").map_or_else(|| "python3".into(), PathBuf::from)
}

/// Returns the agent's binary.
pub(crate) fn agent_binary() -> Result<PathBuf, Failure> {
    beside("PROXIMITY_AGENT_BIN", "proximity-agent")
}

/// Returns the binary that `variable` names, else the one beside our own.
fn beside(variable: &str, name: &str) -> Result<PathBuf, Failure> {
    match std::env::var_os(variable) {
        Some(path) => Ok(path.into()),
        None => Ok(std::env::current_exe()?.with_file_name(name)),
    }
}
