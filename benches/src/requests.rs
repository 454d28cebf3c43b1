//! Requests as bytes, and raw sockets to send them through: the same for a floor as for the agent.

use crate::Failure;
use proximity_proto::{
    FromArg, Value,
    call::{CallId, Op},
    hello::Hello,
    message::{Content, Message},
    request::{Arguments, Request},
};
use std::sync::atomic::{AtomicU64, Ordering};
use zmq::Socket;

/// How long a server may take to answer.
const PATIENCE_MS: i32 = 10_000;
/// The first sequence number: all from here on are written in as many bytes.
const FIRST: u64 = 1 << 32;

/// A version 2 request, asked again and again: each time it is another call.
#[derive(Clone)]
pub(crate) struct Question {
    op: Op,
    epoch: Option<u64>,
    name: &'static str,
    proc: &'static str,
    args: Arguments,
    id: CallId,
    bytes: Vec<u8>,
}

impl Question {
    /// A question about `proc` of the object `name`.
    pub(crate) fn new(op: Op, name: &'static str, proc: &'static str, args: Arguments) -> Self {
        let id = CallId { client: [0; 16], seq: FIRST };
        Self { op, epoch: None, name, proc, args, id, bytes: Vec::new() }
    }

    /// 2 + 3, by the calculator `foo`: a quick method.
    pub(crate) fn sum() -> Self {
        let mut args = Arguments::default();
        args.push(&2);
        args.push(&3);
        Self::new(Op::Call, "foo", "add_two", args)
    }

    /// The counter's value: an attribute.
    pub(crate) fn get() -> Self {
        Self::new(Op::Get, "counter", "value", Arguments::default())
    }

    /// The counter's value, set. That is never quick: it always goes through the object's thread.
    pub(crate) fn set() -> Self {
        let mut args = Arguments::default();
        args.push(&5);
        Self::new(Op::Set, "counter", "value", args)
    }

    /// The same question, to the agent that runs in `epoch`.
    pub(crate) fn in_epoch(mut self, epoch: u64) -> Self {
        self.epoch = Some(epoch);
        self
    }

    /// The same question by a client that has asked nothing yet.
    pub(crate) fn by_another(&self) -> Self {
        static CLIENTS: AtomicU64 = AtomicU64::new(1);
        let number = u128::from(CLIENTS.fetch_add(1, Ordering::Relaxed));
        let id = CallId { client: number.to_be_bytes(), seq: FIRST };
        Self { id, ..self.clone() }
    }

    fn next(&mut self) -> &[u8] {
        self.id.seq += 1;
        let request = Request {
            op: self.op,
            id: self.id,
            epoch: self.epoch,
            expires: None,
            lease: None,
            credit: None,
            progress: false,
            name: self.name,
            proc: self.proc,
            args: &self.args,
        };
        request.write(&mut self.bytes);
        &self.bytes
    }
}

/// A client's socket, connected.
pub(crate) struct Line {
    socket: Socket,
    reply: zmq::Message,
}

impl Line {
    /// Connects to `address`.
    pub(crate) fn connect(context: &zmq::Context, address: &str) -> Result<Self, Failure> {
        let socket = context.socket(zmq::REQ)?;
        socket.set_linger(0)?;
        socket.set_rcvtimeo(PATIENCE_MS)?;
        socket.connect(address)?;
        Ok(Self { socket, reply: zmq::Message::new() })
    }

    /// Asks and returns the bytes of what came back.
    pub(crate) fn ask(&mut self, question: &mut Question) -> Result<&[u8], Failure> {
        self.socket.send(question.next(), 0)?;
        self.socket.recv(&mut self.reply, 0)?;
        Ok(&self.reply)
    }

    /// Asks an agent and returns the value it gives; an error in the reply is an error here.
    pub(crate) fn value(&mut self, question: &mut Question) -> Result<Value<'_>, Failure> {
        match Message::parse(self.ask(question)?)?.content {
            Content::Ok(value) => Ok(value),
            other => Err(format!("instead of a value the agent sent {other:?}").into()),
        }
    }

    /// Returns the agent's epoch.
    pub(crate) fn epoch(&mut self) -> Result<u64, Failure> {
        let mut hello = Question::new(Op::Hello, "", "", Arguments::default());
        let hello = Hello::from_arg(self.value(&mut hello)?);
        Ok(hello.map_err(|mismatch| format!("not a hello: {mismatch:?}"))?.epoch)
    }
}

/// Returns the epoch of the agent at `address`.
pub(crate) fn epoch_of(address: &str) -> Result<u64, Failure> {
    Line::connect(&zmq::Context::new(), address)?.epoch()
}
