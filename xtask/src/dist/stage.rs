//! The tree of files that the package and the archive hold.

use super::manual::Pages;
use crate::process;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The programs that are shipped.
pub(crate) const PROGRAMS: [&str; 3] = ["proximity-agent", "proximity", "mock-fpga"];

/// The one file that an administrator changes.
pub(crate) const CONFFILE: &str = "etc/proximity/agent.toml";

/// Files that are shipped as they are: where they are here, and there.
const FILES: &[(&str, &str)] = &[
    ("deploy/proximity-agent.service", "usr/lib/systemd/system/proximity-agent.service"),
    ("deploy/proximity.sysusers", "usr/lib/sysusers.d/proximity.conf"),
    ("deploy/proximity.tmpfiles", "usr/lib/tmpfiles.d/proximity.conf"),
    ("deploy/70-proximity.rules", "usr/lib/udev/rules.d/70-proximity.rules"),
    ("deploy/agent.toml", CONFFILE),
    ("deploy/README.md", "usr/share/doc/proximity/README.md"),
    ("docs/configuration.md", "usr/share/doc/proximity/configuration.md"),
    ("docs/fpga-methods.md", "usr/share/doc/proximity/fpga-methods.md"),
    ("docs/python-objects.md", "usr/share/doc/proximity/python-objects.md"),
];

/// What the copyright file is put together from.
const COPYRIGHT: &[&str] = &[
    "deploy/debian/copyright.in",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "THIRD-PARTY.md",
    "docs/licenses/MPL-2.0.txt",
];

const PAGES: [&str; 4] = ["proximity.1", "mock-fpga.1", "proximity-agent.8", "agent.toml.5"];

const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/proximity"),
    ("zsh", "usr/share/zsh/vendor-completions/_proximity"),
    ("fish", "usr/share/fish/vendor_completions.d/proximity.fish"),
];

/// Makes the tree anew at `to`. The pages' programs are asked for their help; those of `bin` are shipped.
///
/// # Errors
///
/// A text, if a file is missing or a program does not tell its help.
pub(crate) fn make(to: &Path, bin: &Path, pages: &Pages<'_>, log: &Path) -> Result<(), String> {
    let _ = fs::remove_dir_all(to);
    let root = process::root();
    for name in PROGRAMS {
        copy(&bin.join(name), &to.join("usr/bin").join(name), 0o755)?;
    }
    for (from, there) in FILES {
        copy(&root.join(from), &to.join(there), 0o644)?;
    }
    for (shell, there) in COMPLETIONS {
        write(&to.join(there), &pages.completions(shell)?)?;
    }
    let mut zipped = Vec::new();
    for name in PAGES {
        let (_, section) = name.rsplit_once('.').unwrap_or((name, "1"));
        let path = to.join(format!("usr/share/man/man{section}/{name}"));
        write(&path, &pages.page(name)?)?;
        zipped.push(path);
    }
    let changelog = to.join("usr/share/doc/proximity/changelog");
    copy(&root.join("CHANGELOG.md"), &changelog, 0o644)?;
    zipped.push(changelog);
    process::run(Command::new("gzip").args(["-9", "--no-name", "--force"]).args(&zipped), log)?;

    let mut copyright = String::new();
    for from in COPYRIGHT {
        let text = fs::read_to_string(root.join(from));
        copyright += &text.map_err(|error| format!("cannot read {from}: {error}"))?;
        copyright += "\n";
    }
    write(&to.join("usr/share/doc/proximity/copyright"), &copyright)
}

/// Copies a file to a place whose folders may not be there yet.
///
/// # Errors
///
/// A text.
pub(crate) fn copy(from: &Path, to: &Path, mode: u32) -> Result<(), String> {
    let failed = |error| format!("cannot copy {} to {}: {error}", from.display(), to.display());
    fs::create_dir_all(to.parent().unwrap_or(to)).map_err(failed)?;
    fs::copy(from, to).map_err(failed)?;
    allow(to, mode)
}

/// Writes a file that all may read.
///
/// # Errors
///
/// A text.
pub(crate) fn write(to: &Path, text: &str) -> Result<(), String> {
    let failed = |error| format!("cannot write {}: {error}", to.display());
    fs::create_dir_all(to.parent().unwrap_or(to)).map_err(failed)?;
    fs::write(to, text).map_err(failed)?;
    allow(to, 0o644)
}

fn allow(path: &Path, mode: u32) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(|error| format!("cannot set the mode of {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_is_shipped_and_has_what_the_programs_say_filled_in() {
        let folder = process::root().join("deploy/man");
        let mut frames: Vec<String> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let mut known = PAGES.map(|name| format!("{name}.in"));
        frames.sort();
        known.sort();
        assert_eq!(frames, known);
        for name in PAGES {
            let frame = fs::read_to_string(folder.join(format!("{name}.in"))).unwrap();
            let filled = if name.ends_with(".5") { "@CONFIGURATION@" } else { "@HELP@" };
            assert!(frame.contains(filled), "{name} has no {filled}");
            assert_eq!(frame.contains("@COMMANDS@"), name == "proximity.1", "{name}");
        }
    }
}
