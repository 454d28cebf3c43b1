//! A request in JSON.

use super::{magnitude, outcome};
use crate::{Target, corpus, measure};
use proximity_proto::{
    json::{JsonError, from_messagepack, request, to_messagepack},
    limits::Limits,
    value::check,
};

pub(crate) const TARGET: Target = Target {
    name: "json",
    body,
    seeds: corpus::json,
    words: &[
        b"{\"__bytes__\": \"AAEC\"}",
        b"{\"__float__\": \"nan\"}",
        b"\"__float__\": \"-inf\"",
        b"\\u0000",
        b"\\ud83d\\ude00",
        b"\\ud800",
        b"1e1,",
        b"-0.0",
        b"1e400",
        b"18446744073709551615",
        b"18446744073709551616",
        b"-9223372036854775808",
        b"null",
        b"[[[[[[[[[[[",
        b"{\"a\":{\"a\":",
        b"\"v\": 2",
        b"\"id\": [{\"__bytes__\": \"AAAAAAAAAAAAAAAAAAAAAA==\"}, 1]",
    ],
};

fn body(text: &[u8]) -> u64 {
    let limits = Limits::default();
    let written = measure::within(text.len(), 4, || {
        let mut out = Vec::new();
        to_messagepack(text, &limits, &mut out).map(|()| out)
    });
    let bytes = match written {
        Ok(bytes) => bytes,
        Err(JsonError::Syntax(why)) => {
            let words: Vec<_> = why.split(' ').take(3).collect();
            let refused = measure::within(text.len(), 4, || {
                request(text, &limits, &mut Vec::new()).expect_err("it breaks off")
            });
            return outcome((words, refused.version, refused.id.is_some()));
        }
        Err(error) => panic!("{error}"),
    };
    // Keys may be longer than those of a request; the reader of the request refuses them.
    if check(&bytes, &limits).is_err() {
        return outcome("refused");
    }
    let first = from_messagepack(&bytes).expect("what came as JSON has a form in it");
    serde_json::from_slice::<serde_json::Value>(&first).expect("we write JSON");
    let mut again = Vec::new();
    to_messagepack(&first, &limits, &mut again).expect("we read what we write");
    let second = from_messagepack(&again).expect("what came as JSON has a form in it");
    assert_eq!(String::from_utf8_lossy(&first), String::from_utf8_lossy(&second));
    outcome((bytes.first(), magnitude(bytes.len())))
}
