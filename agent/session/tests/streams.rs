//! Large results in parts. Whether they come whole, and whole results of one call only, the simulation
//! shows; here is what it would take long to meet.

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
    assert_eq!(sent, [("second", 0), ("second", 1), ("other", 0)]);
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
