//! `proximity leases`, and what leases the command itself has.

use crate::{
    cmd::{App, two_columns},
    failure::Failure,
};
use clap::Args;
use proximity_client::{Lease, LeaseInfo, Proxy};
use serde_json::json;
use std::{cell::RefCell, collections::BTreeMap, time::Duration};

/// How soon others may write after this command was killed; as long as it lives it renews.
const TTL: Duration = Duration::from_secs(30);

/// List who has locked which object
#[derive(Args)]
pub(crate) struct Leases {}

/// The objects that this command has locked, until it ends or releases them.
#[derive(Default)]
pub(crate) struct Held(RefCell<BTreeMap<String, Lease>>);

impl Held {
    /// The object `name`, under its lease if there is one.
    pub(crate) fn object(&self, app: &App<'_>, name: &str) -> Proxy {
        match self.0.borrow().get(name) {
            Some(lease) => lease.with_client(app.client.clone()),
            None => app.client.object(name),
        }
    }

    /// Keeps others from writing to the object `name`, also where they were kept from it before and
    /// the lease was lost.
    pub(crate) fn lock(&self, app: &App<'_>, name: &str) -> Result<(), Failure> {
        if !self.holds(name)? {
            let lease = app.client.object(name).lock(TTL)?;
            self.0.borrow_mut().insert(name.into(), lease);
        }
        Ok(())
    }

    /// Whether the object `name` is locked here; its agent is asked.
    fn holds(&self, name: &str) -> Result<bool, Failure> {
        let held = self.0.borrow();
        let Some(lease) = held.get(name).filter(|lease| !lease.is_lost()) else { return Ok(false) };
        match lease.renew() {
            Ok(()) => Ok(true),
            Err(_) if lease.is_lost() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The same, whoever has it; returns who had.
    pub(crate) fn steal(&self, app: &App<'_>, name: &str) -> Result<Option<String>, Failure> {
        let lease = app.client.object(name).steal(TTL)?;
        let from = lease.taken_from().map(String::from);
        self.0.borrow_mut().insert(name.into(), lease);
        Ok(from)
    }

    /// Lets others write to the object `name` again.
    pub(crate) fn release(&self, name: &str) -> Result<(), Failure> {
        let lease = self.0.borrow_mut().remove(name).ok_or_else(|| {
            Failure::usage(format!("'{name}' is not locked here"), "`lock OBJECT` does that")
        })?;
        Ok(lease.release()?)
    }
}

impl Leases {
    #[allow(clippy::unused_self)] // as the other commands
    pub(crate) fn run(&self, app: &App<'_>) -> Result<(), Failure> {
        let leases = app.client.leases()?;
        if app.output.json {
            let leases: Vec<_> = leases.iter().map(as_json).collect();
            return Ok(app.output.line(json!(leases).to_string())?);
        }
        let width = leases.iter().map(|lease| lease.object.chars().count()).max();
        for LeaseInfo { object, holder, address, expires_in } in &leases {
            let from = if address.is_empty() { String::new() } else { format!(" ({address})") };
            let text = format!("{holder}{from}, for another {:.1} s", expires_in.as_secs_f64());
            two_columns(app, object, width.unwrap_or_default(), &text)?;
        }
        Ok(())
    }
}

fn as_json(lease: &LeaseInfo) -> serde_json::Value {
    let LeaseInfo { object, holder, address, expires_in } = lease;
    let expires_in = expires_in.as_secs_f64();
    json!({"object": object, "holder": holder, "address": address, "expires_in": expires_in})
}
