//! How the agent and its objects are, told from what the router knows: no object is asked.

use super::{
    Router,
    objects::{Entry, State},
};
use crate::{access::Networks, tally::Histogram};
use proximity_proto::{
    object::LinkState,
    status::{
        AgentStatus, CallsStatus, ErrorStatus, Latency, LeaseStatus, LimitsStatus, LinkStatus,
        ObjectCalls, ObjectStatus, Status, TrafficStatus,
    },
};
use proximity_session::{ObjectId, Uptime};
use std::{collections::BTreeMap, time::Duration};

/// All that can be told of an agent at one moment.
pub(crate) struct Snapshot {
    pub(crate) status: Status,
    /// The latencies of each object's calls.
    pub(crate) latencies: BTreeMap<String, Histogram>,
    /// Who may ask from other machines.
    pub(crate) plaintext: Networks,
}

impl Router {
    /// All that can be told.
    pub(super) fn snapshot(&self) -> Snapshot {
        let entries = self.names.iter();
        let entries = entries.filter_map(|(name, &slot)| Some((name, self.entry(slot)?)));
        let latencies = entries.map(|(name, entry)| (name.clone(), entry.tally.latency.clone()));
        let (latencies, plaintext) = (latencies.collect(), self.plaintext.clone());
        Snapshot { status: self.status(), latencies, plaintext }
    }

    /// What `op: status` answers.
    pub(super) fn status(&self) -> Status {
        let now = self.clock.now();
        let mut leases: BTreeMap<ObjectId, LeaseStatus> = BTreeMap::new();
        for (object, lease) in self.session.leases(now) {
            let (holder, left) = (lease.holder.to_string(), lease.expires.saturating_sub(now));
            leases.insert(object, LeaseStatus { holder, expires_in: millis(left) });
        }
        let object = |(name, &slot): (&String, &usize)| {
            let entry = self.entry(slot)?;
            let mut status = entry.status(now, self.health.grace);
            if let Some(id) = entry.id {
                status.queue = self.session.depth(id) as u64;
                status.lease = leases.get(&id).cloned();
            }
            Some((name.clone(), status))
        };
        Status {
            agent: self.agent_status(now),
            objects: self.names.iter().filter_map(object).collect(),
        }
    }

    fn agent_status(&self, now: Uptime) -> AgentStatus {
        let (traffic, stats) = (self.transport.traffic(), self.session.stats());
        let refused = stats.refused.by_reason().into_iter();
        let refused = refused.filter(|(_, count)| *count > 0);
        AgentStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            epoch: self.session.epoch(),
            uptime: millis(now),
            listen: self.addresses.clone(),
            draining: self.draining,
            peers: self.transport.peers() as u64,
            clients: self.session.kept().0 as u64,
            traffic: TrafficStatus {
                received: traffic.received,
                sent: traffic.sent,
                received_bytes: traffic.received_bytes,
                sent_bytes: traffic.sent_bytes,
                odd: traffic.odd,
                undeliverable: traffic.unreachable + self.outbox.unread,
                ignored: self.ignored,
            },
            calls: CallsStatus {
                requested: stats.requests,
                started: stats.started,
                replied: stats.replied,
                refused: stats.refused.total(),
                repeated: stats.repeated,
                forgotten: stats.forgotten,
                wrong: self.wrong,
                not_allowed: self.not_allowed,
            },
            refused: refused.map(|(reason, count)| (reason.to_owned(), count)).collect(),
            limits: LimitsStatus {
                max_frame: self.limits.max_frame as u64,
                max_inflight: self.bounds.max_inflight as u64,
                max_unread: self.bounds.max_unread as u64,
                max_unread_all: self.bounds.max_unread_all as u64,
                connections: self.bounds.connections as u64,
                queue: self.queue as u64,
            },
        }
    }
}

impl Entry {
    /// How the object is, as far as the session need not be asked.
    fn status(&self, now: Uptime, grace: Duration) -> ObjectStatus {
        let (state, since, doing) = self.words(now, grace);
        let since = millis(now.saturating_sub(since));
        let link = self.table.as_ref().and_then(|table| table.way.as_ref()).map(|way| way.link());
        let down = link.as_ref().filter(|link| link.state == LinkState::Disconnected);
        let (state, since) = match down {
            Some(link) if state == "ready" => ("disconnected", millis(link.since)),
            _ => (state, since),
        };
        let latency = &self.tally.latency;
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let answered = self.tally.error.as_ref().map(|error| ErrorStatus {
            class: error.class.to_string(),
            message: error.message.clone(),
            ago: millis(now.saturating_sub(error.at)),
        });
        let away = self.away.as_ref().map(|fault| ErrorStatus {
            class: fault.class.to_string(),
            message: fault.message.clone(),
            ago: since,
        });
        ObjectStatus {
            driver: self.config.kind.to_owned(),
            state: state.to_owned(),
            since,
            doing,
            queue: 0,
            calls: ObjectCalls {
                done: self.tally.done,
                failed: self.tally.failed,
                refused: self.tally.refused,
            },
            latency: Latency {
                p50: micros(latency.quantile(0.5)),
                p99: micros(latency.quantile(0.99)),
                max: micros(latency.max),
            },
            error: away.or(answered),
            link: link.map(|link| LinkStatus {
                state: link.state.as_str().to_owned(),
                since: millis(link.since),
                error: link.error,
            }),
            lease: None,
        }
    }

    /// The word for its state, since when, and what it does.
    fn words(&self, now: Uptime, grace: Duration) -> (&'static str, Uptime, String) {
        let nothing = String::new();
        if self.is_stuck(now, grace) {
            return ("stuck", self.pulse.began, self.doing());
        }
        if self.away.is_some() {
            return ("away", self.since, nothing);
        }
        match self.state {
            State::Next | State::Opening { .. } => ("opening", self.since, nothing),
            State::Idle(_) => ("ready", self.since, nothing),
            State::Busy => ("busy", self.pulse.began, self.doing()),
            State::Broken(_) => ("failed", self.since, nothing),
            State::Away { .. } => ("away", self.since, nothing),
            State::Closing => ("closing", self.pulse.began, nothing),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
