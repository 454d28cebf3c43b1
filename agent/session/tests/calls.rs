//! What becomes of a call, case by case.

mod rig;

use proximity_session::{Effect, Event, Executed, ObjectOptions, PeerId, Request};
use rig::{EPOCH, Rig, id, ms, named, read, write};

#[test]
fn calls_of_an_object_run_one_at_a_time_in_the_order_in_which_they_came() {
    let (mut rig, board) = Rig::new(32);
    assert_eq!(rig.call(board, "a"), ["start a"]);
    assert!(rig.call(board, "b").is_empty());
    assert!(rig.call(board, "c").is_empty());
    assert_eq!(rig.session.depth(board), 3);
    assert_eq!(rig.done(board), ["reply a", "start b"]);
    assert_eq!(rig.done(board), ["reply b", "start c"]);
    assert_eq!(rig.done(board), ["reply c"]);
    assert_eq!(rig.session.depth(board), 0);
}

#[test]
fn a_slow_object_does_not_delay_another() {
    let (mut rig, slow) = Rig::new(32);
    let fast = rig.session.add_object(ObjectOptions::default());
    rig.call(slow, "a");
    rig.call(slow, "b");
    assert_eq!(rig.call(fast, "c"), ["start c"]);
    assert_eq!(rig.done(fast), ["reply c"]);
}

#[test]
fn a_quick_call_runs_inline_only_on_an_idle_object() {
    let (mut rig, board) = Rig::new(32);
    let quick = |name: &str| Request { quick: true, ..read(board, name) };
    assert_eq!(rig.request(quick("a")), ["inline a"]);
    assert_eq!(rig.done(board), ["reply a"]);
    rig.call(board, "b");
    assert!(rig.request(quick("c")).is_empty());
    assert_eq!(rig.done(board), ["reply b", "start c"]);
    let stats = rig.session.stats();
    assert_eq!((stats.started, stats.inline), (3, 1));
}

#[test]
fn the_call_that_is_one_too_many_is_refused_at_once() {
    let (mut rig, board) = Rig::new(2);
    for name in ["a", "b", "c"] {
        rig.call(board, name);
    }
    assert_eq!(rig.call(board, "d"), ["refuse d Busy"]);
    assert_eq!(rig.done(board), ["reply a", "start b"]);
    assert!(rig.call(board, "e").is_empty());
    assert_eq!(rig.call(board, "f"), ["refuse f Busy"]);
    assert_eq!(rig.session.stats().refused.busy, 2);
}

#[test]
fn a_call_for_another_run_of_the_agent_is_refused() {
    let (mut rig, board) = Rig::new(32);
    let stale = Request { epoch: Some(EPOCH - 1), ..write(board, "a") };
    assert_eq!(rig.request(stale), ["refuse a StaleEpoch"]);
    let fresh = Request { epoch: Some(EPOCH), ..write(board, "b") };
    assert_eq!(rig.request(fresh), ["start b"]);
}

#[test]
fn a_call_is_refused_from_its_deadline_on_when_it_comes() {
    let (mut rig, board) = Rig::new(32);
    let by = |name: &str, at| Request { expires: Some(ms(at)), ..write(board, name) };
    rig.at(100);
    assert_eq!(rig.request(by("late", 100)), ["refuse late Expired"]);
    assert_eq!(rig.request(by("in time", 101)), ["start in time"]);
}

#[test]
fn a_queued_call_is_refused_by_a_tick_at_its_deadline() {
    let (mut rig, board) = Rig::new(32);
    rig.call(board, "a");
    rig.request(Request { expires: Some(ms(50)), ..write(board, "b") });
    rig.request(Request { expires: Some(ms(20)), ..write(board, "c") });
    assert_eq!(rig.session.next_wake(), Some(ms(20)));
    assert_eq!(rig.at(20).on(Event::Tick), ["refuse c Expired"]);
    assert_eq!(rig.session.next_wake(), Some(ms(50)));
    assert_eq!(rig.at(50).on(Event::Tick), ["refuse b Expired"]);
    assert_eq!(rig.session.next_wake(), None);
    assert_eq!(rig.done(board), ["reply a"]);
}

