//! Python objects: what passes, what is told, and what their processes do to nobody but themselves.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that fails by a panic works")]
#![allow(clippy::result_large_err, reason = "a test has time")]

#[path = "python/support.rs"]
mod support;

use proptest::{prelude::*, test_runner::TestRunner};
use proximity_drivers::{kind, settings::Settings};
use proximity_proto::{
    Bytes, Effect, Fault, ToReply, Value,
    arg::Type,
    fault::{Executed, Reason},
    reply,
    time::{DateTime, TimeDelta},
};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    time::{Duration, Instant},
};
use support::{
    Log, Nothing, Opened, PATIENCE, Scratch, exists, kill, lives, opener, packed, processes_of,
    until,
};

/// Any value that the wire has.
#[derive(Clone, Debug)]
enum Any {
    Nil,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Any>),
    Dict(BTreeMap<String, Any>),
}

impl ToReply for Any {
    fn to_reply(&self, out: &mut Vec<u8>) {
        match self {
            Any::Nil => ().to_reply(out),
            Any::Bool(truth) => truth.to_reply(out),
            Any::Int(number) => number.to_reply(out),
            Any::Uint(number) => number.to_reply(out),
            Any::Float(number) => number.to_reply(out),
            Any::Text(text) => text.to_reply(out),
            Any::Bytes(bytes) => reply::bytes(out, bytes),
            Any::List(list) => list.to_reply(out),
            Any::Dict(dict) => dict.to_reply(out),
        }
    }

    fn ty() -> Type {
        Type::named("any")
    }
}

fn any_value() -> impl Strategy<Value = Any> {
    let number = prop_oneof![any::<i64>(), -70_000..70_000_i64, -300..300_i64];
    let leaf = prop_oneof![
        Just(Any::Nil),
        any::<bool>().prop_map(Any::Bool),
        number.prop_map(Any::Int),
        any::<u64>().prop_map(Any::Uint),
        any::<f64>().prop_map(Any::Float),
        ".{0,40}".prop_map(Any::Text),
        "[a-z]{250,260}".prop_map(Any::Text),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(Any::Bytes),
    ];
    leaf.prop_recursive(4, 64, 20, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..20).prop_map(Any::List),
            proptest::collection::btree_map(".{0,8}", inner, 0..20).prop_map(Any::Dict),
        ]
    })
}

#[test]
fn any_value_comes_back_in_the_form_of_the_wire() {
    let lab = RefCell::new(Opened::lab());
    let mut runner = TestRunner::default();
    let ran = runner.run(&any_value(), |value| {
        prop_assert_eq!(lab.borrow_mut().call("echo", &(&value,)), packed(&value));
        Ok(())
    });
    ran.unwrap_or_else(|error| panic!("{error}\n{runner}"));
}

#[test]
fn numbers_and_lengths_at_the_bounds_of_their_forms_keep_the_smallest() {
    let mut lab = Opened::lab();
    for bits in [5, 7, 8, 15, 16, 31, 32, 63] {
        for number in [(1_i128 << bits) - 1, 1 << bits, -(1 << bits), -(1 << bits) - 1] {
            let sent = match (u64::try_from(number), i64::try_from(number)) {
                (Ok(number), _) => packed(&(number,)),
                (_, Ok(number)) => packed(&(number,)),
                _ => continue,
            };
            let back = lab.try_call("echo", &sent, &[0x80]).unwrap().ok().expect("an answer");
            assert_eq!(back, sent[1..], "{number}");
        }
    }
    for len in [15, 16, 31, 32, 255, 256, 65_535, 65_536] {
        let text = "x".repeat(len);
        assert_eq!(lab.call("echo", &(&text,)), packed(&text), "text of {len}");
        let bytes = Bytes(vec![0xff; len]);
        assert_eq!(lab.call("echo", &(&bytes,)), packed(&bytes), "bytes of {len}");
        let list = vec![1_u8; len];
        assert_eq!(lab.call("echo", &(&list,)), packed(&list), "list of {len}");
    }
}

