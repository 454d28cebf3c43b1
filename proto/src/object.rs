//! Objects: what an agent exposes, and what a driver author writes.
//!
//! `#[expose]` on an `impl` block writes [`Object`] for a type; see `drivers/src/counter.rs` for the
//! smallest one. By hand it is only written for objects whose methods are not known at compile time.

use crate::{
    arg::Type,
    fault::{Executed, Fault, Reason},
    reply::ToReply,
    value::{Array, Map, Value},
};
use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use core::{any::Any, time::Duration};

/// Something whose methods and attributes can be used from afar.
///
/// An agent gives each object to one thread at a time, so methods take `&mut self` and need no lock.
pub trait Object: Any + Send {
    /// What can be called, read and set. Asked once, after the object was opened.
    fn interface(&self) -> Interface;

    /// Runs `method`, one of [`Interface::methods`], and appends its result to `out` as MessagePack.
    ///
    /// # Errors
    ///
    /// The method's own, or `TypeError` and `ValueError` for arguments that do not fit; the method
    /// has not run then.
    fn call(
        &mut self,
        method: &Method,
        args: Args<'_>,
        cx: &Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Flow, Fault>;

    /// Reads `attribute`, one of [`Interface::attributes`], and appends its value to `out`.
    ///
    /// # Errors
    ///
    /// The attribute's own.
    fn get(
        &mut self,
        attribute: &Attribute,
        cx: &Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Flow, Fault>;

    /// Sets `attribute`, one of [`Interface::attributes`], to `value`.
    ///
    /// # Errors
    ///
    /// The attribute's own; `AttributeError` where it can only be read; `TypeError` and `ValueError`
    /// where `value` does not fit.
    fn set(
        &mut self,
        attribute: &Attribute,
        value: Value<'_>,
        cx: &Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Flow, Fault>;

    /// The way to its device, for those who want to know how that is. Asked once, after the object was
    /// opened; `None` for an object that has no device, or does not tell.
    fn way(&self) -> Option<Arc<dyn Way>> {
        None
    }
}

/// The way to an object's device, which tells how it is while the object itself may be busy.
pub trait Way: Send + Sync {
    /// How it is now. Answered from memory.
    fn link(&self) -> Link;
}

/// How the way to a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether it is open.
    pub state: LinkState,
    /// For how long that has been so.
    pub since: Duration,
    /// What ended it, or kept it from being opened, last.
    pub error: Option<String>,
}

/// Whether the way to a device is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// There was no need for it yet, or it was closed on purpose.
    Unused,
    /// It is.
    Connected,
    /// It is not, and should be.
    Disconnected,
}

impl LinkState {
    /// The word in an agent's status.
    pub fn as_str(self) -> &'static str {
        match self {
            LinkState::Unused => "unused",
            LinkState::Connected => "connected",
            LinkState::Disconnected => "disconnected",
        }
    }
}

/// The arguments of a call, as sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Args<'a> {
    /// Those by position.
    pub positional: Array<'a>,
    /// Those by name.
    pub named: Map<'a>,
}

impl Args<'_> {
    /// No arguments.
    pub const NONE: Args<'static> = Args { positional: Array::EMPTY, named: Map::EMPTY };
}

/// What a method does to the device: decides who may call it, what a client may repeat by itself, and
/// what the audit records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Changes nothing; may be repeated.
    Read,
    /// Changes the device, or consumes what it sent.
    Write,
    /// Changes what the device is: programs it, takes its link down.
    Admin,
}

impl Effect {
    /// The word in the interface definition.
    pub fn as_str(self) -> &'static str {
        match self {
            Effect::Read => "read",
            Effect::Write => "write",
            Effect::Admin => "admin",
        }
    }
}

/// Everything that can be done with an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interface {
    /// What the object is, for a person.
    pub doc: String,
    /// Its methods, in the order in which they are listed.
    pub methods: Vec<Method>,
    /// Its attributes, in the order in which they are listed.
    pub attributes: Vec<Attribute>,
}

impl Interface {
    /// Adds the methods of a [`Part`].
    pub fn add(&mut self, methods: Vec<Method>) {
        let own = self.methods.len();
        self.methods.extend(
            methods.into_iter().map(|method| Method { index: own + method.index, ..method }),
        );
    }
}

