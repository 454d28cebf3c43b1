//! Large replies: what may be on its way, what is refused then, and results in chunks.

use crate::harness::{Agent, Answer, Caller, PATIENCE, Stage, With, config};
use proximity_agent::config::Bounds;
use proximity_proto::{
    Value,
    call::{CallId, Op},
    limits::Limits,
    message::{Content, Message},
    request::Arguments,
};
use std::{sync::Arc, thread, time::Duration};

/// Bytes of a chunk.
const CHUNK: usize = 256 << 10;

fn size(bytes: usize) -> Arguments {
    Arguments::from((bytes,))
}

pub(crate) fn agent(bounds: Bounds) -> (Agent, Arc<Stage>) {
    let stage = Arc::new(Stage::default());
    let mut config = config(vec![("actor", "1", stage.opener())]);
    config.bounds = bounds;
    config.queue = 100;
    config.limits = Limits { max_frame: 8 << 20, ..Limits::default() };
    (Agent::start(config), stage)
}

/// Reads so many bytes, and returns the id.
fn read(caller: &Caller, bytes: usize, with: &With) -> CallId {
    caller.send(Op::Call, "actor.read", &size(bytes), with)
}

/// The bytes of a reply that is one message.
fn whole(caller: &Caller, id: CallId) -> usize {
    let message = caller.client.receive(PATIENCE).expect("an answer");
    let message = Message::parse(&message).unwrap();
    assert_eq!(message.id, Some(id));
    let Content::Ok(Value::Bytes(bytes)) = message.content else { panic!("{:?}", message.content) };
    bytes.len()
}

/// The next message of a result in chunks.
enum Part {
    Chunk(u64, u64, Vec<u8>),
    End(u64, u64),
}

fn part(caller: &Caller, id: CallId) -> Part {
    let message = caller.client.receive(PATIENCE).expect("a part");
    let message = Message::parse(&message).unwrap();
    assert_eq!(message.id, Some(id));
    match message.content {
        Content::Chunk { index, count, data } => Part::Chunk(index, count, data.to_vec()),
        Content::Chunked { count, bytes } => Part::End(count, bytes),
        other => panic!("no part: {other:?}"),
    }
}

fn grant(caller: &Caller, id: CallId, credit: u64) {
    caller.send_as(id, Op::Credit, "", &Arguments::from((credit,)), &With::default());
}

fn with_credit(credit: u64) -> With {
    With { credit: Some(credit), ..With::default() }
}

#[test]
fn a_client_that_leaves_too_much_unread_gets_no_more_and_others_do() {
    let (agent, stage) = agent(Bounds { max_unread: 1 << 20, ..Bounds::default() });
    let (deaf, other) = (agent.caller(), agent.caller());
    let first = read(&deaf, 1 << 20, &With::default());
    stage.until_ran(1);
    let refused = read(&deaf, 10, &With::default());
    // Answered behind it.
    let others = read(&other, 1 << 20, &With::default());
    assert_eq!(whole(&other, others), 1 << 20);
    assert_eq!(whole(&deaf, first), 1 << 20);
    let Answer::Error { line, executed, reason, hint } = deaf.answer(refused) else { panic!() };
    assert_eq!(
        line,
        "RuntimeError: this connection has 1048576 bytes of replies or more that it has not read"
    );
    assert_eq!((executed, reason.as_deref()), ("no", Some("RepliesUnread")));
    assert_eq!(hint.as_deref(), Some("read them first"));
    assert_eq!(stage.ran().len(), 2);
    // It has read them.
    let again = read(&deaf, 1 << 20, &With::default());
    assert_eq!(whole(&deaf, again), 1 << 20);
}

#[test]
fn what_all_leave_unread_is_bounded_and_small_replies_go_on() {
    let bounds = Bounds { max_unread_all: 2 << 20, ..Bounds::default() };
    let (agent, stage) = agent(bounds);
    let deaf: Vec<Caller> = (0..8).map(|_| agent.caller()).collect();
    let ids: Vec<CallId> =
        deaf.iter().map(|deaf| read(deaf, 900 << 10, &With::default())).collect();
    let other = agent.caller();
    // Answered behind all of these.
    let small = read(&other, 10, &With::default());
    assert_eq!(whole(&other, small), 10);
    let before = stage.ran().len();
    // It is known by now what this call answers: the device is not asked.
    let bulk = read(&other, 900 << 10, &With::default());
    let refused = other.answer(bulk);
    assert_eq!(refused.not_executed(), "Busy");
    let Answer::Error { line, hint, .. } = refused else { panic!() };
    assert_eq!(
        line,
        "RuntimeError: the agent has no room for the reply of actor.read: its clients have not read \
         2097152 bytes of replies"
    );
    assert_eq!(hint.as_deref(), Some("try again later, or ask for less at a time"));
    assert_eq!(stage.ran().len(), before);
    let small = read(&other, 11, &With::default());
    assert_eq!(whole(&other, small), 11);

    let mut refused = 0;
    for (deaf, &id) in deaf.iter().zip(&ids) {
        let message = deaf.client.receive(PATIENCE).expect("an answer");
        let message = Message::parse(&message).unwrap();
        assert_eq!(message.id, Some(id));
        refused += u32::from(matches!(message.content, Content::Error { .. }));
    }
    assert_eq!(refused, 6, "two have room");
    let again = read(&other, 900 << 10, &With::default());
    assert_eq!(whole(&other, again), 900 << 10);
}

