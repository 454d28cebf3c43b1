//! Leases, budgets, and what old clients may do.

mod rig;

use core::time::Duration;
use proximity_session::{
    Budget, Effect, Event, Legacy, ObjectId, ObjectOptions, PeerId, Refusal, Request,
};
use rig::{Named, Rig, ms, read, write};

const ANN: [u8; 16] = [0xa; 16];
const BOB: [u8; 16] = [0xb; 16];
const TTL: Duration = Duration::from_secs(10);

fn lock(rig: &mut Rig, object: ObjectId, who: [u8; 16]) -> Result<Duration, Refusal> {
    let holder = if who == ANN { "ann" } else { "bob" };
    rig.session.lock(rig.now, object, who, holder.into(), TTL)
}

fn under(lease: [u8; 16], object: ObjectId, name: &str) -> Request<Named> {
    Request { lease: Some(lease), ..write(object, name) }
}

#[test]
fn a_leased_object_takes_writes_of_its_holder_only_and_reads_of_everybody() {
    let (mut rig, board) = Rig::new(32);
    assert_eq!(lock(&mut rig, board, ANN), Ok(ms(10_000)));
    assert_eq!(rig.call(board, "a"), ["refuse a Locked"]);
    assert_eq!(rig.request(under(BOB, board, "b")), ["refuse b Locked"]);
    assert_eq!(rig.request(under(ANN, board, "c")), ["start c"]);
    rig.done(board);
    assert_eq!(rig.request(read(board, "d")), ["start d"]);
    rig.done(board);
    let admin = Request { effect: Effect::Admin, ..write(board, "e") };
    assert_eq!(rig.request(admin), ["refuse e Locked"]);
}

#[test]
fn a_second_holder_is_told_who_has_the_lease_and_for_how_long() {
    let (mut rig, board) = Rig::new(32);
    lock(&mut rig, board, ANN).unwrap();
    rig.at(4000);
    let locked = Refusal::Locked { holder: "ann".into(), expires_in: Duration::from_secs(6) };
    assert_eq!(lock(&mut rig, board, BOB), Err(locked.clone()));
    assert_eq!(rig.session.renew(rig.now, board, BOB, TTL), Err(locked.clone()));
    assert_eq!(rig.session.release(rig.now, board, BOB), Err(locked));
    rig.at(10_000);
    assert_eq!(lock(&mut rig, board, BOB), Ok(ms(20_000)));
}

#[test]
fn asking_for_the_own_lease_again_renews_it() {
    let (mut rig, board) = Rig::new(32);
    lock(&mut rig, board, ANN).unwrap();
    rig.at(5000);
    assert_eq!(lock(&mut rig, board, ANN), Ok(ms(15_000)));
    rig.at(6000);
    assert_eq!(rig.session.renew(rig.now, board, ANN, TTL), Ok(ms(16_000)));
    assert_eq!(rig.session.leases(rig.now).count(), 1);
    rig.at(16_000);
    assert_eq!(rig.session.leases(rig.now).count(), 0);
    assert_eq!(rig.session.renew(rig.now, board, ANN, TTL), Err(Refusal::LeaseLost));
}

#[test]
fn a_lease_takes_one_second_to_five_minutes() {
    let (mut rig, board) = Rig::new(32);
    let mut ttl = |ttl| rig.session.lock(ms(0), board, ANN, "ann".into(), ttl);
    assert_eq!(ttl(Duration::ZERO), Ok(ms(1000)));
    assert_eq!(ttl(Duration::MAX), Ok(ms(300_000)));
}

#[test]
fn a_released_object_is_everybody_s() {
    let (mut rig, board) = Rig::new(32);
    lock(&mut rig, board, ANN).unwrap();
    assert_eq!(rig.session.release(rig.now, board, ANN), Ok(()));
    assert_eq!(rig.call(board, "a"), ["start a"]);
    assert_eq!(rig.session.release(rig.now, board, ANN), Err(Refusal::LeaseLost));
}

