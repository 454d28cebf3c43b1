//! Copies of a call with another deadline than the first.

mod rig;

use proximity_session::{CallId, Event, ObjectId, ObjectOptions, PeerId, Request};
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
