//! `?mock-fault`, which no real board has.

use super::{Answer, Context, OK, Refusal, count, text};
use crate::faults::Fault;
use std::time::Instant;

/// `?mock-fault` lists the faults that are on; `?mock-fault cut 5` sets one; `?mock-fault none` ends all.
pub(super) fn fault(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    if args.is_empty() {
        let faults = context.world.board.faults.list();
        for fault in &faults {
            context.inform(&[fault.as_bytes()]);
        }
        return count(faults.len());
    }
    match Fault::parse(&text(&args.join(&b' '))) {
        Ok(fault) => {
            context.world.board.faults.set(fault, Instant::now());
            OK
        }
        Err(error) => Err::<_, Refusal>(context.malformed(error.to_string())),
    }
}
