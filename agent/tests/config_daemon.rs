//! The daemon by its configuration: what it prints, its exit status, its signals.

mod support;

use serde_json::{Value, json};
use std::{
    fs::File,
    io::{ErrorKind, Read},
    net::TcpListener,
    os::unix::{fs::MetadataExt, process::ExitStatusExt},
    process::Stdio,
};
use support::{Daemon, PATIENCE, Scratch, call, send, wait};

const TALLY: &str = "
    listen = ['tcp://127.0.0.1:0']
    [objects.tally]
    driver = 'counter'
";

fn with_config(text: &str) -> Scratch {
    let scratch = Scratch::new();
    scratch.configure(text);
    scratch
}

/// Runs the agent to its end: exit status, standard output, standard error.
fn run(scratch: &Scratch, arguments: &[&str]) -> (Option<i32>, String, String) {
    let (status, stdout, stderr) = Daemon::start(&mut scratch.agent(arguments)).end();
    (status.code(), stdout, stderr)
}

fn exception(answer: &Value) -> &str {
    let class = answer.pointer("/EXCEPTION/0").and_then(Value::as_str);
    class.unwrap_or_else(|| panic!("{answer} is no exception"))
}

#[test]
fn each_address_is_printed_with_its_port_and_then_ready() {
    let scratch = Scratch::new();
    let socket = scratch.path().join("agent.sock");
    scratch.configure(&format!(
        "listen = ['tcp://127.0.0.1:0', 'ipc://{}']\n[objects.tally]\ndriver = 'counter'",
        socket.display()
    ));
    let mut agent = scratch.serve();
    let tcp = agent.said("listening ");
    let port: u16 = tcp.strip_prefix("tcp://127.0.0.1:").unwrap().parse().unwrap();
    assert_ne!(port, 0);
    let ipc = agent.said("listening ");
    assert_eq!(ipc, format!("ipc://{}", socket.display()));
    agent.said("ready");
    assert_eq!(call(&tcp, "tally", "add", &json!([5])), json!(5));
    assert_eq!(call(&ipc, "tally", "add", &json!([2])), json!(7));
}

#[test]
fn listening_off_this_machine_without_plaintext_is_refused() {
    let scratch = with_config("listen = ['tcp://0.0.0.0:0']\n[objects.t]\ndriver = 'counter'");
    let (status, stdout, stderr) = run(&scratch, &["serve", "-c", "agent.toml"]);
    assert_eq!((status, stdout.as_str()), (Some(78), ""));
    for part in
        ["agent.toml:1:11: 'tcp://0.0.0.0:0' can be reached", "plaintext = [\"10.1.0.0/16\"]"]
    {
        assert!(stderr.contains(part), "{stderr}");
    }
}

#[test]
fn listening_off_this_machine_with_plaintext_is_served() {
    let scratch = with_config(
        "listen = ['tcp://0.0.0.0:0']\nplaintext = ['192.0.2.0/24']\n[objects.t]\ndriver = 'counter'",
    );
    let mut agent = scratch.serve();
    let port = agent.ready().rsplit(':').next().unwrap().to_owned();
    // This machine may always come.
    assert_eq!(call(&format!("tcp://127.0.0.1:{port}"), "t", "add", &json!([])), json!(1));
}

#[test]
fn an_address_in_use_ends_with_69() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", taken.local_addr().unwrap());
    let scratch = with_config(&format!("listen = ['{address}']\n[objects.t]\ndriver = 'counter'"));
    let (status, stdout, stderr) = run(&scratch, &["serve", "-c", "agent.toml"]);
    assert_eq!((status, stdout.as_str()), (Some(69), ""));
    assert!(
        stderr.contains(&format!("cannot listen at {address}: Address already in use")),
        "{stderr}"
    );
}

#[test]
fn nothing_is_started_by_a_file_with_mistakes() {
    let scratch = with_config("queue = 0\n[objects.t]\ndriver = 'cuonter'");
    let (status, stdout, stderr) = run(&scratch, &["serve", "-c", "agent.toml"]);
    assert_eq!((status, stdout.as_str()), (Some(78), ""));
    assert_eq!(run(&scratch, &["check", "-c", "agent.toml"]), (Some(78), String::new(), stderr));
}

