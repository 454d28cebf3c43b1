//! Calls that give their object back and want to go on later.

mod rig;

use proximity_session::{Event, PeerId, Request};
use rig::{Rig, id, ms, read, write};

#[test]
fn a_call_that_waits_does_not_hold_its_object() {
    let (mut rig, board) = Rig::new(32);
    rig.call(board, "est");
    rig.call(board, "a");
    assert_eq!(rig.waits(board, 1000), ["start a"]);
    assert_eq!(rig.done(board), ["reply a"]);
    assert_eq!(rig.call(board, "b"), ["start b"]);
    assert_eq!(rig.done(board), ["reply b"]);
    assert_eq!(rig.session.next_wake(), Some(ms(1000)));
    assert_eq!(rig.at(1000).on(Event::Tick), ["start est"]);
    assert_eq!(rig.done(board), ["reply est"]);
    assert_eq!(rig.session.stats().started, 3);
}

#[test]
fn a_quick_call_runs_inline_beside_one_that_waits() {
    let (mut rig, board) = Rig::new(32);
    rig.call(board, "est");
    rig.waits(board, 1000);
    assert_eq!(rig.request(Request { quick: true, ..read(board, "a") }), ["inline a"]);
    assert_eq!(rig.at(1000).done(board), ["reply a", "start est"]);
}

#[test]
fn calls_whose_time_has_come_go_first_in_the_order_of_their_times() {
    let (mut rig, board) = Rig::new(32);
    for (name, until) in [("x", 30), ("y", 20), ("z", 30)] {
        rig.call(board, name);
        rig.waits(board, until);
    }
    rig.call(board, "a");
    assert_eq!(rig.at(30).done(board), ["reply a", "start y"]);
    assert_eq!(rig.done(board), ["reply y", "start x"]);
    assert_eq!(rig.done(board), ["reply x", "start z"]);
}

#[test]
fn a_call_that_gives_back_again_and_again_does_not_starve_the_queue() {
    let (mut rig, board) = Rig::new(32);
    rig.call(board, "spin");
    rig.call(board, "a");
    rig.call(board, "b");
    assert_eq!(rig.waits(board, 0), ["start spin"]);
    assert_eq!(rig.waits(board, 0), ["start a"]);
    assert_eq!(rig.done(board), ["reply a", "start spin"]);
    assert_eq!(rig.waits(board, 0), ["start b"]);
}

#[test]
fn a_due_call_does_not_wake_the_router_while_another_runs() {
    let (mut rig, board) = Rig::new(32);
    rig.call(board, "est");
    rig.waits(board, 10);
    rig.call(board, "a");
    rig.at(20).on(Event::Tick);
    assert_eq!(rig.session.next_wake(), None);
    assert_eq!(rig.done(board), ["reply a", "start est"]);
}

#[test]
fn calls_that_wait_count_in_the_object_s_limit() {
    let (mut rig, board) = Rig::new(1);
    for name in ["x", "y"] {
        rig.call(board, name);
        rig.waits(board, 1000);
    }
    assert_eq!(rig.call(board, "a"), ["refuse a Busy"]);
}

#[test]
fn a_waiting_write_that_expires_may_have_run() {
    let (mut rig, board) = Rig::new(32);
    rig.request(Request { expires: Some(ms(50)), ..write(board, "w") });
    rig.waits(board, 1000);
    assert_eq!(rig.session.next_wake(), Some(ms(50)));
    assert_eq!(rig.at(50).on(Event::Tick), ["refuse w Expired unknown"]);
}

#[test]
fn a_waiting_read_that_expires_may_be_repeated() {
    let (mut rig, board) = Rig::new(32);
    rig.request(Request { expires: Some(ms(50)), ..read(board, "r") });
    rig.waits(board, 1000);
    assert_eq!(rig.at(50).on(Event::Tick), ["refuse r Expired"]);
}

#[test]
fn a_call_whose_deadline_is_over_does_not_wait() {
    let (mut rig, board) = Rig::new(32);
    rig.request(Request { expires: Some(ms(50)), ..write(board, "w") });
    assert_eq!(rig.at(60).waits(board, 1000), ["refuse w Expired unknown"]);
}

#[test]
fn a_resumed_write_that_lapses_right_before_the_device_has_run_in_part() {
    let (mut rig, board) = Rig::new(32);
    rig.request(Request { expires: Some(ms(50)), ..write(board, "w") });
    rig.waits(board, 49);
    assert_eq!(rig.at(49).on(Event::Tick), ["start w"]);
    assert_eq!(rig.at(51).lapsed(board), ["refuse w Expired unknown"]);
}

#[test]
fn a_waiting_call_can_be_taken_back() {
    let (mut rig, board) = Rig::new(32);
    rig.request(Request { id: Some(id(1)), ..write(board, "w") });
    rig.waits(board, 1000);
    assert_eq!(rig.cancel(1), ["refuse w Cancelled unknown", "cancelled Waiting"]);
    rig.request(Request { id: Some(id(2)), ..read(board, "r") });
    rig.waits(board, 1000);
    assert_eq!(rig.cancel(2), ["refuse r Cancelled", "cancelled Waiting"]);
}

#[test]
fn a_running_call_that_was_taken_back_is_not_resumed() {
    let (mut rig, board) = Rig::new(32);
    rig.request(Request { id: Some(id(1)), ..write(board, "w") });
    rig.cancel(1);
    assert_eq!(rig.waits(board, 1000), ["refuse w Cancelled unknown"]);
}

#[test]
fn a_panic_ends_the_calls_that_wait() {
    let (mut rig, board) = Rig::new(32);
    rig.call(board, "w");
    rig.waits(board, 1000);
    rig.request(read(board, "r"));
    rig.waits(board, 1000);
    rig.call(board, "a");
    assert_eq!(
        rig.panicked(board),
        ["refuse a Panicked unknown", "refuse w Failed unknown", "refuse r Failed", "reopen"]
    );
}

#[test]
fn draining_waits_for_writes_that_wait_and_refuses_reads_that_do() {
    let (mut rig, board) = Rig::new(32);
    rig.call(board, "w");
    rig.waits(board, 1000);
    rig.request(read(board, "r"));
    rig.waits(board, 1000);
    assert_eq!(rig.on(Event::Drain), ["refuse r Draining"]);
    assert_eq!(rig.at(1000).on(Event::Tick), ["start w"]);
    assert_eq!(rig.done(board), ["reply w", "drained"]);
}

#[test]
fn a_read_that_would_wait_in_a_draining_agent_is_refused() {
    let (mut rig, board) = Rig::new(32);
    rig.request(read(board, "r"));
    rig.on(Event::Drain);
    assert_eq!(rig.waits(board, 1000), ["refuse r Draining", "drained"]);
}

#[test]
fn what_waits_for_a_peer_that_is_gone_goes_on_only_if_it_writes() {
    let (mut rig, board) = Rig::new(32);
    rig.call(board, "w");
    rig.waits(board, 1000);
    rig.request(read(board, "r"));
    rig.waits(board, 1000);
    assert_eq!(rig.on(Event::PeerGone { peer: PeerId(1) }), ["forget r"]);
    assert_eq!(rig.at(1000).on(Event::Tick), ["start w"]);
    assert_eq!(rig.waits(board, 2000), [""; 0]);
    assert_eq!(rig.at(2000).on(Event::Tick), ["start w"]);
    assert_eq!(rig.done(board), ["forget w"]);
}
