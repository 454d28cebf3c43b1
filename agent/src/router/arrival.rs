//! What becomes of a message: answered here, or made a call for the session.

use super::{
    Router,
    leases::{LeaseAsked, token},
    logging, words,
};
use crate::{
    chunks::CHUNK,
    job::{BUFFER, Job},
    table::Table,
    transport::Peer,
};
use log::LevelFilter;
use proximity_proto::{
    Effect, Fault,
    call::{BadCall, Call, Codec, Op, Place, ReplyTo},
    fault::{Executed, Reason},
    hello::{AgentLimits, FEATURES, Hello},
    json, reply,
};
use proximity_session::{CallId, Event, LeaseToken, ObjectId, Request, Uptime};
use std::{fmt::Write, sync::Arc};

/// Replies that may wait for a peer to read; while there are that many, its requests are not even read.
const MAX_UNREAD: usize = 1024;

/// The agent's own refusal of a request, and its reason if it is one of the wire's.
pub(super) type Refused = Box<(Fault, Option<Reason>)>;

/// What a request asks for.
pub(super) enum Asked {
    Hello,
    Status,
    /// `describe`.
    Describe(Arc<Table>),
    /// `list_methods`.
    ListMethods(Arc<Table>),
    /// `list_methods` of an object that there is not.
    InterfaceError(String),
    Cancel(CallId),
    Call {
        object: ObjectId,
        effect: Effect,
        quick: bool,
        bulk: usize,
        lease: Option<LeaseToken>,
    },
    Lease(LeaseAsked),
    Leases,
    /// `log`, with the level if it is to change.
    Log(Option<LevelFilter>),
    /// So many more chunks of a large result.
    Credit(u64),
}

impl Router {
    /// Takes in the message in `job.request`, which came just now.
    pub(super) fn arrive(&mut self, now: Uptime, peer: Arc<Peer>, mut job: Box<Job>) {
        if self.outbox.holds(peer.id) >= MAX_UNREAD {
            self.ignored += 1;
            return self.pool.give_back(job);
        }
        if self.session.unread_bytes() > 0 {
            // It may have left by now, and this call find room.
            self.take_back();
            self.pool.equip(&mut job);
        }
        job.arrived = now;
        let codec = Codec::of(&job.request);
        let epoch = self.session.epoch();
        let served = self.transport.serves(&peer);
        job.peer = Some(peer);
        let sound = if codec == Codec::Json { self.translate(&mut job) } else { Ok(()) };
        let asked = match sound.and_then(|()| Call::parse(&job.request, &self.limits)) {
            Ok(call) => {
                let to = ReplyTo { version: call.version, codec, id: call.id, epoch };
                let (expires, progress) = (call.expires, call.progress);
                job.credit = call.credit;
                let (id, call_epoch) = (call.id, call.epoch);
                let asked = self.understand(&call, job.peer.as_deref());
                let of_now = call.epoch.is_none_or(|told| told == epoch);
                // A get is no copy of anything: reads are not remembered.
                let may_have_run = matches!(call.op, Op::Call | Op::Set);
                job.again = call.id.filter(|_| of_now && may_have_run);
                // Nobody learns here what he may not ask.
                let may_come = |peer: &Arc<Peer>| peer.may_come(&self.plaintext);
                job.again = job.again.filter(|_| job.peer.as_ref().is_some_and(may_come));
                job.place = Place::of(&call, &job.request);
                job.note(to, expires, progress, self.limits.max_frame);
                asked.map(|asked| (asked, id, call_epoch))
            }
            Err(bad) => {
                let to = ReplyTo { version: bad.version, codec, id: bad.id, epoch };
                job.note(to, None, false, self.limits.max_frame);
                Err(Box::new((bad.fault, None)))
            }
        };
        if !served {
            let (fault, reason) = words::too_many_peers(self.bounds.connections);
            job.fail(&fault, Executed::No, Some(reason));
            return self.deliver(job);
        }
        match asked {
            Ok((asked, id, epoch)) => self.answer(asked, id, epoch, job),
            Err(refused) => self.refuse(*refused, job),
        }
    }

