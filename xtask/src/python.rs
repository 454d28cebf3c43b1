//! A Python with pyzmq, msgpack and the test tools, in a virtual environment under target/.

use crate::process;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the environment's interpreter, made first if it is missing or the requirements changed.
///
/// # Errors
///
/// A text, if there is no python3 with pip, or a package cannot be had.
pub(crate) fn environment(log: &Path) -> Result<PathBuf, String> {
    let requirements = process::root().join("clients/python/requirements-test.txt");
    let wanted = fs::read_to_string(&requirements)
        .map_err(|error| format!("cannot read {}: {error}", requirements.display()))?;
    let home = process::work_dir().join("python");
    let python = home.join("bin/python");
    let stamp = home.join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|had| had == wanted) && runs(&python, log) {
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
fn runs(python: &Path, log: &Path) -> bool {
    process::run(Command::new(python).args(["-c", "import zmq, msgpack, pytest"]), log).is_ok()
}