#[test]
fn what_older_clients_send_is_understood() {
    let mut lab = Opened::lab();
    let mut kind = |bytes: &[u8]| {
        let mut args = vec![0x91];
        args.extend_from_slice(bytes);
        let back = lab.try_call("kind", &args, &[0x80]).unwrap().ok().expect("an answer");
        Value::first(&back).unwrap().as_text().unwrap().to_owned()
    };
    // str 8, and raw strings of Python 2 that are no text.
    assert_eq!(kind(b"\xd9\x02hi"), "str");
    assert_eq!(kind(b"\xa2\xff\xfe"), "bytes");
    assert_eq!(kind(b"\xca\x3f\x80\0\0"), "float");
    assert_eq!(kind(b"\xd3\0\0\0\0\0\0\0\x01"), "int");
    // Keys as bin, as Python 2 with msgpack 1.0 has them.
    assert_eq!(
        kind(b"\x82\xc4\x0c__datetime__\xc3\xc4\x06as_str\xc4\x1820140702T12:00:00.000001"),
        "datetime"
    );
    assert_eq!(kind(&packed(&TimeDelta { seconds: 1.5 })), "timedelta");
    // What is asked for as bytes, and sent as text, is bytes.
    let length = lab.try_call("length", b"\x91\xa2hi", &[0x80]).unwrap().ok().expect("an answer");
    assert_eq!(length, packed(&("bytes", 2)));
}

#[test]
fn times_and_large_results_pass() {
    let mut lab = Opened::lab();
    let time: DateTime = "20140702T12:00:00.000001".parse().unwrap();
    let span = TimeDelta { seconds: 1.5 };
    assert_eq!(lab.call("when", &Nothing), packed(&(time, span)));
    assert_eq!(lab.call("echo", &((time, span),)), packed(&(time, span)));
    // The wire has no zones: it is the same moment, in UTC.
    let moment: DateTime = "20231231T18:30:00.000000".parse().unwrap();
    assert_eq!(lab.call("zoned", &Nothing), packed(&moment));
    let zeros = Bytes(vec![0; 16 << 20]);
    assert_eq!(lab.call("zeros", &(16 << 20,)), packed(&zeros));
    assert_eq!(lab.call("echo", &(&zeros,)), packed(&zeros));
}

#[test]
fn arguments_by_name_and_collected_ones_arrive() {
    let mut lab = Opened::lab();
    let kwargs = packed(&BTreeMap::from([("flag", Any::Bool(true)), ("z", Any::Int(9))]));
    let back = lab.try_call("everything", &packed(&(1, 2, 3)), &kwargs).unwrap().ok();
    let expected = (1, (2, 3), true, BTreeMap::from([("z", 9)]));
    assert_eq!(back.expect("an answer"), packed(&expected));
}

#[test]
fn an_async_method_runs_to_its_end() {
    assert_eq!(Opened::lab().call("soon", &(7,)), packed(&7));
}

#[test]
fn the_object_is_made_with_what_the_configuration_says() {
    let table = "class = 'lab:Lab'\nargs = ['/dev/ttyS1']\nkwargs = { channels = 4 }";
    let mut lab = Opened::open("lab", table);
    assert_eq!(lab.get("port").unwrap(), packed(&"/dev/ttyS1"));
    assert_eq!(lab.get("channels").unwrap(), packed(&4));
}