    /// Answers what cannot be understood, or be allowed.
    fn refuse(&mut self, (mut fault, mut reason): (Fault, Option<Reason>), mut job: Box<Job>) {
        // What a call names may be gone since it ran: its answer is not.
        if let (Some(id), Some(peer)) = (job.again, job.peer_id()) {
            let (now, expires) = (job.arrived, job.expires);
            match self.session.answer_again(now, peer, id, expires, job, &mut self.actions) {
                Ok(()) => return,
                Err(first) => job = first,
            }
        }
        self.count_refused(&job, reason);
        if reason == Some(Reason::Failed)
            && let Some(id) = job.again
            && let Err(why) = self.session.remember_refused(job.arrived, id, job.expires)
        {
            (fault, reason) = words::refusal(&why, &job, None);
        }
        job.fail(&fault, Executed::No, reason);
        self.deliver(job);
    }

    /// Counts a request that is not for the session.
    fn count_refused(&mut self, job: &Job, reason: Option<Reason>) {
        if !job.peer.as_deref().is_some_and(|peer| peer.may_come(&self.plaintext)) {
            self.not_allowed += 1;
            return;
        }
        let slot = reason.and_then(|_| self.names.get(job.object()).copied());
        match slot.and_then(|slot| self.entries.get_mut(slot)?.as_mut()) {
            // It is there, and has never been open.
            Some(entry) => entry.tally.refused += 1,
            None => self.wrong += 1,
        }
    }

    /// Makes MessagePack of a request in JSON.
    #[allow(clippy::result_large_err)] // as the call's own
    fn translate(&mut self, job: &mut Job) -> Result<(), BadCall> {
        std::mem::swap(&mut self.text, &mut job.request);
        let translated = json::request(&self.text, &self.limits, &mut job.request);
        if self.text.capacity() > BUFFER {
            self.text = Vec::new();
        }
        translated
    }

    fn understand(&self, call: &Call<'_>, peer: Option<&Peer>) -> Result<Asked, Refused> {
        if let Some(peer) = peer.filter(|peer| !peer.may_come(&self.plaintext)) {
            return Err(Box::new((words::not_allowed(peer), None)));
        }
        match call.op {
            Op::Hello => Ok(Asked::Hello),
            Op::Status => Ok(Asked::Status),
            Op::Cancel => {
                let mut ids = call.args.positional.iter();
                let id = ids.next().and_then(CallId::from_value);
                let id = id.filter(|_| ids.next().is_none()).ok_or_else(|| {
                    let message = "cancel takes the id of a call: [bytes(16), int]";
                    Box::new((Fault::type_error(message), None))
                })?;
                Ok(Asked::Cancel(id))
            }
            Op::Describe => self.table(call.name).map(|(_, table)| Asked::Describe(table.clone())),
            Op::ListMethods if !self.names.contains_key(call.name) => {
                Ok(Asked::InterfaceError(call.name.to_owned()))
            }
            Op::ListMethods => {
                self.table(call.name).map(|(_, table)| Asked::ListMethods(table.clone()))
            }
            Op::Leases => Ok(Asked::Leases),
            Op::Log => logging::asked(call, peer).map(Asked::Log),
            // One that makes no sense fits no call, and has no answer either.
            Op::Credit => {
                let credit = call.args.positional.get(0).and_then(|credit| credit.as_u64());
                Ok(Asked::Credit(credit.unwrap_or(0)))
            }
            _ => {
                let stale = call.epoch.is_some_and(|epoch| epoch != self.session.epoch());
                let asked = if call.op.is_about_a_lease() {
                    self.lease(call, peer)
                } else {
                    self.callee(call)
                };
                asked.map_err(|refused| {
                    // What an earlier run had, a later one may not.
                    if stale { Box::new(words::stale_epoch()) } else { refused }
                })
            }
        }
    }

