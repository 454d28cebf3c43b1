//! The daemon as systemd's service: what it tells, and when the watchdog starves.

// A test that fails by a panic is a test that works.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[allow(dead_code, reason = "other files of tests use the rest")]
mod support;

use serde_json::{Value, json};
use std::{
    ffi::OsString,
    fs::File,
    io::{BufRead, BufReader, ErrorKind},
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::MetadataExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};
use support::{Daemon, PATIENCE, Scratch, call, wait};

const TALLY: &str = "
    listen = ['tcp://127.0.0.1:0']
    [objects.tally]
    driver = 'counter'
";

/// What the tests' watchdog allows.
const WATCHDOG: Duration = Duration::from_millis(600);

/// In place of systemd.
struct Manager {
    socket: UnixDatagram,
    name: OsString,
}

impl Manager {
    /// At an abstract name, or in `scratch`.
    fn new(scratch: Option<&Scratch>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (own, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let (socket, name) = if let Some(scratch) = scratch {
            let path = scratch.path().join("notify");
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string())
        } else {
            let name = format!("proximity-notify-{own}-{number}");
            let address = SocketAddr::from_abstract_name(&name).unwrap();
            (UnixDatagram::bind_addr(&address).unwrap(), format!("@{name}").into())
        };
        Self { socket, name }
    }

    /// Starts the daemon as systemd would.
    fn start(&self, scratch: &Scratch) -> Daemon {
        let mut command = scratch.agent(&["serve", "-c", "agent.toml"]);
        let micros = WATCHDOG.as_micros().to_string();
        command.env("NOTIFY_SOCKET", &self.name).env("WATCHDOG_USEC", micros);
        command.env_remove("WATCHDOG_PID");
        Daemon::start(&mut command)
    }

