//! KATCP itself: messages from and to callers who know the protocol, and the hooks of the original's client.

use super::{Fpga, FpgaError, lossy};
use crate::katcp_client::{Arg, Limit, log_level};
use proximity_proto::{
    Array, Context, FromArg, ToReply, Value,
    arg::{Mismatch, Type},
    expose,
    katcp::{Kind, Message, Writer},
    reply,
};

/// A message as callers pass it: a line, or a list of name and arguments.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    kind: Kind,
    name: String,
    args: Vec<Vec<u8>>,
    /// A third part of the list: seconds to wait for the reply.
    timeout: Option<f64>,
}

/// A message as callers get it: its first character, name, id, and arguments as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    kind: Kind,
    name: String,
    mid: Option<u32>,
    args: Vec<Vec<u8>>,
}

/// What a blocking request came to: the reply, and the informs that belong to it.
pub type Exchange = (Received, Vec<Received>);

#[expose(part = Messaging)]
impl Fpga {
    /// Makes any KATCP request and waits for its reply, whatever it says.
    ///
    /// msg: a line such as '?read sys_rev 0 4', or a list [name, [arguments], timeout] of which only the name is
    ///   needed
    /// timeout: seconds to wait for the reply, 0.001 to 3600; None for the board's usual time
    /// keepalive: taken for old callers; informs do not lengthen the time
    /// returns: a list [reply, [informs]]; each a list [kind, name, id, [arguments]] with kind '!' or '#', id None
    ///   from servers without ids, and arguments as bytes
    ///
    /// What it does to the board is the request's affair; a reply of fail or invalid is returned, not raised. The id
    /// of a request is the agent's own, whatever the line says.
    ///
    /// raises ValueError: it is no request
    /// raises TimeoutError: the board did not answer in time
    #[effect(admin)]
    pub fn blocking_request(
        &mut self,
        cx: &Context<'_>,
        msg: Given,
        #[default(None)] timeout: Option<f64>,
        #[default(false)] keepalive: bool,
    ) -> Result<Exchange, FpgaError> {
        let _ = keepalive;
        msg.must_be(Kind::Request, "a request")?;
        let named = super::timeout(timeout.or(msg.timeout))?;
        let limit = Limit::new(cx, named.unwrap_or(self.timeout));
        let mut informs = Vec::new();
        let asked = self.client.ask_anything(&limit, &msg.name, &msg.args(), |inform| {
            informs.push(Received::from(inform));
        });
        let reply = Received::from(asked?);
        // It may have been anything, a new design too.
        self.devices.forget();
        Ok((reply, informs))
    }

    /// Makes any KATCP request and does not wait: its reply is among unhandled_reply()'s when it has come.
    ///
    /// msg: as for blocking_request()
    ///
    /// raises ValueError: it is no request
    #[effect(admin)]
    pub fn request(&mut self, cx: &Context<'_>, msg: Given) -> Result<(), FpgaError> {
        msg.must_be(Kind::Request, "a request")?;
        let limit = self.limit(cx, 0);
        self.client.tell(&limit, &msg.name, &msg.args())?;
        self.devices.forget();
        Ok(())
    }

    /// Sends any KATCP message and does not wait.
    ///
    /// msg: as for blocking_request(), a reply or inform too
    ///
    /// raises ValueError: it is no message
    #[effect(admin)]
    pub fn send_message(&mut self, cx: &Context<'_>, msg: Given) -> Result<(), FpgaError> {
        if msg.kind == Kind::Request {
            return self.request(cx, msg);
        }
        let limit = self.limit(cx, 0);
        Ok(self.client.tell_line(&limit, &msg.line()?)?)
    }

    /// Deals with a message as if the board had sent it.
    ///
    /// msg: as for blocking_request(), of any kind
    ///
    /// For tests of a set-up: an inform is logged or noted. A reply ends no request that waits for one.
    #[effect(admin)]
    pub fn handle_message(&mut self, msg: Given) -> Result<(), FpgaError> {
        let mut line = msg.line()?;
        if let Ok(Some(message)) = Message::parse(&mut line) {
            self.client.inject(message);
        }
        Ok(())
    }

    /// Deals with an inform as if the board had sent it; see handle_message().
    ///
    /// msg: an inform
    ///
    /// raises ValueError: it is something else
    #[effect(admin)]
    pub fn handle_inform(&mut self, msg: Given) -> Result<(), FpgaError> {
        msg.must_be(Kind::Inform, "an inform")?;
        self.handle_message(msg)
    }