#[test]
fn a_queued_call_is_refused_when_its_turn_comes_after_its_deadline() {
    let (mut rig, board) = Rig::new(32);
    rig.call(board, "a");
    rig.request(Request { expires: Some(ms(50)), ..write(board, "b") });
    rig.call(board, "c");
    // The tick that was due at 50 is late.
    assert_eq!(rig.at(60).done(board), ["reply a", "refuse b Expired", "start c"]);
}

#[test]
fn a_call_that_lapsed_right_before_the_device_has_not_run() {
    let (mut rig, board) = Rig::new(32);
    rig.request(Request { expires: Some(ms(50)), ..write(board, "a") });
    rig.call(board, "b");
    assert_eq!(rig.at(51).lapsed(board), ["refuse a Expired", "start b"]);
}

#[test]
fn a_call_that_ends_after_its_deadline_is_still_answered() {
    let (mut rig, board) = Rig::new(32);
    rig.request(Request { expires: Some(ms(50)), ..write(board, "a") });
    assert_eq!(rig.at(70).done(board), ["reply a"]);
}

#[test]
fn a_queued_call_can_be_taken_back() {
    let (mut rig, board) = Rig::new(32);
    rig.call(board, "a");
    rig.request(Request { id: Some(id(1)), ..write(board, "b") });
    rig.request(Request { id: Some(id(2)), ..write(board, "c") });
    assert_eq!(rig.cancel(1), ["refuse b Cancelled", "cancelled Queued"]);
    assert_eq!(rig.cancel(1), ["cancelled nothing"]);
    assert_eq!(rig.done(board), ["reply a", "start c"]);
}

#[test]
fn a_running_call_is_told_once_that_it_is_taken_back_and_answers_itself() {
    let (mut rig, board) = Rig::new(32);
    rig.request(Request { id: Some(id(1)), ..write(board, "a") });
    assert_eq!(rig.cancel(1), ["interrupt a", "cancelled Running"]);
    assert_eq!(rig.cancel(1), ["cancelled Running"]);
    assert_eq!(rig.done(board), ["reply a"]);
    assert_eq!(rig.cancel(1), ["cancelled nothing"]);
}

#[test]
fn a_call_taken_back_before_it_reached_the_device_has_not_run() {
    let (mut rig, board) = Rig::new(32);
    rig.request(Request { id: Some(id(1)), ..write(board, "a") });
    rig.cancel(1);
    assert_eq!(rig.lapsed(board), ["refuse a Cancelled"]);
}

#[test]
fn another_client_cannot_take_a_call_back() {
    let (mut rig, board) = Rig::new(32);
    rig.call(board, "a");
    rig.request(Request { id: Some(id(1)), ..write(board, "b") });
    let other = proximity_session::CallId { client: [2; 16], seq: 1 };
    assert_eq!(rig.on(Event::Cancel { id: other, job: named("cancel") }), ["cancelled nothing"]);
    assert_eq!(rig.done(board), ["reply a", "start b"]);
}

#[test]
fn the_queued_calls_of_a_peer_that_is_gone_never_run() {
    let (mut rig, board) = Rig::new(32);
    rig.call(board, "a");
    rig.call(board, "b");
    rig.request(Request { peer: PeerId(2), ..write(board, "c") });
    assert_eq!(rig.on(Event::PeerGone { peer: PeerId(1) }), ["forget b"]);
    // The one that runs goes on: a board is not left half programmed.
    assert_eq!(rig.done(board), ["forget a", "start c"]);
    assert_eq!(rig.done(board), ["reply c"]);
    assert_eq!(rig.session.stats().forgotten, 2);
}

#[test]
fn a_panic_ends_its_call_and_has_the_object_reopened_before_the_next() {
    let (mut rig, board) = Rig::new(32);
    rig.call(board, "a");
    rig.call(board, "b");
    assert_eq!(rig.panicked(board), ["refuse a Panicked unknown", "reopen"]);
    assert!(rig.call(board, "c").is_empty());
    assert_eq!(rig.on(Event::Reopened { object: board, ok: true }), ["start b"]);
    assert_eq!(rig.done(board), ["reply b", "start c"]);
}

