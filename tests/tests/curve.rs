//! The libzmq that `vendor/zeromq-src` builds, proven by a binary that depends on nothing but the `zmq` crate.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test panics")]

use zmq::{Context, CurveKeyPair, DEALER, ROUTER, SocketEvent};

const DEADLINE_MS: i32 = 5_000;

#[test]
fn libzmq_is_4_3_5_with_curve_inside() {
    assert_eq!(zmq::version(), (4, 3, 5));
    assert_eq!(zmq::has("curve"), Some(true));
}

#[test]
fn the_right_server_key_is_served_over_curve() {
    let server = CurveKeyPair::new().unwrap();
    assert_eq!(call(&server.secret_key, &server.public_key), Some(b"reply".to_vec()));
}

#[test]
fn a_wrong_server_key_is_refused_at_the_handshake() {
    let server = CurveKeyPair::new().unwrap();
    let other = CurveKeyPair::new().unwrap();
    assert_eq!(call(&server.secret_key, &other.public_key), None);
}

/// Returns the reply to one call, or None when the handshake failed.
fn call(server_secret: &[u8], expected_server_public: &[u8]) -> Option<Vec<u8>> {
    let context = Context::new();
    let server = context.socket(ROUTER).unwrap();
    server.set_curve_server(true).unwrap();
    server.set_curve_secretkey(server_secret).unwrap();
    server.bind("tcp://127.0.0.1:*").unwrap();
    let address = server.get_last_endpoint().unwrap().unwrap();

    let client = context.socket(DEALER).unwrap();
    let own = CurveKeyPair::new().unwrap();
    client.set_curve_publickey(&own.public_key).unwrap();
    client.set_curve_secretkey(&own.secret_key).unwrap();
    client.set_curve_serverkey(expected_server_public).unwrap();
    client.set_linger(0).unwrap();
    let ended = SocketEvent::HANDSHAKE_SUCCEEDED.to_raw()
        | SocketEvent::HANDSHAKE_FAILED_NO_DETAIL.to_raw()
        | SocketEvent::HANDSHAKE_FAILED_PROTOCOL.to_raw()
        | SocketEvent::HANDSHAKE_FAILED_AUTH.to_raw()
        | SocketEvent::DISCONNECTED.to_raw();
    client.monitor("inproc://handshake", i32::from(ended)).unwrap();
    let monitor = context.socket(zmq::PAIR).unwrap();
    monitor.connect("inproc://handshake").unwrap();
    client.connect(&address).unwrap();

    for socket in [&server, &client, &monitor] {
        socket.set_rcvtimeo(DEADLINE_MS).unwrap();
    }
    let event = monitor.recv_multipart(0).unwrap();
    let number = u16::from_le_bytes([event[0][0], event[0][1]]);
    if number != SocketEvent::HANDSHAKE_SUCCEEDED.to_raw() {
        return None;
    }
    client.send("call", 0).unwrap();
    let request = server.recv_multipart(0).unwrap();
    assert_eq!(request[1], b"call");
    server.send_multipart([&request[0][..], b"reply"], 0).unwrap();
    Some(client.recv_bytes(0).unwrap())
}
