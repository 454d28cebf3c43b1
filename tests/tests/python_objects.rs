//! Python objects on the agent, as its clients meet them.
//!
//! `DURATION=60 cargo test -p proximity-tests --test python_objects sixteen -- --nocapture` is the long run.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::similar_names,
    reason = "a test that cannot go on panics, and says why"
)]

use proximity_client::{Arguments, CallError, CallOptions, Client, Error, Executed, Proxy, Reason};
use proximity_proto::Value;
use proximity_tests::{
    PATIENCE,
    process::{Agent, program, scratch},
    raw::Raw,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// A directory with the classes that the driver's own tests use, removed at the end.
struct Classes(PathBuf);

impl Classes {
    fn new() -> Self {
        let path = scratch();
        let classes = include_str!("../../drivers/tests/python/lab.py");
        fs::write(path.join("lab.py"), classes).expect("the scratch directory can be written");
        Self(path)
    }

    /// The table of an object, with further keys.
    fn table(&self, name: &str, keys: &str) -> String {
        let path = self.0.display();
        format!(
            "[objects.{name}]\ndriver = 'python'\nclass = 'lab:Lab'\npath = ['{path}']\n{keys}\n"
        )
    }
}

impl Drop for Classes {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What is logged is the driver's own tests' concern.
const QUIET: &str = "log = 'off'\n";

fn client(agent: &Agent) -> Client {
    Client::new(&agent.endpoint).expect("an address").with_timeout(PATIENCE)
}

/// The object `name`, once it is open: a Python takes its time to start.
fn object(agent: &Agent, name: &str) -> Proxy {
    let object = client(agent).object(name);
    until("the object is open", || object.describe().is_ok());
    object
}

fn within(timeout: Duration) -> CallOptions<'static> {
    CallOptions { timeout: Some(timeout), ..CallOptions::default() }
}

fn pid(lab: &Proxy) -> u32 {
    lab.call("pid", ()).expect("a number").get().expect("a number")
}

/// The processes that `parent` started, and whether each is a zombie.
fn children(parent: u32) -> Vec<(u32, bool)> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let child = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // NUMBER (NAME) STATE PARENT ..
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let state = fields.next()?;
        (fields.next()? == parent.to_string()).then(|| (pid, state == "Z"))
    };
    entries.filter_map(child).collect()
}

fn open_files(pid: u32) -> usize {
    let list = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd"));
    list.expect("/proc tells of our own processes").count()
}

