//! What is handed out: the systemd unit, the configuration as installed, the package where it is installed.

#![allow(clippy::expect_used, reason = "a failing test panics")]
#![allow(clippy::print_stdout, reason = "a skipped test says why")]

use proximity_client::Client;
use proximity_tests::process::{Agent, Process, program};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// What `systemd-analyze security` may say at most, in tenths.
const EXPOSURE: &str = "15";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The package, if `cargo xtask` built one.
fn package() -> Option<PathBuf> {
    let folder = fs::read_dir(env::var_os("PROXIMITY_DIST")?).ok()?;
    folder
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|e| e == "deb"))
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Runs a script of tests/tests/deploy in namespaces of its own; None where there can be none.
fn apart(script: &str, arguments: &[&Path]) -> Option<Output> {
    let apart = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--"]);
        command
    };
    let possible = apart().args(["mount", "-t", "tmpfs", "tmpfs", "/mnt"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deploy").join(script);
    Some(apart().arg("bash").arg(script).args(arguments).output().expect("unshare ran before"))
}

#[test]
fn the_unit_is_sound_and_lets_little_in() {
    let name = "the_unit_is_sound_and_lets_little_in";
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("SKIPPED {name}: there is no systemd-analyze");
        return;
    }
    let unit = root().join("deploy/proximity-agent.service");
    let unit = fs::read_to_string(unit).expect("the unit");
    assert!(!unit.lines().any(|line| line.starts_with("IPAddressDeny")), "boards are shut out");
    // It is verified with the program that it starts.
    let folder = proximity_tests::process::scratch();
    let path = folder.join("proximity-agent.service");
    let agent = program("proximity-agent").display().to_string();
    fs::write(&path, unit.replace("/usr/bin/proximity-agent", &agent)).expect("a copy");

    let run = |arguments: &[&str]| {
        let output = Command::new("systemd-analyze").args(arguments).arg(&path).output();
        output.expect("systemd-analyze runs")
    };
    let verified = run(&["verify", "--man=no"]);
    assert!(verified.status.success() && verified.stderr.is_empty(), "{}", text(&verified));
    let threshold = format!("--threshold={EXPOSURE}");
    let scored = run(&["security", "--offline=true", "--no-pager", &threshold]);
    assert!(scored.status.success(), "{}", text(&scored));
    let _ = fs::remove_dir_all(folder);
}

/// Starts a board and `agent`, writes a register of the board's through it, and reads that.
fn reads_a_register(agent: &Path) {
    let mut mock = Process::start(&mut Command::new(program("mock-fpga")));
    let board = mock.line("listening ");
    let (host, port) = board.split_once(':').expect("HOST:PORT");
    let object = format!("[objects.srbs]\ndriver = 'fpga'\nhost = '{host}'\nport = {port}\n");
    let agent = Agent::start_as(agent, &object);
    let srbs = Client::new(&agent.endpoint).expect("an address").object("srbs");
    srbs.call("write_int", ("sys_scratchpad", 0xcafe)).expect("it is written");
    let read = srbs.call("read_uint", ("sys_scratchpad",)).expect("it is read");
    assert_eq!(read.get::<u32>().expect("a number"), 0xcafe);
}

#[test]
fn a_static_agent_needs_nothing_of_its_machine_and_reads_a_register() {
    let name = "a_static_agent_needs_nothing_of_its_machine_and_reads_a_register";
    let Some(agent) = env::var_os("PROXIMITY_STATIC_AGENT") else {
        println!("SKIPPED {name}: PROXIMITY_STATIC_AGENT names no static agent");
        return;
    };
    let needs = Command::new("ldd").arg(&agent).output().expect("ldd runs");
    let needs = text(&needs);
    assert!(
        needs.contains("statically linked") || needs.contains("not a dynamic executable"),
        "{needs}"
    );
    reads_a_register(Path::new(&agent));
}

fn under_qemu(name: &str, variable: &str) {
    match env::var_os(variable) {
        Some(agent) => reads_a_register(Path::new(&agent)),
        None => println!("SKIPPED {name}: {variable} names no agent for such a machine"),
    }
}

