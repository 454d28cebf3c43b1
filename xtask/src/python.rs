//! Pythons with the packages that tests need, in virtual environments under target/.

use crate::process;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A virtual environment.
pub(crate) struct Environment {
    name: &'static str,
    requirements: &'static str,
    /// What can be imported in it.
    imports: &'static str,
}

/// With pyzmq, msgpack and the test tools.
pub(crate) const OURS: Environment = Environment {
    name: "python",
    requirements: "clients/python/requirements-test.txt",
    imports: "import zmq, msgpack, pytest",
};

/// With other people's KATCP clients, whose own needs are years apart from ours.
pub(crate) const CLIENTS: Environment = Environment {
    name: "clients",
    requirements: "tests/requirements-clients.txt",
    imports: "import katcp, aiokatcp",
};

/// With what our client is measured beside.
pub(crate) const PEERS: Environment = Environment {
    name: "peers",
    requirements: "clients/python/bench/requirements.txt",
    imports: "import zerorpc, Pyro5.api, rpyc",
};

/// Returns the environment's interpreter, made first if it is missing or the requirements changed.
///
/// # Errors
///
/// A text, if there is no python3 with pip, or a package cannot be had.
pub(crate) fn environment(kind: &Environment, log: &Path) -> Result<PathBuf, String> {
    let requirements = process::root().join(kind.requirements);
    let wanted = fs::read_to_string(&requirements)
        .map_err(|error| format!("cannot read {}: {error}", requirements.display()))?;
    let home = process::work_dir().join(kind.name);
    let python = home.join("bin/python");
    let stamp = home.join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|had| had == wanted) && runs(kind, &python, log) {
        return Ok(python);
    }
    // Debian's python3 has pip and venv in packages of their own; with the system's pip told to
    // install elsewhere, python3-pip is enough.
    let mut make = Command::new("python3");
    process::run(make.args(["-m", "venv", "--clear", "--without-pip"]).arg(&home), log)?;
    let mut install = Command::new("python3");
    install.args(["-m", "pip", "--disable-pip-version-check", "--python"]).arg(&python);
    process::run(install.args(["install", "--quiet", "-r"]).arg(&requirements), log)?;
    fs::write(&stamp, wanted)
        .map_err(|error| format!("cannot write {}: {error}", stamp.display()))?;
    Ok(python)
}

/// Says whether the environment still works: the interpreter it points at may be gone.
fn runs(kind: &Environment, python: &Path, log: &Path) -> bool {
    process::run(Command::new(python).args(["-c", kind.imports]), log).is_ok()
}
