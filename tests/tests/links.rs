//! Devices that go away and come back, as `proximity status` and `--metrics` tell of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a failing test panics"
)]

#[path = "../../drivers/tests/instrument/mod.rs"]
mod instrument;

use instrument::{Socket, eventually};
use proximity_client::{Client, ObjectStatus};
use proximity_tests::process::{Agent, Process, program};
use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
};

/// What a command of `proximity` printed, and its exit status.
fn proximity(agent: &Agent, words: &[&str]) -> (String, i32) {
    let mut command = Command::new(program("proximity"));
    command.args(["-a", &agent.endpoint]).args(words).env_remove("RUST_LOG");
    let output = command.stdin(Stdio::null()).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code().unwrap_or(-1))
}

fn object(client: &Client, name: &str) -> ObjectStatus {
    client.status().unwrap().objects[name].clone()
}

fn link(client: &Client, name: &str) -> String {
    object(client, name).link.unwrap().state
}

/// The figures of an object that tell of its device.
fn figures(host: &str, name: &str) -> [Option<f64>; 3] {
    let mut stream = TcpStream::connect(host).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    ["up", "connected", "link_milliseconds"].map(|what| {
        let start = format!("proximity_object_{what}{{object=\"{name}\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&start))?;
        Some(value.parse().unwrap())
    })
}

/// An agent that tells its figures, and where.
fn agent(objects: &str) -> (Agent, String) {
    let (agent, url) = Agent::with_metrics(objects);
    (agent, url.trim_start_matches("http://").trim_end_matches("/metrics").to_owned())
}

fn board(address: &str) -> (Process, String) {
    let mut mock = Process::start(Command::new(program("mock-fpga")).args(["--listen", address]));
    let address = mock.line("listening ");
    (mock, address)
}

#[test]
fn a_board_that_is_killed_is_told_disconnected_until_it_is_back() {
    let (mut mock, address) = board("127.0.0.1:0");
    let (host, port) = address.split_once(':').unwrap();
    let (agent, figures_at) =
        agent(&format!("[objects.srbs]\ndriver = 'fpga'\nhost = '{host}'\nport = {port}\n"));
    let client = Client::new(&agent.endpoint).unwrap();
    let read = || client.object("srbs").call("read_uint", ("sys_board_id",));

    // Nobody needed it yet: that is well, and the figures say nothing of it.
    assert_eq!(link(&client, "srbs"), "unused");
    assert_eq!(figures(&figures_at, "srbs"), [Some(1.0), None, None]);
    assert_eq!(read().unwrap().get::<u32>().unwrap(), 0xb00b);
    let told = object(&client, "srbs");
    assert_eq!((told.state.as_str(), told.link.unwrap().state.as_str()), ("ready", "connected"));
    assert_eq!(figures(&figures_at, "srbs")[..2], [Some(1.0), Some(1.0)]);
    assert_eq!(proximity(&agent, &["status", "--check"]), ("OK: 1 object\n".into(), 0));

    // It goes while nobody calls.
    mock.kill();
    eventually("it is disconnected", || link(&client, "srbs") == "disconnected");
    let told = object(&client, "srbs");
    assert_eq!(told.state, "disconnected");
    assert_eq!(told.link.unwrap().error.unwrap(), "the other end is gone");
    let (line, code) = proximity(&agent, &["status", "--check"]);
    assert!(line.starts_with("DEGRADED: srbs is disconnected for "), "{line}");
    assert!(line.ends_with(": the other end is gone\n"), "{line}");
    assert_eq!(code, 1);
    let [up, connected, since] = figures(&figures_at, "srbs");
    assert_eq!((up, connected), (Some(0.0), Some(0.0)));

    // A call tells more, and how long it is away goes on from the start.
    eventually("the next try is in vain", || {
        let error = read().unwrap_err().to_string();
        assert!(error.starts_with("ConnectionError: "), "{error}");
        error.contains("no connection to ")
    });
    let told = object(&client, "srbs");
    let told_link = told.link.unwrap();
    assert!(told_link.error.unwrap().contains("onnection refused"));
    assert!(f64::from(u32::try_from(told_link.since).unwrap()) >= since.unwrap());
    assert_eq!(told.error.unwrap().class, "ConnectionError");
    let (text, code) = proximity(&agent, &["status"]);
    assert_eq!(code, 1);
    let below = text.split_once("\nsrbs  ").unwrap().1;
    assert!(below.contains("\n  disconnected for "), "{text}");
    assert!(below.contains("onnection refused"), "{text}");
    assert!(below.contains("\n  last error, 0 s ago: ConnectionError: "), "{text}");

    let (_mock, _) = board(&address);
    eventually("it answers again", || read().is_ok());
    assert_eq!(link(&client, "srbs"), "connected");
    assert_eq!(proximity(&agent, &["status", "--check"]), ("OK: 1 object\n".into(), 0));
    assert_eq!(figures(&figures_at, "srbs")[..2], [Some(1.0), Some(1.0)]);
    // Closed on purpose is no reason to look after it.
    client.object("srbs").call("stop", ()).unwrap();
    assert_eq!(link(&client, "srbs"), "unused");
    assert_eq!(proximity(&agent, &["status", "--check"]), ("OK: 1 object\n".into(), 0));
}

#[test]
fn a_port_that_is_hung_up_is_told_disconnected_until_it_is_back() {
    let sockets = [(); 3].map(|()| Socket::new());
    let [serial, scpi, valon] = [0, 1, 2].map(|index: usize| sockets[index].key());
    let (agent, figures_at) = agent(&format!(
        "[objects.serial]\ndriver = 'serial'\nsettle = 0.01\n{serial}\n\
         [objects.scpi]\ndriver = 'scpi'\nsettle = 0.01\ntimeout = 0.1\n{scpi}\n\
         [objects.valon]\ndriver = 'valon'\ntimeout = 0.1\n{valon}\n"
    ));
    let client = Client::new(&agent.endpoint).unwrap();
    let names = ["serial", "scpi", "valon"];
    let methods = ["open", "idn", "get_ref_select"];
    let all = |is: &str| names.iter().all(|name| link(&client, name) == is);
    // The ports are opened; that two of the instruments have no answer is another matter.
    let call = || {
        for (name, method) in names.iter().zip(methods) {
            let _ = client.object(name).call(method, ());
        }
    };
    for round in 0..2 {
        let mut plugs: Vec<_> = sockets.iter().map(Socket::plug).collect();
        // One that never says anything is tried more and more rarely.
        for plug in &mut plugs {
            plug.say(b"hello\n");
        }
        eventually("all are connected", || {
            call();
            all("connected")
        });
        assert_eq!(proximity(&agent, &["status", "--check"]), ("OK: 3 objects\n".into(), 0));
        drop(plugs);
        eventually("all are disconnected", || all("disconnected"));
        assert_eq!(figures(&figures_at, "valon")[..2], [Some(0.0), Some(0.0)]);
        eventually("all tell why they cannot be opened", || {
            call();
            let why = |name| object(&client, name).link.unwrap().error.unwrap_or_default();
            names.iter().all(|name| why(name).contains("No such file or directory"))
        });
        let (line, code) = proximity(&agent, &["status", "--check"]);
        assert_eq!(code, 1, "round {round}");
        for name in names {
            assert!(line.contains(&format!("{name} is disconnected for ")), "{line}");
        }
    }
}
