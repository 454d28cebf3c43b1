//! A server that does as a test says, on a ROUTER socket of its own.

use proximity_client::{CallId, Fault, Hello};
use proximity_proto::{
    ToReply,
    call::{Call, Codec, Op, ReplyTo},
    fault::{Executed, Reason},
    hello::AgentLimits,
    limits::Limits,
    reply,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Bytes of a chunk, as hello tells.
pub const CHUNK: u64 = 1_000;

/// Ends when dropped, and its connections with it.
pub struct Server {
    pub port: u16,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// One request, and the ways to answer it.
pub struct Asked<'a> {
    pub call: Call<'a>,
    epoch: u64,
    begun: Instant,
    peer: &'a [u8],
    send: &'a mut Vec<(Vec<u8>, Vec<u8>)>,
    held: &'a mut Vec<(Vec<u8>, Vec<u8>)>,
}

impl Asked<'_> {
    fn to(&self) -> ReplyTo {
        ReplyTo { version: 2, codec: Codec::MessagePack, id: self.call.id, epoch: self.epoch }
    }

    fn ok_bytes(&self, value: &(impl ToReply + ?Sized)) -> Vec<u8> {
        let (mut out, to) = (Vec::new(), self.to());
        reply::begin(&mut out, &to);
        value.to_reply(&mut out);
        reply::finish(&mut out, &to).expect("MessagePack");
        out
    }

    pub fn raw(&mut self, bytes: Vec<u8>) {
        self.send.push((self.peer.to_vec(), bytes));
    }

    pub fn ok(&mut self, value: &(impl ToReply + ?Sized)) {
        let bytes = self.ok_bytes(value);
        self.raw(bytes);
    }

    /// Answers once [`Asked::release`] is called for another request.
    pub fn ok_later(&mut self, value: &(impl ToReply + ?Sized)) {
        let bytes = self.ok_bytes(value);
        self.held.push((self.peer.to_vec(), bytes));
    }

    pub fn fault_later(&mut self, fault: &Fault, executed: Executed, reason: Option<Reason>) {
        let mut out = Vec::new();
        reply::fault(&mut out, &self.to(), fault, executed, reason);
        self.held.push((self.peer.to_vec(), out));
    }

    /// Sends the answers that were held back, the last first.
    pub fn release(&mut self) {
        self.send.extend(self.held.drain(..).rev());
    }

    pub fn held(&self) -> usize {
        self.held.len()
    }

    pub fn progress(&mut self, done: u64, total: u64, text: &str) {
        let mut out = Vec::new();
        reply::progress(&mut out, &self.to(), done, total, text);
        self.raw(out);
    }

    pub fn fault(&mut self, fault: &Fault, executed: Executed, reason: Option<Reason>) {
        let mut out = Vec::new();
        reply::fault(&mut out, &self.to(), fault, executed, reason);
        self.raw(out);
    }

    /// Answers hello, and refuses what is for another run, as an agent does. False if it has.
    pub fn is_for_the_test(&mut self) -> bool {
        self.is_for_the_test_of(&[])
    }

    /// The same of an agent with these features.
    pub fn is_for_the_test_of(&mut self, features: &[&str]) -> bool {
        if self.call.op == Op::Hello {
            let limits = Limits { max_frame: 100_000, ..Limits::default() };
            let hello = Hello {
                epoch: self.epoch,
                now: self.begun.elapsed(),
                agent: "test".into(),
                version: "1".into(),
                limits: AgentLimits { chunk: CHUNK, ..AgentLimits::new(&limits, 32) },
                features: features.iter().map(|&feature| feature.into()).collect(),
                objects: [("foo".into(), 1)].into(),
            };
            self.ok(&hello);
            return false;
        }
        let is_of_none = matches!(self.call.op, Op::Credit);
        if self.call.epoch != Some(self.epoch) && !is_of_none {
            let fault = Fault::runtime_error("the call was made for another run of the agent");
            self.fault(&fault, Executed::No, Some(Reason::StaleEpoch));
            return false;
        }
        true
    }

    /// Sends part `index` of `count` of a large result.
    pub fn chunk(&mut self, index: u64, count: u64, data: &[u8]) {
        let mut out = Vec::new();
        reply::chunk(&mut out, &self.to(), index, count, data);
        self.raw(out);
    }

    /// Ends a result that went before in chunks.
    pub fn chunked(&mut self, count: u64, bytes: u64) {
        let mut out = Vec::new();
        reply::chunked(&mut out, &self.to(), count, bytes);
        self.raw(out);
    }

    /// Answers this request as another run of the agent.
    pub fn pose_as(&mut self, epoch: u64) {
        self.epoch = epoch;
    }

    /// The run of this agent.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The connection.
    pub fn peer(&self) -> &[u8] {
        self.peer
    }

    /// The agent's clock.
    pub fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The argument at `index`, a whole number.
    pub fn number(&self, index: usize) -> u64 {
        let value = self.call.args.positional.get(index);
        value.and_then(|value| value.as_u64()).expect("a number")
    }
}

impl Server {
    /// Serves on a port that is free.
    pub fn start(serve: impl FnMut(Asked<'_>) + Send + 'static) -> Self {
        Self::start_on(0, 1, serve)
    }

    /// Serves on `port`, as the run `epoch`.
    pub fn start_on(
        port: u16,
        epoch: u64,
        mut serve: impl FnMut(Asked<'_>) + Send + 'static,
    ) -> Self {
        let context = zmq::Context::new();
        let router = context.socket(zmq::ROUTER).expect("a socket");
        router.set_linger(0).expect("an option");
        router.set_rcvtimeo(10).expect("an option");
        let address = match port {
            0 => "tcp://127.0.0.1:*".into(),
            port => format!("tcp://127.0.0.1:{port}"),
        };
        // The port of a server that has just ended is free a moment later.
        let deadline = Instant::now() + Duration::from_secs(5);
        while let Err(error) = router.bind(&address) {
            assert!(Instant::now() < deadline, "{address}: {error}");
            std::thread::yield_now();
        }
        let endpoint = router.get_last_endpoint().expect("an endpoint").expect("UTF-8");
        let port = endpoint.rsplit(':').next().and_then(|port| port.parse().ok());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let begun = Instant::now();
            let mut held = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let Ok(parts) = router.recv_multipart(0) else { continue };
                let [peer, empty @ .., payload] = &parts[..] else { panic!("{parts:?}") };
                let call = Call::parse(payload, &Limits::default()).expect("a request");
                // As an original server needs it, until it is known that this is none.
                let delimited = empty == [[0; 0]];
                assert!(empty.is_empty() || (delimited && call.op == Op::Hello), "{parts:?}");
                let mut send = Vec::new();
                serve(Asked { call, epoch, begun, peer, send: &mut send, held: &mut held });
                for (peer, bytes) in send {
                    let empty: &[&[u8]] = if delimited { &[b""] } else { &[] };
                    let frames = [&[&peer[..]], empty, &[&bytes[..]]].concat();
                    router.send_multipart(frames, 0).expect("to be sent");
                }
            }
        });
        Self { port: port.expect("a port"), stop, thread: Some(thread) }
    }

    /// Ends it, and returns its port when it is free again.
    pub fn end(self) -> u16 {
        self.port
    }

    pub fn address(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "the server panicked");
    }
}

/// A port where nobody listens.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Compares ids without their client's number.
pub fn seq(id: Option<CallId>) -> u64 {
    id.expect("an id").seq
}
