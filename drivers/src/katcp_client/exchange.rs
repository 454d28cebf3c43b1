//! The turn of a request: connect, write, send, receive, and what to do when one of them fails.

use super::{
    Arg, CATCH_UP, GREETING, INFORMS, KatcpClient, KatcpError, Limit, RECEIVE,
    connection::Wait,
    inbox::{Sent, Sorted, legible},
    shown,
};
use proximity_proto::katcp::{LineError, MAX_MID, Message, Writer};
use std::{borrow::Cow, io, time::Duration};

/// What came for a request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrived {
    /// An inform.
    Inform,
    /// The reply to the request with this index.
    Reply(usize),
}

impl KatcpClient {
    /// Takes the connection down because the server sent what it cannot have meant.
    pub(crate) fn out_of_step(&mut self, found: String, request: &str) -> KatcpError {
        let error = io::Error::new(io::ErrorKind::InvalidData, found.clone());
        self.link.lost(&error);
        self.forget();
        KatcpError::OutOfStep { board: self.link.board().clone(), request: request.into(), found }
    }

    /// Makes one request and receives up to its reply, which is the parser's current message then.
    #[allow(clippy::ptr_arg)] // what waits for its reply keeps the name, which a &str would copy
    pub(super) fn exchange(
        &mut self,
        limit: &Limit<'_>,
        name: &Cow<'static, str>,
        args: &[Arg<'_>],
        mut on_inform: impl FnMut(Message<'_>),
    ) -> Result<(), KatcpError> {
        self.request(limit, name, args)?;
        for _ in 0..=INFORMS {
            match self.receive(limit).map_err(|error| error.during(shown(name, args)))? {
                Arrived::Reply(_) => return Ok(()),
                Arrived::Inform => self.parser.current().into_iter().for_each(&mut on_inform),
            }
        }
        Err(self.out_of_step(format!("more than {INFORMS} informs"), &shown(name, args)))
    }

    /// Makes one request.
    #[allow(clippy::ptr_arg)] // as above
    pub(super) fn request(
        &mut self,
        limit: &Limit<'_>,
        name: &Cow<'static, str>,
        args: &[Arg<'_>],
    ) -> Result<(), KatcpError> {
        self.begin(limit).map_err(|error| error.during(shown(name, args)))?;
        let sent = Sent { name: name.clone(), mid: self.mid(), index: 0, detached: false };
        self.write(sent, |writer| args.iter().fold(writer, |writer, arg| arg.write(writer)))?;
        self.flush(limit).map_err(|error| error.during(shown(name, args)))
    }

    /// What has come for a request that waits, without waiting.
    pub(super) fn glance(&mut self) -> Result<Option<Arrived>, KatcpError> {
        loop {
            let arrived = self.sort()?;
            if arrived.is_some() || !self.fill(true)? {
                return Ok(arrived);
            }
        }
    }

    /// Waits for something that nobody asked for.
    pub(super) fn await_news(&mut self, limit: &Limit<'_>) -> Result<(), KatcpError> {
        self.link.wait(false, limit).map_err(|error| self.lost(error))?;
        self.fill(true)?;
        while self.sort()?.is_some() {}
        Ok(())
    }

    /// Sees to it that there is a connection, and that all that came on it so far is dealt with.
    pub(super) fn begin(&mut self, limit: &Limit<'_>) -> Result<(), KatcpError> {
        // A connection that died while nobody looked shows here, before anything is sent.
        if self.link.is_up() {
            match self.catch_up() {
                Err(KatcpError::Lost { .. }) => {}
                result => result?,
            }
        }
        if !self.link.is_up() {
            self.link.dial()?;
            if !self.dialled(Some(limit))? {
                return Err(self.link.connecting());
            }
        }
        if !self.inbox.introduced {
            self.await_greeting(&limit.at_most(GREETING))?;
        }
        self.inbox.clear_logs();
        Ok(())
    }

    /// Looks how a try to connect gets on; see [`Link::dialled`].
    pub(super) fn dialled(&mut self, limit: Option<&Limit<'_>>) -> Result<bool, KatcpError> {
        let up = self.link.dialled(limit)?;
        if up {
            self.forget();
        }
        Ok(up)
    }

    /// Waits until the server has told which protocol it speaks, for a while.
    pub(super) fn await_greeting(&mut self, limit: &Limit<'_>) -> Result<(), KatcpError> {
        while !self.inbox.introduced && !limit.is_over() {
            self.link.wait(false, limit).map_err(|error| self.lost(error))?;
            self.catch_up()?;
        }
        self.inbox.introduced = true;
        Ok(())
    }

    /// Deals with all that has come, without waiting.
    pub(super) fn catch_up(&mut self) -> Result<(), KatcpError> {
        for _ in 0..CATCH_UP {
            while self.sort()?.is_some() {}
            if !self.fill(false)? {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn mid(&mut self) -> Option<u32> {
        self.next_mid = if self.next_mid >= MAX_MID { 1 } else { self.next_mid + 1 };
        self.inbox.ids.then_some(self.next_mid)
    }

    /// Writes a request into the send buffer.
    pub(super) fn write(
        &mut self,
        sent: Sent,
        args: impl for<'w> FnOnce(Writer<'w>) -> Writer<'w>,
    ) -> Result<(), KatcpError> {
        let writer = Writer::request(&mut self.out, &sent.name, sent.mid)
            .map_err(|source| KatcpError::NoRequest { request: sent.name.to_string(), source })?;
        args(writer).finish();
        self.inbox.waiting.push_back(sent);
        Ok(())
    }

    /// Sends what is in the send buffer.
    pub(super) fn flush(&mut self, limit: &Limit<'_>) -> Result<(), KatcpError> {
        let mut sent = 0;
        while let Some(rest) = self.out.get(sent..).filter(|rest| !rest.is_empty()) {
            match self.link.write(rest) {
                Ok(Some(count)) => sent += count,
                Ok(None) => match self.link.wait(true, limit) {
                    Ok(Wait::Ready) => {}
                    Ok(Wait::Over) => return Err(self.over(limit)),
                    Err(error) => return Err(self.lost(error)),
                },
                Err(error) => return Err(self.lost(error)),
            }
        }
        self.out.clear();
        Ok(())
    }

    /// Receives until there is something for a request that waits.
    pub(super) fn receive(&mut self, limit: &Limit<'_>) -> Result<Arrived, KatcpError> {
        let mut filled = false;
        loop {
            let arrived = self.sort()?;
            if let Some(reply @ Arrived::Reply(_)) = arrived {
                self.link.answered();
                return Ok(reply);
            }
            // A server that talks without end is always ready to be read.
            if (filled || arrived.is_some()) && limit.is_over() {
                return Err(self.over(limit));
            }
            if let Some(arrived) = arrived {
                return Ok(arrived);
            }
            match self.link.wait(false, limit) {
                Ok(Wait::Ready) => filled = self.fill(true)?,
                Ok(Wait::Over) => return Err(self.over(limit)),
                Err(error) => return Err(self.lost(error)),
            }
        }
    }

    /// Takes what has arrived into the parser; whether anything has.
    pub(super) fn fill(&mut self, acknowledge: bool) -> Result<bool, KatcpError> {
        match self.link.read(self.parser.space(RECEIVE), acknowledge) {
            Ok(Some(count)) => {
                self.parser.filled(count);
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error) => Err(self.lost(error)),
        }
    }

    /// Deals with the messages received so far, up to one for a request that waits.
    pub(super) fn sort(&mut self) -> Result<Option<Arrived>, KatcpError> {
        loop {
            let sorted = match self.parser.next() {
                Ok(Some(message)) => self.inbox.sort(self.link.board(), message),
                Ok(None) => return Ok(None),
                Err(error) => {
                    self.unreadable(error)?;
                    continue;
                }
            };
            match sorted {
                Ok(Sorted::Unasked) => {}
                Ok(Sorted::Inform) => return Ok(Some(Arrived::Inform)),
                Ok(Sorted::Reply(index)) => return Ok(Some(Arrived::Reply(index))),
                Err(found) => return Err(self.out_of_step(found, "")),
            }
        }
    }

    /// A line came that is no message. Where only the order of replies tells whose they are it may have been
    /// one, and all that follow would be taken for the replies before them.
    pub(super) fn unreadable(&mut self, source: LineError) -> Result<(), KatcpError> {
        let board = self.link.board().clone();
        log::debug!("{board} sent an unreadable line: {source}");
        if self.inbox.ids || self.inbox.waiting.is_empty() {
            return Ok(());
        }
        self.link.lost(&io::Error::new(io::ErrorKind::InvalidData, source));
        self.forget();
        Err(KatcpError::Garbled { board, request: String::new(), source })
    }

    /// The time is over, or the caller has called it off. Where replies have no ids the connection has to go.
    pub(super) fn over(&mut self, limit: &Limit<'_>) -> KatcpError {
        let (board, request) = (self.link.board().clone(), String::new());
        self.abandon(limit.allowed());
        if limit.is_called_off() {
            // The board is not to blame.
            self.link.rests();
            return KatcpError::Cancelled { board, request };
        }
        KatcpError::NoAnswer { board, request, waited: limit.allowed() }
    }

    /// Waits no more for replies that are to come, and were waited for as long as this.
    pub(super) fn abandon(&mut self, waited: Duration) {
        // What was sent in part would spoil the next request.
        if self.inbox.ids && self.out.is_empty() {
            self.inbox.waiting.clear();
        } else {
            self.link.overdue(waited);
            self.forget();
        }
    }

    /// The connection is gone.
    pub(super) fn lost(&mut self, source: io::Error) -> KatcpError {
        self.link.lost(&source);
        self.forget();
        KatcpError::Lost { board: self.link.board().clone(), request: String::new(), source }
    }

    /// Forgets what belonged to the last connection.
    pub(super) fn forget(&mut self) {
        self.parser.clear();
        self.out.clear();
        self.inbox.reset();
    }

    /// Whether the reply that is the parser's current message begins with `ok`.
    pub(super) fn is_ok(&mut self) -> bool {
        self.parser.current().is_some_and(|reply| reply.raw_arg(0) == Some(b"ok"))
    }

    /// The error that the parser's current message, a reply, is.
    pub(super) fn refused(&mut self, request: String) -> KatcpError {
        let mut words = Vec::new();
        if let Some(mut reply) = self.parser.current() {
            while let Some(arg) = reply.next_arg() {
                words.push(legible(arg));
            }
        }
        KatcpError::Refused {
            board: self.link.board().clone(),
            request,
            reply: if words.is_empty() { "no word".into() } else { words.join(" ") },
            logs: self.inbox.logs.drain(..).collect(),
        }
    }
}
