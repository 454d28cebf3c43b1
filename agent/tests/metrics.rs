//! `--metrics`, against what was called, and against callers that mean no good.

// A test that fails by a panic is a test that works.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[allow(dead_code, reason = "other files of tests use the rest")]
mod support;

use serde_json::json;
use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::Instant,
};
use support::{Daemon, PATIENCE, Scratch, call};

const OBJECTS: &str = "
    listen = ['tcp://127.0.0.1:0']
    [objects.tally]
    driver = 'counter'
    [objects.calc]
    driver = 'calculator'
";

/// An agent, where it listens, and where it tells its figures.
fn serve(scratch: &Scratch) -> (Daemon, String, String) {
    scratch.configure(OBJECTS);
    let arguments = ["serve", "-c", "agent.toml", "--metrics", "0"];
    let mut agent = Daemon::start(&mut scratch.agent(&arguments));
    let url = agent.said("metrics http://");
    let host = url.strip_suffix("/metrics").unwrap().to_owned();
    assert!(host.starts_with("127.0.0.1:"), "{host}");
    let address = agent.ready();
    (agent, address, host)
}

fn ask(host: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    // A caller that is refused may find the connection reset behind the answer.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

/// The figures by name with labels.
fn figures(host: &str) -> BTreeMap<String, f64> {
    let answer = ask(host, b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("Content-Type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    assert!(body.ends_with("# EOF\n"), "{body}");
    let mut figures = BTreeMap::new();
    for line in body.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(figures.insert(name.to_owned(), value.parse().expect(line)).is_none(), "{line}");
    }
    // What is of one kind is told of once.
    let types: Vec<&str> = body.lines().filter(|line| line.starts_with("# TYPE ")).collect();
    let mut once = types.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), types.len(), "{body}");
    figures
}

#[test]
#[allow(clippy::float_cmp, reason = "small whole numbers")]
fn the_figures_are_what_was_called() {
    let scratch = Scratch::new();
    let (_agent, address, host) = serve(&scratch);
    for step in 1..=5 {
        call(&address, "tally", "add", &json!([step]));
    }
    for _ in 0..3 {
        call(&address, "calc", "div_two", &json!([1, 0]));
    }
    call(&address, "nobody", "add", &json!([1]));
    let figures = figures(&host);
    let figure = |name: &str| *figures.get(name).unwrap_or_else(|| panic!("{name}: {figures:#?}"));
    for (object, outcome, count) in [
        ("tally", "done", 5.0),
        ("tally", "failed", 0.0),
        ("calc", "done", 0.0),
        ("calc", "failed", 3.0),
        ("calc", "refused", 0.0),
    ] {
        let labels = format!("object=\"{object}\",outcome=\"{outcome}\"");
        assert_eq!(figure(&format!("proximity_object_calls_total{{{labels}}}")), count, "{labels}");
    }
    assert_eq!(figure("proximity_requests_wrong_total"), 1.0);
    assert_eq!(figure("proximity_calls_started_total"), 8.0);
    assert_eq!(figure("proximity_messages_received_total"), 9.0);
    assert_eq!(figure("proximity_messages_sent_total"), 9.0);
    assert!(figure("proximity_received_bytes_total") > 9.0 * 40.0);
    assert_eq!(figure("proximity_draining"), 0.0);
    for object in ["tally", "calc"] {
        assert_eq!(figure(&format!("proximity_object_up{{object=\"{object}\"}}")), 1.0);
        assert_eq!(figure(&format!("proximity_object_queue{{object=\"{object}\"}}")), 0.0);
    }
    let duration = "proximity_call_duration_seconds";
    assert_eq!(figure(&format!("{duration}_count{{object=\"tally\"}}")), 5.0);
    assert_eq!(figure(&format!("{duration}_bucket{{le=\"+Inf\",object=\"tally\"}}")), 5.0);
    assert_eq!(figure(&format!("{duration}_bucket{{le=\"67.108864\",object=\"tally\"}}")), 5.0);
    assert!(figure(&format!("{duration}_sum{{object=\"tally\"}}")) > 0.0);
}

#[test]
fn what_is_no_get_of_the_page_is_answered_briefly() {
    let scratch = Scratch::new();
    let (_agent, _, host) = serve(&scratch);
    for (request, status) in [
        ("GET / HTTP/1.0\r\n\r\n", "200 OK"),
        ("HEAD /metrics HTTP/1.0\r\n\r\n", "200 OK"),
        ("GET /../../etc/passwd HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "405 Method Not Allowed"),
        ("\x16\x03\x01 this is TLS\r\n\r\n", "400 Bad Request"),
    ] {
        let answer = ask(&host, request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request:?}: {answer}");
    }
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(8 << 10));
    let answer = ask(&host, long.as_bytes());
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[test]
fn callers_that_say_nothing_delay_neither_calls_nor_figures_for_long() {
    let scratch = Scratch::new();
    let (_agent, address, host) = serve(&scratch);
    let silent: Vec<TcpStream> = (0..8).map(|_| TcpStream::connect(&host).unwrap()).collect();
    let begun = Instant::now();
    assert_eq!(call(&address, "tally", "add", &json!([1])), json!(1));
    figures(&host);
    // Eight of them, four at a time, two seconds each; and a busy machine.
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    drop(silent);
}

#[test]
fn an_address_in_use_ends_the_agent_with_69() {
    let scratch = Scratch::new();
    scratch.configure(OBJECTS);
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let arguments = ["serve", "-c", "agent.toml", "--metrics", &taken];
    let (status, _, stderr) = Daemon::start(&mut scratch.agent(&arguments)).end();
    assert_eq!(status.code(), Some(69));
    assert!(stderr.contains(&format!("cannot tell metrics at {taken}: Address already in use")));
    drop(holder);
}
