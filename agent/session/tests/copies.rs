//! Copies of a call: while it is in progress, and with other words or another deadline than the first.

mod rig;

use proximity_session::{Budget, CallId, Event, ObjectId, ObjectOptions, PeerId, Request};
use rig::{Named, Rig, id, ms, named, write};

const MINUTE: u64 = 60_000;
const DAY: u64 = 24 * 60 * MINUTE;
const CLIENTS: u32 = 16_384;

/// A client's write number `seq`.
fn first(object: ObjectId, seq: u64) -> Request<Named> {
    Request { id: Some(id(seq)), ..write(object, "first") }
}

/// A copy of it, over another connection.
fn copy(object: ObjectId, seq: u64) -> Request<Named> {
    Request { peer: PeerId(2), job: named("copy"), ..first(object, seq) }
}

fn until(expires: u64, request: Request<Named>) -> Request<Named> {
    Request { expires: Some(ms(expires)), ..request }
}

/// So many other clients call, each with that deadline; returns how many found no place.
fn others(rig: &mut Rig, object: ObjectId, clients: u32, expires: u64) -> usize {
    let run = |client: &u32| {
        let mut uuid = [9; 16];
        uuid[..4].copy_from_slice(&client.to_be_bytes());
        let id = Some(CallId { client: uuid, seq: 1 });
        let said = rig.request(until(expires, Request { id, ..write(object, "w") }));
        if said == ["start w"] {
            rig.done(object);
        }
        said == ["refuse w TooManyClients"]
    };
    (0..clients).filter(run).count()
}

#[test]
fn a_copy_with_a_later_deadline_keeps_its_client_remembered_until_then() {
    // Whether it is answered, or waits.
    for waits in [false, true] {
        let (mut rig, board) = Rig::new(32);
        let fast = rig.session.add_object(ObjectOptions::default());
        assert_eq!(rig.request(until(1000, first(board, 1))), ["start first"]);
        if waits {
            assert!(rig.request(until(4 * MINUTE, copy(board, 1))).is_empty());
            rig.done_with(board, b"one");
        } else {
            rig.done_with(board, b"one");
            assert_eq!(rig.request(until(4 * MINUTE, copy(board, 1))), ["reply copy one"]);
        }
        rig.at(1100);
        assert_eq!(others(&mut rig, fast, CLIENTS, 4 * MINUTE), 1);
        assert_eq!(rig.request(until(4 * MINUTE, copy(board, 1))), ["reply copy one"]);
    }
}

#[test]
fn a_copy_that_is_refused_from_memory_keeps_its_client_remembered_too() {
    let (mut rig, board) = Rig::new(32);
    for seq in 1..=65 {
        rig.request(until(1000, first(board, seq)));
        rig.done(board);
    }
    assert_eq!(rig.request(until(4 * MINUTE, copy(board, 1))), ["refuse copy TooOld"]);
    rig.at(1100);
    assert_eq!(others(&mut rig, board, CLIENTS, 4 * MINUTE), 1);
    assert_eq!(rig.request(until(4 * MINUTE, copy(board, 1))), ["refuse copy TooOld"]);
}

#[test]
fn a_copy_with_a_far_deadline_takes_one_of_the_places_that_there_are_for_those() {
    let (mut rig, board) = Rig::new(32);
    rig.request(until(1000, first(board, 1)));
    rig.done_with(board, b"one");
    // It is answered though a call could not have it, and counts until the last that a call could have.
    assert_eq!(rig.request(until(2 * DAY, copy(board, 1))), ["reply copy one"]);
    assert_eq!(others(&mut rig, board, 4096, DAY), 1);
    rig.at(DAY - 1).on(Event::Tick);
    assert_eq!(rig.session.kept().0, 4096);
    assert_eq!(rig.request(until(2 * DAY, copy(board, 1))), ["refuse copy TooOld"]);
}

#[test]
fn a_copy_whose_deadline_is_too_far_for_the_places_left_is_answered_and_counts_as_far_as_it_may() {
    let (mut rig, board) = Rig::new(32);
    rig.request(until(1000, first(board, 1)));
    rig.done_with(board, b"one");
    assert_eq!(others(&mut rig, board, 4097, DAY), 1);
    assert_eq!(rig.request(until(DAY, copy(board, 1))), ["reply copy one"]);
    rig.at(1100);
    assert_eq!(others(&mut rig, board, CLIENTS, 5 * MINUTE), 1);
    assert_eq!(rig.request(until(DAY, copy(board, 1))), ["reply copy one"]);
}

