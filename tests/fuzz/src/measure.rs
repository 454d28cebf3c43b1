//! What a piece of work allocates.

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What is allowed beside a multiple of the input: the text of an error, a buffer's first bytes.
const BESIDE: usize = 4 << 10;

/// How often work is tried again that seemed to allocate too much.
const AGAIN: usize = 3;

/// Runs `work` and holds what it allocates to `times` the bytes of its input, and a little beside.
///
/// Counted is all that it asks for, also where it gives some back in between: no less than the most it
/// holds at a time. Counters are the process's, so that whatever another thread does counts as well:
/// `work` gets another chance, and has to give the same each time.
///
/// # Panics
///
/// If it allocates more.
pub fn within<T>(input: usize, times: usize, work: impl Fn() -> T) -> T {
    let allowed = input * times + BESIDE;
    let mut least = usize::MAX;
    for _ in 0..AGAIN {
        let region = Region::new(ALLOCATOR);
        let result = work();
        least = least.min(region.change().bytes_allocated);
        if least <= allowed {
            return result;
        }
    }
    panic!("{least} bytes are allocated for an input of {input}; {allowed} are allowed");
}