/// Methods of an object that stand in a block of their own, named by the type `P`.
///
/// Written by `#[expose(part = P)]`; the object's main block takes them in with `#[expose(parts(P))]`.
pub trait Part<P>: Object {
    /// How many there are.
    const METHODS: usize;

    /// What can be called, with [`Method::index`] counted from 0.
    fn methods() -> Vec<Method>;

    /// Runs the method at `index`; see [`Object::call`].
    ///
    /// # Errors
    ///
    /// Those of [`Object::call`].
    fn call(
        &mut self,
        index: usize,
        method: &Method,
        args: Args<'_>,
        cx: &Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Flow, Fault>;
}

/// A method of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Method {
    /// The name by which it is called: part of the published interface.
    pub name: String,
    /// What it does, without the usage line; empty if undocumented.
    pub doc: String,
    /// Its parameters in order.
    pub params: Vec<Param>,
    /// What it returns.
    pub returns: Type,
    /// What it does to the device.
    pub effect: Effect,
    /// Whether it answers from memory in a few microseconds, so that no thread need be woken for it.
    pub quick: bool,
    /// Which of the object's methods it is; stays when others are hidden.
    pub index: usize,
}

/// A parameter of a method.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// The name by which it can be passed: part of the published interface.
    pub name: String,
    /// What may be passed.
    pub ty: Type,
    /// The value taken where none is passed, as MessagePack; `None` where one must be passed.
    pub default: Option<Vec<u8>>,
    /// How it takes its values.
    pub kind: ParamKind,
}

/// How a parameter takes its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// One value, by position or by name.
    Plain,
    /// All further values by position; Python's `*args`.
    Args,
    /// All further values by name; Python's `**kwargs`.
    Kwargs,
}

/// An attribute of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// Its name: part of the published interface.
    pub name: String,
    /// What it is; empty if undocumented.
    pub doc: String,
    /// The kind of its value.
    pub ty: Type,
    /// Whether it can be set.
    pub settable: bool,
    /// Whether it is read from memory in a few microseconds; see [`Method::quick`].
    pub quick: bool,
    /// Which of the object's attributes it is; stays when others are hidden.
    pub index: usize,
}

/// Whether a call is over.
pub enum Flow {
    /// It is; the result is written.
    Done,
    /// It only waits from here on, and leaves its object to others until then.
    Later(Resume),
    /// Its object broke under it, and is to be opened anew.
    Lost(Lost),
}

/// What is known of a call whose object broke under it.
pub struct Lost {
    /// What the caller is told.
    pub fault: Fault,
    /// Whether the method ran.
    pub executed: Executed,
    /// Set where the call was ended from outside, and not by the object's own failing.
    pub reason: Option<Reason>,
}

/// How a call that waits goes on.
pub struct Resume {
    /// When, on [`Context::now`]'s clock.
    pub at: Duration,
    /// What to run then.
    pub run: Continuation,
}

