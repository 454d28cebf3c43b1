//! The call contract with real processes: leases, repeated writes, old clients, what is bounded.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on panics, and says why"
)]

use proximity_client::{Client, Error};
use proximity_proto::{
    call::{CallId, Op},
    message::{Content, Message},
    request::{Arguments, Request},
};
use proximity_tests::{
    PATIENCE,
    faulty::Mistake,
    process::{Agent, Process, TestAgent, program, scratch},
    raw::Raw,
};
use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    time::{Duration, Instant},
};

const COUNTER: &str = "[objects.counter]\ndriver = \"counter\"\n";

/// A request of version 2 as bytes.
fn request(
    id: CallId,
    op: Op,
    target: (&str, &str),
    args: &Arguments,
    lease: Option<&[u8]>,
) -> Vec<u8> {
    let (name, proc) = target;
    let (epoch, expires, progress, credit) = (None, None, false, None);
    let mut out = Vec::new();
    Request { op, id, epoch, expires, lease, progress, credit, name, proc, args }.write(&mut out);
    out
}

/// What an agent answers: the value as text, or the error's line and reason.
fn said(reply: &[u8]) -> String {
    match Message::parse(reply).expect("a message of version 2").content {
        Content::Ok(value) => proximity_proto::json::value(value).to_string(),
        Content::Error { fault, reason, .. } => format!("{fault} [{}]", reason.unwrap_or("")),
        other => panic!("{other:?}"),
    }
}

