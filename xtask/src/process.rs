//! Commands run to their end with their output kept, and children that cannot outlive us.

use crate::skips;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How much of a failed command's output is shown; the whole of it stays in its log.
const TAIL_LINES: usize = 120;

/// How long a command may take: what hangs shall fail by its name, and not hold up everything. The longest, on
/// two cores and from nothing, takes half of it.
const LIMIT: Duration = Duration::from_mins(15);
/// Says it in minutes, for slower machines.
const LIMIT_MINUTES: &str = "XTASK_LIMIT_MINUTES";

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
/// A text, if the command could not be started, or took too long and was killed with all that it started.
pub(crate) fn run_any(command: &mut Command, log: &Path) -> Result<(bool, String), String> {
    let minutes = std::env::var(LIMIT_MINUTES).ok().and_then(|text| text.parse::<u32>().ok());
    run_within(command, log, minutes.map_or(LIMIT, |minutes| Duration::from_mins(1) * minutes))
}

fn run_within(
    command: &mut Command,
    log: &Path,
    limit: Duration,
) -> Result<(bool, String), String> {
    let started = |error| format!("could not run {}: {error}", shown(command));
    if let Some(logs) = log.parent() {
        fs::create_dir_all(logs).map_err(started)?;
    }
    let before = fs::metadata(log).map_or(0, |m| m.len());
    let mut file = File::options().create(true).append(true).open(log).map_err(started)?;
    let copy = file.try_clone().map_err(started)?;
    let both = file.try_clone().map_err(started)?;
    let begun = Instant::now();
    let mut bounded = bounded(command, limit);
    let status =
        bounded.stdin(Stdio::null()).stdout(copy).stderr(both).status().map_err(|error| {
            let _ = writeln!(file, "{error}");
            format!("could not run {}: {error}", shown(command))
        })?;
    let all = fs::read(log).unwrap_or_default();
    let own = all.get(usize::try_from(before).unwrap_or(0)..).unwrap_or_default();
    let output = String::from_utf8_lossy(own).into_owned();
    if !status.success() && begun.elapsed() >= limit {
        let hung = skips::unfinished(&output);
        let hung = if hung.is_empty() { "it".to_owned() } else { hung.join(", ") };
        let (shown, seconds, tail) = (shown(command), limit.as_secs(), tail(&output));
        return Err(format!(
            "{shown}\nwas killed after {seconds} s: {hung} did not end ({LIMIT_MINUTES} allows more)\n{tail}"
        ));
    }
    Ok((status.success(), output))
}

/// The same command, in a process group of its own that is killed when `limit` is over, or this process ends.
///
/// `timeout` (coreutils) kills the group, at the end of its time and when it is told to end; `setpriv`
/// (util-linux) has the kernel tell it so.
fn bounded(command: &Command, limit: Duration) -> Command {
    let mut bounded = Command::new("setpriv");
    bounded.args(["--pdeathsig", "TERM", "--", "timeout", "--signal=KILL"]);
    bounded.arg(format!("{}", limit.as_secs_f64())).arg(command.get_program());
    bounded.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bounded.env(name, value),
            None => bounded.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        bounded.current_dir(folder);
    }
    bounded
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of its own for a test, removed when dropped.
    struct Log(PathBuf);

    impl Log {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id())))
        }
    }

    impl Drop for Log {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_command_that_hangs_is_killed_with_all_that_it_started_and_its_test_named() {
        let log = Log::new("hang");
        let script = "echo 'test quick ... ok'
            echo 'test net::hangs has been running for over 60 seconds'
            sleep 1000 & echo child $!; wait";
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let text = run_within(&mut command, &log.0, Duration::from_secs(1)).unwrap_err();
        assert!(text.contains("\nwas killed after 1 s: net::hangs did not end ("), "{text}");
        let child = text.lines().find_map(|line| line.strip_prefix("child ")).expect(&text);
        let stat = || fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        let end = Instant::now() + Duration::from_secs(20);
        // Killed, and perhaps not yet reaped by whoever inherited it.
        while !(stat().is_empty() || stat().contains(") Z ")) {
            assert!(Instant::now() < end, "the child still runs: {}", stat());
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_command_that_fails_in_time_keeps_its_output_and_its_surroundings() {
        let log = Log::new("fail");
        let mut command = Command::new("sh");
        command.args(["-c", "echo $WORD; pwd; exit 3"]).env("WORD", "said").current_dir("/");
        let ended = run_within(&mut command, &log.0, Duration::from_mins(1));
        assert_eq!(ended, Ok((false, "said\n/\n".to_owned())));
        let mut missing = Command::new("no-such-program-here");
        let (succeeded, output) = run_within(&mut missing, &log.0, LIMIT).unwrap();
        assert!(!succeeded && output.contains("no-such-program-here"), "{output}");
    }
}