#[test]
fn a_write_whose_reply_finds_no_room_has_run_and_says_so() {
    let (agent, stage) = agent(Bounds { max_unread_all: 1 << 20, ..Bounds::default() });
    let (deaf, other) = (agent.caller(), agent.caller());
    read(&deaf, 1 << 20, &With::default());
    stage.until_ran(1);
    let args = size(1 << 20);
    let id = other.send(Op::Call, "actor.fetch", &args, &With::default());
    let Answer::Error { executed, reason, .. } = other.answer(id) else { panic!("there was room") };
    assert_eq!((executed, reason.as_deref()), ("yes", Some("Busy")));
    other.send_as(id, Op::Call, "actor.fetch", &args, &With::default());
    let Answer::Error { executed, .. } = other.answer(id) else { panic!("it ran again") };
    assert_eq!(executed, "yes");
    assert_eq!(stage.ran(), ["read", "fetched"]);
}

#[test]
fn a_large_result_comes_in_chunks_as_they_are_granted() {
    let (agent, _stage) = agent(Bounds::default());
    let caller = agent.caller();
    assert_eq!(caller.hello().limits.chunk, CHUNK as u64);
    let bytes = 3 * CHUNK;
    let id = read(&caller, bytes, &with_credit(1));
    let mut value = Vec::new();
    let mut expect = |index: u64| {
        let Part::Chunk(i, n, data) = part(&caller, id) else { panic!("the end") };
        assert_eq!((i, n), (index, 4));
        value.extend_from_slice(&data);
    };
    expect(0);
    // Nothing more comes: the next answer is another call's.
    assert_eq!(caller.call("actor.peek"), Answer::ok(7));
    grant(&caller, id, 2);
    expect(1);
    expect(2);
    assert_eq!(caller.call("actor.peek"), Answer::ok(7));
    // Of a call that there is not, of another's, and of nothing.
    grant(&caller, CallId { seq: 9_999, ..id }, 5);
    grant(&agent.caller(), id, 5);
    grant(&caller, id, 0);
    assert_eq!(caller.call("actor.peek"), Answer::ok(7));
    grant(&caller, id, 100);
    expect(3);
    let Part::End(count, total) = part(&caller, id) else { panic!("another chunk") };
    assert_eq!((count, total), (4, value.len() as u64));
    let Some(Value::Bytes(read)) = Value::first(&value) else { panic!("no bytes") };
    assert_eq!(read.len(), bytes);
    assert!(read.iter().enumerate().all(|(at, byte)| *byte == (at / 1000).to_le_bytes()[0]));
}

#[test]
fn a_small_result_comes_whole_whatever_was_granted_and_so_does_one_in_json() {
    let (agent, _stage) = agent(Bounds::default());
    let caller = agent.caller();
    let id = read(&caller, CHUNK - 5, &with_credit(8));
    assert_eq!(whole(&caller, id), CHUNK - 5);
    let id = read(&caller, 3 * CHUNK, &With::default());
    assert_eq!(whole(&caller, id), 3 * CHUNK);
    let request = br#"{"v": 2, "id": [{"__bytes__": "MDEyMzQ1Njc4OWFiY2RlZg=="}, 1], "credit": 8,
        "name": "actor", "proc": "read", "args": [1000000]}"#;
    assert!(caller.ask_raw(request).len() > 1_000_000);
}

#[test]
fn a_read_that_comes_twice_over_one_connection_begins_twice_and_ends_once() {
    let (agent, stage) = agent(Bounds::default());
    let caller = agent.caller();
    let id = read(&caller, 2 * CHUNK, &with_credit(1));
    assert!(matches!(part(&caller, id), Part::Chunk(0, 3, _)));
    caller.send_as(id, Op::Call, "actor.read", &size(2 * CHUNK), &with_credit(1));
    assert!(matches!(part(&caller, id), Part::Chunk(0, 3, _)));
    grant(&caller, id, 100);
    assert!(matches!(part(&caller, id), Part::Chunk(1, 3, _)));
    assert!(matches!(part(&caller, id), Part::Chunk(2, 3, _)));
    assert!(matches!(part(&caller, id), Part::End(3, _)));
    // Nothing more comes of the first.
    assert_eq!(caller.call("actor.peek"), Answer::ok(7));
    assert_eq!(stage.ran(), ["read", "read"]);
}