#[test]
fn the_interface_is_what_the_class_says_of_itself() {
    let lab = Opened::lab();
    let names: Vec<&str> = lab.interface.methods.iter().map(|m| m.name.as_str()).collect();
    assert!(
        names.contains(&"echo") && !names.iter().any(|name| name.starts_with('_')),
        "{names:?}"
    );
    assert_eq!(lab.interface.doc, "A laboratory.");
    let described: serde_json::Value =
        serde_json::from_str(&lab.interface.describe("lab")).unwrap();
    let method = |name: &str| {
        let methods = described["methods"].as_array().unwrap();
        methods.iter().find(|method| method["name"] == name).unwrap().clone()
    };
    assert_eq!(
        method("add"),
        serde_json::json!({
            "name": "add",
            "usage": "usage: add(a, b)",
            "doc": "Adds.\n\na: one\nb: another\n\nraises TypeError: they cannot be added",
            "params": [
                {"name": "a", "type": "int", "kind": "positional", "doc": "one"},
                {"name": "b", "type": "int", "default": 2, "kind": "positional", "doc": "another"},
            ],
            "returns": "int",
            "effect": "write",
            "errors": [{"class": "TypeError", "when": "they cannot be added"}],
        })
    );
    let kinds: Vec<(String, String)> = method("everything")["params"]
        .as_array()
        .unwrap()
        .iter()
        .map(|param| (param["name"].to_string(), param["kind"].to_string()))
        .collect();
    let expected = [
        ("\"a\"", "\"positional\""),
        ("\"args\"", "\"args\""),
        ("\"flag\"", "\"positional\""),
        ("\"kwargs\"", "\"kwargs\""),
    ];
    assert_eq!(kinds, expected.map(|(name, kind)| (name.to_owned(), kind.to_owned())));
    assert_eq!(
        described["attributes"],
        serde_json::json!([
            {"name": "LIMIT", "type": "int", "doc": "", "settable": true},
            {"name": "channels", "type": "int", "doc": "", "settable": true},
            {"name": "fixed", "type": "any", "doc": "", "settable": false},
            {"name": "level", "type": "float", "doc": "The level.", "settable": true},
            {"name": "port", "type": "str", "doc": "", "settable": true},
        ])
    );
}

#[test]
fn methods_write_unless_the_class_says_otherwise() {
    let marked = Opened::open("marked", "class = 'lab:Marked'");
    let effect = |name: &str| marked.interface.method(name).unwrap().effect;
    assert_eq!(effect("read"), Effect::Read);
    assert_eq!(effect("write"), Effect::Write);
    assert_eq!(effect("program"), Effect::Admin);
    assert_eq!(effect("odd"), Effect::Write);
}

#[test]
fn attributes_are_read_and_set() {
    let mut lab = Opened::lab();
    assert_eq!(lab.get("level").unwrap(), packed(&1.5));
    assert_eq!(lab.set("level", &3).unwrap(), packed(&()));
    assert_eq!(lab.get("level").unwrap(), packed(&3));
    let fault = lab.set("level", &40).unwrap_err();
    assert_eq!(fault.to_string(), "ValueError: level is 40; it must be 0 to 31");
    let fault = lab.set("fixed", &2).unwrap_err();
    assert_eq!(fault.to_string(), "AttributeError: attribute 'fixed' can only be read");
    assert!(fault.before, "nothing was executed");
    assert_eq!(lab.set("port", &"elsewhere").unwrap(), packed(&()));
    assert_eq!(lab.get("port").unwrap(), packed(&"elsewhere"));
}

#[test]
fn an_exception_has_its_class_its_text_and_its_own_lines_only() {
    let mut lab = Opened::lab();
    let fault = lab.fault("boom", &Nothing);
    assert_eq!(fault.to_string(), "ValueError: boom");
    assert!(fault.detail[0].contains("lab.py") && fault.detail[0].ends_with("in boom"));
    assert_eq!(fault.detail[1].trim(), "raise ValueError(text)");
    assert!(!fault.detail.iter().any(|line| line.contains("<proximity>")), "{:?}", fault.detail);
    assert_eq!(lab.fault("strange", &Nothing).to_string(), "Strange: strange");
    let fault = lab.fault("unspeakable", &Nothing);
    assert_eq!(fault.message, "<Unspeakable whose text raises KeyError>");
    assert_eq!(lab.fault("quit", &Nothing).to_string(), "SystemExit: 4");
    let fault = lab.fault("boom", &("é\u{1F980}",));
    assert_eq!(fault.message, "é\u{1F980}");
    // None of these was the end of it.
    assert_eq!(lab.call("echo", &(1,)), [1]);
}

#[test]
fn arguments_that_do_not_fit_are_a_type_error() {
    let mut lab = Opened::lab();
    let told = |fault: Fault| (fault.to_string(), fault.before, fault.detail.len());
    assert_eq!(
        told(lab.fault("add", &Nothing)),
        ("TypeError: add() missing a required argument: 'a'".to_owned(), true, 0)
    );
    assert_eq!(
        told(lab.fault("add", &(1, 2, 3))),
        ("TypeError: add() too many positional arguments".to_owned(), true, 0)
    );
    // Its own is told with where it was raised.
    let (text, before, lines) = told(lab.fault("add", &(1, "x")));
    assert_eq!(text, "TypeError: unsupported operand type(s) for +: 'int' and 'str'");
    assert!(lines > 0 && !before);
}

