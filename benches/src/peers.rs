//! What a call costs in Python, beside a bare pyzmq loop, zerorpc, Pyro5 and rpyc.
//!
//! `clients/python/bench/compare.py` measures, with the packages beside it.

use crate::Failure;
use crate::report::{Gate, Report, median};
use crate::servers::agent_binary;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../clients/python/bench/compare.py");
const PEERS: [&str; 3] = ["zerorpc", "Pyro5", "rpyc"];
/// Our client, of the agent and of our server in Python, which serves what the peers serve.
const AGENT: &str = "proximity, agent";
const OURS: &str = "proximity";

/// Measures all of them by turns.
pub(crate) fn measure(report: &mut Report) -> Result<(), Failure> {
    let rounds = crate::ROUNDS.to_string();
    let python = std::env::var_os("PROXIMITY_PEERS_PYTHON");
    let output = Command::new(python.map_or_else(|| "python3".into(), PathBuf::from))
        .args([SCRIPT, "--json", "--rounds", &rounds, "--agent"])
        .arg(agent_binary()?)
        .env("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/../clients/python/src"))
        .output()?;
    let told = serde_json::from_slice(&output.stdout).map_err(|_| {
        let errors = String::from_utf8_lossy(&output.stderr);
        format!("with the packages of clients/python/bench/requirements.txt: {errors}")
    })?;
    judge(&Told(told), report)
}

/// Lays down what must hold.
fn judge(told: &Told, report: &mut Report) -> Result<(), Failure> {
    let own = |row| told.pairs((AGENT, row), (AGENT, "null call, us"));
    let what = "null call, Python, to the same agent";
    report.compare(what.into(), "us", "bare pyzmq", &own("bare loop, us")?, Gate::AtMost(1.25));
    let mut fixed = told.of(AGENT, "fixed bytes, us")?;
    report.note("the same, pyzmq alone, bytes made before".into(), "us", median(&mut fixed));
    let rows = [
        ("null call, us", "null call, Python", "us", AGENT),
        ("first call, ms", "import to first call, Python", "ms", AGENT),
        ("1 MiB read, us", "1 MiB read, Python server", "us", OURS),
    ];
    for (row, what, unit, ours) in rows {
        for peer in PEERS {
            let pairs = told.pairs((peer, row), (ours, row))?;
            report.compare(what.into(), unit, peer, &pairs, Gate::AtMost(1.0));
        }
    }
    Ok(())
}

/// What the script found: by contender, by row, a figure a round.
struct Told(Value);

impl Told {
    fn of(&self, contender: &str, row: &str) -> Result<Vec<f64>, Failure> {
        let missing = || format!("compare.py told no '{row}' of {contender}");
        let figures =
            self.0.get(contender).and_then(|rows| rows.get(row)?.as_array()).ok_or_else(missing)?;
        Ok(figures.iter().map(Value::as_f64).collect::<Option<_>>().ok_or_else(missing)?)
    }

    /// Returns a figure pair (floor, ours) a round.
    fn pairs(&self, floor: (&str, &str), ours: (&str, &str)) -> Result<Vec<(f64, f64)>, Failure> {
        Ok(self.of(floor.0, floor.1)?.into_iter().zip(self.of(ours.0, ours.1)?).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_peer_and_the_bare_loop_are_a_gate_and_a_missing_figure_is_told() {
        let alike = |took: f64| json!({ "null call, us": [took], "first call, ms": [took], "1 MiB read, us": [took] });
        let mut told = json!({
            AGENT: { "null call, us": [12.0], "bare loop, us": [10.0], "fixed bytes, us": [9.0], "first call, ms": [12.0] },
            OURS: alike(14.0), "zerorpc": alike(20.0), "Pyro5": alike(20.0), "rpyc": alike(20.0),
        });
        let judged = |told: &Value| {
            let mut report = Report::default();
            judge(&Told(told.clone()), &mut report)
                .map(|()| report.gates_hold())
                .map_err(|error| error.to_string())
        };
        assert_eq!(judged(&told), Ok(true));
        for (contender, row, slow) in [
            (AGENT, "bare loop, us", 9.5),
            ("Pyro5", "null call, us", 11.0),
            ("rpyc", "first call, ms", 11.0),
            ("zerorpc", "1 MiB read, us", 13.0),
        ] {
            let had = std::mem::replace(&mut told[contender][row], json!([slow]));
            assert_eq!(judged(&told), Ok(false), "{contender}: {row}");
            told[contender][row] = had;
        }
        told["rpyc"] = json!({});
        assert_eq!(judged(&told), Err("compare.py told no 'null call, us' of rpyc".to_owned()));
    }
}
