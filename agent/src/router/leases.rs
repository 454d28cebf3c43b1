//! Leases: what is asked about them, and what the audit has of it.

use super::{
    Router,
    arrival::{Asked, Refused},
    words,
};
use crate::{audit::Entry, job::Job, transport::Peer};
use proximity_proto::{
    Fault, ToReply,
    call::{Call, Op},
    fault::{Executed, Reason},
    lease::{Held, Lease, MAX_HOLDER, Stolen, TOKEN},
    object::PrincipalKind,
};
use proximity_session::{Holder, LeaseToken, MAX_TTL, MIN_TTL, ObjectId, Uptime};
use std::time::Duration;

/// What a client asks about the lease of an object.
pub(super) struct LeaseAsked {
    op: Op,
    object: ObjectId,
    token: LeaseToken,
    ttl: Duration,
    holder: Holder,
}

/// The lease that a call names, if it names one.
pub(super) fn token(call: &Call<'_>) -> Result<Option<LeaseToken>, Fault> {
    // An old client has no such key; whatever it sends under that name is not for us.
    let Some(token) = call.lease.filter(|_| call.version == 2) else { return Ok(None) };
    let token = token.try_into().map_err(|_| {
        let given = token.len();
        Fault::value_error(format!("the request's 'lease' has {given} bytes; it must have {TOKEN}"))
    })?;
    Ok(Some(token))
}

impl Router {
    /// What is asked about a lease, if it is sound and may be asked.
    pub(super) fn lease(&self, call: &Call<'_>, peer: Option<&Peer>) -> Result<Asked, Refused> {
        let own = |fault| Box::new((fault, None));
        let (object, _) = self.table(call.name)?;
        let token = token(call).map_err(own)?.ok_or_else(|| {
            let message = format!("{} needs a 'lease': {TOKEN} random bytes", call.op.as_str());
            own(Fault::value_error(message))
        })?;
        let ttl = if call.op == Op::Release { Ok(MIN_TTL) } else { ttl(call) }.map_err(own)?;
        let holder = holder(call, peer).map_err(own)?;
        let is_local = peer.is_some_and(|peer| peer.principal.kind == PrincipalKind::Local);
        if call.op == Op::Steal && !is_local {
            let fault = words::no_theft(call.name, peer);
            if let Some(peer) = peer {
                let what = Op::Steal.as_str();
                let entry = Entry { what, object: call.name, holder: &holder, from: None };
                self.audit.write(&entry, peer, self.clock.now(), Err("PermissionError"));
            }
            return Err(own(fault));
        }
        Ok(Asked::Lease(LeaseAsked { op: call.op, object, token, ttl, holder }))
    }

    /// Carries it out, and answers.
    pub(super) fn answer_lease(&mut self, asked: &LeaseAsked, epoch: Option<u64>, job: &mut Job) {
        let now = self.clock.now();
        let LeaseAsked { op, object, token, ttl, ref holder } = *asked;
        // Who releases one need not say who he is: whoever has the token is he who took it.
        let known = (op == Op::Release).then(|| {
            let mut leases = self.session.leases(now);
            leases.find(|(of, lease)| *of == object && lease.token == token)
        });
        let known = known.flatten().map(|(_, lease)| lease.holder.clone());
        let holder = known.as_ref().unwrap_or(holder);
        let who = job.peer.clone().filter(|_| op != Op::Renew);
        if let Some(peer) = &who {
            let entry = Entry { what: op.as_str(), object: job.object(), holder, from: None };
            if let Err((file, error)) = self.audit.ask(&entry, peer, now) {
                let (fault, reason) = words::no_audit(file, &error);
                return job.fail(&fault, Executed::No, reason);
            }
        }
        let session = &mut self.session;
        let mut from = None;
        let held = |expires: Uptime| Held { expires, ttl };
        let done = match session.untimely(now, epoch, job.expires) {
            Some(why) => Err(why),
            None => match op {
                Op::Lock => {
                    session.lock(now, object, token, holder.clone(), ttl).map(held).map(Some)
                }
                Op::Renew => session.renew(now, object, token, ttl).map(held).map(Some),
                Op::Release => session.release(now, object, token).map(|()| None),
                _ => session.steal(now, object, token, holder.clone(), ttl).map(
                    |(before, expires)| {
                        from = before
                            .filter(|before| before.token != token)
                            .map(|before| before.holder);
                        Some(held(expires))
                    },
                ),
            },
        };
        let refused = done.as_ref().err().map(|why| words::refusal(why, job, None));
        if let Some(peer) = who {
            let entry =
                Entry { what: op.as_str(), object: job.object(), holder, from: from.as_ref() };
            let reason =
                refused.as_ref().map(|(_, reason)| reason.map_or("refused", Reason::as_str));
            self.audit.write(&entry, &peer, now, reason.map_or(Ok(()), Err));
        }
        let from = from.map(|from| from.to_string());
        match (refused, done.ok().flatten()) {
            (Some((fault, reason)), _) => job.fail(&fault, Executed::No, reason),
            (None, Some(held)) if op == Op::Steal => {
                job.answer(|out| Stolen { held, from }.to_reply(out));
            }
            (None, held) => job.answer(|out| held.to_reply(out)),
        }
    }