#[test]
fn a_result_that_cannot_be_sent_is_an_error_and_the_object_lives() {
    let mut lab = Opened::lab();
    let pid = lab.number("pid");
    let mut odd = |what: &str| {
        let fault = lab.fault("odd", &(what,));
        assert_eq!((&*fault.class, fault.detail.len()), ("TypeError", 0));
        fault.message.strip_prefix("odd returned what cannot be sent: ").unwrap().to_owned()
    };
    assert_eq!(odd("object"), "a value of class builtins.object has no form on the wire");
    assert_eq!(odd("lock"), "a value of class _thread.lock has no form on the wire");
    assert_eq!(odd("large"), "18446744073709551616 does not fit in 64 bits");
    assert!(odd("huge").ends_with("does not fit in 64 bits"));
    assert_eq!(odd("key"), "the dict key 1 is no text; only text can be a key");
    assert_eq!(odd("deep"), "lists and dicts nest deeper than 32");
    assert!(odd("text").starts_with("'utf-8' codec can't encode character '\\ud800'"));
    assert_eq!(lab.number("pid"), pid);
}

#[test]
fn what_the_object_prints_is_logged_and_harms_nothing() {
    let mut lab = Opened::open("talker", "class = 'lab:Lab'");
    // There is nothing on its standard input, and nothing of ours among its arguments.
    assert_eq!(lab.call("chatter", &Nothing), packed(&("", Vec::<u8>::new())));
    Log::wait_for("INFO object 'talker': from a child");
    lab.call("say", &("good morning",));
    Log::wait_for("INFO object 'talker': good morning");
}

#[test]
fn a_crash_is_told_with_what_is_known_of_it() {
    let mut lab = Opened::open("crashing", "class = 'lab:Lab'");
    let pid = lab.number("pid");
    let lost = lab.lost("segfault", &Nothing);
    assert_eq!(
        lost.fault.to_string(),
        "RuntimeError: the process of object 'crashing' ended in segfault(): signal: 11 (SIGSEGV)"
    );
    assert_eq!((lost.executed, lost.reason), (Executed::Unknown, None));
    let detail = lost.fault.detail.join("\n");
    assert!(detail.contains("Segmentation fault") && detail.contains("in segfault"), "{detail}");
    assert!(!exists(pid), "it is reaped at once");
    Log::wait_for("WARN the process of object 'crashing' ended: signal: 11 (SIGSEGV)");

    lab.reopen().unwrap();
    assert_ne!(lab.number("pid"), pid);
    let lost = lab.lost("leave", &(3,));
    assert_eq!(
        lost.fault.to_string(),
        "RuntimeError: the process of object 'crashing' ended in leave(): exit status: 3"
    );
    assert_eq!(lost.fault.hint.as_deref(), Some("it is started anew"));
    lab.reopen().unwrap();
    assert_eq!(lab.call("echo", &(1,)), [1]);
}

#[test]
fn a_copy_of_the_process_answers_nobody_and_hides_no_crash() {
    let mut lab = Opened::open("forking", "class = 'lab:Lab'");
    let pid = lab.number("pid");
    for _ in 0..20 {
        assert_ne!(lab.number("fork"), 0, "the copy answered");
        assert_eq!(lab.number("pid"), pid, "an answer was one behind");
    }
    lab.number("leave_copy");
    let begun = Instant::now();
    let lost = lab.lost("segfault", &Nothing);
    assert!(lost.fault.message.contains("signal: 11 (SIGSEGV)"), "{}", lost.fault);
    assert!(begun.elapsed() < Duration::from_secs(20), "it waited for the copy to end");
}

