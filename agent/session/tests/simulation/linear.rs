//! Whether a register's history is linearizable: whether all that clients saw could have happened one
//! after the other, each at a moment between its call and its answer.
//!
//! Every write writes another value, so a read tells which write it saw, and the history falls into one
//! cluster a value. After P. B. Gibbons and E. Korach, Testing Shared Memories, 1997: a cluster in which
//! one access ends before another starts must have the register between the two (a forward zone), so
//! two such zones may not overlap, and no other cluster may lie within one. That takes n log n.

use std::collections::BTreeMap;

/// One call to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) writes: bool,
    pub(crate) value: u64,
    pub(crate) from: i64,
    /// `i64::MAX` for a write of which nobody knows whether, and when, it ran.
    pub(crate) to: i64,
}

#[derive(Debug)]
struct Cluster {
    write: Option<Access>,
    reads: usize,
    /// Whether a read ended before the write started, or so it seems.
    first_read_end: i64,
    first_end: i64,
    last_start: i64,
}

/// Checks a history of a register that holds 0 at first.
///
/// # Errors
///
/// What cannot be.
pub(crate) fn check(history: &[Access]) -> Result<(), String> {
    let initial = Access { writes: true, value: 0, from: i64::MIN, to: i64::MIN };
    let mut clusters = BTreeMap::new();
    for &access in history.iter().chain([&initial]) {
        let cluster = clusters.entry(access.value).or_insert(Cluster {
            write: None,
            reads: 0,
            first_read_end: i64::MAX,
            first_end: i64::MAX,
            last_start: i64::MIN,
        });
        cluster.first_end = cluster.first_end.min(access.to);
        cluster.last_start = cluster.last_start.max(access.from);
        if access.writes {
            cluster.write = Some(access);
        } else {
            cluster.reads += 1;
            cluster.first_read_end = cluster.first_read_end.min(access.to);
        }
    }
    let mut forward = Vec::new();
    let mut backward = Vec::new();
    for (value, cluster) in &clusters {
        let Some(write) = cluster.write else {
            return Err(format!("{value} was read and never written"));
        };
        if cluster.first_read_end < write.from {
            return Err(format!("{value} was read before it was written"));
        }
        if cluster.reads == 0 && write.to == i64::MAX {
            continue;
        }
        if cluster.first_end < cluster.last_start {
            forward.push((cluster.first_end, cluster.last_start, *value));
        } else {
            backward.push((cluster.last_start, cluster.first_end, *value));
        }
    }
    forward.sort_unstable();
    for pair in forward.windows(2) {
        if let [(_, end, one), (start, _, other)] = pair
            && start < end
        {
            return Err(format!("{other} was there while {one} was"));
        }
    }
    for (start, end, value) in backward {
        // The last zone that begins before this one is the only one it can lie within.
        let after = forward.partition_point(|zone| zone.0 < start);
        if let Some((_, zone_end, one)) = after.checked_sub(1).and_then(|at| forward.get(at))
            && end < *zone_end
        {
            return Err(format!("{value} was there while {one} was"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Access, check};
    use crate::rng::Rng;

    fn write(value: u64, from: i64, to: i64) -> Access {
        Access { writes: true, value, from, to }
    }

    fn read(value: u64, from: i64, to: i64) -> Access {
        Access { writes: false, value, from, to }
    }

    #[test]
    fn a_read_of_an_overwritten_value_is_caught() {
        assert!(check(&[write(1, 0, 1), write(2, 2, 3), read(2, 4, 5)]).is_ok());
        assert!(check(&[write(1, 0, 1), write(2, 2, 3), read(1, 4, 5)]).is_err());
        assert!(check(&[write(1, 0, 1), write(2, 2, 5), read(1, 4, 6)]).is_ok());
    }

    #[test]
    fn a_write_of_unknown_outcome_may_be_seen_late_but_not_lost_again() {
        let unknown = write(1, 0, i64::MAX);
        assert!(check(&[unknown, read(0, 4, 5), read(1, 6, 7)]).is_ok());
        assert!(check(&[unknown, read(1, 4, 5), read(0, 6, 7)]).is_err());
    }

    /// Tries all orders.
    fn brute(register: u64, left: &[Access]) -> bool {
        let must = |access: &Access| access.to < i64::MAX;
        if !left.iter().any(must) {
            return true;
        }
        left.iter().enumerate().any(|(at, access)| {
            let first = left.iter().all(|other| other.to >= access.from);
            let fits = access.writes || access.value == register;
            let rest = [&left[..at], &left[at + 1..]].concat();
            first && fits && brute(access.value, &rest)
        })
    }

    #[test]
    fn it_agrees_with_trying_all_orders() {
        let mut linear = 0;
        for seed in 0..20_000 {
            let mut rng = Rng::new(seed);
            let time = |rng: &mut Rng| i64::try_from(rng.between(0, 12)).unwrap();
            let writes = rng.between(1, 3);
            let history: Vec<Access> = (0..rng.between(writes, 6))
                .map(|index| {
                    let (a, b) = (time(&mut rng), time(&mut rng));
                    let (from, to) = (a.min(b), a.max(b));
                    if index < writes {
                        write(index + 1, from, if rng.chance(200) { i64::MAX } else { to })
                    } else {
                        read(rng.between(0, writes), from, to)
                    }
                })
                .collect();
            let says = check(&history);
            assert_eq!(says.is_ok(), brute(0, &history), "seed {seed}: {says:?} {history:?}");
            linear += u32::from(says.is_ok());
        }
        assert!((2_000..18_000).contains(&linear), "{linear} of 20,000 are linearizable");
    }

    #[test]
    fn a_hundred_thousand_accesses_take_less_than_a_second() {
        let history: Vec<Access> = (1..=50_000)
            .flat_map(|n| {
                let at = i64::try_from(n).unwrap() * 10;
                [write(n, at, at + 8), read(n, at + 5, at + 12)]
            })
            .collect();
        let begin = std::time::Instant::now();
        assert_eq!(check(&history), Ok(()));
        assert!(begin.elapsed().as_secs() < 1, "{:?}", begin.elapsed());
    }
}
