//! Leases: an object's writes for one holder, for a time.
//!
//! Whoever shows the lease's token is its holder; the client chooses the token, at random, when it asks
//! for the lease, so that asking again is harmless and no run of the agent mistakes the lease of another
//! for its own. Reads are free for everybody. From the moment a lease is given no write without the
//! token is started, whenever it came; one that runs by then, or waits in the middle, goes on to its end.

use crate::{Effect, ObjectId, Refusal, Session, Uptime, call::Call, object::Object};
use core::{fmt, time::Duration};
use std::sync::Arc;

/// The shortest lease.
pub const MIN_TTL: Duration = Duration::from_secs(1);
/// The longest lease; longer ones are renewed.
pub const MAX_TTL: Duration = Duration::from_mins(5);

/// What a holder shows: random bytes of his own choice.
pub type LeaseToken = [u8; 16];

/// Who has a lease, for others to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// What he says of himself.
    pub name: Arc<str>,
    /// Where he calls from; empty for this machine.
    pub address: Arc<str>,
}

impl From<&str> for Holder {
    fn from(name: &str) -> Self {
        Self { name: name.into(), address: "".into() }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.address {
            "" => f.write_str(&self.name),
            address => write!(f, "{} ({address})", self.name),
        }
    }
}

/// An object's writes are for one holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What the holder shows.
    pub token: LeaseToken,
    /// Who it is, for others to read.
    pub holder: Holder,
    /// When it ends unless it is renewed.
    pub expires: Uptime,
}

impl Lease {
    fn new(now: Uptime, token: LeaseToken, holder: Holder, ttl: Duration) -> Self {
        Self { token, holder, expires: now + ttl.clamp(MIN_TTL, MAX_TTL) }
    }

    fn locked(&self, now: Uptime) -> Refusal {
        let expires_in = self.expires.saturating_sub(now);
        Refusal::Locked { holder: self.holder.clone(), expires_in }
    }
}

impl<J> Object<J> {
    /// The lease that holds now.
    fn lease(&self, now: Uptime) -> Option<&Lease> {
        self.lease.as_ref().filter(|lease| lease.expires > now)
    }

    /// Why a call must not start under the object's lease, if it must not.
    pub(crate) fn lease_refusal(&self, now: Uptime, call: &Call) -> Option<Refusal> {
        if call.effect == Effect::Read {
            return None;
        }
        match (self.lease(now), call.lease) {
            (Some(lease), token) if token != Some(lease.token) => Some(lease.locked(now)),
            (None, Some(_)) => Some(Refusal::LeaseLost),
            _ => None,
        }
    }

    /// When the call must not start any more: its own deadline, or the end of the lease it is under.
    pub(crate) fn deadline(&self, call: &Call) -> Option<Uptime> {
        let is_under_lease = call.lease.is_some() && call.effect != Effect::Read && !call.begun;
        let lease = self.lease.as_ref().filter(|_| is_under_lease).map(|lease| lease.expires);
        call.expires.into_iter().chain(lease).min()
    }
}

impl<J> Session<J> {
    /// Leases an object, or renews the lease with the same `token`.
    ///
    /// `holder` is shown to others; `ttl` is brought into [`MIN_TTL`] to [`MAX_TTL`]. Returns when the
    /// lease ends. May be repeated.
    ///
    /// # Errors
    ///
    /// [`Refusal::Locked`] while somebody else has it; [`Refusal::Removed`], [`Refusal::Draining`].
    pub fn lock(
        &mut self,
        now: Uptime,
        object: ObjectId,
        token: LeaseToken,
        holder: Holder,
        ttl: Duration,
    ) -> Result<Uptime, Refusal> {
        let entry = self.leasable(object)?;
        match entry.lease(now).filter(|lease| lease.token != token) {
            Some(lease) => Err(lease.locked(now)),
            None => Ok(entry.lease.insert(Lease::new(now, token, holder, ttl)).expires),
        }
    }

    /// Lets a lease end so much later than now; returns when. May be repeated.
    ///
    /// # Errors
    ///
    /// [`Refusal::Locked`] if somebody else has it now, [`Refusal::LeaseLost`] if nobody has;
    /// [`Refusal::Removed`], [`Refusal::Draining`].
    pub fn renew(
        &mut self,
        now: Uptime,
        object: ObjectId,
        token: LeaseToken,
        ttl: Duration,
    ) -> Result<Uptime, Refusal> {
        let holder = self.held(now, object, token)?.holder.clone();
        self.lock(now, object, token, holder, ttl)
    }

    /// Ends a lease.
    ///
    /// # Errors
    ///
    /// As [`Session::renew`]; so releasing what has been released is [`Refusal::LeaseLost`], and may
    /// be taken for done.
    pub fn release(
        &mut self,
        now: Uptime,
        object: ObjectId,
        token: LeaseToken,
    ) -> Result<(), Refusal> {
        self.held(now, object, token)?;
        self.leasable(object)?.lease = None;
        Ok(())
    }

    /// Leases an object whoever has it. Who may, is the router's business, and so is the audit.
    ///
    /// Returns the lease that was taken away, and when the new one ends. Repeating it takes nothing
    /// away but the own lease.
    ///
    /// # Errors
    ///
    /// [`Refusal::Removed`], [`Refusal::Draining`].
    pub fn steal(
        &mut self,
        now: Uptime,
        object: ObjectId,
        token: LeaseToken,
        holder: Holder,
        ttl: Duration,
    ) -> Result<(Option<Lease>, Uptime), Refusal> {
        let entry = self.leasable(object)?;
        let lease = Lease::new(now, token, holder, ttl);
        let expires = lease.expires;
        let before = entry.lease.replace(lease).filter(|lease| lease.expires > now);
        Ok((before, expires))
    }

    /// The leases that hold now.
    pub fn leases(&self, now: Uptime) -> impl Iterator<Item = (ObjectId, &Lease)> {
        let leases = self.objects.iter().map(move |entry| entry.lease(now)).enumerate();
        leases.filter_map(|(index, lease)| Some((crate::session::object_at(index), lease?)))
    }

    fn leasable(&mut self, object: ObjectId) -> Result<&mut Object<J>, Refusal> {
        let draining = self.draining;
        let entry = self.objects.get_mut(object.index()).ok_or(Refusal::Removed)?;
        entry.is_closing(draining).map_or(Ok(entry), Err)
    }

    /// The lease that holds now, if it is the one of the token.
    fn held(&self, now: Uptime, object: ObjectId, token: LeaseToken) -> Result<&Lease, Refusal> {
        let entry = self.objects.get(object.index()).ok_or(Refusal::Removed)?;
        let lease = entry.lease(now).ok_or(Refusal::LeaseLost)?;
        if lease.token == token { Ok(lease) } else { Err(lease.locked(now)) }
    }
}