/// An old client's call.
fn old(name: &str, proc: &str) -> Vec<u8> {
    format!(r#"{{"name": "{name}", "proc": "{proc}", "args": [], "kwargs": {{}}}}"#).into_bytes()
}

#[test]
fn a_lease_holds_against_others_and_outlives_its_connection_but_not_the_agent() {
    let mut agent = Agent::start(COUNTER);
    let ana = Client::new(&agent.endpoint).unwrap().with_holder("ana");
    let ben = Client::new(&agent.endpoint).unwrap().with_holder("ben");
    let lease = ana.object("counter").lock(Duration::from_mins(1)).unwrap();
    let refused = ben.object("counter").call("add", (1,)).unwrap_err();
    let locked = refused.locked().expect("locked");
    assert!(locked.holder.starts_with("ana"), "{locked:?}");
    assert!(ben.object("counter").get("value").is_ok());
    assert_eq!(ben.leases().unwrap().len(), 1);
    let stolen = ben.object("counter").steal(Duration::from_mins(1)).unwrap();
    assert!(stolen.call("add", (1,)).is_ok());
    assert!(lease.call("add", (1,)).is_err());
    stolen.release().unwrap();
    drop(lease);
    // Without any client that holds it: by its token alone.
    let id = |seq| CallId { client: [7; 16], seq };
    let token = Some(&[9; 16][..]);
    let lock = Arguments::from((60_000,));
    let target = ("counter", "add");
    let locked = request(id(1), Op::Lock, ("counter", ""), &lock, token);
    let first = Raw::connect(&agent.endpoint).ask(&locked);
    assert!(said(&first).contains("expires"), "{}", said(&first));
    let add = request(id(2), Op::Call, target, &Arguments::default(), token);
    let second = Raw::connect(&agent.endpoint);
    assert_eq!(said(&second.ask(&add)), "2");
    agent.restart(COUNTER);
    let raw = Raw::connect(&agent.endpoint);
    let add = request(id(3), Op::Call, target, &Arguments::default(), token);
    assert!(said(&raw.ask(&add)).ends_with("[LeaseLost]"));
}

/// Whether one who had a lease in an agent's last run writes past whoever has it in this one.
fn intrudes(mut agent: Agent, objects: &str) -> bool {
    let [ana, ben] = [[1; 16], [2; 16]];
    let ask = |agent: &Agent, client: [u8; 16], seq, op, args: &Arguments| {
        let id = CallId { client, seq };
        let target = ("counter", if op == Op::Call { "add" } else { "" });
        said(&Raw::connect(&agent.endpoint).ask(&request(id, op, target, args, Some(&client))))
    };
    let (minute, nothing) = (Arguments::from((60_000,)), Arguments::default());
    assert!(ask(&agent, ana, 1, Op::Lock, &minute).contains("expires"));
    agent.restart(objects);
    assert!(ask(&agent, ben, 1, Op::Lock, &minute).contains("expires"));
    let told = ask(&agent, ana, 2, Op::Call, &nothing);
    assert!(told == "1" || told.ends_with("[Locked]"), "{told}");
    told == "1"
}

#[test]
fn a_lease_of_the_last_run_does_not_pass_for_one_of_this_run() {
    assert!(!intrudes(Agent::start(COUNTER), COUNTER));
    // An agent that gets it wrong is found out.
    let objects = Mistake::LeaseWithoutEpoch.line() + COUNTER;
    assert!(intrudes(Agent::start_as(&program("faulty-agent"), &objects), &objects));
}

#[test]
fn the_next_holder_follows_when_the_first_one_is_gone() {
    let agent = Agent::start(COUNTER);
    let ttl = Duration::from_secs(1);
    let lock = Arguments::from((1_000,));
    let ask = |raw: &Raw, seq, token: u8| {
        let id = CallId { client: [token; 16], seq };
        said(&raw.ask(&request(id, Op::Lock, ("counter", ""), &lock, Some(&[token; 16]))))
    };
    let before = Instant::now();
    let first = ask(&Raw::connect(&agent.endpoint), 1, 1);
    let given = Instant::now();
    assert!(first.contains("expires"), "{first}");
    let next = Raw::connect(&agent.endpoint);
    let mut seq = 0;
    while !ask(&next, seq, 2).contains("expires") {
        seq += 1;
        assert!(given.elapsed() < PATIENCE, "nobody ever gets it again");
    }
    assert!(before.elapsed() >= ttl, "two had it");
    let late = given.elapsed().saturating_sub(ttl);
    println!("the next holder followed {late:?} after the first one's time was over");
    // Fifty milliseconds on a machine that has nothing else to do.
    assert!(late < Duration::from_secs(1), "{late:?}");
}

#[test]
fn a_repeated_write_runs_once_and_is_answered_after_a_reload_too() {
    let agent = Agent::start(COUNTER);
    let id = CallId { client: [3; 16], seq: 1 };
    let add = request(id, Op::Call, ("counter", "add"), &Arguments::default(), None);
    for _ in 0..3 {
        assert_eq!(said(&Raw::connect(&agent.endpoint).ask(&add)), "1");
    }
    // Without the object, and where it is another one of the same name.
    for objects in ["", "[objects.counter]\ndriver = \"counter\"\nstart = 70\n"] {
        let text = format!("listen = [\"tcp://127.0.0.1:0\"]\nqueue = 9\n{objects}");
        std::fs::write(agent.configuration(), text).unwrap();
        agent.process.signal("HUP");
        let there = |client: &Client| {
            let value = client.object("counter").get("value");
            value.ok().map(|value| value.get::<i64>().unwrap())
        };
        let wanted = if objects.is_empty() { None } else { Some(70) };
        let client = Client::new(&agent.endpoint).unwrap();
        let end = Instant::now() + PATIENCE;
        while there(&client) != wanted {
            assert!(Instant::now() < end, "the configuration is not taken over");
        }
        assert_eq!(said(&Raw::connect(&agent.endpoint).ask(&add)), "1");
    }
}

#[test]
fn old_clients_do_what_legacy_lets_them() {
    let agent = Agent::start(&format!(
        "legacy = \"ro\"\n{COUNTER}[objects.free]\ndriver = \"counter\"\nlegacy = \"rw\"\n\
         [objects.shut]\ndriver = \"counter\"\nlegacy = \"off\"\n"
    ));
    let raw = Raw::connect(&agent.endpoint);
    let ask = |name| String::from_utf8(raw.ask(&old(name, "add"))).unwrap();
    assert!(ask("counter").contains("counter.add writes; clients of version 1 may only read"));
    assert_eq!(ask("free"), "1");
    assert!(ask("shut").contains("clients of version 1 may not use 'shut'"));
    let ours = Client::new(&agent.endpoint).unwrap();
    assert!(ours.object("shut").call("add", ()).is_ok());
}

#[test]
fn a_second_agent_does_not_take_the_first_ones_path() {
    let directory = scratch();
    let path = directory.join("agent.sock");
    let file = directory.join("agent.toml");
    std::fs::write(&file, format!("listen = [\"ipc://{}\"]\n{COUNTER}", path.display())).unwrap();
    let serve = || {
        let mut command = Command::new(program("proximity-agent"));
        command.args(["serve", "-c"]).arg(&file);
        command
    };
    let mut first = Process::start(&mut serve());
    let endpoint = first.line("listening ");
    first.line("ready");
    let second = serve().output().unwrap();
    assert_eq!(second.status.code(), Some(69), "{}", String::from_utf8_lossy(&second.stderr));
    let client = Client::new(&endpoint).unwrap();
    assert!(client.object("counter").call("add", ()).is_ok());
    first.kill();
    // A path that a killed agent left behind is nobody's.
    let mut third = Process::start(&mut serve());
    third.line("ready");
    third.kill();
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn an_agent_whose_log_nobody_reads_serves_all_the_same() {
    use std::process::Stdio;
    let directory = scratch();
    let file = directory.join("agent.toml");
    std::fs::write(&file, format!("listen = [\"tcp://127.0.0.1:0\"]\n{COUNTER}")).unwrap();
    for closed in [true, false] {
        let mut command = Command::new(program("proximity-agent"));
        command.args(["serve", "-c"]).arg(&file).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = child.stderr.take();
        // Either gone, or open and full before long.
        let log = log.filter(|_| !closed);
        let mut lines =
            std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        let endpoint = lines.next().unwrap().unwrap().trim_start_matches("listening ").to_owned();
        let raw = Raw::connect(&endpoint);
        let token = Some(&[9; 16][..]);
        // Some 200 bytes of audit each: far more than a pipe holds.
        for seq in 0..1_000 {
            let id = CallId { client: [7; 16], seq };
            let args = Arguments::from((60_000,));
            let reply = raw.ask(&request(id, Op::Lock, ("counter", ""), &args, token));
            assert!(said(&reply).contains("expires"), "{}", said(&reply));
        }
        drop(log);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn the_audit_has_a_line_for_each_lock_release_and_theft() {
    let directory = scratch();
    let (file, log) = (directory.join("agent.toml"), directory.join("log"));
    let text = format!("listen = [\"tcp://127.0.0.1:0\"]\nlog = \"off\"\n{COUNTER}");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(program("proximity-agent"));
    command.args(["serve", "-c"]).arg(&file).stderr(std::fs::File::create(&log).unwrap());
    let mut agent = Process::start(&mut command);
    let endpoint = agent.line("listening ");
    agent.line("ready");
    let raw = Raw::connect(&endpoint);
    let mut args = Arguments::from((60_000,));
    args.push_named("holder", "ana@laptop");
    let ask = |seq, op, token: u8| {
        let id = CallId { client: [7; 16], seq };
        let args = if op == Op::Release { &Arguments::default() } else { &args };
        raw.ask(&request(id, op, ("counter", ""), args, Some(&[token; 16])))
    };
    ask(1, Op::Lock, 1);
    ask(2, Op::Lock, 2);
    ask(3, Op::Steal, 3);
    ask(4, Op::Release, 3);
    let end = Instant::now() + PATIENCE;
    let lines = loop {
        let text = std::fs::read_to_string(&log).unwrap();
        let json = |line: &str| -> Option<serde_json::Value> {
            serde_json::from_str(line.get(line.find('{')?..)?).ok()
        };
        let lines: Vec<_> = text.lines().filter_map(json).collect();
        if lines.len() >= 4 {
            break lines;
        }
        assert!(Instant::now() < end, "{text}");
    };
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            assert!(line["wall"].as_f64() > Some(1e9) && line["uptime_ms"].is_u64(), "{line}");
            assert_eq!(
                (line["principal"].as_str(), line["address"].as_str()),
                (Some("local"), Some("127.0.0.1"))
            );
            assert_eq!(line["object"], "counter");
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            // Who releases one does not say who he is; the agent knows.
            assert_eq!(text("holder"), "ana@laptop");
            [text("what"), text("outcome"), text("from")]
        })
        .collect();
    assert_eq!(
        told,
        [
            ["lock", "ok", ""],
            ["lock", "Locked", ""],
            ["steal", "ok", "ana@laptop (127.0.0.1)"],
            ["release", "ok", ""]
        ]
    );
    drop(agent);
    std::fs::remove_dir_all(directory).unwrap();
}

/// A peer that speaks just enough of ZeroMQ to ask, and never reads.
fn deaf(endpoint: &str, request: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(endpoint.trim_start_matches("tcp://")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut greeting = [0; 64];
    let head = b"\xff\0\0\0\0\0\0\0\0\x7f\x03\0NULL";
    greeting.iter_mut().zip(head).for_each(|(to, from)| *to = *from);
    stream.write_all(&greeting).unwrap();
    stream.write_all(b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03REQ").unwrap();
    // The agent's greeting, and the head of its own command.
    stream.read_exact(&mut greeting).unwrap();
    stream.read_exact(&mut [0; 2]).unwrap();
    stream.write_all(b"\x01\0\0").unwrap();
    stream.write_all(&[u8::try_from(request.len()).unwrap()]).unwrap();
    stream.write_all(request).unwrap();
    stream
}

/// What a process has in memory, in MiB.
fn memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of it");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() / 1024
}

/// The time in which 99 of 100 calls are answered.
fn p99(client: &Client) -> Duration {
    let sums = client.object("foo");
    let mut times: Vec<Duration> = (0..500)
        .map(|_| {
            let start = Instant::now();
            sums.call("add_two", (2, 3)).unwrap();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    *times.iter().rev().nth(5).unwrap()
}

#[test]
fn sixty_four_readers_that_never_read_cost_little_memory_and_it_comes_back() {
    const SIZE: u32 = 16 << 20;
    let agent = TestAgent::start();
    let client = Client::new(&agent.endpoint).unwrap();
    let blob = client.object("blob");
    // The object has its bytes from here on, and all buffers have been used once.
    blob.call("read", (SIZE,)).unwrap();
    let quiet = p99(&client);
    std::thread::sleep(Duration::from_secs(2));
    let process = agent.process.id();
    let before = memory(process);

    let read = format!(
        r#"{{"v": 2, "id": [{{"__bytes__": "MDEyMzQ1Njc4OWFiY2RlZg=="}}, 1],"name": "blob", "proc": "read", "args": [{SIZE}]}}"#
    );
    let mut packed = Vec::new();
    proximity_proto::json::to_messagepack(
        read.as_bytes(),
        &proximity_proto::limits::Limits::default(),
        &mut packed,
    )
    .unwrap();
    let deaf: Vec<TcpStream> = (0..64).map(|_| deaf(&agent.endpoint, &packed)).collect();
    let mut most = 0;
    let mut loaded = Duration::MAX;
    for _ in 0..3 {
        loaded = loaded.min(p99(&client));
        most = most.max(memory(process));
    }
    // What is refused is known to be large: the object is not asked.
    let refused = blob.call("read", (SIZE,));
    assert!(matches!(refused, Err(Error::Call(_))), "there was room: {most} MiB");
    most = most.max(memory(process));
    println!("{before} MiB before, {most} MiB with 64 deaf readers, p99 {quiet:?} and {loaded:?}");
    assert!(most <= 128, "{most} MiB");
    assert!(loaded <= 2 * quiet + Duration::from_millis(20), "{loaded:?}, {quiet:?} before");

    drop(deaf);
    let end = Instant::now() + PATIENCE;
    let after = loop {
        let after = memory(process);
        if after <= before + 10 {
            break after;
        }
        assert!(Instant::now() < end, "{after} MiB stay, {before} MiB before");
        std::thread::sleep(Duration::from_millis(50));
    };
    println!("{after} MiB after they left");
    blob.call("read", (SIZE,)).unwrap();
}
