//! All recorded exchanges of the original, against the agent.
//!
//! What clients decode must be the same; how it is encoded is ours, in the one form that every client
//! knows (docs/wire.md). If this fails, the change is wrong, not the file.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on panics, and says why"
)]

use proximity_proto::Value;
use proximity_tests::{
    process::TestAgent,
    raw::Raw,
    recorded::{Answer, odd_form, pairs, same},
};

/// The class and message of an exception reply.
fn exception(reply: &[u8]) -> Option<(String, String)> {
    let Some(Value::Map(map)) = Value::first(reply) else { return None };
    let Some(Value::Array(triple)) = map.get("EXCEPTION") else { return None };
    assert_eq!((map.len(), triple.len()), (1, 3), "the original's clients expect this shape");
    assert!(matches!(triple.get(2), Some(Value::Array(lines)) if !lines.is_empty()));
    let text = |place| triple.get(place).and_then(|value| value.as_text()).map(str::to_owned);
    Some((text(0)?, text(1)?))
}

/// Whether both lists have the same pairs of name and text, in any order.
fn same_set(left: &[u8], right: &[u8]) -> bool {
    let (Some(Value::Array(left)), Some(Value::Array(right))) =
        (Value::first(left), Value::first(right))
    else {
        return false;
    };
    left.len() == right.len() && left.iter().all(|item| right.iter().any(|other| same(item, other)))
}

#[test]
fn all_recorded_pairs_hold() {
    let agent = TestAgent::start();
    let client = Raw::connect(&agent.endpoint);
    let mut held = 0;
    for pair in pairs() {
        let reply = client.ask(&pair.request);
        let context = format!("{} in {}: {reply:02x?}", pair.case, pair.dialect);
        assert_eq!(odd_form(&reply), None, "{context}");
        match (pair.case.as_str(), &pair.answer) {
            ("list_methods", Answer::Reply(recorded)) => {
                assert!(same_set(&reply, recorded), "{context}");
            }
            // MessagePack 1.0 refuses such a map, and killed the original's server.
            ("int_key_map", _) => {
                let (class, message) = exception(&reply).expect(&context);
                assert_eq!(class, "TypeError", "{context}");
                assert!(message.starts_with("a dict in the request has a key that is no text"));
            }
            // The one intended difference: an underscore hides a method from calls as well.
            ("private_method", _) => {
                let expected = ("KeyError".to_owned(), "'_private'".to_owned());
                assert_eq!(exception(&reply), Some(expected), "{context}");
            }
            ("exception_bad_args", _) => {
                let message = "add_two() missing required argument: 'y'".to_owned();
                assert_eq!(exception(&reply), Some(("TypeError".to_owned(), message)), "{context}");
            }
            (_, Answer::Exception(class, message)) => {
                assert_eq!(exception(&reply), Some((class.clone(), message.clone())), "{context}");
            }
            (_, Answer::Reply(recorded)) => {
                let (ours, theirs) = (Value::first(&reply), Value::first(recorded));
                assert!(same(ours.expect(&context), theirs.expect("a value")), "{context}");
            }
        }
        held += 1;
    }
    assert_eq!(held, 208);
}

#[test]
fn a_request_that_lacks_a_key_gets_the_originals_key_error() {
    let agent = TestAgent::start();
    let client = Raw::connect(&agent.endpoint);
    let entries: [(&str, &[u8]); 4] = [
        ("name", b"\xa4name\xa3foo"),
        ("proc", b"\xa4proc\xa7add_two"),
        ("args", b"\xa4args\x92\x02\x03"),
        ("kwargs", b"\xa6kwargs\x80"),
    ];
    for missing in entries {
        let mut request = vec![0x83];
        for (_, entry) in entries.iter().filter(|(key, _)| *key != missing.0) {
            request.extend_from_slice(entry);
        }
        let expected = ("KeyError".to_owned(), format!("'{}'", missing.0));
        assert_eq!(exception(&client.ask(&request)), Some(expected));
    }
}

#[test]
fn keys_and_names_may_come_as_bytes() {
    let agent = TestAgent::start();
    let client = Raw::connect(&agent.endpoint);
    let request = b"\x84\xc4\x04name\xc4\x03foo\xc4\x04proc\xc4\x07add_two\xc4\x04args\x92\x02\x03\
                    \xc4\x06kwargs\x80";
    assert_eq!(client.ask(request), [5]);
}