    /// The object and what is to be done with it.
    fn callee(&self, call: &Call<'_>) -> Result<Asked, Refused> {
        let (object, table) = self.table(call.name)?;
        let own = |fault| Box::new((fault, None));
        let (effect, quick) = match call.op {
            Op::Get => (Effect::Read, table.attribute(call.proc).map_err(own)?.quick),
            Op::Set => {
                table.attribute(call.proc).map_err(own)?;
                (Effect::Write, false)
            }
            _ => {
                let method = table.method(call.proc).map_err(own)?;
                (method.effect, method.quick)
            }
        };
        let lease = if effect == Effect::Read { None } else { token(call).map_err(own)? };
        let bulk = if self.session.unread_bytes() > 0 { self.bulk.size(call) } else { 0 };
        Ok(Asked::Call { object, effect, quick, bulk, lease })
    }

    /// The object called `name`, if it was opened once.
    pub(super) fn table(&self, name: &str) -> Result<(ObjectId, &Arc<Table>), Refused> {
        let entry = self.names.get(name).and_then(|&slot| self.entry(slot));
        let entry = entry.ok_or_else(|| {
            let known = self.names.keys().map(String::as_str);
            Box::new((words::no_object(name, known), None))
        })?;
        let (Some(id), Some(table)) = (entry.id, &entry.table) else {
            let fault = words::not_open(name, entry.away.as_ref());
            return Err(Box::new((fault, Some(Reason::Failed))));
        };
        Ok((id, table))
    }

    fn answer(&mut self, asked: Asked, id: Option<CallId>, epoch: Option<u64>, mut job: Box<Job>) {
        match asked {
            Asked::Call { object, effect, quick, bulk, lease } => {
                let Some(peer) = job.peer_id() else { return self.pool.give_back(job) };
                let (expires, arrived) = (job.expires, job.arrived);
                job.slot = self.slots.get(object.index()).copied();
                let plain = Request::new(peer, object, effect, job);
                let request = Request { id, epoch, expires, lease, quick, bulk, ..plain };
                return self.feed_at(arrived, Event::Request(request));
            }
            Asked::Cancel(id) => return self.feed(Event::Cancel { id, job }),
            Asked::Credit(credit) => return self.grant(id, credit, job),
            Asked::Lease(asked) => self.answer_lease(&asked, epoch, &mut job),
            Asked::Log(level) => self.answer_log(level, epoch, &mut job),
            Asked::Leases => job.answer(|out| reply::ToReply::to_reply(&self.leases(), out)),
            Asked::Hello => job.answer(|out| reply::ToReply::to_reply(&self.hello(), out)),
            Asked::Status => job.answer(|out| reply::ToReply::to_reply(&self.status(), out)),
            Asked::Describe(table) => job.answer(|out| reply::text(out, &table.description)),
            Asked::ListMethods(table) => {
                job.answer(|out| out.extend_from_slice(&table.list_methods));
            }
            Asked::InterfaceError(name) => job.answer(|out| {
                let mut quoted = String::with_capacity(name.len() + 2);
                // Writing to a String cannot fail.
                let _ = write!(quoted, "'{}'", name.escape_debug());
                reply::ToReply::to_reply(&("Interface error", quoted), out);
            }),
        }
        if let Some(peer) = job.peer_id() {
            self.session.sent(peer, job.reply.len());
        }
        self.deliver(job);
    }

    fn hello(&self) -> Hello {
        // An object that was never opened has no interface, and so none that could have changed.
        let hash = |table: &Option<Arc<Table>>| table.as_ref().map_or(0, |table| table.hash);
        let objects = self.names.iter().filter_map(|(name, &slot)| {
            self.entry(slot).map(|entry| (name.clone(), hash(&entry.table)))
        });
        Hello {
            epoch: self.session.epoch(),
            now: self.clock.now(),
            agent: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            limits: AgentLimits {
                chunk: CHUNK as u64,
                ..AgentLimits::new(&self.limits, self.bounds.max_inflight as u64)
            },
            features: FEATURES.map(str::to_owned).to_vec(),
            objects: objects.collect(),
        }
    }
}