#[test]
fn a_process_that_ends_between_two_calls_is_started_anew_at_once() {
    let mut lab = Opened::open("idle", "class = 'lab:Lab'");
    let mut pid = lab.number("pid");
    for _ in 0..3 {
        kill(pid);
        // Although nobody calls it.
        until("the process is reaped", || !exists(pid));
        until("there is another", || !processes_of("idle").is_empty());
        let next = processes_of("idle");
        assert_eq!(next, [lab.number("pid")]);
        pid = next[0];
    }
    Log::wait_for("WARN the process of object 'idle' ended: signal: 9 (SIGKILL)");
    Log::wait_for("INFO object 'idle' is started anew");
    // A call that comes at once waits for the next one, if it is not of those that the end finds under way.
    kill(pid);
    match lab.try_call("pid", &[0x90], &[0x80]).unwrap() {
        Ok(value) => assert_ne!(Value::first(&value).unwrap().as_u64(), Some(pid)),
        Err(lost) => assert_eq!(lost.executed, Executed::Unknown),
    }
}

#[test]
fn no_process_is_left_over_of_an_object_that_is_closed_while_it_is_started_anew() {
    for _ in 0..10 {
        let mut lab = Opened::open("closed", "class = 'lab:Lab'");
        kill(lab.number("pid"));
        drop(lab);
        until("all its processes have ended", || processes_of("closed").is_empty());
    }
}

#[test]
fn a_process_that_cannot_be_started_anew_has_run_nothing() {
    let mut lab = Opened::open("gone", "class = 'lab:Lab'");
    let pid = lab.number("pid");
    lab.spoil("raise OSError('no such device')");
    kill(pid);
    until("the process is reaped", || !exists(pid));
    Log::wait_for(
        "WARN object 'gone' cannot be started anew: OSError: lab:Lab raises OSError: no such device",
    );
    let lost = lab.lost("pid", &Nothing);
    assert_eq!(
        lost.fault.to_string(),
        "RuntimeError: the process of object 'gone' ended by itself: signal: 9 (SIGKILL)"
    );
    assert_eq!((lost.executed, lost.reason), (Executed::No, Some(Reason::Failed)));
}

#[test]
fn a_process_that_offers_something_else_than_the_one_before_it_is_not_used_unseen() {
    let mut lab = Opened::open("changed", "class = 'lab:Lab'");
    let pid = lab.number("pid");
    lab.spoil("class Lab:\n    def pid(self) -> str: return 'another'");
    kill(pid);
    Log::wait_for("INFO object 'changed' is started anew");
    let lost = lab.lost("pid", &Nothing);
    assert_eq!((lost.executed, lost.reason), (Executed::No, Some(Reason::Failed)));
    lab.reopen().unwrap();
    assert_eq!(lab.object.interface().methods.len(), 1);
}

#[test]
fn a_call_that_does_not_end_in_time_ends_with_its_process() {
    let mut lab = Opened::lab();
    let pid = lab.number("pid");
    lab.time = Some(Duration::from_millis(200));
    let start = Instant::now();
    let lost = lab.lost("sleep", &(600,));
    assert!(start.elapsed() < Duration::from_secs(5), "the caller is told at once");
    assert_eq!(lost.fault.to_string(), "TimeoutError: lab.sleep did not end in time (0.200 s)");
    assert_eq!((lost.executed, lost.reason), (Executed::Unknown, Some(Reason::Expired)));
    lab.time = None;
    lab.reopen().unwrap();
    assert!(!exists(pid));
    assert_ne!(lab.number("pid"), pid);
}

#[test]
fn an_old_clients_call_has_the_objects_own_time() {
    let mut lab = Opened::open("lab", "class = 'lab:Lab'\ntimeout = 1.5");
    let lost = lab.lost("sleep", &(600,));
    assert_eq!(lost.fault.to_string(), "TimeoutError: lab.sleep did not end in time (1.500 s)");
}

#[test]
fn a_process_that_does_not_listen_to_sigterm_is_killed_after_a_second() {
    let mut lab = Opened::lab();
    let pid = lab.number("pid");
    lab.time = Some(Duration::from_millis(500));
    assert_eq!(lab.lost("stubborn", &Nothing).executed, Executed::Unknown);
    let start = Instant::now();
    drop(lab);
    assert!(start.elapsed() >= Duration::from_secs(1), "it was asked first");
    assert!(start.elapsed() < PATIENCE);
    assert!(!exists(pid));
}

