//! The Debian package, the archive for other hosts, and the Python client's.

use super::stage::{self, CONFFILE, PROGRAMS};
use crate::process;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the Debian package of the tree `tree` in `out`, and returns its path.
///
/// # Errors
///
/// A text, if a tool of dpkg-dev is missing or fails.
pub(crate) fn debian(
    tree: &Path,
    version: &str,
    out: &Path,
    log: &Path,
) -> Result<PathBuf, String> {
    let sources = process::root().join("deploy/debian");
    let architecture = process::run(Command::new("dpkg").arg("--print-architecture"), log)?;
    let architecture = architecture.trim();
    let depends = dependencies(tree, out, log)?;
    let size = process::run(Command::new("du").args(["-sk", "--apparent-size"]).arg(tree), log)?;
    let size = size.split_whitespace().next().unwrap_or("0");

    let frame = fs::read_to_string(sources.join("control.in"))
        .map_err(|error| format!("cannot read deploy/debian/control.in: {error}"))?;
    let control = frame
        .replace("@VERSION@", version)
        .replace("@ARCHITECTURE@", architecture)
        .replace("@SIZE@", size)
        .replace("@DEPENDS@", &depends);
    let about = tree.join("DEBIAN");
    stage::write(&about.join("control"), &control)?;
    stage::write(&about.join("conffiles"), &format!("/{CONFFILE}\n"))?;
    for script in ["postinst", "prerm", "postrm"] {
        stage::copy(&sources.join(script), &about.join(script), 0o755)?;
    }
    let sums = "find usr -type f -print0 | sort -z | xargs -0 md5sum > DEBIAN/md5sums && chmod 644 DEBIAN/md5sums";
    process::run(Command::new("sh").args(["-c", sums]).current_dir(tree), log)?;

    let package = out.join(format!("proximity_{version}_{architecture}.deb"));
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", "-Zxz", "--build"]).arg(tree).arg(&package);
    let done = process::run(&mut build, log);
    let _ = fs::remove_dir_all(about);
    done.map(|_| package)
}

/// Returns the packages with the libraries that the programs need.
fn dependencies(tree: &Path, out: &Path, log: &Path) -> Result<String, String> {
    // The tool insists on a source package around it.
    let around = out.join("shlibdeps");
    stage::write(
        &around.join("debian/control"),
        "Source: proximity\n\nPackage: proximity\nArchitecture: any\n",
    )?;
    let mut find = Command::new("dpkg-shlibdeps");
    find.arg("-O").args(PROGRAMS.map(|name| tree.join("usr/bin").join(name)));
    let told = process::run(find.current_dir(&around), log)?;
    let _ = fs::remove_dir_all(&around);
    let depends = told.lines().find_map(|line| line.strip_prefix("shlibs:Depends="));
    depends.map(str::to_owned).ok_or_else(|| format!("dpkg-shlibdeps told no dependencies: {told}"))
}

/// Packs the tree with install.sh as NAME.tar.gz in `out`, and returns its path.
///
/// # Errors
///
/// A text, if tar fails.
pub(crate) fn archive(tree: &Path, name: &str, out: &Path, log: &Path) -> Result<PathBuf, String> {
    stage::copy(&process::root().join("deploy/install.sh"), &tree.join("install.sh"), 0o755)?;
    let archive = out.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.args(["--create", "--gzip", "--owner=0", "--group=0", "--numeric-owner", "--sort=name"]);
    tar.arg("--file").arg(&archive).arg(format!("--transform=s,^\\.,{name},"));
    let packed = process::run(tar.arg("--directory").arg(tree).arg("."), log);
    let _ = fs::remove_file(tree.join("install.sh"));
    packed.map(|_| archive)
}

/// Builds the Python client's wheel and source archive in `out`.
///
/// # Errors
///
/// A text, if the build fails.
pub(crate) fn python(python: &Path, out: &Path, log: &Path) -> Result<(), String> {
    let mut build = Command::new(python);
    // setuptools is in the environment; without isolation it is not fetched again.
    build.args(["-m", "build", "--no-isolation", "--outdir"]).arg(out);
    // setuptools leaves its scratch beside the sources: give it a copy.
    let copy = out.join("python-source");
    let _ = fs::remove_dir_all(&copy);
    let from = process::root().join("clients/python");
    process::run(Command::new("cp").arg("-r").arg(from).arg(&copy), log)?;
    let done = process::run(build.arg(&copy), log);
    let _ = fs::remove_dir_all(&copy);
    done.map(drop)
}

/// Writes SHA256SUMS of all files in `out`.
///
/// # Errors
///
/// A text.
pub(crate) fn checksums(out: &Path, log: &Path) -> Result<(), String> {
    let sums = "sha256sum -- *.deb *.tar.gz *.whl > SHA256SUMS";
    process::run(Command::new("sh").args(["-c", sums]).current_dir(out), log).map(drop)
}
