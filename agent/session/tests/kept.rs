//! Calls that come again get the first answer, and do not run again.

mod rig;

use proximity_proto::fault::Reason;
use proximity_session::{
    Action, CallId, Event, Executed, ObjectId, PeerId, Refusal, Request, Session, Uptime,
};
use rig::{EPOCH, Named, Rig, id, ms, read, write};

const MINUTE: u64 = 60_000;
const DAY: u64 = 24 * 60 * MINUTE;
const CLIENTS: u32 = 16_384;

/// The write `seq` of one of many clients.
fn by(object: ObjectId, client: u32, seq: u64, expires: u64) -> Request<Named> {
    let mut uuid = [0; 16];
    uuid[..4].copy_from_slice(&client.to_be_bytes());
    let id = CallId { client: uuid, seq };
    Request { id: Some(id), expires: Some(ms(expires)), ..write(object, "w") }
}

/// A client's write number `seq`, from peer 1.
fn numbered(object: ObjectId, seq: u64) -> Request<Named> {
    Request { id: Some(id(seq)), ..write(object, &seq.to_string()) }
}

/// The same call once more, over another connection.
fn again(object: ObjectId, seq: u64) -> Request<Named> {
    Request { peer: PeerId(2), ..numbered(object, seq) }
}

/// Runs the client's write number `seq`.
fn run(rig: &mut Rig, object: ObjectId, seq: u64, reply: &[u8]) {
    assert_eq!(rig.request(numbered(object, seq)), [format!("start {seq}")]);
    rig.done_with(object, reply);
}

#[test]
fn a_write_that_comes_again_gets_the_first_reply() {
    let (mut rig, board) = Rig::new(32);
    run(&mut rig, board, 1, b"one");
    run(&mut rig, board, 2, b"two");
    assert_eq!(rig.request(again(board, 1)), ["reply 1 one"]);
    assert_eq!(rig.request(again(board, 2)), ["reply 2 two"]);
    assert_eq!(rig.session.stats().repeated, 2);
}

#[test]
fn a_write_that_comes_again_after_its_deadline_gets_the_first_reply() {
    let (mut rig, board) = Rig::new(32);
    let by = |request| Request { expires: Some(ms(100)), ..request };
    rig.request(by(numbered(board, 1)));
    rig.done_with(board, b"one");
    assert_eq!(rig.at(100).request(by(again(board, 1))), ["reply 1 one"]);
}

#[test]
fn a_read_that_comes_again_runs_again() {
    let (mut rig, board) = Rig::new(32);
    let request = || Request { id: Some(id(1)), ..read(board, "r") };
    assert_eq!(rig.request(request()), ["start r"]);
    rig.done(board);
    assert_eq!(rig.request(request()), ["start r"]);
}

#[test]
fn the_numbers_of_two_clients_have_nothing_to_do_with_each_other() {
    let (mut rig, board) = Rig::new(32);
    run(&mut rig, board, 1, b"one");
    let other = CallId { client: [2; 16], seq: 1 };
    assert_eq!(rig.request(Request { id: Some(other), ..write(board, "other") }), ["start other"]);
}

#[test]
fn a_copy_of_a_call_in_progress_gets_the_same_reply_at_its_end() {
    let (mut rig, board) = Rig::new(32);
    rig.request(numbered(board, 1));
    rig.request(Request { job: rig::named("copy"), ..again(board, 1) });
    assert_eq!(rig.done_with(board, b"one"), ["reply copy one", "reply 1 one"]);
}

#[test]
fn only_the_latest_copy_waits_for_the_end() {
    let (mut rig, board) = Rig::new(32);
    rig.request(numbered(board, 1));
    rig.request(Request { job: rig::named("b"), ..again(board, 1) });
    assert_eq!(rig.request(Request { job: rig::named("c"), ..again(board, 1) }), ["forget b"]);
    assert_eq!(rig.done_with(board, b"one"), ["reply c one", "reply 1 one"]);
}

#[test]
fn a_client_that_is_back_over_another_connection_gets_the_reply_of_its_running_call() {
    let (mut rig, board) = Rig::new(32);
    rig.request(numbered(board, 1));
    rig.on(Event::PeerGone { peer: PeerId(1) });
    rig.request(Request { job: rig::named("copy"), ..again(board, 1) });
    assert_eq!(rig.done_with(board, b"one"), ["reply copy one", "forget 1"]);
}

