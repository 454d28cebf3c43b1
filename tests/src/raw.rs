//! A client of the bare wire: bytes out, bytes back, as an original client's socket does it.

use crate::PATIENCE;

/// A REQ socket, as the original's clients use.
pub struct Raw {
    socket: zmq::Socket,
    // Dropped behind the socket, which it would otherwise wait for.
    _context: zmq::Context,
}

impl Raw {
    /// Connects to an agent.
    ///
    /// # Panics
    ///
    /// If `endpoint` is none.
    pub fn connect(endpoint: &str) -> Self {
        let context = zmq::Context::new();
        let socket = context.socket(zmq::REQ).expect("a socket");
        let patience = i32::try_from(PATIENCE.as_millis()).expect("patience has an end");
        socket.set_linger(0).expect("an option");
        socket.set_rcvtimeo(patience).expect("an option");
        socket.set_sndtimeo(patience).expect("an option");
        socket.connect(endpoint).expect("an endpoint");
        Self { socket, _context: context }
    }

    /// Sends a request and waits for its reply.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn ask(&self, request: &[u8]) -> Vec<u8> {
        self.send(request);
        self.receive()
    }

    /// Sends a request.
    ///
    /// # Panics
    ///
    /// If it cannot be sent.
    pub fn send(&self, request: &[u8]) {
        self.socket.send(request, 0).expect("the request is sent");
    }

    /// Waits for a reply.
    ///
    /// # Panics
    ///
    /// If there is none, or it is of more than one part.
    pub fn receive(&self) -> Vec<u8> {
        let mut parts = self.socket.recv_multipart(0).expect("a reply comes");
        assert_eq!(parts.len(), 1, "a reply is one part");
        parts.remove(0)
    }
}