#[test]
fn a_write_under_a_lease_that_has_ended_is_refused() {
    let (mut rig, board) = Rig::new(32);
    lock(&mut rig, board, ANN).unwrap();
    assert_eq!(rig.at(10_000).request(under(ANN, board, "a")), ["refuse a LeaseLost"]);
}

#[test]
fn a_queued_write_is_held_against_the_lease_when_its_turn_comes() {
    let (mut rig, board) = Rig::new(32);
    rig.call(board, "a");
    rig.call(board, "b");
    lock(&mut rig, board, ANN).unwrap();
    rig.request(under(ANN, board, "d"));
    assert_eq!(rig.done(board), ["reply a", "refuse b Locked", "start d"]);
}

#[test]
fn a_write_that_runs_when_its_object_is_leased_goes_on_to_its_end() {
    let (mut rig, board) = Rig::new(32);
    rig.call(board, "a");
    rig.call(board, "w");
    assert_eq!(rig.waits(board, 100), ["start w"]);
    lock(&mut rig, board, ANN).unwrap();
    assert_eq!(rig.at(100).done(board), ["reply w", "start a"]);
    assert_eq!(rig.done(board), ["reply a"]);
}

#[test]
fn the_end_of_the_lease_is_the_deadline_of_a_write_under_it() {
    let (mut rig, board) = Rig::new(32);
    lock(&mut rig, board, ANN).unwrap();
    let mut out = Vec::new();
    let expires = Some(ms(60_000));
    let request = Request { expires, ..under(ANN, board, "a") };
    rig.session.on(rig.now, Event::Request(request), &mut out);
    let Some(proximity_session::Action::Start { deadline, job, .. }) = out.pop() else {
        panic!("it is started")
    };
    assert_eq!(deadline, Some(ms(10_000)));
    rig.running.insert(board, job);
    assert_eq!(rig.at(10_000).lapsed(board), ["refuse a LeaseLost"]);
}

#[test]
fn a_stolen_lease_is_lost_to_its_holder() {
    let (mut rig, board) = Rig::new(32);
    lock(&mut rig, board, ANN).unwrap();
    let (before, until) = rig.session.steal(ms(5000), board, BOB, "bob".into(), TTL).unwrap();
    assert_eq!((before.unwrap().token, until), (ANN, ms(15_000)));
    assert_eq!(rig.at(5000).request(under(ANN, board, "a")), ["refuse a Locked"]);
    assert_eq!(rig.request(under(BOB, board, "b")), ["start b"]);
}

#[test]
fn a_lease_goes_with_its_object_and_none_is_given_by_a_draining_agent() {
    let (mut rig, board) = Rig::new(32);
    let other = rig.session.add_object(ObjectOptions::default());
    lock(&mut rig, board, ANN).unwrap();
    rig.on(Event::RemoveObject { object: board });
    assert_eq!(lock(&mut rig, board, ANN), Err(Refusal::Removed));
    rig.on(Event::Drain);
    assert_eq!(lock(&mut rig, other, ANN), Err(Refusal::Draining));
}

#[test]
fn a_connection_has_as_many_calls_in_progress_as_its_budget_allows() {
    let (mut rig, board) = Rig::new(32);
    rig.session.set_budget(Budget { in_flight: 2, ..Budget::default() });
    rig.call(board, "a");
    rig.call(board, "b");
    assert_eq!(rig.call(board, "c"), ["refuse c TooManyInFlight"]);
    assert!(rig.request(Request { peer: PeerId(2), ..write(board, "d") }).is_empty());
    rig.done(board);
    assert!(rig.call(board, "e").is_empty());
    assert_eq!(rig.call(board, "f"), ["refuse f TooManyInFlight"]);
    // What is left of a connection that is gone is nobody's load.
    rig.on(Event::PeerGone { peer: PeerId(1) });
    assert!(rig.call(board, "g").is_empty());
}