#[test]
fn an_object_found_broken_before_its_call_is_reopened_and_the_call_has_not_run() {
    let (mut rig, board) = Rig::new(32);
    rig.call(board, "a");
    rig.call(board, "b");
    assert_eq!(rig.broke(board, Executed::No), ["refuse a Panicked", "reopen"]);
    assert_eq!(rig.on(Event::Reopened { object: board, ok: true }), ["start b"]);
}

#[test]
fn an_object_that_cannot_be_reopened_refuses_and_is_tried_again_by_the_next_call() {
    let (mut rig, board) = Rig::new(32);
    rig.call(board, "a");
    rig.call(board, "b");
    rig.panicked(board);
    assert_eq!(rig.on(Event::Reopened { object: board, ok: false }), ["refuse b Failed"]);
    assert_eq!(rig.call(board, "c"), ["reopen"]);
    assert!(rig.call(board, "d").is_empty());
    assert_eq!(rig.on(Event::Reopened { object: board, ok: true }), ["start c"]);
    assert_eq!(rig.done(board), ["reply c", "start d"]);
}

#[test]
fn a_draining_agent_refuses_what_is_queued_and_finishes_what_runs() {
    let (mut rig, board) = Rig::new(32);
    rig.call(board, "a");
    rig.call(board, "b");
    assert_eq!(rig.on(Event::Drain), ["refuse b Draining"]);
    assert_eq!(rig.call(board, "c"), ["refuse c Draining"]);
    assert!(rig.on(Event::Drain).is_empty());
    assert_eq!(rig.done(board), ["reply a", "drained"]);
    assert!(rig.on(Event::Drain).is_empty());
}

#[test]
fn an_idle_agent_is_drained_at_once() {
    let (mut rig, _) = Rig::new(32);
    assert_eq!(rig.on(Event::Drain), ["drained"]);
}

#[test]
fn a_draining_agent_does_not_reopen_what_panicked() {
    let (mut rig, board) = Rig::new(32);
    rig.call(board, "a");
    rig.on(Event::Drain);
    assert_eq!(rig.panicked(board), ["refuse a Panicked unknown", "drained"]);
}

#[test]
fn a_removed_object_finishes_what_runs_and_is_retired() {
    let (mut rig, board) = Rig::new(32);
    let other = rig.session.add_object(ObjectOptions::default());
    rig.call(board, "a");
    rig.call(board, "b");
    rig.call(other, "c");
    assert_eq!(rig.on(Event::RemoveObject { object: board }), ["refuse b Removed"]);
    assert_eq!(rig.call(board, "d"), ["refuse d Removed"]);
    assert_eq!(rig.done(board), ["reply a", "retire"]);
    assert_eq!(rig.done(other), ["reply c"]);
    assert!(rig.on(Event::RemoveObject { object: board }).is_empty());
}

#[test]
fn the_end_of_a_call_that_is_not_in_hand_is_counted_and_dropped() {
    let (mut rig, board) = Rig::new(32);
    assert_eq!(rig.on(Event::Done { object: board, job: named("ghost") }), ["forget ghost"]);
    assert_eq!(rig.session.stats().stray, 1);
}

#[test]
fn every_request_is_counted_once_at_its_end() {
    let (mut rig, board) = Rig::new(1);
    rig.call(board, "a");
    rig.request(Request { peer: PeerId(2), ..write(board, "b") });
    rig.call(board, "c");
    rig.request(Request { epoch: Some(1), effect: Effect::Admin, ..write(board, "d") });
    rig.on(Event::PeerGone { peer: PeerId(2) });
    rig.done(board);
    let stats = rig.session.stats();
    assert_eq!(stats.requests, 4);
    assert_eq!((stats.replied, stats.forgotten, stats.refused.total()), (1, 1, 2));
}