    /// Who has what.
    pub(super) fn leases(&self) -> Vec<Lease> {
        let now = self.clock.now();
        let named = self.session.leases(now).filter_map(|(object, lease)| {
            let slot = *self.slots.get(object.index())?;
            let name = &self.entry(slot)?.config.name;
            // One of the same name may be on its way in while this one is on its way out.
            (self.names.get(name) == Some(&slot)).then(|| Lease {
                object: name.clone(),
                holder: lease.holder.name.to_string(),
                address: lease.holder.address.to_string(),
                expires_in: lease.expires.saturating_sub(now),
            })
        });
        let mut leases: Vec<Lease> = named.collect();
        leases.sort_unstable_by(|left, right| left.object.cmp(&right.object));
        leases
    }
}

/// How long the lease is to be.
fn ttl(call: &Call<'_>) -> Result<Duration, Fault> {
    let (least, most) = (MIN_TTL.as_millis(), MAX_TTL.as_millis());
    let op = call.op.as_str();
    let mut times = call.args.positional.iter();
    let (Some(time), None) = (times.next(), times.next()) else {
        let count = call.args.positional.len();
        let message = format!("{op} takes one argument, the lease's time in ms, not {count}");
        return Err(Fault::type_error(message));
    };
    let Some(ms) = time.as_u64() else {
        let message = format!("{op}: the lease's time must be an int of ms, not {}", time.kind());
        return Err(Fault::type_error(message));
    };
    let ttl = Duration::from_millis(ms);
    if (MIN_TTL..=MAX_TTL).contains(&ttl) {
        return Ok(ttl);
    }
    let message = format!("{op}: the lease's time is {ms} ms; it must be {least} to {most}");
    Err(Fault::value_error(message).hint("a longer lease is renewed in time"))
}

/// Who wants it.
fn holder(call: &Call<'_>, peer: Option<&Peer>) -> Result<Holder, Fault> {
    let op = call.op.as_str();
    let name = match call.args.named.get("holder") {
        None => "somebody",
        Some(name) => name.as_text().ok_or_else(|| {
            Fault::type_error(format!("{op}: 'holder' must be text, not {}", name.kind()))
        })?,
    };
    // It is shown on others' terminals.
    if name.is_empty() || name.len() > MAX_HOLDER || name.chars().any(char::is_control) {
        let message = format!(
            "{op}: 'holder' is '{}'; it must be 1 to {MAX_HOLDER} bytes without control characters",
            name.escape_debug()
        );
        return Err(Fault::value_error(message));
    }
    let address = peer.map_or("", |peer| peer.principal.address.as_str());
    Ok(Holder { name: name.into(), address: address.into() })
}