/// The rest of a call that waits.
pub type Continuation = Box<
    dyn FnOnce(&mut dyn Object, &Context<'_>, &mut Vec<u8>) -> Result<Flow, Fault> + Send + 'static,
>;

/// The result of a method that may have to wait, and does not hold its object meanwhile.
///
/// # Examples
///
/// ```
/// use core::time::Duration;
/// use proximity_proto::{Context, Fault, Later, expose};
///
/// /// A door that takes its time.
/// pub struct Door { opened: bool }
///
/// #[expose]
/// impl Door {
///     /// Opens the door, and returns once it stands open.
///     #[effect(write)]
///     pub fn open(&mut self, cx: &Context<'_>) -> Result<Later<Self, bool>, Fault> {
///         self.opened = true;
///         Ok(Later::at(cx.now() + Duration::from_secs(1), |door: &mut Self, _| {
///             Ok(Later::Ready(door.opened))
///         }))
///     }
/// }
/// ```
pub enum Later<D: ?Sized, T> {
    /// There is nothing to wait for: this is the result.
    Ready(T),
    /// The call goes on at a time.
    At(Duration, Rest<D, T>),
}

/// The rest of a method that waits: gets its object back, may wait again.
pub type Rest<D, T> =
    Box<dyn FnOnce(&mut D, &Context<'_>) -> Result<Later<D, T>, Fault> + Send + 'static>;

impl<D, T> Later<D, T> {
    /// Goes on with `rest` at `time` on [`Context::now`]'s clock.
    pub fn at(
        time: Duration,
        rest: impl FnOnce(&mut D, &Context<'_>) -> Result<Later<D, T>, Fault> + Send + 'static,
    ) -> Self {
        Later::At(time, Box::new(rest))
    }
}

/// What a method may return: a value, a [`Later`], or a `Result` of either.
///
/// A trait rather than a look at the signature, so that an alias of `Result` works too.
pub trait Output {
    /// Appends the value to `out`, or tells how the call goes on.
    ///
    /// # Errors
    ///
    /// The method's own.
    fn finish(self, out: &mut Vec<u8>) -> Result<Flow, Fault>;

    /// The kind of value, for the interface definition.
    fn ty() -> Type;
}

impl<T: ToReply> Output for T {
    fn finish(self, out: &mut Vec<u8>) -> Result<Flow, Fault> {
        self.to_reply(out);
        Ok(Flow::Done)
    }

    fn ty() -> Type {
        T::ty()
    }
}

impl<D: Object, T: ToReply + 'static> Output for Later<D, T> {
    fn finish(self, out: &mut Vec<u8>) -> Result<Flow, Fault> {
        let (at, rest) = match self {
            Later::Ready(value) => return value.finish(out),
            Later::At(at, rest) => (at, rest),
        };
        let run: Continuation = Box::new(move |object, cx, out| {
            let object: &mut dyn Any = object;
            let object = object.downcast_mut::<D>().ok_or_else(|| {
                Fault::runtime_error("the object was replaced while a call waited")
            })?;
            rest(object, cx)?.finish(out)
        });
        Ok(Flow::Later(Resume { at, run }))
    }

    fn ty() -> Type {
        T::ty()
    }
}

impl<T: Output, E: Into<Fault>> Output for Result<T, E> {
    fn finish(self, out: &mut Vec<u8>) -> Result<Flow, Fault> {
        self.map_err(Into::into)?.finish(out)
    }

    fn ty() -> Type {
        T::ty()
    }
}

/// A call's surroundings: its caller, its deadline, and a way to tell how it gets on.
///
/// A method takes it as its first parameter, `cx: &Context<'_>`; it is no part of the published
/// signature.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    host: &'a dyn Host,
    deadline: Option<Duration>,
    principal: &'a Principal,
}

impl<'a> Context<'a> {
    /// Surroundings told by `host`, for a call of `principal` that ends at `deadline`.
    pub fn new(host: &'a dyn Host, deadline: Option<Duration>, principal: &'a Principal) -> Self {
        Self { host, deadline, principal }
    }

    /// The agent's monotonic clock: time since it started.
    pub fn now(&self) -> Duration {
        self.host.now()
    }

    /// When the caller stops waiting, on [`Context::now`]'s clock; `None` for an old client, which
    /// does not tell.
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// How long the caller still waits.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_sub(self.now()))
    }

    /// Whether the caller took the call back, or its time is over: long work should end.
    pub fn is_cancelled(&self) -> bool {
        self.host.is_cancelled() || self.remaining() == Some(Duration::ZERO)
    }

    /// Tells the caller, if it asked for that, that `done` of `total` is done.
    pub fn progress(&self, done: u64, total: u64, text: &str) {
        self.host.progress(done, total, text);
    }

    /// Who calls.
    pub fn principal(&self) -> &'a Principal {
        self.principal
    }
}

/// What gives a [`Context`] its clock and its way back to the caller: the agent's worker, or a test.
pub trait Host {
    /// Time since the agent started, on a monotonic clock.
    fn now(&self) -> Duration;

    /// Whether the caller took the call back.
    fn is_cancelled(&self) -> bool;

    /// Passes progress on.
    fn progress(&self, done: u64, total: u64, text: &str);
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// How it is known who asks.
    pub kind: PrincipalKind,
    /// The name it goes by; empty where there is none.
    pub name: String,
    /// Where it asks from: an IP address, or empty for a local socket.
    pub address: String,
}

/// How it is known who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PrincipalKind {
    /// By a socket in the file system.
    Local,
    /// By nothing but the network address it asks from.
    Address,
}

impl Principal {
    /// Somebody on this machine.
    pub const fn local() -> Self {
        Self { kind: PrincipalKind::Local, name: String::new(), address: String::new() }
    }
}