#[test]
fn a_quick_call_takes_a_place_of_its_connection_only_while_it_waits() {
    let (mut rig, board) = Rig::new(32);
    let other = rig.session.add_object(ObjectOptions::default());
    rig.session.set_budget(Budget { in_flight: 2, ..Budget::default() });
    let quick = |name| Request { quick: true, ..read(other, name) };
    assert_eq!(rig.call(board, "a"), ["start a"]);
    // The end of one that was not counted leaves the others' places taken.
    assert_eq!(rig.request(quick("b")), ["inline b"]);
    assert_eq!(rig.done(other), ["reply b"]);
    assert_eq!(rig.request(quick("c")), ["inline c"]);
    rig.waits(other, 1000);
    assert_eq!(rig.call(board, "d"), ["refuse d TooManyInFlight"]);
    assert_eq!(rig.at(1000).on(Event::Tick), ["start c"]);
    // It is counted once, however often it waits.
    rig.waits(other, 2000);
    assert_eq!(rig.at(2000).on(Event::Tick), ["start c"]);
    assert_eq!(rig.done(other), ["reply c"]);
    assert!(rig.call(board, "e").is_empty());
    assert_eq!(rig.request(quick("f")), ["refuse f TooManyInFlight"]);
}

#[test]
fn a_connection_that_leaves_its_replies_unread_gets_no_more_of_them() {
    let (mut rig, board) = Rig::new(32);
    rig.session.set_budget(Budget { unread_bytes: 100, ..Budget::default() });
    rig.call(board, "a");
    rig.call(board, "b");
    rig.call(board, "c");
    rig.done_with(board, &[b'.'; 99]);
    assert_eq!(rig.done_with(board, b"!"), ["reply b !", "refuse c RepliesUnread"]);
    assert_eq!(rig.call(board, "d"), ["refuse d RepliesUnread"]);
    rig.on(Event::Taken { peer: PeerId(1), bytes: 99 });
    assert_eq!(rig.call(board, "e"), ["start e"]);
}

#[test]
fn a_write_that_has_begun_goes_on_though_its_connection_reads_nothing() {
    let (mut rig, board) = Rig::new(32);
    rig.session.set_budget(Budget { unread_bytes: 100, ..Budget::default() });
    rig.call(board, "w");
    rig.waits(board, 50);
    rig.call(board, "a");
    assert_eq!(rig.at(50).done_with(board, &[b'.'; 100])[1..], ["start w"]);
    assert_eq!(rig.done(board), ["reply w"]);
}

#[test]
fn old_clients_do_what_the_object_lets_them() {
    let (mut rig, _) = Rig::new(32);
    let mut object =
        |legacy| rig.session.add_object(ObjectOptions { legacy, ..ObjectOptions::default() });
    let (ro, off) = (object(Legacy::ReadOnly), object(Legacy::Off));
    assert_eq!(rig.call(ro, "a"), ["refuse a LegacyReadOnly"]);
    assert_eq!(rig.request(read(ro, "b")), ["start b"]);
    assert_eq!(rig.request(read(off, "c")), ["refuse c LegacyOff"]);
    let new = Request { id: Some(rig::id(1)), ..write(off, "d") };
    assert_eq!(rig.request(new), ["start d"]);
}

#[test]
fn a_copy_that_takes_the_last_room_leaves_none_for_the_first() {
    let (mut rig, board) = Rig::new(32);
    rig.session.set_budget(Budget { all_unread_bytes: 10, ..Budget::default() });
    rig.request(Request { id: Some(rig::id(1)), ..write(board, "first") });
    rig.request(Request { id: Some(rig::id(1)), peer: PeerId(2), ..write(board, "copy") });
    assert_eq!(rig.done_with(board, b"6bytes"), ["reply copy 6bytes", "refuse first NoRoom yes"]);
    assert_eq!(rig.session.unread_bytes(), 6);
}