#[test]
fn wrong_usage_ends_with_2() {
    let (status, stdout, stderr) = run(&Scratch::new(), &["chek"]);
    assert_eq!((status, stdout.as_str()), (Some(2), ""));
    assert_eq!(
        stderr,
        "proximity-agent: no command 'chek'; did you mean 'check'?\ntry: proximity-agent --help\n"
    );
}

#[test]
fn the_version_tells_the_library_and_that_it_can_encrypt() {
    let (status, stdout, stderr) = run(&Scratch::new(), &["--version"]);
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(stdout, format!("proximity-agent {version}\nlibzmq 4.3.5 with CURVE\n"));
}

#[test]
fn the_example_in_the_help_works() {
    let (status, help, _) = run(&Scratch::new(), &["--help"]);
    assert_eq!(status, Some(0));
    let example = help.split_once("agent.toml\n\n").unwrap().1.split_once("\n\nand run").unwrap().0;
    let scratch = with_config(&example.replace("127.0.0.1:5555", "127.0.0.1:0"));
    let mut agent = scratch.serve();
    let address = agent.ready();
    assert_eq!(call(&address, "tally", "add", &json!([5])), json!(5));
}

#[test]
fn sigterm_and_sigint_end_it_well() {
    for signal in ["TERM", "INT"] {
        let scratch = with_config(TALLY);
        let mut agent = scratch.serve();
        agent.ready();
        agent.signal(signal);
        agent.logged(&format!("SIG{signal}: stopping"));
        assert_eq!(agent.end().0.code(), Some(0), "{signal}");
    }
}

#[test]
fn a_second_sigterm_ends_it_at_once() {
    // A board that takes connections and says nothing: a call to it runs until its time is over.
    let board = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = board.local_addr().unwrap().port();
    let scratch = with_config(&format!(
        "listen = ['tcp://127.0.0.1:0']\n[objects.srbs]\ndriver = 'fpga'\nhost = '127.0.0.1'\n\
         port = {port}\ntimeout = 3600"
    ));
    let mut agent = scratch.serve();
    let address = agent.ready();
    let _running = send(&address, "srbs", "status", &json!([]));
    let (mut link, _) = board.accept().unwrap();
    link.set_read_timeout(Some(PATIENCE)).unwrap();
    // The board was asked something: the call runs.
    link.read_exact(&mut [0]).unwrap();
    agent.signal("TERM");
    agent.logged("SIGTERM: stopping");
    agent.signal("TERM");
    assert_eq!(agent.end().0.signal(), Some(15));
}

#[test]
fn a_changed_file_is_taken_over_without_touching_what_is_unchanged() {
    let scratch = with_config(
        "listen = ['tcp://127.0.0.1:0']\n
         [objects.same]\ndriver = 'counter'\n
         [objects.other]\ndriver = 'counter'\nstart = 1\n
         [objects.old]\ndriver = 'counter'",
    );
    let mut agent = scratch.serve();
    let address = agent.ready();
    for object in ["same", "other", "old"] {
        call(&address, object, "add", &json!([10]));
    }
    scratch.configure(
        "listen = ['tcp://127.0.0.1:0']\nqueue = 8\n
         [objects.new]\ndriver = 'counter'\nstart = 5\n
         [objects.other]\ndriver = 'counter'\nstart = 2\n
         [objects.same] # moved, and with a comment\ndriver = 'counter'",
    );
    agent.signal("HUP");
    agent.logged("agent.toml was read again");
    agent.logged("queue: 8, was 32");
    agent.logged("object 'new' (counter): added");
    agent.logged("object 'other' (counter): changed");
    agent.logged("object 'old' (counter): removed");
    agent.logged("object 'new' is open");
    assert_eq!(call(&address, "new", "add", &json!([0])), json!(5));
    assert_eq!(call(&address, "other", "add", &json!([0])), json!(2));
    assert_eq!(call(&address, "same", "add", &json!([0])), json!(10));
    assert_eq!(exception(&call(&address, "old", "add", &json!([0]))), "KeyError");
}

