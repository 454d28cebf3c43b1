//! What stands under us: libzmq alone, answering with nothing in between.

use crate::Failure;
use std::io::{self, Read, Write};

/// Serves one of the floors until standard input ends, that is, until who started us goes.
pub(crate) fn serve(floor: &str) -> Result<(), Failure> {
    std::thread::spawn(|| {
        let _ = io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let context = zmq::Context::new();
    let kind = match floor {
        "rep" => zmq::REP,
        "router" => zmq::ROUTER,
        _ => return Err(format!("there is no floor '{floor}'; there are rep and router").into()),
    };
    let socket = context.socket(kind)?;
    socket.bind("tcp://127.0.0.1:*")?;
    let address = socket.get_last_endpoint()?.unwrap_or_default();
    println!("listening {address}\nready");
    io::stdout().flush()?;
    let mut frame = zmq::Message::new();
    loop {
        socket.recv(&mut frame, 0)?;
        let flags = if frame.get_more() { zmq::SNDMORE } else { 0 };
        socket.send(&*frame, flags)?;
    }
}