#[test]
fn an_agent_for_arm64_reads_a_register() {
    under_qemu("an_agent_for_arm64_reads_a_register", "PROXIMITY_ARM64_AGENT");
}

#[test]
fn an_agent_for_armhf_reads_a_register() {
    under_qemu("an_agent_for_armhf_reads_a_register", "PROXIMITY_ARMHF_AGENT");
}

#[test]
fn a_lab_network_is_served_by_three_lines_and_others_are_refused() {
    let name = "a_lab_network_is_served_by_three_lines_and_others_are_refused";
    let Some(python) = env::var_os("PROXIMITY_PYTHON") else {
        println!("SKIPPED {name}: PROXIMITY_PYTHON names no Python with pyzmq and msgpack");
        return;
    };
    let folder = proximity_tests::process::scratch();
    let (bin, config) = if let Some(package) = package() {
        let unpacked = Command::new("dpkg-deb").arg("-x").arg(package).arg(&folder).status();
        assert!(unpacked.is_ok_and(|status| status.success()), "the package is unpacked");
        (folder.join("usr/bin"), folder.join("etc/proximity/agent.toml"))
    } else {
        let agent = program("proximity-agent");
        (agent.parent().expect("a folder").into(), root().join("deploy/agent.toml"))
    };
    let client = client(&folder, Path::new(&python));
    let Some(output) = apart("networks.sh", &[&bin, &config, &client]) else {
        println!("SKIPPED {name}: no namespaces can be made here");
        return;
    };
    let told = text(&output);
    assert!(output.status.success(), "{told}");
    assert_eq!(told.matches("laptop: 51966\n").count(), 2, "{told}");
    assert!(!told.contains("served:"), "{told}");
    let hint = "hint: the key 'plaintext' of its configuration names the networks that may call";
    assert!(told.contains(&format!("refused: {hint}\n")), "{told}");
    let _ = fs::remove_dir_all(folder);
}

/// A Python that has the client: the wheel where there is one, else its sources.
fn client(folder: &Path, python: &Path) -> PathBuf {
    let wheel = env::var_os("PROXIMITY_DIST").and_then(|dist| {
        let files = fs::read_dir(dist).ok()?.flatten().map(|entry| entry.path());
        files.into_iter().find(|path| path.extension().is_some_and(|e| e == "whl"))
    });
    let modules = match wheel {
        Some(wheel) => {
            let modules = folder.join("wheel");
            let mut pip = Command::new(python);
            pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]);
            let done = pip.arg(&modules).arg(wheel).status();
            assert!(done.is_ok_and(|status| status.success()), "the wheel is installed");
            modules
        }
        None => root().join("clients/python/src"),
    };
    let wrapper = folder.join("python");
    let script = format!(
        "#!/bin/sh\nPYTHONDONTWRITEBYTECODE=1 PYTHONPATH='{}' exec '{}' \"$@\"\n",
        modules.display(),
        python.display()
    );
    fs::write(&wrapper, script).expect("a wrapper");
    let done = Command::new("chmod").arg("755").arg(&wrapper).status();
    assert!(done.is_ok_and(|status| status.success()), "the wrapper can be run");
    wrapper
}

