//! One object of an agent, to be called by its methods' names.

use crate::{Arguments, CallOptions, Client, Description, Error, Reply, request::Asked};
use proximity_proto::{ToReply, call::Op, lease::TOKEN};
use std::fmt;

/// An object that an agent exposes.
///
/// Made by [`Client::object`], without asking the agent: an object that is not there yet may come.
/// Cheap to clone; may be used by any number of threads at once.
#[derive(Clone)]
pub struct Proxy {
    client: Client,
    name: String,
    /// The lease that its calls are made under.
    lease: Option<[u8; TOKEN]>,
}

impl Proxy {
    pub(crate) fn new(client: Client, name: String) -> Self {
        Self { client, name, lease: None }
    }

    /// The same object, called under the lease of this token.
    pub(crate) fn under(&self, lease: [u8; TOKEN]) -> Self {
        Self { lease: Some(lease), ..self.clone() }
    }

    /// The same object, called by another client of the same agent: with another timeout, say.
    #[must_use]
    pub fn with_client(&self, client: Client) -> Self {
        Self { client, ..self.clone() }
    }

    pub(crate) fn ask(
        &self,
        op: Op,
        proc: &str,
        args: &Arguments,
        options: CallOptions<'_>,
    ) -> Result<Reply, Error> {
        let lease = self.lease.as_ref();
        self.client.request(&Asked { op, name: &self.name, proc, args, lease }, options)
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The client it is called by.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Calls `method` with `args`: a tuple for arguments by position, [`Arguments`] for others.
    ///
    /// # Errors
    ///
    /// [`Error::Remote`]: the object's own. [`Error::Call`]: it was not executed, or nobody knows.
    pub fn call(&self, method: &str, args: impl Into<Arguments>) -> Result<Reply, Error> {
        self.call_with(method, args, CallOptions::default())
    }

    /// Calls `method` with a timeout of its own, a place to tell progress to, or a way to stop it.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn call_with(
        &self,
        method: &str,
        args: impl Into<Arguments>,
        options: CallOptions<'_>,
    ) -> Result<Reply, Error> {
        self.ask(Op::Call, method, &args.into(), options)
    }

    /// Reads `attribute`.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn get(&self, attribute: &str) -> Result<Reply, Error> {
        self.ask(Op::Get, attribute, &().into(), CallOptions::default())
    }

    /// Sets `attribute` to `value`.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn set<T: ToReply + ?Sized>(&self, attribute: &str, value: &T) -> Result<(), Error> {
        let mut args = Arguments::default();
        args.push(value);
        self.ask(Op::Set, attribute, &args, CallOptions::default()).map(|_| ())
    }

    /// What the object is and can do.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn describe(&self) -> Result<Description, Error> {
        self.client.describe(&self.name)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("name", &self.name)
            .field("at", &self.client.address())
            // The lease's token is for nobody to see.
            .finish_non_exhaustive()
    }
}
