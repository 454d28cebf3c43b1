//! Peers that are gone, and peers that do not read.

use crate::harness::{Agent, Answer, With};
use proximity_agent::config::Bounds;
use proximity_proto::{call::Op, request::Arguments};

fn note(what: &str) -> Arguments {
    let mut args = Arguments::default();
    args.push(what);
    args
}

#[test]
fn calls_of_a_peer_that_is_gone_do_not_start() {
    let (agent, stage, caller) = Agent::with_actor();
    let held = caller.begin("actor.hold");
    stage.until_held(1);
    let gone = agent.caller();
    gone.send(Op::Call, "actor.note", &note("gone"), &With::default());
    gone.client.leave(true);
    let other = agent.caller();
    let stays = other.send(Op::Call, "actor.note", &note("stays"), &With::default());
    // What was sent before has arrived when this is answered.
    caller.hello();
    stage.let_go();
    assert_eq!(caller.answer(held), Answer::ok("let go"));
    assert_eq!(other.answer(stays), Answer::ok("null"));
    assert_eq!(stage.ran(), ["stays"]);
}

#[test]
fn a_peer_that_left_unseen_loses_its_queued_calls_with_the_first_reply() {
    let (agent, stage, caller) = Agent::with_actor();
    let gone = agent.caller();
    gone.begin("actor.hold");
    stage.until_held(1);
    // The one right behind starts before the reply to the first is tried.
    for what in ["next", "last"] {
        gone.send(Op::Call, "actor.note", &note(what), &With::default());
    }
    caller.hello();
    gone.client.leave(false);
    stage.let_go();
    stage.until_ran(1);
    // Behind the last one, if that is still in the queue.
    assert_eq!(caller.call("actor.who"), Answer::ok("Local "));
    assert_eq!(stage.ran(), ["next"]);
}

#[test]
fn replies_wait_for_a_slow_reader_and_come_in_order() {
    let (agent, _stage, slow) = Agent::with_actor();
    slow.client.make_room(0);
    let ids: Vec<_> = (0..40).map(|_| slow.begin("actor.peek")).collect();
    // Others are served meanwhile.
    assert_eq!(agent.caller().call("actor.peek"), Answer::ok(7));
    slow.client.make_room(usize::MAX);
    for id in ids {
        assert_eq!(slow.answer(id), Answer::ok(7));
    }
}

#[test]
fn a_peer_that_never_reads_is_not_listened_to_for_ever() {
    let (agent, _stage, caller) = Agent::with_actor();
    let deaf = agent.caller();
    deaf.client.make_room(0);
    let ids: Vec<_> = (0..1100).map(|_| deaf.begin("actor.peek")).collect();
    // Answered behind all of these.
    assert_eq!(caller.call("actor.peek"), Answer::ok(7));
    deaf.client.make_room(usize::MAX);
    for &id in &ids[..1024] {
        assert_eq!(deaf.answer(id), Answer::ok(7));
    }
    // It is heard again; the rest was not.
    assert_eq!(deaf.call("actor.peek"), Answer::ok(7));
}

#[test]
fn what_weighs_most_is_dropped_not_what_others_wait_for() {
    let (agent, _stage, caller) = Agent::with_actor();
    let (deaf, slow) = (agent.caller(), agent.caller());
    deaf.client.make_room(0);
    slow.client.make_room(0);
    let big: Vec<_> = (0..600).map(|_| deaf.begin("actor.much")).collect();
    let waits = slow.begin("actor.peek");
    assert_eq!(caller.call("actor.peek"), Answer::ok(7));
    slow.client.make_room(1);
    assert_eq!(slow.answer(waits), Answer::ok(7));
    deaf.client.make_room(usize::MAX);
    // 32 MiB of them were dropped when the next no longer had room.
    let (first, _) = deaf.receive();
    assert_eq!(first, big[516], "of somewhat more than 65,000 bytes each");
}

#[test]
fn replies_that_wait_end_with_their_connection() {
    let (agent, _stage, caller) = Agent::with_actor();
    let before = agent.caller();
    before.client.make_room(0);
    for _ in 0..40 {
        before.begin("actor.peek");
    }
    assert_eq!(caller.call("actor.peek"), Answer::ok(7));
    before.client.hand_over();
    // Told behind that.
    assert_eq!(caller.status().agent.traffic.undeliverable, 40);
    before.client.make_room(usize::MAX);
    let id = before.begin("actor.peek");
    assert_eq!(before.answer(id), Answer::ok(7));
}

#[test]
fn what_a_lost_reply_weighed_is_free_again() {
    let (agent, _stage) = crate::bulk::agent(Bounds { max_unread: 1 << 20, ..Bounds::default() });
    let (before, caller) = (agent.caller(), agent.caller());
    before.client.make_room(0);
    before.send(Op::Call, "actor.read", &Arguments::from((1 << 20,)), &With::default());
    // Answered behind it.
    assert_eq!(caller.call("actor.who"), Answer::ok("Local "));
    before.client.hand_over();
    // Behind that.
    caller.hello();
    before.client.make_room(usize::MAX);
    // Neither RepliesUnread nor the reply of the first.
    let id = before.begin("actor.peek");
    assert_eq!(before.receive_id(), (id, true));
}

#[test]
fn the_progress_of_a_call_ends_with_its_connection() {
    let (agent, stage, caller) = Agent::with_actor();
    let before = agent.caller();
    let with = With { progress: true, ..With::default() };
    before.send(Op::Call, "actor.hold_and_climb", &Arguments::default(), &with);
    stage.until_held(1);
    before.client.hand_over();
    // Behind that.
    caller.hello();
    stage.let_go();
    // Answered behind it.
    assert_eq!(caller.call("actor.who"), Answer::ok("Local "));
    let id = before.begin("actor.peek");
    assert_eq!(before.answer(id), Answer::ok(7));
}