    /// The next message within `time`.
    fn within(&self, time: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(time)).unwrap();
        let mut message = [0; 4096];
        match self.socket.recv(&mut message) {
            Ok(len) => Some(String::from_utf8(message[..len].to_vec()).unwrap()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits for news that begins so; what only says that the agent is alive is passed over.
    fn told(&self, start: &str) -> String {
        let end = Instant::now() + PATIENCE;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            match self.within(left.max(Duration::from_millis(1))) {
                Some(news) if news.starts_with(start) => return news,
                Some(news) if news == "WATCHDOG=1" || news.starts_with("STATUS=") => {}
                Some(news) => panic!("{news:?} came before {start:?}"),
                None => {}
            }
        }
        panic!("not told: {start:?}");
    }

    /// Waits until nothing more comes within twice the time that the watchdog allows.
    fn starves(&self) {
        let end = Instant::now() + PATIENCE;
        while self.within(WATCHDOG * 2).is_some() {
            assert!(Instant::now() < end, "the watchdog is still fed");
        }
    }
}

#[test]
fn systemd_is_told_of_ready_reloading_and_stopping() {
    let scratch = Scratch::new();
    scratch.configure(TALLY);
    for manager in [Manager::new(None), Manager::new(Some(&scratch))] {
        let mut agent = manager.start(&scratch);
        assert_eq!(manager.told("READY=1"), "READY=1\nSTATUS=serving 1 object");
        agent.ready();
        agent.signal("HUP");
        let reloading = manager.told("RELOADING=1");
        let (_, micros) = reloading.split_once("\nMONOTONIC_USEC=").unwrap();
        let micros: u64 = micros.lines().next().unwrap().parse().unwrap();
        assert!(micros > 0);
        assert_eq!(manager.told("READY=1"), "READY=1\nSTATUS=serving 1 object");
        agent.signal("TERM");
        manager.told("STOPPING=1");
        assert_eq!(agent.end().0.code(), Some(0));
    }
}

#[test]
fn a_broken_file_ends_the_reloading_too() {
    let scratch = Scratch::new();
    scratch.configure(TALLY);
    let manager = Manager::new(None);
    let agent = manager.start(&scratch);
    manager.told("READY=1");
    scratch.configure("queue = 0");
    agent.signal("HUP");
    manager.told("RELOADING=1");
    let ready = manager.told("READY=1");
    assert!(ready.contains("STATUS=serving by the configuration before;"), "{ready}");
}

#[test]
fn a_stopped_agent_starves_its_watchdog_and_an_idle_one_does_not() {
    let scratch = Scratch::new();
    scratch.configure(TALLY);
    let manager = Manager::new(None);
    let mut agent = manager.start(&scratch);
    let address = agent.ready();
    manager.told("READY=1");
    for _ in 0..4 {
        manager.told("WATCHDOG=1");
    }
    agent.signal("STOP");
    manager.starves();
    agent.signal("CONT");
    manager.told("WATCHDOG=1");
    assert_eq!(call(&address, "tally", "add", &json!([1])), json!(1));
}

#[test]
fn a_manager_that_cannot_be_reached_is_told_of_in_the_log_and_harms_nothing() {
    let scratch = Scratch::new();
    scratch.configure(TALLY);
    for (socket, line) in [
        ("/nowhere/notify", "the service manager was not told READY=1: No such file"),
        ("notify", "NOTIFY_SOCKET is \"notify\"; it must be an absolute path"),
    ] {
        let mut command = scratch.agent(&["serve", "-c", "agent.toml"]);
        let mut agent = Daemon::start(command.env("NOTIFY_SOCKET", socket));
        let address = agent.ready();
        agent.logged(line);
        assert_eq!(call(&address, "tally", "add", &json!([1])), json!(1));
    }
}

/// The objects of JSON in the lines of a log.
fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[test]
fn a_log_in_json_has_an_object_a_line() {
    let scratch = Scratch::new();
    scratch.configure(TALLY);
    let mut agent = Daemon::start(&mut scratch.agent(&["serve", "-c", "agent.toml", "--log=json"]));
    agent.ready();
    scratch.configure("[objects.t]\ndriver = 'cuonter'");
    agent.signal("HUP");
    agent.logged("all stays as it was");
    agent.signal("TERM");
    let (status, _, rest) = agent.end();
    assert_eq!(status.code(), Some(0));
    for line in json_lines(&rest) {
        let text = |key: &str| line[key].as_str().expect(key).to_owned();
        let time = text("time");
        assert_eq!((time.len(), &time[10..11], &time[23..]), (24, "T", "Z"), "{time}");
        assert!(["error", "warn", "info"].contains(&text("level").as_str()), "{line}");
        assert!(text("target").starts_with("proximity_agent"), "{line}");
        assert!(!text("message").is_empty());
    }
    assert!(rest.contains("\"message\":\"object 'tally' is closed\""), "{rest}");
}

#[test]
fn a_log_in_json_has_journalds_priorities_too() {
    let scratch = Scratch::new();
    scratch.configure(TALLY);
    let path = scratch.path().join("log");
    let file = File::create(&path).unwrap();
    let metadata = file.metadata().unwrap();
    let mut command = scratch.agent(&["serve", "-c", "agent.toml", "--log=json"]);
    command.env("JOURNAL_STREAM", format!("{}:{}", metadata.dev(), metadata.ino()));
    let mut child = command.stdout(Stdio::piped()).stderr(file).spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
    assert_eq!(wait(&mut child).code(), Some(0));
    let text = std::fs::read_to_string(&path).unwrap();
    let bare: String =
        text.lines().map(|line| line.strip_prefix("<6>").expect(line).to_owned() + "\n").collect();
    assert!(json_lines(&bare).iter().all(|line| line["level"] == "info"), "{text}");
    assert!(bare.contains("object 'tally' is open"), "{text}");
}

#[test]
fn the_level_of_the_log_is_read_again() {
    let scratch = Scratch::new();
    let with = |level: &str| scratch.configure(&format!("log = '{level}'\n{TALLY}"));
    with("error");
    let mut agent = scratch.serve();
    let address = agent.ready();
    with("debug");
    agent.signal("HUP");
    agent.logged("agent.toml was read again");
    agent.logged("log: debug, was error");
    assert_eq!(call(&address, "tally", "add", &json!([1])), json!(1));
    agent.logged("calls from '127.0.0.1'");
    with("error");
    agent.signal("HUP");
    // Neither that, nor that it ends.
    agent.signal("TERM");
    let (status, _, rest) = agent.end();
    assert_eq!(status.code(), Some(0));
    assert!(!rest.contains("is closed"), "{rest}");
}
