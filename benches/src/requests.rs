//! Requests made beforehand, and the sockets they go through.

use crate::Failure;
use proximity_proto::{Value, limits::Limits, value};
use rmp::encode::{ByteBuf, write_array_len, write_bin, write_map_len, write_str, write_uint};
use zmq::{Message, Socket};

/// How long a server may take to answer.
const PATIENCE_MS: i32 = 10_000;

/// Returns an original client's call with whole numbers as arguments.
pub(crate) fn call(name: &str, proc: &str, args: &[u64]) -> Vec<u8> {
    let mut out = Writer::map(4);
    out.name_proc_args(name, proc, args);
    out.text("kwargs").empty_map();
    out.done()
}

/// Returns a version 2 request for an attribute: a get without arguments, a set with one.
pub(crate) fn attribute(epoch: u64, name: &str, proc: &str, args: &[u64]) -> Vec<u8> {
    let mut out = Writer::map(7);
    out.name_proc_args(name, proc, args);
    out.text("v").uint(2).text("op").text(if args.is_empty() { "get" } else { "set" });
    out.text("epoch").uint(epoch).text("id").id();
    out.done()
}

/// Returns the request for the agent's epoch and limits.
fn hello() -> Vec<u8> {
    let mut out = Writer::map(3);
    out.text("v").uint(2).text("op").text("hello").text("id").id();
    out.done()
}

/// A client's socket, connected.
pub(crate) struct Line {
    socket: Socket,
    reply: Message,
}

impl Line {
    /// Connects to `address`.
    pub(crate) fn connect(context: &zmq::Context, address: &str) -> Result<Self, Failure> {
        let socket = context.socket(zmq::REQ)?;
        socket.set_linger(0)?;
        socket.set_rcvtimeo(PATIENCE_MS)?;
        socket.connect(address)?;
        Ok(Self { socket, reply: Message::new() })
    }

    /// Sends `request` and returns the reply to it.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Result<&[u8], Failure> {
        self.socket.send(request, 0)?;
        self.socket.recv(&mut self.reply, 0)?;
        Ok(&self.reply)
    }

    /// Like [`Line::ask`], but an exception in the reply is an error here.
    pub(crate) fn ask_checked(&mut self, request: &[u8]) -> Result<&[u8], Failure> {
        let reply = self.ask(request)?;
        let decoded = decode(reply)?;
        if let Value::Map(map) = decoded
            && (map.get("EXCEPTION").is_some() || map.get("error").is_some())
        {
            return Err(format!("the agent answered {decoded:?}").into());
        }
        Ok(reply)
    }

    /// Returns the agent's epoch.
    pub(crate) fn epoch(&mut self) -> Result<u64, Failure> {
        let reply = decode(self.ask_checked(&hello())?)?;
        let Value::Map(envelope) = reply else { return Err("hello: not a map".into()) };
        envelope
            .get("epoch")
            .and_then(|epoch| epoch.as_u64())
            .ok_or_else(|| format!("hello: no epoch in {envelope:?}").into())
    }
}

fn decode(bytes: &[u8]) -> Result<Value<'_>, Failure> {
    value::check(bytes, &Limits::default()).map_err(|error| error.to_string())?;
    Value::first(bytes).ok_or_else(|| "an empty reply".into())
}

struct Writer(ByteBuf);

impl Writer {
    fn map(entries: u32) -> Self {
        let mut buffer = ByteBuf::new();
        let Ok(_) = write_map_len(&mut buffer, entries);
        Self(buffer)
    }

    fn name_proc_args(&mut self, name: &str, proc: &str, args: &[u64]) {
        self.text("name").text(name).text("proc").text(proc).text("args");
        let count = u32::try_from(args.len()).unwrap_or(u32::MAX);
        let Ok(_) = write_array_len(&mut self.0, count);
        for arg in args {
            self.uint(*arg);
        }
    }

    fn text(&mut self, text: &str) -> &mut Self {
        let Ok(()) = write_str(&mut self.0, text);
        self
    }

    fn uint(&mut self, number: u64) -> &mut Self {
        let Ok(_) = write_uint(&mut self.0, number);
        self
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        let Ok(()) = write_bin(&mut self.0, bytes);
        self
    }

    fn empty_map(&mut self) -> &mut Self {
        let Ok(_) = write_map_len(&mut self.0, 0);
        self
    }

    /// A call's id. The same for all: the agent need not tell them apart, for none is ever repeated.
    fn id(&mut self) -> &mut Self {
        let Ok(_) = write_array_len(&mut self.0, 2);
        self.bytes(&[7; 16]).uint(1)
    }

    fn done(self) -> Vec<u8> {
        self.0.into_vec()
    }
}
