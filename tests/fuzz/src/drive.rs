//! Runs a body a number of times.

use crate::{
    Target, corpus,
    mutate::{Random, mutate},
};
use std::{
    any::Any,
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

/// Inputs that are kept to be mutated further; then one is kept in the place of another.
const KEPT: usize = 4096;

/// What a run came to.
pub struct Figures {
    /// Inputs that were tried.
    pub runs: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// Inputs with an outcome of their own.
    pub outcomes: usize,
}

/// An input that broke a body.
#[derive(Debug)]
pub struct Broken {
    /// The input.
    pub input: Vec<u8>,
    /// What the body said.
    pub why: String,
    /// How many inputs were tried before it.
    pub after: u64,
}

/// Tries the seeds of `target`, what is saved for it, and `runs` inputs that come of those.
///
/// # Errors
///
/// [`Broken`]: the first input that broke the body.
pub fn run(target: &Target, runs: u64, seed: u64) -> Result<Figures, Broken> {
    let begun = Instant::now();
    let mut known = (target.seeds)();
    known.extend(corpus::saved(target.name).into_iter().map(|(_, bytes)| bytes));
    let mut outcomes = HashSet::new();
    for (place, input) in known.iter().enumerate() {
        outcomes.insert(once(target, input, place as u64)?);
    }
    let mut random = Random::new(seed);
    let mut input = Vec::new();
    for done in 0..runs {
        mutate(&mut random, &known, target.words, &mut input);
        if outcomes.insert(once(target, &input, done)?) {
            if known.len() < KEPT {
                known.push(input.clone());
            } else {
                let place = random.below(KEPT);
                known[place].clone_from(&input);
            }
        }
    }
    Ok(Figures { runs, elapsed: begun.elapsed(), outcomes: outcomes.len() })
}

/// Tries one input.
///
/// # Errors
///
/// [`Broken`], if it breaks the body.
pub fn once(target: &Target, input: &[u8], after: u64) -> Result<u64, Broken> {
    catch_unwind(AssertUnwindSafe(|| (target.body)(input))).map_err(|panic| Broken {
        input: input.to_vec(),
        why: text(&*panic),
        after,
    })
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| String::from(*text));
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "(no message)".to_owned())
}