#[test]
fn an_error_is_never_in_chunks() {
    let (agent, _stage) = agent(Bounds::default());
    let caller = agent.caller();
    let id = read(&caller, 9 << 20, &with_credit(8));
    let Answer::Error { line, .. } = caller.answer(id) else { panic!("beyond max_frame") };
    assert!(line.contains("this agent sends at most 8388608"), "{line}");
}

#[test]
fn a_result_that_nobody_takes_is_dropped_and_its_room_is_free_again() {
    let (agent, stage) = agent(Bounds { max_unread_all: 4 << 20, ..Bounds::default() });
    let (deaf, other) = (agent.caller(), agent.caller());
    let id = read(&deaf, 4 << 20, &with_credit(1));
    assert!(matches!(part(&deaf, id), Part::Chunk(0, 17, _)));
    stage.until_ran(1);
    assert_eq!(other.answer(read(&other, 4 << 20, &With::default())).not_executed(), "Busy");
    // After five seconds.
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        let id = read(&other, 4 << 20, &With::default());
        let message = other.client.receive(PATIENCE).expect("an answer");
        let message = Message::parse(&message).unwrap();
        assert_eq!(message.id, Some(id));
        if matches!(message.content, Content::Ok(_)) {
            break;
        }
        assert!(std::time::Instant::now() < end, "there is never room again");
        std::thread::yield_now();
    }
    grant(&deaf, id, 8);
    assert_eq!(deaf.call("actor.peek"), Answer::ok(7));
}

#[test]
fn a_client_that_goes_leaves_its_room_to_others() {
    let (agent, stage) = agent(Bounds { max_unread_all: 4 << 20, ..Bounds::default() });
    for told in [true, false] {
        let (whole, chunks) = (agent.caller(), agent.caller());
        let before = stage.ran().len();
        read(&whole, 2 << 20, &With::default());
        read(&chunks, 2 << 20, &with_credit(1));
        stage.until_ran(before + 2);
        whole.client.leave(told);
        let id = chunks.begin("actor.peek");
        while !matches!(chunks.receive_id(), (of, true) if of == id) {}
        chunks.client.leave(true);
        let other = agent.caller();
        let id = read(&other, 3 << 20, &With::default());
        assert_eq!(self::whole(&other, id), 3 << 20);
    }
}

#[test]
fn a_result_in_chunks_is_sent_to_its_end_though_the_agent_stops() {
    let (agent, _stage) = agent(Bounds::default());
    let caller = agent.caller();
    let id = read(&caller, 2 * CHUNK, &with_credit(1));
    assert!(matches!(part(&caller, id), Part::Chunk(0, 3, _)));
    agent.control.drain();
    // It is told at its own time.
    while caller.call("actor.peek") == Answer::ok(7) {}
    assert_eq!(caller.call("actor.peek").not_executed(), "Draining");
    grant(&caller, id, 2);
    assert!(matches!(part(&caller, id), Part::Chunk(1, 3, _)));
    assert!(matches!(part(&caller, id), Part::Chunk(2, 3, _)));
    assert!(matches!(part(&caller, id), Part::End(3, _)));
    agent.join();
}

#[test]
fn a_stopping_agent_does_not_wait_for_ever_for_a_client_that_takes_its_time() {
    let (agent, _stage) = agent(Bounds::default());
    let caller = agent.caller();
    let id = read(&caller, 30 * CHUNK, &with_credit(1));
    assert!(matches!(part(&caller, id), Part::Chunk(0, 31, _)));
    agent.control.drain();
    // A part now and then would keep it for six seconds.
    let mut parts = 1;
    while parts < 31 {
        thread::sleep(Duration::from_millis(200));
        grant(&caller, id, 1);
        if caller.client.receive(Duration::from_secs(2)).is_none() {
            break;
        }
        parts += 1;
    }
    assert!(parts < 31, "it waited for all of them");
    agent.join();
}

#[test]
fn a_repeated_write_with_a_large_result_is_told_that_it_has_run() {
    let (agent, stage) = agent(Bounds::default());
    let caller = agent.caller();
    let id = caller.send(Op::Call, "actor.fetch", &size(100_000), &With::default());
    assert_eq!(whole(&caller, id), 100_000);
    caller.send_as(id, Op::Call, "actor.fetch", &size(100_000), &With::default());
    let Answer::Error { line, executed, reason, .. } = caller.answer(id) else { panic!("again") };
    assert_eq!(line, "RuntimeError: actor.fetch has run, and its result was too large to be kept");
    assert_eq!((executed, reason.as_deref()), ("yes", Some("ReplyNotKept")));
    assert_eq!(stage.ran(), ["fetched"]);
}
