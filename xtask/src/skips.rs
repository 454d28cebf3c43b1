//! Counts of test runs, read from what libtest and pytest print.
//!
//! A Rust test that cannot run here prints `SKIPPED name: reason` on a line of its own and returns;
//! `#[ignore = "reason"]` counts the same. In pytest it is `pytest.skip(reason)`. Whichever it is,
//! the name has to stand in the table of docs/testing.md.

use crate::steps::Counts;

/// A test that did not run, and why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Skip {
    pub(crate) name: String,
    pub(crate) reason: String,
}

impl Skip {
    pub(crate) fn new(name: &str, reason: &str) -> Self {
        Self { name: name.trim().to_owned(), reason: reason.trim().to_owned() }
    }
}

/// Counts what `cargo test -- --show-output` printed.
pub(crate) fn of_cargo_test(output: &str) -> Counts {
    let mut counts = Counts::default();
    let mut counted_as_passed = 0;
    for line in output.lines() {
        if let Some((name, reason)) =
            line.strip_prefix("SKIPPED ").and_then(|rest| rest.split_once(": "))
        {
            counted_as_passed += 1;
            counts.skipped.push(Skip::new(name, reason));
        } else if let Some((name, reason)) =
            line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ignored"))
        {
            counts.skipped.push(Skip::new(name, reason.trim_start_matches(", ")));
        } else if let Some(rest) = line.strip_prefix("test result: ") {
            counts.passed += number_before(rest, " passed");
            counts.failed += number_before(rest, " failed");
        }
    }
    counts.passed = counts.passed.saturating_sub(counted_as_passed);
    counts
}

/// Returns what the failed tests printed: other test binaries may have printed much since.
pub(crate) fn failures(output: &str) -> String {
    let mut found = String::new();
    let mut inside = false;
    for line in output.lines() {
        inside = (inside || line == "failures:") && line != "successes:";
        if inside {
            found += line;
            found += "\n";
        }
        inside &= !line.starts_with("test result: ");
    }
    found
}

/// Returns the tests that libtest has said to run for long, and pytest to have begun, and neither that they ended.
pub(crate) fn unfinished(output: &str) -> Vec<String> {
    let mut running: Vec<&str> = Vec::new();
    for line in output.lines() {
        if let Some(name) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.strip_suffix(" has been running for over 60 seconds"))
        {
            running.push(name);
        } else if let Some((name, _)) =
            line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "))
        {
            running.retain(|other| *other != name);
        }
    }
    // pytest writes a test's name first, and how it ended behind it.
    let last = output.lines().next_back().filter(|line| line.contains(".py::"));
    running.extend(last.filter(|line| line.split_whitespace().count() == 1).map(str::trim));
    running.into_iter().map(str::to_owned).collect()
}

/// Counts what `pytest -v` printed.
pub(crate) fn of_pytest(output: &str) -> Counts {
    let mut counts = Counts::default();
    for line in output.lines() {
        if let Some((name, reason)) = line.split_once(" SKIPPED")
            && name.contains("::")
        {
            let reason = reason.rsplit_once('[').map_or(reason, |(before, _percent)| before);
            counts.skipped.push(Skip::new(name, reason.trim().trim_matches(['(', ')'])));
        } else if line.starts_with("===") && line.contains(" in ") {
            counts.passed += number_before(line, " passed");
            counts.failed += number_before(line, " failed") + number_before(line, " error");
        }
    }
    counts
}

/// Returns the number right before the first `unit` in `line`, 0 if there is none.
fn number_before(line: &str, unit: &str) -> u32 {
    let Some((before, _)) = line.split_once(unit) else { return 0 };
    before.rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Returns the names in the first column of the tables of docs/testing.md, where each stands in backquotes.
pub(crate) fn listed(page: &str) -> Vec<String> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split_once('`')).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_test_is_counted_with_both_kinds_of_skip() {
        let output = "\
running 3 tests
test a ... ok
test slow::b ... ignored, needs a board
test c ... ok

successes:

---- c stdout ----
SKIPPED c: no qemu on this machine

test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out
";
        let counts = of_cargo_test(output);
        assert_eq!((counts.passed, counts.failed), (11, 2));
        let expected =
            [Skip::new("slow::b", "needs a board"), Skip::new("c", "no qemu on this machine")];
        assert_eq!(counts.skipped, expected);
    }

    #[test]
    fn what_failed_tests_printed_is_found_among_the_rest() {
        let output = "\
successes:
---- a stdout ----
calm
failures:
---- b stdout ----
loud
test result: FAILED. 1 passed; 1 failed
running 1 test
";
        let expected =
            "failures:\n---- b stdout ----\nloud\ntest result: FAILED. 1 passed; 1 failed\n";
        assert_eq!(failures(output), expected);
    }

    #[test]
    fn pytest_is_counted_with_its_skips_and_errors() {
        let output = "\
tests/test_a.py::test_one PASSED                                [ 25%]
tests/test_a.py::test_two SKIPPED (no numpy)                    [ 50%]
============ 1 failed, 12 passed, 1 skipped, 2 errors in 0.52s ============
";
        let counts = of_pytest(output);
        assert_eq!((counts.passed, counts.failed), (12, 3));
        assert_eq!(counts.skipped, [Skip::new("tests/test_a.py::test_two", "no numpy")]);
    }

    #[test]
    fn tests_that_have_not_ended_are_found() {
        let long = |name| format!("test {name} has been running for over 60 seconds\n");
        let output = long("a") + &long("b::c") + "test a ... ok\ntest d ... FAILED\n";
        assert_eq!(unfinished(&output), ["b::c"]);
        let output = "tests/test_a.py::test_one PASSED   [ 25%]\ntests/test_a.py::test_two ";
        assert_eq!(unfinished(output), ["tests/test_a.py::test_two"]);
        assert!(unfinished("tests/test_a.py::test_one PASSED   [ 25%]\n").is_empty());
    }

    #[test]
    fn a_skip_is_listed_by_the_first_column() {
        let page = "| test | why |\n|---|---|\n| `slow::b` | needs a `board` |\n";
        assert_eq!(listed(page), ["slow::b"]);
    }
}