    /// Deals with a reply as if the board had sent it; see handle_message().
    ///
    /// msg: a reply
    ///
    /// raises ValueError: it is something else
    #[effect(admin)]
    pub fn handle_reply(&mut self, msg: Given) -> Result<(), FpgaError> {
        msg.must_be(Kind::Reply, "a reply")?;
        self.handle_message(msg)
    }

    /// Deals with a request as if the board had sent it; see handle_message().
    ///
    /// msg: a request
    ///
    /// raises ValueError: it is something else
    #[effect(admin)]
    pub fn handle_request(&mut self, msg: Given) -> Result<(), FpgaError> {
        msg.must_be(Kind::Request, "a request")?;
        self.handle_message(msg)
    }

    /// Tells the last informs that nobody asked for.
    ///
    /// msg: with a message nothing is done, as in the original, where this is a hook
    /// returns: without one, a list of messages as blocking_request() returns them, oldest first
    #[effect(read)]
    pub fn unhandled_inform(
        &mut self,
        #[default(None)] msg: Option<Given>,
    ) -> Option<Vec<Received>> {
        self.unhandled(Kind::Inform, msg.as_ref())
    }

    /// Tells the last replies that nobody waited for: those to request(), and late ones.
    ///
    /// msg: with a message nothing is done, as in the original, where this is a hook
    /// returns: without one, a list of messages as blocking_request() returns them, oldest first
    #[effect(read)]
    pub fn unhandled_reply(
        &mut self,
        #[default(None)] msg: Option<Given>,
    ) -> Option<Vec<Received>> {
        self.unhandled(Kind::Reply, msg.as_ref())
    }

    /// Tells the last requests that the board made, which no board does.
    ///
    /// msg: with a message nothing is done, as in the original, where this is a hook
    /// returns: without one, a list of messages as blocking_request() returns them, oldest first
    #[effect(read)]
    pub fn unhandled_request(
        &mut self,
        #[default(None)] msg: Option<Given>,
    ) -> Option<Vec<Received>> {
        self.unhandled(Kind::Request, msg.as_ref())
    }

    /// Writes a log inform into the agent's log.
    ///
    /// message: a line '#log LEVEL TIME NAME TEXT', or a list of 'log' and these
    ///
    /// raises ValueError: it is something else
    pub fn inform_log(&mut self, message: Given) -> Result<(), FpgaError> {
        let [level, _, name, text] = message.args.as_slice() else {
            return Err(message.not("a #log inform with four arguments"));
        };
        if message.name != "log" {
            return Err(message.not("a #log inform with four arguments"));
        }
        let (level, _) = log_level(level);
        log::log!(level, "{} {}: {}", self.client.board(), lossy(name), lossy(text));
        Ok(())
    }

    /// Does nothing, as in the original, where this is a hook that tells of the connection.
    ///
    /// connected: whether there is a connection
    pub fn notify_connected(&mut self, connected: bool) {
        log::debug!("{}: told that connected is {connected}", self.client.board());
    }

    /// Lists the requests that the board's server takes.
    ///
    /// returns: their names
    ///
    /// Nothing on the board changes.
    #[effect(read)]
    pub fn listcmd(&mut self, cx: &Context<'_>) -> Result<Vec<String>, FpgaError> {
        let mut names = Vec::new();
        let limit = self.limit(cx, 0);
        self.client.ask(&limit, "help", &[], |mut inform| {
            names.extend(inform.next_arg().map(|name| lossy(name)));
        })?;
        Ok(names)
    }

    /// Would run a program on the board, which neither the original nor the agent does.
    ///
    /// string: the command
    ///
    /// raises NotImplementedError: always
    #[effect(admin)]
    pub fn execcmd(&mut self, string: &str) -> Result<(), FpgaError> {
        let _ = string;
        Err(FpgaError::NoPrograms)
    }
}

impl Fpga {
    fn unhandled(&self, kind: Kind, msg: Option<&Given>) -> Option<Vec<Received>> {
        if msg.is_some() {
            return None;
        }
        let parse = |line: &[u8]| {
            let mut line = line.to_vec();
            Message::parse(&mut line).ok().flatten().map(Received::from)
        };
        let messages = self.client.unhandled().filter_map(parse);
        Some(messages.filter(|message| message.kind == kind).collect())
    }
}

