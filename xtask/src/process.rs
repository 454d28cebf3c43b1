//! Commands run to their end with their output kept, and children that cannot outlive us.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// How much of a failed command's output is shown; the whole of it stays in its log.
const TAIL_LINES: usize = 120;

/// Returns the top of the checkout.
pub(crate) fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}

/// Returns where cargo builds.
pub(crate) fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// Returns where the logs and everything else that xtask makes are kept.
pub(crate) fn work_dir() -> PathBuf {
    target_dir().join("xtask")
}

/// Returns a cargo command at the top of the checkout.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root());
    command
}

/// Runs `command` to its end, adding its output to `log`, and returns that output.
///
/// # Errors
///
/// The command line and the end of the output, if it could not be started or failed.
pub(crate) fn run(command: &mut Command, log: &Path) -> Result<String, String> {
    let (succeeded, output) = run_any(command, log)?;
    if succeeded { Ok(output) } else { Err(format!("{}\n{}", shown(command), tail(&output))) }
}

/// Like [`run`], but a command that failed also gives its output, with `false`.
///
/// # Errors
///
/// A text, if the command could not be started.
pub(crate) fn run_any(command: &mut Command, log: &Path) -> Result<(bool, String), String> {
    let started = |error| format!("could not run {}: {error}", shown(command));
    if let Some(logs) = log.parent() {
        fs::create_dir_all(logs).map_err(started)?;
    }
    let before = fs::metadata(log).map_or(0, |m| m.len());
    let mut file = File::options().create(true).append(true).open(log).map_err(started)?;
    let copy = file.try_clone().map_err(started)?;
    let both = file.try_clone().map_err(started)?;
    let status =
        command.stdin(Stdio::null()).stdout(copy).stderr(both).status().map_err(|error| {
            let _ = writeln!(file, "{error}");
            format!("could not run {}: {error}", shown(command))
        })?;
    let all = fs::read(log).unwrap_or_default();
    let own = all.get(usize::try_from(before).unwrap_or(0)..).unwrap_or_default();
    Ok((status.success(), String::from_utf8_lossy(own).into_owned()))
}

/// Returns the last lines of `output`.
pub(crate) fn tail(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    lines.get(from..).unwrap_or_default().join("\n")
}

/// Returns a command as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// A child that ends when this value goes, and also when this process is killed.
pub(crate) struct Guarded(pub(crate) Child);

impl Guarded {
    /// Starts `program` with its standard output piped to us.
    ///
    /// # Errors
    ///
    /// A text, if it could not be started.
    pub(crate) fn start(program: &Path, args: &[&str]) -> Result<Self, String> {
        // setpriv (util-linux) becomes the program after asking the kernel to kill it with its
        // parent: Drop cannot run when we are killed ourselves.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).env("RUST_LOG", "warn");
        command
            .spawn()
            .map(Self)
            .map_err(|error| format!("could not start {}: {error}", program.display()))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