/// Waits until something is so that no event tells of.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn methods_attributes_and_documentation_are_those_of_the_class() {
    let classes = Classes::new();
    let agent =
        Agent::start(&(QUIET.to_owned() + &classes.table("lab", "kwargs = { channels = 3 }")));
    let lab = object(&agent, "lab");
    assert_eq!(lab.call("add", (40,)).expect("a number").get::<u32>(), Ok(42));
    let mut named = Arguments::default();
    named.push(&1);
    named.push_named("flag", &true);
    let all = lab.call("everything", named).expect("a list");
    assert_eq!(format!("{:?}", all.value()), "Array([Uint(1), Array([]), Bool(true), Map({})])");
    assert_eq!(lab.get("channels").expect("an attribute").get::<u32>(), Ok(3));
    lab.set("level", &7.5).expect("an attribute that can be set");
    assert_eq!(lab.get("level").expect("an attribute").get::<f64>(), Ok(7.5));
    let described = lab.describe().expect("an interface");
    let echo = described.methods.iter().find(|method| method.name == "echo").expect("a method");
    assert_eq!(echo.params.len(), 1);
    assert_eq!((echo.params[0].name.as_str(), &*echo.params[0].doc), ("value", "anything"));
    assert!(echo.doc.starts_with("Gives a value back."), "{}", echo.doc);

    let Err(Error::Remote(boom)) = lab.call("boom", ()) else { panic!("no error of its own") };
    assert_eq!(
        (boom.fault.to_string().as_str(), boom.executed),
        ("ValueError: boom", Executed::Yes)
    );
    assert!(boom.fault.detail.iter().any(|line| line.ends_with("in boom")));
    // Also in JSON, and for a client of version 1.
    let json = Raw::connect(&agent.endpoint);
    let ask = |proc: &str, args: &str| {
        let request =
            format!(r#"{{"name": "lab", "proc": "{proc}", "args": {args}, "kwargs": {{}}}}"#);
        String::from_utf8(json.ask(request.as_bytes())).expect("JSON is text")
    };
    assert_eq!(ask("zeros", "[3]"), r#"{"__bytes__":"AAAA"}"#);
    assert!(ask("boom", "[]").starts_with(r#"{"EXCEPTION":["ValueError","boom",["#));
}

#[test]
fn what_is_hidden_is_unknown_everywhere() {
    let classes = Classes::new();
    let keys = "expose = ['echo', 'add', 'level', 'fixed']\nhide = ['add', 'fixed']";
    let agent = Agent::start(&(QUIET.to_owned() + &classes.table("lab", keys)));
    let lab = object(&agent, "lab");
    let described = lab.describe().expect("an interface");
    let methods: Vec<&str> = described.methods.iter().map(|m| m.name.as_str()).collect();
    let attributes: Vec<&str> = described.attributes.iter().map(|a| a.name.as_str()).collect();
    assert_eq!((methods, attributes), (vec!["echo"], vec!["level"]));
    for hidden in ["add", "boom", "_hidden", "__init__", "no_such"] {
        let Err(Error::Remote(error)) = lab.call(hidden, ()) else { panic!("{hidden} is there") };
        assert_eq!(error.fault.to_string(), format!("AttributeError: no method '{hidden}'"));
    }
    for hidden in ["fixed", "port", "_secret"] {
        let Err(Error::Remote(error)) = lab.get(hidden) else { panic!("{hidden} is there") };
        assert_eq!(error.fault.to_string(), format!("AttributeError: no attribute '{hidden}'"));
    }
}

#[test]
fn a_crash_is_its_callers_error_and_the_next_call_is_served() {
    let classes = Classes::new();
    let agent = Agent::start(&(QUIET.to_owned() + &classes.table("lab", "")));
    let lab = object(&agent, "lab");
    let before = pid(&lab);
    for (method, end) in [("segfault", "signal: 11 (SIGSEGV)"), ("leave", "exit status: 3")] {
        let Err(Error::Remote(error)) = lab.call(method, ()) else { panic!("{method}: no error") };
        let told = format!("RuntimeError: the process of object 'lab' ended in {method}(): {end}");
        assert_eq!((error.fault.to_string(), error.executed), (told, Executed::Unknown));
        assert_ne!(pid(&lab), before, "another process serves");
    }
    // Between two calls: nobody notices.
    let number = pid(&lab).to_string();
    assert!(Command::new("kill").args(["-KILL", &number]).status().is_ok_and(|s| s.success()));
    until("the process is reaped", || !Path::new("/proc").join(&number).exists());
    assert_ne!(pid(&lab).to_string(), number);
}

#[test]
fn a_hang_ends_at_its_deadline_and_holds_nobody_else() {
    let classes = Classes::new();
    let objects = QUIET.to_owned() + &classes.table("lab", "") + &classes.table("other", "");
    let agent = Agent::start(&objects);
    let (lab, other) = (object(&agent, "lab"), object(&agent, "other"));
    let (hung, other_pid) = (pid(&lab), pid(&other));
    let begun = classes.0.join("begun");
    thread::scope(|scope| {
        let (caller, mark) = (lab.clone(), begun.display().to_string());
        let hang = scope
            .spawn(move || caller.call_with("stubborn", (mark,), within(Duration::from_secs(1))));
        until("it hangs", || begun.exists());
        // The first of these is over while it waits; the second is served by the next process.
        let caller = lab.clone();
        let short =
            scope.spawn(move || caller.call_with("echo", (1,), within(Duration::from_millis(500))));
        let caller = lab.clone();
        let long = scope.spawn(move || caller.call("pid", ()));
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(2) {
            let call = Instant::now();
            assert_eq!(pid(&other), other_pid);
            assert!(call.elapsed() < Duration::from_millis(500), "the other object was held");
        }
        match hang.join().expect("no panic") {
            Err(error @ Error::Call(CallError::OutcomeUnknown { .. })) => {
                assert!(error.is_timeout(), "{error}");
            }
            other => panic!("{other:?}"),
        }
        match short.join().expect("no panic") {
            // The second on a slow machine, where the agent's word comes too late.
            Err(Error::Call(CallError::NotExecuted { .. } | CallError::OutcomeUnknown { .. })) => {}
            other => panic!("{other:?}"),
        }
        let served = long.join().expect("no panic").expect("a number");
        let _ = served.get::<u32>().expect("a number");
    });
    assert_ne!(pid(&lab), hung, "another process serves");
    until("the one that hung is gone", || !Path::new("/proc").join(hung.to_string()).exists());
}

#[test]
fn an_old_client_is_told_of_a_hang_and_of_a_crash() {
    let classes = Classes::new();
    let agent = Agent::start(&(QUIET.to_owned() + &classes.table("lab", "timeout = 3.0")));
    let lab = object(&agent, "lab");
    let old = Raw::connect(&agent.endpoint);
    let error = |proc: &[u8]| {
        let (head, tail) = (b"\x84\xa4name\xa3lab\xa4proc", b"\xa4args\x90\xa6kwargs\x80");
        let fixstr = 0xa0 | u8::try_from(proc.len()).expect("a short name");
        let request = [&head[..], &[fixstr], proc, &tail[..]].concat();
        let reply = old.ask(&request);
        let Some(Value::Map(map)) = Value::first(&reply) else { panic!("{reply:02x?}") };
        let Some(Value::Array(triple)) = map.get("EXCEPTION") else { panic!("{map:?}") };
        let text = |place| triple.get(place).and_then(|value| value.as_text()).expect("text");
        format!("{}: {}", text(0), text(1))
    };
    let start = Instant::now();
    assert_eq!(error(b"stubborn"), "TimeoutError: lab.stubborn did not end in time (3.000 s)");
    println!("told after {:?}", start.elapsed());
    until("it is back", || lab.call("pid", ()).is_ok());
    assert_eq!(
        error(b"leave"),
        "RuntimeError: the process of object 'lab' ended in leave(): exit status: 3"
    );
}

#[test]
fn the_command_says_by_its_status_that_nobody_knows_how_far_a_crash_let_the_call_come() {
    let classes = Classes::new();
    let agent = Agent::start(&(QUIET.to_owned() + &classes.table("lab", "")));
    let mut command = Command::new(program("proximity"));
    let output = command
        .args(["-a", &agent.endpoint, "--json", "call", "lab.leave"])
        .output()
        .expect("it starts");
    let told = String::from_utf8(output.stderr).expect("text");
    assert!(told.contains(r#""executed":"unknown""#), "{told}");
    assert_eq!(output.status.code(), Some(5), "{told}");
}

#[test]
fn no_process_outlives_the_agent() {
    for signal in ["TERM", "KILL"] {
        let classes = Classes::new();
        let mut agent = Agent::start(&(QUIET.to_owned() + &classes.table("lab", "")));
        let lab = object(&agent, "lab");
        let process = Path::new("/proc").join(pid(&lab).to_string());
        if signal == "KILL" {
            let raw = Raw::connect(&agent.endpoint);
            raw.send(br#"{"name": "lab", "proc": "sleep", "args": [600], "kwargs": {}}"#);
            // The second is refused once the first is in hand.
            until("it hangs", || {
                lab.call_with("echo", (1,), within(Duration::from_millis(300))).is_err()
            });
        }
        agent.process.signal(signal);
        agent.process.wait();
        until("the object's process is gone", || !process.exists());
    }
}

#[test]
fn check_starts_no_process() {
    let directory = scratch();
    let made = directory.join("made");
    let class = format!("open({:?}, 'w').close()\nclass Lab: pass\n", made.display().to_string());
    fs::write(directory.join("touching.py"), class).expect("written");
    let path = directory.display();
    let table = format!(
        "[objects.lab]\ndriver = 'python'\nclass = 'touching:Lab'\npath = ['{path}']\n\
         expose = ['read.*']\n"
    );
    let file = directory.join("agent.toml");
    fs::write(&file, table).expect("written");
    let check = Command::new(program("proximity-agent")).args(["check", "-c"]).arg(&file).output();
    let check = check.expect("it runs");
    let said = String::from_utf8_lossy(&check.stdout);
    assert!(check.status.success() && said.contains("no warnings"), "{said}");
    assert!(!made.exists(), "the module was imported");
    fs::remove_dir_all(&directory).expect("removed");
}

/// How one of sixteen fared.
#[derive(Default)]
struct Tally {
    calls: AtomicU32,
    errors: AtomicU32,
}

#[test]
fn sixteen_objects_go_on_while_one_of_them_crashes_each_second() {
    const OBJECTS: usize = 16;
    const PACE: Duration = Duration::from_millis(OBJECTS as u64);
    let told = std::env::var("DURATION").ok().map(|text| text.parse().expect("seconds"));
    let duration = Duration::from_secs(told.unwrap_or(5));
    let classes = Classes::new();
    let tables = (0..OBJECTS).map(|i| classes.table(&format!("lab{i}"), ""));
    let agent = Agent::start(&(QUIET.to_owned() + &tables.collect::<String>()));
    let labs: Vec<_> = (0..OBJECTS).map(|i| object(&agent, &format!("lab{i}"))).collect();
    let pids: Vec<u32> = labs.iter().map(pid).collect();
    let crasher = object(&agent, "lab0");
    // Once before counting, so that everything that stays open is open.
    assert!(crasher.call("segfault", ()).is_err());
    until("it is back", || crasher.call("echo", (1,)).is_ok());
    let files = open_files(agent.process.id());
    let tallies: Vec<Tally> = labs.iter().map(|_| Tally::default()).collect();
    let stop = AtomicBool::new(false);
    let mut crashes = 0;
    let start = Instant::now();
    thread::scope(|scope| {
        for (i, (lab, tally)) in labs.iter().zip(&tallies).enumerate() {
            let stop = &stop;
            scope.spawn(move || {
                let mut next = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    match lab.call("echo", (i,)) {
                        Ok(reply) => assert_eq!(reply.get::<usize>(), Ok(i)),
                        Err(error) => {
                            assert_eq!(i, 0, "an object that did not crash: {error}");
                            is_typed(&error);
                            tally.errors.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    tally.calls.fetch_add(1, Ordering::Relaxed);
                    next += PACE;
                    thread::park_timeout(next.saturating_duration_since(Instant::now()));
                }
            });
        }
        let mut next = start;
        while start.elapsed() < duration {
            match crasher.call("segfault", ()) {
                Err(error @ Error::Remote(_)) => {
                    assert_eq!(error.class(), "RuntimeError");
                    crashes += 1;
                }
                Err(error) => is_typed(&error),
                Ok(_) => panic!("it lives"),
            }
            next += Duration::from_secs(1);
            thread::park_timeout(next.saturating_duration_since(Instant::now()));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let count = |of: fn(&Tally) -> &AtomicU32| -> u32 {
        tallies.iter().map(|tally| of(tally).load(Ordering::Relaxed)).sum()
    };
    let (calls, errors) = (count(|tally| &tally.calls), count(|tally| &tally.errors));
    let rate = f64::from(calls) / start.elapsed().as_secs_f64();
    println!("{calls} calls, {rate:.0} a second; {crashes} crashes; {errors} errors, all lab0's");
    assert!(crashes >= 2, "{crashes} crashes in {duration:?}");
    if told.is_some() {
        assert!(rate >= 900.0, "{rate:.0} calls a second");
    }
    until("the one that crashed is back", || crasher.call("echo", (1,)).is_ok());
    for (lab, before) in labs.iter().zip(&pids).skip(1) {
        assert_eq!(pid(lab), *before, "{} was started anew", lab.name());
    }
    let children = children(agent.process.id());
    assert_eq!(children.len(), OBJECTS, "{children:?}");
    assert!(children.iter().all(|(_, is_zombie)| !is_zombie), "{children:?}");
    assert_eq!(open_files(agent.process.id()), files, "files left open");
}

/// An error of an object whose process comes and goes.
fn is_typed(error: &Error) {
    match error {
        Error::Remote(_)
        | Error::Call(CallError::NotExecuted { reason: Some(Reason::Failed), .. }) => {}
        other => panic!("{other}"),
    }
}