#[test]
fn what_the_object_has_started_ends_with_it() {
    for how in ["closed", "crashed"] {
        let mut lab = Opened::lab();
        let started = lab.number("start");
        assert!(lives(started));
        if how == "crashed" {
            lab.lost("segfault", &Nothing);
        }
        drop(lab);
        // It is init's to reap.
        until("the process that the object started is gone", || !lives(started));
    }
}

#[test]
fn one_that_crashes_before_it_has_answered_is_started_ever_less_often() {
    let mut lab = Opened::lab();
    lab.number("pid");
    lab.lost("leave", &Nothing);
    for _ in 0..2 {
        // One that has answered is replaced at once, and so is the first that has not.
        lab.reopen().unwrap();
        lab.lost("leave", &Nothing);
    }
    let fault = lab.reopen().unwrap_err();
    assert_eq!(
        fault.to_string(),
        "RuntimeError: its process ended 2 times without having answered a call"
    );
    until("it is started anew", || lab.reopen().is_ok());
    assert_eq!(lab.call("echo", &(1,)), [1]);
}

#[test]
fn an_object_that_cannot_be_made_says_why() {
    let scratch = Scratch::new();
    let fault = |table: &str| {
        let Err(fault) = opener("lab", table, &scratch)() else { panic!("{table} works") };
        fault
    };
    assert_eq!(
        fault("class = 'no_such:Thing'").to_string(),
        "ModuleNotFoundError: no_such:Thing raises ModuleNotFoundError: No module named 'no_such'"
    );
    assert_eq!(
        fault("class = 'lab:Thing'").to_string(),
        "AttributeError: lab:Thing raises AttributeError: module 'lab' has no attribute 'Thing'"
    );
    let broken = fault("class = 'lab:Broken'");
    assert_eq!(broken.to_string(), "OSError: lab:Broken raises OSError: [Errno 5] no such device");
    assert!(broken.detail.iter().any(|line| line.contains("in __init__")), "{:?}", broken.detail);
    assert_eq!(
        fault("class = 'lab:Doomed'").to_string(),
        "RuntimeError: the process of object 'lab' ended as lab:Doomed was made: exit status: 7"
    );
    let slow = fault("class = 'lab:Slow'\ntimeout = 0.5");
    assert_eq!(slow.to_string(), "TimeoutError: lab:Slow was not made within 0.5 s");
    let none = fault("class = 'lab:Lab'\ninterpreter = '/nowhere/python3'");
    assert_eq!(
        none.to_string(),
        "RuntimeError: cannot run '/nowhere/python3': No such file or directory (os error 2)"
    );
    let other = fault("class = 'lab:Lab'\ninterpreter = 'true'");
    assert_eq!(
        other.to_string(),
        "RuntimeError: the process of object 'lab' ended as lab:Lab was made: exit status: 0"
    );
}

#[test]
fn mistakes_in_the_table_are_told() {
    let mistakes = |table: &str| {
        let table = table.parse().unwrap();
        let mut settings = Settings::new(&table, &[]);
        drop((kind("python").unwrap().configure)(&mut settings));
        settings.finish().into_iter().map(|mistake| mistake.message).collect::<Vec<_>>()
    };
    assert_eq!(mistakes(""), ["the key 'class' is missing"]);
    for class in ["lab", "lab:", ":Lab", "lab.:Lab", "lab:3", "a b:c"] {
        let told = format!("'class' is '{class}'; it must be like \"package.module:Class\"");
        assert_eq!(mistakes(&format!("class = '{class}'")), [told]);
    }
    let table = "class = 'lab:Lab'\nargs = { a = 1 }\nkwargs = [1]\ninterpreter = ''\n\
                 path = ['/opt', 'lib']\ntimeout = 0";
    assert_eq!(
        mistakes(table),
        [
            "'interpreter' is empty; it must be a program",
            "'path' has 'lib'; it must have whole paths, from / on",
            "'timeout' is 0; it must be 0.01 to 86400",
            "'args' must be a list, not a table",
            "'kwargs' must be a table, not a list",
        ]
    );
    assert_eq!(
        mistakes("class = 'lab:Lab'\nargs = [1, [2024-01-01]]"),
        ["'args' has the date 2024-01-01; write it as text"]
    );
}
