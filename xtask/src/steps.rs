//! A list of steps: a calm line each while it runs, a table and totals at the end.

use crate::process;
use crate::skips::{self, Skip};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What a step counted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: Vec<Skip>,
}

impl Counts {
    /// One check that passed.
    pub(crate) fn one() -> Self {
        Self { passed: 1, ..Self::default() }
    }
}

/// A failed step: what it counted, and what a person needs to see.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) counts: Counts,
    pub(crate) text: String,
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self { counts: Counts { failed: 1, ..Counts::default() }, text }
    }
}

pub(crate) type Outcome = Result<Counts, Failure>;

struct Row {
    name: &'static str,
    counts: Counts,
    elapsed: Duration,
}

/// Runs steps and remembers what they gave.
pub(crate) struct Steps {
    total: usize,
    logs: PathBuf,
    rows: Vec<Row>,
}

impl Steps {
    /// Starts a list of `total` steps.
    ///
    /// # Errors
    ///
    /// A text, if the folder of the logs cannot be made.
    pub(crate) fn new(title: &str, total: usize) -> Result<Self, String> {
        let logs = process::work_dir();
        fs::create_dir_all(&logs).map_err(|e| format!("cannot make {}: {e}", logs.display()))?;
        println!("{title}; the output of each step is in {}", logs.display());
        Ok(Self { total, logs, rows: Vec::new() })
    }

    /// Runs one step, which is given the path of its log, and says whether it passed.
    pub(crate) fn step(&mut self, name: &'static str, f: impl FnOnce(&Path) -> Outcome) -> bool {
        let log = self.logs.join(format!("{}.log", name.replace(' ', "-")));
        let _ = fs::remove_file(&log);
        print!("[{:>2}/{}] {name:.<28} ", self.rows.len() + 1, self.total);
        let _ = std::io::stdout().flush();
        let begun = Instant::now();
        let outcome = f(&log);
        let elapsed = begun.elapsed();
        let passed = outcome.is_ok();
        let counts = match outcome {
            Ok(counts) => {
                println!("ok      {:>6.1} s", elapsed.as_secs_f64());
                counts
            }
            Err(Failure { counts, text }) => {
                println!("FAILED  {:>6.1} s", elapsed.as_secs_f64());
                println!("{}\n", text.trim_end());
                counts
            }
        };
        self.rows.push(Row { name, counts, elapsed });
        passed
    }

    /// Prints the table, the skipped tests and the totals; fails if anything failed, or was skipped
    /// without standing in docs/testing.md.
    pub(crate) fn finish(self) -> ExitCode {
        println!("\n{:<30} {:>7} {:>7} {:>8} {:>9}", "step", "passed", "failed", "skipped", "time");
        for Row { name, counts, elapsed } in &self.rows {
            let seconds = elapsed.as_secs_f64();
            let Counts { passed, failed, skipped } = counts;
            println!("{name:<30} {passed:>7} {failed:>7} {:>8} {seconds:>7.1} s", skipped.len());
        }
        let seconds: f64 = self.rows.iter().map(|row| row.elapsed.as_secs_f64()).sum();
        println!("{:<30} {:>34.1} s", "in all", seconds);

        let passed: u32 = self.rows.iter().map(|row| row.counts.passed).sum();
        let mut failed: u32 = self.rows.iter().map(|row| row.counts.failed).sum();
        let skipped: Vec<&Skip> = self.rows.iter().flat_map(|row| &row.counts.skipped).collect();
        let listed = fs::read_to_string(process::root().join("docs/testing.md"));
        let listed = skips::listed(&listed.unwrap_or_default());
        for Skip { name, reason } in &skipped {
            let known = listed.contains(name);
            println!("skipped {name}: {reason}{}", if known { "" } else { " (UNLISTED)" });
            if !known {
                println!("  a skipped test must be listed, with its reason, in docs/testing.md");
                failed += 1;
            }
        }
        println!("\n{passed} passed, {failed} failed, {} skipped", skipped.len());
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
