//! What a piece of work allocates.

/// What is allowed beside a multiple of the input: the text of an error, a buffer's first bytes.
const BESIDE: usize = 4 << 10;

/// Runs `work` and holds the most memory it has at a time to `times` the bytes of its input, and a little beside.
///
/// Counted is this thread, so that what others do meanwhile does not matter. A buffer that grows counts twice
/// while it is copied.
///
/// # Panics
///
/// If it holds more.
pub fn within<T>(input: usize, times: usize, work: impl FnOnce() -> T) -> T {
    let allowed = input * times + BESIDE;
    let mut result = None;
    let seen = allocation_counter::measure(|| result = Some(work()));
    let most = seen.bytes_max;
    assert!(
        most <= allowed as u64,
        "{most} bytes are held at a time for an input of {input}; {allowed} are allowed"
    );
    result.expect("the work was done")
}

#[cfg(test)]
mod tests {
    use super::within;
    use std::{hint::black_box, panic::catch_unwind};

    #[test]
    fn the_most_that_is_held_at_a_time_counts_and_only_on_this_thread() {
        let piece = || black_box(vec![0_u8; 3 << 10]).len();
        let one_by_one = || (0..100).map(|_| piece()).sum::<usize>();
        assert_eq!(within(0, 0, one_by_one), 300 << 10);
        within(0, 0, || {
            std::thread::scope(|scope| scope.spawn(one_by_one).join().expect("it ends"))
        });
        let two = || (black_box(vec![0_u8; 3 << 10]), black_box(vec![0_u8; 3 << 10]));
        within(1 << 10, 2, two);
        catch_unwind(|| within(0, 0, two)).expect_err("6 KiB are more than 4");
    }
}