/// What a command prints.
fn printed(command: &mut Command) -> String {
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_manual_pages_and_completions_are_those_of_the_programs() {
    let name = "the_manual_pages_and_completions_are_those_of_the_programs";
    let Some(package) = package() else {
        println!("SKIPPED {name}: PROXIMITY_DIST names no folder with a package");
        return;
    };
    let folder = proximity_tests::process::scratch();
    printed(Command::new("dpkg-deb").arg("-x").arg(package).arg(&folder));
    let share = folder.join("usr/share");
    let say = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(folder.join("usr/bin").join(program));
        printed(command.args(arguments).env("COLUMNS", "80"))
    };
    let page = |place: &str| {
        let page = printed(Command::new("gzip").arg("-dc").arg(share.join("man").join(place)));
        page.replace("\\&", "").replace("\\-", "-").replace("\\e", "\\")
    };
    let holds = |page: &str, said: &str| {
        for line in said.lines() {
            assert!(page.lines().any(|known| known == line), "the page has no line '{line}'");
        }
    };
    holds(&page("man8/proximity-agent.8.gz"), &say("proximity-agent", &["--help"]));
    holds(&page("man1/mock-fpga.1.gz"), &say("mock-fpga", &["--help"]));
    let help = say("proximity", &["--help"]);
    let proximity = page("man1/proximity.1.gz");
    holds(&proximity, &help);
    let (_, commands) = help.split_once("Commands:\n").expect("commands");
    let commands: Vec<&str> = commands
        .lines()
        .take_while(|line| line.starts_with("  "))
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.len() > 8, "{commands:?}");
    for command in &commands {
        holds(&proximity, &say("proximity", &[command, "--help"]));
    }
    for place in [
        "bash-completion/completions/proximity",
        "zsh/vendor-completions/_proximity",
        "fish/vendor_completions.d/proximity.fish",
    ] {
        let words = fs::read_to_string(share.join(place)).expect(place);
        for command in &commands {
            assert!(words.contains(command), "{place} does not know {command}");
        }
    }
    let _ = fs::remove_dir_all(folder);
}

/// What lintian wants of packages of Debian's own, which this one is not.
const NOT_DEBIANS: [&str; 3] = [
    // The same tree is the archive for hosts that have no /usr/share/common-licenses.
    "copyright-file-contains-full-apache-2-license",
    // The scripts do without debhelper's, and call it only where systemd runs.
    "maintainer-script-calls-systemctl",
    // It is CHANGELOG.md, for users.
    "syntax-error-in-debian-changelog",
];

#[test]
fn lintian_finds_no_mistake_in_the_package() {
    let name = "lintian_finds_no_mistake_in_the_package";
    let Some(package) = package() else {
        println!("SKIPPED {name}: PROXIMITY_DIST names no folder with a package");
        return;
    };
    let mut lintian = Command::new("lintian");
    // As root it would only warn of itself.
    lintian.args(["--allow-root", "--fail-on", "error,warning"]);
    lintian.arg(format!("--suppress-tags={}", NOT_DEBIANS.join(","))).arg(package);
    match lintian.output() {
        Err(_) => println!("SKIPPED {name}: there is no lintian"),
        Ok(output) => assert!(output.status.success(), "{}", text(&output)),
    }
}

/// What `life.sh` says of a package that lives well.
const LIFE: [&str; 7] = [
    "installed",
    "register: 51966",
    "register: 51966",
    "register: 51966",
    "upgraded",
    "removed",
    "purged",
];

fn lives(name: &str, archive: &Path) {
    let Some(package) = package() else {
        println!("SKIPPED {name}: PROXIMITY_DIST names no folder with a package");
        return;
    };
    let Some(output) = apart("life.sh", &[&package, archive]) else {
        println!("SKIPPED {name}: no namespaces can be made here");
        return;
    };
    let told = text(&output);
    assert!(output.status.success(), "{told}");
    let said: Vec<&str> = told.lines().filter(|line| LIFE.contains(line)).collect();
    assert_eq!(said, LIFE, "{told}");
}

#[test]
fn the_package_lives_in_a_copy_of_this_root() {
    lives("the_package_lives_in_a_copy_of_this_root", Path::new("-"));
}

#[test]
#[ignore = "needs mmdebstrap and a mirror; cargo xtask dist --check"]
fn the_package_lives_in_an_empty_debian_root() {
    let name = "the_package_lives_in_an_empty_debian_root";
    let archive = Path::new(env!("CARGO_TARGET_TMPDIR")).join("debian.tar");
    let mut make = Command::new("mmdebstrap");
    make.args(["--variant=minbase", "bookworm"]).arg(&archive);
    match make.output() {
        Err(_) => println!("SKIPPED {name}: there is no mmdebstrap"),
        Ok(output) => {
            assert!(output.status.success(), "{}", text(&output));
            lives(name, &archive);
        }
    }
}