#[test]
fn a_broken_file_changes_nothing_and_all_its_mistakes_are_logged() {
    let scratch = with_config(TALLY);
    let mut agent = scratch.serve();
    let address = agent.ready();
    call(&address, "tally", "add", &json!([3]));
    scratch.configure("queue = 0\n[objects.tally]\ndriver = 'counter'\nstrt = 1\nhide = ['(']\n");
    agent.signal("HUP");
    agent.logged("agent.toml:1:9: 'queue' is 0; it must be 1 to 1024");
    agent.logged("agent.toml:4:1: unknown key 'strt'; did you mean 'start'?");
    agent.logged("agent.toml:5:9: '(' is no regular expression");
    agent.logged("agent.toml cannot be used; all stays as it was");
    assert_eq!(call(&address, "tally", "add", &json!([1])), json!(4));

    scratch.configure(TALLY);
    agent.signal("HUP");
    agent.logged("agent.toml was read again; nothing changed");
    assert_eq!(call(&address, "tally", "add", &json!([1])), json!(5));
}

#[test]
fn a_new_address_is_served_after_a_reload() {
    let scratch = with_config(TALLY);
    let mut agent = scratch.serve();
    agent.ready();
    let socket = format!("ipc://{}", scratch.path().join("agent.sock").display());
    scratch.configure(&TALLY.replace("['", &format!("['{socket}', '")));
    agent.signal("HUP");
    assert_eq!(agent.ready(), socket);
    assert_eq!(call(&socket, "tally", "add", &json!([1])), json!(1));
}

#[test]
fn a_larger_frame_needs_a_new_start() {
    let scratch = with_config(&format!("max_frame = '64 KiB'{TALLY}"));
    let mut agent = scratch.serve();
    let address = agent.ready();
    scratch.configure(&format!("max_frame = '1 MiB'{TALLY}"));
    agent.signal("HUP");
    agent.logged("'max_frame' stays 65536 bytes: where the agent listens it takes no more");
    // Told by the agent; libzmq, which keeps the former bound, would only hang up on what is longer still.
    let answer = call(&address, "tally", "add", &json!(["x".repeat(100_000)]));
    assert_eq!(exception(&answer), "ValueError");
    assert!(answer.to_string().contains("at most 65536 are taken"), "{answer}");
}

#[test]
fn a_changed_filter_holds_after_a_reload() {
    let scratch = with_config(TALLY);
    let mut agent = scratch.serve();
    let address = agent.ready();
    assert_eq!(call(&address, "tally", "add", &json!([1])), json!(1));
    scratch.configure(&format!("{TALLY}hide = ['add']"));
    agent.signal("HUP");
    agent.logged("object 'tally' (counter): changed");
    // The object is closed and opened again.
    agent.logged("object 'tally' is closed");
    agent.logged("object 'tally' is open");
    assert_eq!(exception(&call(&address, "tally", "add", &json!([1]))), "KeyError");
}

#[test]
fn a_slip_of_the_pen_in_the_environment_silences_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let scratch = with_config(&TALLY.replace("127.0.0.1:0", &address.to_string()));
    for (filter, expected) in [
        ("inof", "RUST_LOG has 'inof', and is not looked at; it must be off, error, warn, info"),
        ("off", "proximity-agent: cannot listen at tcp://"),
    ] {
        let mut command = scratch.agent(&["serve", "-c", "agent.toml"]);
        let (status, _, told) = Daemon::start(command.env("RUST_LOG", filter)).end();
        assert_eq!(status.code(), Some(69));
        assert!(told.contains(expected) && told.contains("in use"), "{filter}: {told}");
    }
}