#[test]
fn the_last_of_all_numbers_is_not_run_twice_either() {
    let (mut rig, board) = Rig::new(32);
    let last = |request| until(60 * MINUTE, request);
    for seq in [u64::MAX - 1, u64::MAX] {
        rig.request(last(first(board, seq)));
        rig.done_with(board, b"one");
    }
    // Its calls are forgotten, and it is not.
    rig.at(5 * MINUTE).on(Event::Tick);
    assert_eq!(rig.session.kept(), (1, 0));
    for seq in [u64::MAX - 1, u64::MAX] {
        assert_eq!(rig.request(last(copy(board, seq))), ["refuse copy TooOld"]);
    }
}

#[test]
fn a_copy_gets_the_answer_of_a_queued_call_whose_connection_is_gone_and_the_first_runs() {
    let (mut rig, board) = Rig::new(32);
    rig.request(Request { peer: PeerId(3), ..write(board, "a") });
    rig.request(first(board, 1));
    // It names something else, in vain: what the client wants run is what it said first.
    let other = rig.session.add_object(ObjectOptions::default());
    assert!(rig.request(copy(other, 1)).is_empty());
    assert!(rig.on(Event::PeerGone { peer: PeerId(1) }).is_empty());
    assert_eq!(rig.done(board), ["reply a", "start first"]);
    assert_eq!(rig.done_with(board, b"one"), ["reply copy one", "forget first"]);
    assert_eq!(rig.request(copy(board, 1)), ["reply copy one"]);
}

#[test]
fn a_queued_call_is_dropped_when_its_last_copys_connection_is_gone_too() {
    let (mut rig, board) = Rig::new(32);
    rig.request(Request { peer: PeerId(3), ..write(board, "a") });
    rig.request(first(board, 1));
    rig.request(copy(board, 1));
    assert!(rig.on(Event::PeerGone { peer: PeerId(1) }).is_empty());
    let later = Request { peer: PeerId(4), job: named("later"), ..copy(board, 1) };
    assert_eq!(rig.request(later), ["forget copy"]);
    assert!(rig.on(Event::PeerGone { peer: PeerId(2) }).is_empty());
    assert_eq!(rig.on(Event::PeerGone { peer: PeerId(4) }), ["forget later", "forget first"]);
    assert_eq!(rig.done(board), ["reply a"]);
    // Nothing ran: the next copy is the first.
    assert_eq!(rig.request(copy(board, 1)), ["start copy"]);
}

#[test]
fn a_queued_call_whose_copy_has_unread_replies_does_not_run() {
    let (mut rig, board) = Rig::new(32);
    rig.session.set_budget(Budget { unread_bytes: 100, ..Budget::default() });
    rig.request(Request { peer: PeerId(3), ..write(board, "a") });
    rig.request(first(board, 1));
    rig.request(copy(board, 1));
    rig.on(Event::PeerGone { peer: PeerId(1) });
    // What the first has left unread is nothing to the copy, but its own is.
    rig.session.sent(PeerId(1), 100);
    rig.session.sent(PeerId(2), 100);
    let said = ["reply a", "refuse copy RepliesUnread", "forget first"];
    assert_eq!(rig.done(board), said);
}

#[test]
fn copies_that_wait_are_not_refused_and_are_as_many_as_calls_in_progress() {
    let (mut rig, board) = Rig::new(32);
    rig.session.set_budget(Budget { in_flight: 2, ..Budget::default() });
    for seq in 0..6 {
        rig.request(Request { peer: PeerId(10 + seq), ..first(board, seq) });
    }
    // All over one connection, each twice.
    for seq in 0..6 {
        assert!(rig.request(copy(board, seq)).is_empty());
        assert_eq!(rig.request(copy(board, seq)), ["forget copy"]);
    }
    // They count: it may have no call of its own.
    assert_eq!(rig.request(copy(board, 7)), ["refuse copy TooManyInFlight"]);
    assert_eq!(rig.done(board), ["reply copy", "reply first", "start first"]);
}