impl Given {
    fn args(&self) -> Vec<Arg<'_>> {
        self.args.iter().map(|arg| Arg::Bytes(arg)).collect()
    }

    /// The line without its end.
    fn line(&self) -> Result<Vec<u8>, FpgaError> {
        let mut line = Vec::new();
        let writer = Writer::new(&mut line, self.kind, &self.name, None)
            .map_err(|_| self.not("a KATCP message"))?;
        self.args.iter().fold(writer, |writer, arg| writer.arg(arg)).finish();
        line.pop();
        Ok(line)
    }

    fn must_be(&self, kind: Kind, must_be: &'static str) -> Result<(), FpgaError> {
        if self.kind == kind { Ok(()) } else { Err(self.not(must_be)) }
    }

    fn not(&self, must_be: &'static str) -> FpgaError {
        let value = format!("'{}{}'", char::from(self.kind.as_byte()), self.name);
        FpgaError::BadValue { what: "the message", value, must_be }
    }

    fn from_line(line: &[u8]) -> Option<Self> {
        // One line, whose end may be there or not: another would be another message.
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if line.contains(&b'\n') || line.contains(&b'\r') {
            return None;
        }
        let mut line = line.to_vec();
        let Received { kind, name, args, .. } = Message::parse(&mut line).ok().flatten()?.into();
        Some(Self { kind, name, args, timeout: None })
    }

    fn from_list(list: Array<'_>) -> Option<Self> {
        let name = list.get(0)?.as_text()?;
        let kind = name.bytes().next().and_then(Kind::from_byte);
        let name = if kind.is_some() { name.get(1..)? } else { name };
        let arg = |value: Value<'_>| match value {
            Value::Uint(number) => Some(number.to_string().into_bytes()),
            Value::Int(number) => Some(number.to_string().into_bytes()),
            other => other.as_bytes().map(<[u8]>::to_vec),
        };
        let args = match list.get(1) {
            None | Some(Value::Nil) => Some(Vec::new()),
            Some(Value::Array(args)) => args.iter().map(arg).collect(),
            Some(_) => None,
        }?;
        let timeout = match list.get(2) {
            None | Some(Value::Nil) => None,
            Some(seconds) => Some(f64::from_arg(seconds).ok()?),
        };
        Some(Self { kind: kind.unwrap_or(Kind::Request), name: name.to_owned(), args, timeout })
    }
}

impl FromArg<'_> for Given {
    fn from_arg(value: Value<'_>) -> Result<Self, Mismatch> {
        let given = match value {
            Value::Array(list) => Self::from_list(list),
            Value::Text(_) | Value::Bytes(_) => {
                Self::from_line(value.as_bytes().unwrap_or_default())
            }
            _ => return Err(Mismatch::wrong("a KATCP line, or [name, [arguments]]", &value)),
        };
        let must_be =
            "one KATCP message: a line such as '?watchdog', or [name, [arguments], timeout]";
        given.ok_or_else(|| Mismatch::Refused { must_be: must_be.into() })
    }

    fn ty() -> Type {
        Type::named("str|bytes|list")
    }
}

// As a default that a parameter may have; callers see none.
impl ToReply for Given {
    fn to_reply(&self, out: &mut Vec<u8>) {
        let (kind, name, args) = (self.kind, self.name.clone(), self.args.clone());
        Received { kind, name, mid: None, args }.to_reply(out);
    }

    fn ty() -> Type {
        Received::ty()
    }
}

impl From<Message<'_>> for Received {
    fn from(mut message: Message<'_>) -> Self {
        let (kind, name, mid) = (message.kind(), message.name().to_owned(), message.mid());
        let args = std::iter::from_fn(|| message.next_arg().map(|arg| arg.to_vec())).collect();
        Self { kind, name, mid, args }
    }
}

impl ToReply for Received {
    fn to_reply(&self, out: &mut Vec<u8>) {
        reply::list_head(out, 4);
        reply::text(out, &char::from(self.kind.as_byte()).to_string());
        reply::text(out, &self.name);
        self.mid.to_reply(out);
        reply::list_head(out, self.args.len());
        self.args.iter().for_each(|arg| reply::bytes(out, arg));
    }

    fn ty() -> Type {
        Type::named("list")
    }
}