#[test]
fn a_queued_call_that_was_dropped_with_its_connection_runs_when_it_comes_again() {
    let (mut rig, board) = Rig::new(32);
    rig.request(Request { peer: PeerId(3), ..write(board, "a") });
    rig.request(numbered(board, 1));
    assert_eq!(rig.on(Event::PeerGone { peer: PeerId(1) }), ["forget 1"]);
    rig.request(again(board, 1));
    assert_eq!(rig.done(board), ["reply a", "start 1"]);
}

#[test]
fn a_late_copy_of_a_refused_call_is_refused_too() {
    let (mut rig, board) = Rig::new(0);
    rig.call(board, "a");
    assert_eq!(rig.request(numbered(board, 1)), ["refuse 1 Busy"]);
    rig.done(board);
    // There is room now, but its client was told that it did not run.
    assert_eq!(rig.request(again(board, 1)), ["refuse 1 Busy"]);
    run(&mut rig, board, 2, b"two");
}

#[test]
fn a_late_copy_of_a_cancelled_call_is_refused_too() {
    let (mut rig, board) = Rig::new(32);
    rig.call(board, "a");
    rig.request(numbered(board, 1));
    rig.cancel(1);
    rig.done(board);
    assert_eq!(rig.request(again(board, 1)), ["refuse 1 Cancelled"]);
}

#[test]
fn a_copy_for_another_run_of_the_agent_does_not_end_the_call_in_progress() {
    let (mut rig, board) = Rig::new(32);
    rig.request(Request { epoch: Some(EPOCH), ..numbered(board, 1) });
    let stale = Request { epoch: Some(EPOCH - 1), ..again(board, 1) };
    assert_eq!(rig.request(stale), ["refuse 1 StaleEpoch"]);
    rig.done_with(board, b"one");
    assert_eq!(rig.request(again(board, 1)), ["reply 1 one"]);
}

#[test]
fn a_call_that_panicked_is_not_tried_again() {
    let (mut rig, board) = Rig::new(32);
    rig.request(numbered(board, 1));
    rig.panicked(board);
    rig.on(Event::Reopened { object: board, ok: true });
    assert_eq!(rig.request(again(board, 1)), ["refuse 1 Panicked unknown"]);
}

