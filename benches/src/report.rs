//! The table, and whether the gates hold.

use serde_json::{Value, json};

/// What a ratio must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Gate {
    AtMost(f64),
    AtLeast(f64),
}

impl Gate {
    fn holds(self, ratio: f64) -> bool {
        match self {
            Gate::AtMost(most) => ratio <= most,
            Gate::AtLeast(least) => ratio >= least,
        }
    }
}

#[derive(Debug)]
enum Row {
    Compared {
        what: String,
        unit: &'static str,
        floor_name: &'static str,
        floor: f64,
        ours: f64,
        ratio: f64,
        gate: Gate,
    },
    Alone {
        what: String,
        unit: &'static str,
        ours: f64,
    },
}

/// All that was measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Adds a figure beside its floor, from `pairs` of (floor, ours) taken right after each other. The ratio
    /// is the median of the pairs' ratios: what disturbs a pair disturbs both of its halves.
    pub(crate) fn compare(
        &mut self,
        what: String,
        unit: &'static str,
        floor_name: &'static str,
        pairs: &[(f64, f64)],
        gate: Gate,
    ) {
        let over = |f: fn(&(f64, f64)) -> f64| median(&mut pairs.iter().map(f).collect::<Vec<_>>());
        let (floor, ours, ratio) = (over(|p| p.0), over(|p| p.1), over(|p| p.1 / p.0));
        self.rows.push(Row::Compared { what, unit, floor_name, floor, ours, ratio, gate });
    }

    /// Adds a figure that has no floor and no gate.
    pub(crate) fn note(&mut self, what: String, unit: &'static str, ours: f64) {
        self.rows.push(Row::Alone { what, unit, ours });
    }

    /// Says whether every gate holds.
    pub(crate) fn gates_hold(&self) -> bool {
        self.rows.iter().all(|row| match row {
            Row::Compared { ratio, gate, .. } => gate.holds(*ratio),
            Row::Alone { .. } => true,
        })
    }

    /// The same as [`print`](Self::print) tells, for programs.
    pub(crate) fn to_json(&self) -> Value {
        let rows = self.rows.iter().map(|row| match row {
            Row::Compared { what, unit, floor_name, floor, ours, ratio, gate } => {
                let (side, limit) = match gate {
                    Gate::AtMost(most) => ("at_most", most),
                    Gate::AtLeast(least) => ("at_least", least),
                };
                json!({
                    "what": what, "unit": unit, "ours": ours,
                    "floor": floor, "floor_name": floor_name,
                    "ratio": ratio, "gate": { side: limit }, "ok": gate.holds(*ratio),
                })
            }
            Row::Alone { what, unit, ours } => json!({ "what": what, "unit": unit, "ours": ours }),
        });
        Value::Array(rows.collect())
    }

    /// Prints the table.
    pub(crate) fn print(&self) {
        println!(
            "{:<46} {:>10} {:>10} {:<8} {:>6}  {:<12} floor",
            "", "floor", "ours", "", "ratio", "gate"
        );
        for row in &self.rows {
            match row {
                Row::Compared { what, unit, floor_name, floor, ours, ratio, gate } => {
                    let limit = match gate {
                        Gate::AtMost(most) => format!("<= {most:.2}"),
                        Gate::AtLeast(least) => format!(">= {least:.2}"),
                    };
                    let verdict = if gate.holds(*ratio) { "ok" } else { "MISS" };
                    println!(
                        "{what:<46} {floor:>10.1} {ours:>10.1} {unit:<8} {ratio:>6.3}  {limit} {verdict:<4} {floor_name}"
                    );
                }
                Row::Alone { what, unit, ours } => {
                    println!("{what:<46} {:>10} {ours:>10.1} {unit:<8}", "");
                }
            }
        }
    }
}

/// Returns the middle of `values`, 0 if there are none.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_is_missed_by_the_median_of_the_pairs_ratios() {
        let mut report = Report::default();
        let pairs = [(10.0, 11.0), (20.0, 22.0), (10.0, 90.0)];
        report.compare("calls".to_owned(), "us", "floor", &pairs, Gate::AtMost(1.11));
        assert!(report.gates_hold(), "{report:?}");
        report.compare("calls".to_owned(), "us", "floor", &pairs, Gate::AtMost(1.09));
        assert!(!report.gates_hold(), "{report:?}");
    }

    #[test]
    fn a_program_gets_the_same_figures() {
        let mut report = Report::default();
        report.compare("calls".to_owned(), "us", "floor", &[(10.0, 12.0)], Gate::AtMost(1.1));
        report.note("size".to_owned(), "kB", 3.0);
        let told = json!([
            { "what": "calls", "unit": "us", "ours": 12.0, "floor": 10.0, "floor_name": "floor",
              "ratio": 1.2, "gate": { "at_most": 1.1 }, "ok": false },
            { "what": "size", "unit": "kB", "ours": 3.0 },
        ]);
        assert_eq!(report.to_json(), told);
    }

    #[test]
    fn a_speed_must_be_at_least() {
        assert!(Gate::AtLeast(0.95).holds(0.96));
        assert!(!Gate::AtLeast(0.95).holds(0.94));
    }
}
