//! Large results in parts. Whether they come whole, and whole results of one call only, the simulation
//! shows; here is what it would take long to meet.

use core::cell::Cell;
use proximity_session::{CallId, Delivery, Moved, Pace, PeerId, Streams, Uptime};

const PACE: Pace =
    Pace { part: 10, window: 20, patience: Uptime::from_secs(5), pause: Uptime::from_millis(5) };

fn id(seq: u64) -> CallId {
    CallId { client: [1; 16], seq }
}

/// Sends all that may be sent while the connection has `lent` bytes on their way; returns which parts
/// of what were, and what came last.
fn advance(
    streams: &mut Streams<&'static str>,
    now: Uptime,
    lent: usize,
) -> (Vec<(&'static str, u64)>, Option<Moved<&'static str>>) {
    let mut sent = Vec::new();
    loop {
        let moved = streams.advance(
            now,
            |_| lent,
            |held, part| {
                sent.push((*held, part.index));
                Delivery::Sent
            },
        );
        if !matches!(moved, Some(Moved::Sent(_))) {
            return (sent, moved);
        }
    }
}

#[test]
fn a_result_of_a_call_that_came_twice_takes_the_place_of_the_first() {
    let mut streams = Streams::new(PACE);
    let now = Uptime::ZERO;
    assert_eq!(streams.take(now, PeerId(1), id(1), 35, 2, "first"), None);
    assert_eq!(advance(&mut streams, now, 0), (vec![("first", 0), ("first", 1)], None));
    assert_eq!(streams.take(now, PeerId(1), id(1), 35, 2, "second"), Some("first"));
    // Another connection's is its own.
    assert_eq!(streams.take(now, PeerId(2), id(1), 5, 1, "other"), None);
    let (sent, moved) = advance(&mut streams, now, 0);
    assert_eq!(sent, [("second", 0), ("other", 0), ("second", 1)]);
    assert_eq!(moved, Some(Moved::Ended(PeerId(2), 1, 5, "other")));
    streams.grant(now, PeerId(1), id(1), 9);
    let (sent, moved) = advance(&mut streams, now, 0);
    assert_eq!(sent, [("second", 2), ("second", 3)]);
    assert_eq!(moved, Some(Moved::Ended(PeerId(1), 4, 35, "second")));
    assert!(streams.is_empty() && streams.next_wake().is_none());
}

#[test]
fn a_result_waits_for_credit_and_room_and_not_for_ever() {
    let mut streams = Streams::new(PACE);
    let at = Uptime::from_secs;
    streams.take(at(0), PeerId(1), id(1), 35, 9, "result");
    assert_eq!(advance(&mut streams, at(0), 20), (vec![], None));
    assert_eq!(streams.next_wake(), Some(at(5)));
    streams.try_again(at(4));
    assert_eq!(streams.next_wake(), Some(at(4)));
    let full = streams.advance(at(4), |_| 0, |_, _| Delivery::Full);
    assert_eq!((full, streams.next_wake()), (None, Some(at(4) + PACE.pause)));
    assert_eq!(
        advance(&mut streams, at(5), 20),
        (vec![], Some(Moved::Stalled(PeerId(1), "result")))
    );
    assert_eq!(advance(&mut streams, at(5), 20), (vec![], None));
}

/// Sends one part, for more there is no room; returns what was sent, or what came instead.
fn one_part(
    streams: &mut Streams<&'static str>,
    now: Uptime,
) -> Result<(&'static str, u64), Option<Moved<&'static str>>> {
    let sent = Cell::new(None);
    streams.try_again(now);
    loop {
        let moved = streams.advance(
            now,
            |_| if sent.get().is_none() { 0 } else { PACE.window },
            |held, part| {
                sent.set(Some((*held, part.index)));
                Delivery::Sent
            },
        );
        match (moved, sent.get()) {
            (Some(Moved::Sent(_)), _) => {}
            (None, Some(sent)) => return Ok(sent),
            (moved, _) => return Err(moved),
        }
    }
}

#[test]
fn results_of_a_connection_take_turns_and_none_is_dropped_while_others_fill_it() {
    let mut streams = Streams::new(PACE);
    let at = Uptime::from_secs;
    for (seq, held, credit) in [(1, "a", 9), (2, "b", 1), (3, "c", 9)] {
        streams.take(at(0), PeerId(1), id(seq), 100, credit, held);
    }
    streams.take(at(0), PeerId(2), id(1), 100, 0, "another's");
    let sent: Vec<_> = (0..5).map(|n| one_part(&mut streams, at(n)).unwrap()).collect();
    assert_eq!(sent, [("a", 0), ("b", 0), ("c", 0), ("a", 1), ("c", 1)]);
    // What others are sent is nothing to a connection.
    assert_eq!(one_part(&mut streams, at(5)), Err(Some(Moved::Stalled(PeerId(2), "another's"))));
    // Each result moves every eight seconds only; "b" may not have been read behind all that.
    let sent: Vec<_> = (2..5).map(|n| one_part(&mut streams, at(4 * n)).unwrap()).collect();
    assert_eq!(sent, [("a", 2), ("c", 2), ("a", 3)]);
    streams.grant(at(17), PeerId(1), id(2), 1);
    assert_eq!(one_part(&mut streams, at(17)), Ok(("b", 1)));
}

#[test]
fn a_result_for_which_nothing_is_granted_is_dropped_though_others_move() {
    let mut streams = Streams::new(PACE);
    let at = Uptime::from_secs;
    streams.take(at(0), PeerId(1), id(1), 10, 0, "left");
    streams.take(at(0), PeerId(1), id(2), 1000, 99, "read");
    for second in 0..68 {
        assert_eq!(one_part(&mut streams, at(second)), Ok(("read", second)));
    }
    assert_eq!(one_part(&mut streams, at(68)), Err(Some(Moved::Stalled(PeerId(1), "left"))));
}