#[test]
fn a_call_that_broke_its_object_is_told_as_it_was_told_first() {
    let (mut rig, board) = Rig::new(32);
    rig.request(numbered(board, 1));
    rig.request(Request { job: rig::named("copy"), ..again(board, 1) });
    let job = rig.running.remove(&board).unwrap();
    let (class, reason) = ("TimeoutError".into(), Some(Reason::Expired));
    let told = Refusal::Panicked { class, reason };
    let whys = |session: &mut Session<Named>, event| {
        let mut out = Vec::new();
        session.on(Uptime::ZERO, event, &mut out);
        out.retain(|action| !matches!(action, Action::Reopen { .. }));
        out.into_iter()
            .map(|action| match action {
                Action::Refuse { why, executed: Executed::Unknown, .. } => why,
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    let broke = Event::Panicked {
        object: board,
        job,
        executed: Executed::Unknown,
        class: "TimeoutError".into(),
        reason,
    };
    assert_eq!(whys(&mut rig.session, broke), [told.clone(), told.clone()]);
    assert_eq!(whys(&mut rig.session, Event::Request(again(board, 1))), [told]);
}

#[test]
fn the_last_64_calls_of_a_client_are_remembered_and_older_ones_never_run_again() {
    let (mut rig, board) = Rig::new(32);
    for seq in 1..=65 {
        run(&mut rig, board, seq, b"done");
    }
    assert_eq!(rig.request(again(board, 2)), ["reply 2 done"]);
    assert_eq!(rig.request(again(board, 1)), ["refuse 1 TooOld"]);
    // Nor do calls that never came: nobody knows any more.
    for seq in 100..170 {
        run(&mut rig, board, seq, b"done");
    }
    assert_eq!(rig.request(again(board, 90)), ["refuse 90 TooOld"]);
}

#[test]
fn a_refusal_takes_a_place_among_the_64_calls() {
    let (mut rig, board) = Rig::new(0);
    run(&mut rig, board, 1, b"one");
    run(&mut rig, board, 2, b"two");
    rig.call(board, "a");
    for seq in 3..=65 {
        assert_eq!(rig.request(numbered(board, seq)), [format!("refuse {seq} Busy")]);
    }
    assert_eq!(rig.request(again(board, 1)), ["refuse 1 TooOld"]);
    assert_eq!(rig.request(again(board, 2)), ["reply 2 two"]);
    assert_eq!(rig.request(again(board, 3)), ["refuse 3 Busy"]);
}

#[test]
fn a_call_in_progress_is_not_forgotten_however_many_come_after_it() {
    let (mut rig, slow) = Rig::new(32);
    let fast = rig.session.add_object(proximity_session::ObjectOptions::default());
    rig.request(numbered(slow, 1));
    for seq in 2..=100 {
        run(&mut rig, fast, seq, b"done");
    }
    assert!(rig.request(again(slow, 1)).is_empty());
    assert_eq!(rig.done_with(slow, b"one"), ["reply 1 one", "reply 1 one"]);
}

#[test]
fn of_a_large_reply_only_that_the_call_has_run_is_kept() {
    let (mut rig, board) = Rig::new(32);
    run(&mut rig, board, 1, &vec![0; 64 << 10]);
    run(&mut rig, board, 2, &vec![0; (64 << 10) + 1]);
    assert!(rig.request(again(board, 1))[0].starts_with("reply 1"));
    assert_eq!(rig.request(again(board, 2)), ["refuse 2 ReplyNotKept yes"]);
}

#[test]
fn a_client_s_replies_take_at_most_a_mebibyte() {
    let (mut rig, board) = Rig::new(32);
    for seq in 1..=20 {
        run(&mut rig, board, seq, &vec![0; 64 << 10]);
        // And some for the entries themselves.
        assert!(rig.session.kept().1 <= (1 << 20) + (4 << 10));
    }
    assert_eq!(rig.request(again(board, 4)), ["refuse 4 ReplyNotKept yes"]);
    assert!(rig.request(again(board, 5))[0].starts_with("reply 5"));
}

#[test]
fn what_a_buffer_has_to_spare_costs_no_reply() {
    let (mut rig, board) = Rig::new(32);
    // In the buffers of larger ones, in those of smaller ones, and then one that has to have its own.
    let sizes = (0..64).map(|_| 16_000).chain((0..64).map(|_| 9_000)).chain((0..64).map(|_| 9_500));
    let sizes: Vec<usize> = sizes.chain([60_000]).collect();
    for (seq, size) in (1..).zip(&sizes) {
        run(&mut rig, board, seq, &vec![0; *size]);
    }
    for seq in 130..=193 {
        let said = rig.request(again(board, seq));
        assert!(said[0].starts_with("reply"), "{said:?}");
    }
}

#[test]
fn all_replies_take_at_most_32_mebibytes() {
    let (mut rig, board) = Rig::new(32);
    for client in 0..40 {
        rig.at(u64::from(client));
        for seq in 1..=16 {
            rig.request(by(board, client, seq, MINUTE));
            rig.done_with(board, &vec![0; 64 << 10]);
            assert!(rig.session.kept().1 <= 32 << 20);
        }
    }
    // Of the clients that have not called for longest all calls are forgotten; they do not run again.
    assert_eq!(rig.request(by(board, 0, 1, MINUTE)), ["refuse w TooOld"]);
    assert_eq!(rig.request(by(board, 0, 16, MINUTE)), ["refuse w TooOld"]);
    assert_eq!(rig.request(by(board, 0, 17, MINUTE)), ["start w"]);
    assert!(rig.request(by(board, 39, 1, MINUTE))[0].starts_with("reply w"));
    assert!(rig.request(by(board, 20, 1, MINUTE))[0].starts_with("reply w"));
}

#[test]
fn a_call_in_progress_is_not_forgotten_for_want_of_memory() {
    let (mut rig, slow) = Rig::new(32);
    let fast = rig.session.add_object(proximity_session::ObjectOptions::default());
    rig.request(by(fast, 0, 1, MINUTE));
    rig.done_with(fast, b"one");
    rig.request(by(slow, 0, 2, MINUTE));
    for client in 1..40 {
        rig.at(u64::from(client));
        for seq in 1..=16 {
            rig.request(by(fast, client, seq, MINUTE));
            rig.done_with(fast, &vec![0; 64 << 10]);
        }
    }
    assert_eq!(rig.request(by(fast, 0, 1, MINUTE)), ["refuse w TooOld"]);
    assert!(rig.request(by(slow, 0, 2, MINUTE)).is_empty(), "it is in progress");
    assert_eq!(rig.done_with(slow, b"two"), ["reply w two", "reply w two"]);
}

#[test]
fn an_idle_client_s_replies_are_dropped_after_five_minutes() {
    let (mut rig, board) = Rig::new(32);
    let by = |request| Request { expires: Some(ms(1000)), ..request };
    rig.request(by(numbered(board, 1)));
    rig.done_with(board, b"one");
    assert_eq!(rig.session.kept().0, 1);
    assert_eq!(rig.session.next_wake(), Some(ms(5 * MINUTE)));
    rig.at(5 * MINUTE - 1).on(Event::Tick);
    assert_eq!(rig.session.kept().0, 1);
    rig.at(5 * MINUTE).on(Event::Tick);
    assert_eq!(rig.session.kept(), (0, 0));
    assert_eq!(rig.session.next_wake(), None);
    assert_eq!(rig.request(by(again(board, 1))), ["refuse 1 Expired"]);
}

#[test]
fn an_idle_client_is_remembered_as_long_as_a_copy_of_its_calls_might_run() {
    let (mut rig, board) = Rig::new(32);
    let by = |request| Request { expires: Some(ms(60 * MINUTE)), ..request };
    rig.request(by(numbered(board, 1)));
    rig.done_with(board, b"one");
    rig.at(5 * MINUTE).on(Event::Tick);
    assert_eq!(rig.session.kept(), (1, 0));
    assert_eq!(rig.request(by(again(board, 1))), ["refuse 1 TooOld"]);
    rig.at(60 * MINUTE).on(Event::Tick);
    assert_eq!(rig.session.kept(), (0, 0));
}

#[test]
fn more_clients_than_can_be_remembered_are_refused_until_the_deadlines_of_others_have_passed() {
    let (mut rig, board) = Rig::new(32);
    for client in 0..CLIENTS {
        rig.request(by(board, client, 1, 1000 + u64::from(client)));
        rig.done(board);
    }
    assert_eq!(rig.request(by(board, CLIENTS, 1, 5000)), ["refuse w TooManyClients"]);
    // Nothing is said of the copies of a call that cannot be remembered.
    let refused = rig.session.remember_refused(ms(0), by(board, CLIENTS, 1, 0).id.unwrap(), None);
    assert_eq!(refused, Err(Refusal::TooManyClients));
    rig.at(999);
    assert_eq!(rig.request(by(board, CLIENTS, 1, 5000)), ["refuse w TooManyClients"]);
    rig.at(1000);
    assert_eq!(rig.request(by(board, CLIENTS, 1, 5000)), ["start w"]);
    rig.done(board);
    assert_eq!(rig.session.kept().0, 16_384);
    // Some at a time, for all have to be looked through.
    rig.at(2000);
    assert_eq!(rig.request(by(board, CLIENTS + 1, 1, 5000)), ["start w"]);
    assert_eq!(rig.session.kept().0, 16_384 - 256 + 1);
}

#[test]
fn a_client_whose_call_ends_after_its_deadline_makes_room_within_a_second() {
    let (mut rig, board) = Rig::new(32);
    let fast = rig.session.add_object(proximity_session::ObjectOptions::default());
    rig.request(by(board, 0, 1, 1000));
    for client in 1..CLIENTS {
        rig.request(by(fast, client, 1, MINUTE));
        rig.done(fast);
    }
    rig.at(1000);
    assert_eq!(rig.request(by(fast, CLIENTS, 1, MINUTE)), ["refuse w TooManyClients"]);
    rig.done(board);
    rig.at(2000);
    assert_eq!(rig.request(by(fast, CLIENTS, 1, MINUTE)), ["start w"]);
}

#[test]
fn a_deadline_more_than_a_day_ahead_is_refused_and_remembers_nobody() {
    let (mut rig, board) = Rig::new(32);
    rig.at(5);
    let far = |request: Request<Named>| Request { expires: Some(ms(DAY + 6)), ..request };
    assert_eq!(rig.request(far(numbered(board, 1))), ["refuse 1 ExpiresTooFar"]);
    assert_eq!(rig.request(far(read(board, "r"))), ["refuse r ExpiresTooFar"]);
    let refused = rig.session.remember_refused(ms(5), id(1), Some(Uptime::from_millis(u64::MAX)));
    assert!(matches!(refused, Err(Refusal::ExpiresTooFar { .. })), "{refused:?}");
    // Not for another reason either, for which it would be remembered until then.
    rig.on(Event::RemoveObject { object: board });
    assert_eq!(rig.request(far(numbered(board, 1))), ["refuse 1 ExpiresTooFar"]);
    assert_eq!(rig.session.kept(), (0, 0));
    // Nothing was said of its copies: one that can be taken is, and its answer is there for all.
    let board = rig.session.add_object(proximity_session::ObjectOptions::default());
    let latest = Request { expires: Some(ms(DAY + 5)), ..numbered(board, 1) };
    assert_eq!(rig.request(latest), ["start 1"]);
    rig.done_with(board, b"one");
    assert_eq!(rig.request(far(again(board, 1))), ["reply 1 one"]);
    assert!(!Refusal::ExpiresTooFar { ahead: ms(DAY + 1) }.covers_copies());
}

#[test]
fn clients_with_far_deadlines_leave_room_for_all_others() {
    let (mut rig, board) = Rig::new(32);
    let run = |rig: &mut Rig, client, seq, expires| {
        let said = rig.request(by(board, client, seq, expires));
        if said == ["start w"] {
            rig.done(board);
        }
        said[0].clone()
    };
    let (soon, far) = (5 * MINUTE, 5 * MINUTE + 1);
    // Those whose deadline grows count too.
    for client in 0..100 {
        assert_eq!(run(&mut rig, client, 1, soon), "start w");
    }
    for client in 0..4096 {
        assert_eq!(run(&mut rig, client, 2, DAY), "start w");
    }
    assert_eq!(run(&mut rig, 4096, 1, far), "refuse w TooManyClients");
    for client in 4096..CLIENTS {
        assert_eq!(run(&mut rig, client, 1, soon), "start w");
    }
    assert_eq!(run(&mut rig, 4096, 2, far), "refuse w TooManyClients");
    assert_eq!(run(&mut rig, CLIENTS, 1, soon), "refuse w TooManyClients");
    // Who is known goes on, near and far.
    assert_eq!(run(&mut rig, 4096, 3, soon), "start w");
    assert_eq!(run(&mut rig, 0, 3, DAY), "start w");
    // The others' places are free after five minutes; the far ones are held still.
    rig.at(5 * MINUTE).on(Event::Tick);
    assert_eq!(rig.session.kept().0, 4096);
    assert_eq!(run(&mut rig, CLIENTS, 1, 11 * MINUTE), "refuse w TooManyClients");
    assert_eq!(run(&mut rig, CLIENTS, 1, 10 * MINUTE), "start w");
    // A far deadline that has come near leaves room for another.
    rig.at(DAY - 5 * MINUTE);
    assert_eq!(run(&mut rig, 0, 4, DAY), "start w");
    assert_eq!(run(&mut rig, CLIENTS + 1, 1, DAY + 1), "start w");
    assert_eq!(run(&mut rig, CLIENTS + 2, 1, DAY + 1), "refuse w TooManyClients");
    // And so do those that are forgotten.
    rig.at(DAY).on(Event::Tick);
    assert!(rig.session.kept().0 < 4);
    for client in 0..4095 {
        assert_eq!(run(&mut rig, client, 5, 2 * DAY), "start w");
    }
    assert_eq!(run(&mut rig, CLIENTS + 2, 1, 2 * DAY), "refuse w TooManyClients");
}

#[test]
fn clients_that_make_room_leave_it_for_far_deadlines_too() {
    let (mut rig, board) = Rig::new(32);
    let mut run = |now, client, expires| {
        let said = rig.at(now).request(by(board, client, 1, expires));
        if said == ["start w"] {
            rig.done(board);
        }
        said[0].clone()
    };
    for client in 0..CLIENTS {
        run(0, client, if client < 4096 { 6 * MINUTE } else { MINUTE });
    }
    let now = 6 * MINUTE;
    assert_eq!(run(now, CLIENTS, 2 * now), "refuse w TooManyClients");
    assert_eq!(run(now, CLIENTS, now + 1), "start w");
    assert_eq!(run(now, CLIENTS + 1, 2 * now), "start w");
}

#[test]
fn a_call_without_a_deadline_holds_a_place_as_one_of_five_minutes_does() {
    let (mut rig, board) = Rig::new(32);
    for client in 0..4097 {
        let request = Request { expires: None, ..by(board, client, 1, 0) };
        assert_eq!(rig.request(request), ["start w"]);
        rig.done(board);
    }
    assert_eq!(rig.request(by(board, 5000, 1, DAY)), ["start w"]);
}

#[test]
fn all_clients_are_looked_through_once_a_second_at_most() {
    let (mut rig, board) = Rig::new(32);
    for client in 0..3 {
        rig.at(u64::from(client)).request(by(board, client, 1, MINUTE));
        rig.done(board);
    }
    rig.at(5 * MINUTE).on(Event::Tick);
    assert_eq!((rig.session.kept().0, rig.session.next_wake()), (2, Some(ms(5 * MINUTE + 1000))));
    rig.at(5 * MINUTE + 1000).on(Event::Tick);
    assert_eq!(rig.session.kept(), (0, 0));
}