#[test]
fn the_level_of_the_log_is_the_files_unless_the_environment_says_otherwise() {
    let scratch = with_config(&format!("log = 'error'{TALLY}"));
    let mut agent = scratch.serve();
    agent.ready();
    scratch.configure(&format!("log = 'info'{TALLY}"));
    agent.signal("HUP");
    // The first line that is logged at all: it was an error or nothing before.
    agent.logged("agent.toml was read again");
    agent.signal("TERM");
    agent.logged("SIGTERM: stopping");
    assert_eq!(agent.end().0.code(), Some(0));

    let scratch = with_config(&format!("log = 'info'{TALLY}"));
    let mut command = scratch.agent(&["serve", "-c", "agent.toml"]);
    let mut agent = Daemon::start(command.env("RUST_LOG", "off"));
    agent.ready();
    agent.signal("TERM");
    let (status, _, stderr) = agent.end();
    assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn under_journald_each_line_tells_its_priority() {
    let scratch = with_config("queue = 0");
    let log = scratch.path().join("journal");
    let file = File::create(&log).unwrap();
    let metadata = file.metadata().unwrap();
    let stream = format!("{}:{}", metadata.dev(), metadata.ino());
    let serve = |stream: &str| {
        let mut command = scratch.agent(&["serve", "-c", "agent.toml"]);
        command.env("JOURNAL_STREAM", stream).stderr(file.try_clone().unwrap());
        command.stdout(Stdio::piped()).spawn().unwrap()
    };
    let text = || std::fs::read_to_string(&log).unwrap();

    assert_eq!(wait(&mut serve(&stream)).code(), Some(78));
    assert!(text().starts_with("<3>agent.toml:1:9: 'queue' is 0"), "{}", text());
    assert!(text().lines().all(|line| line.starts_with("<3>")), "{}", text());

    // An address in use is logged, as is what is most likely not meant.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    scratch.configure(&format!("listen = ['tcp://{address}']\nplaintext = ['10.0.0.0/8']"));
    file.set_len(0).unwrap();
    assert_eq!(wait(&mut serve(&stream)).code(), Some(69));
    let lines = text();
    let lines = lines.trim_start_matches('\0');
    assert!(lines.contains("\n<4>  2 | plaintext = ['10.0.0.0/8']\n"), "{lines}");
    assert!(lines.contains("\n<3>cannot listen at "), "{lines}");

    // The variable is inherited, but the output goes elsewhere.
    file.set_len(0).unwrap();
    assert_eq!(wait(&mut serve("1:1")).code(), Some(69));
    assert!(!text().contains("<3>"), "{}", text());
}

#[test]
fn closed_pipes_disturb_nobody() {
    let scratch = Scratch::new();
    let socket = format!("ipc://{}", scratch.path().join("agent.sock").display());
    scratch.configure(&format!("listen = ['{socket}']\n[objects.tally]\ndriver = 'counter'"));
    let mut serve = scratch.agent(&["serve", "-c", "agent.toml"]);
    let mut agent = serve.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop((agent.stdout.take(), agent.stderr.take()));
    assert_eq!(call(&socket, "tally", "add", &json!([1])), json!(1));
    let id = agent.id().to_string();
    std::process::Command::new("kill").args(["-s", "TERM", &id]).status().unwrap();
    assert_eq!(wait(&mut agent).code(), Some(0));

    for (arguments, status) in [
        (["check", "-c", "agent.toml"], 0),
        (["check", "-c", "nothing.toml"], 78),
        (["--help", "", ""], 0),
    ] {
        let mut command = scratch.agent(&arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        assert_eq!(wait(&mut child).code(), Some(status), "{arguments:?}");
    }
}

#[test]
fn check_touches_no_device() {
    let board = TcpListener::bind("127.0.0.1:0").unwrap();
    board.set_nonblocking(true).unwrap();
    let port = board.local_addr().unwrap().port();
    let scratch = with_config(&format!(
        "[objects.srbs]\ndriver = 'fpga'\nhost = '127.0.0.1'\nport = {port}\nhide = ['nothing_such']"
    ));
    let (status, stdout, _) = run(&scratch, &["check", "-c", "agent.toml"]);
    assert_eq!(status, Some(0));
    // It was opened: its methods are known.
    assert!(stdout.contains("'nothing_such' matches nothing that 'srbs' has"), "{stdout}");
    assert_eq!(board.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}
