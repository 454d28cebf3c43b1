//! `proximity status`: how the agent and its objects are, for people and for monitoring.

use crate::{cmd::App, failure::Failure};
use clap::Args;
use proximity_client::{ObjectStatus, Status as AgentsStatus, ToReply, Value};
use proximity_proto::json;
use std::time::Duration;

/// The exit status where somebody has to look after something.
const DEGRADED: u8 = 1;

/// Show how the agent and its objects are
///
/// Exit status: 0 all is well; 1 an object is away, disconnected, stuck or failed, or the agent is
/// stopping; 2 wrong usage; 3, 4, 5 the agent does not answer.
#[derive(Args)]
pub(crate) struct Status {
    /// Print one line, for monitoring: OK, DEGRADED or CRITICAL, and why
    #[arg(long)]
    check: bool,
}

impl Status {
    pub(crate) fn run(&self, app: &App<'_>) -> Result<(), Failure> {
        let status = match app.client.status() {
            // Monitoring reads standard output.
            Err(error) if self.check && !app.output.json => {
                app.output.line(format!("CRITICAL: {}", one_line(&error.message())))?;
                return Err(Failure::Told(Failure::Call(error).exit_code()));
            }
            status => status?,
        };
        if app.output.json {
            let mut bytes = Vec::new();
            status.to_reply(&mut bytes);
            let value = Value::first(&bytes).unwrap_or(Value::Nil);
            app.output.line(json::value(value).to_string())?;
        } else if self.check {
            app.output.line(check(&status))?;
        } else {
            app.output.line(headline(&status, app.client.address()))?;
            for line in table(&status) {
                app.output.line(line)?;
            }
        }
        if status.is_well() { Ok(()) } else { Err(Failure::Told(DEGRADED)) }
    }
}

/// What there is to look after.
fn trouble(status: &AgentsStatus) -> Vec<String> {
    let stopping = status.agent.draining.then(|| "the agent is stopping".to_owned());
    let objects = status.objects.iter().filter(|(_, object)| !object.is_well());
    let objects = objects.map(|(name, object)| {
        let why = reason(object).map(|why| format!(": {why}")).unwrap_or_default();
        format!("{name} is {} for {}{why}", object.state, span(object.since))
    });
    stopping.into_iter().chain(objects).collect()
}

/// Why an object is as it is, or what went wrong last.
fn reason(object: &ObjectStatus) -> Option<String> {
    let link = object.link.as_ref().filter(|_| object.state == "disconnected");
    let link = link.and_then(|link| link.error.as_deref().map(one_line));
    let answered = || object.error.as_ref().map(|error| one_line(&error.message));
    link.or_else(|| (object.state == "stuck").then(|| format!("in {}", object.doing)))
        .or_else(answered)
}

fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

fn check(status: &AgentsStatus) -> String {
    let trouble = trouble(status);
    if trouble.is_empty() {
        return format!("OK: {}", objects(status.objects.len()));
    }
    format!("DEGRADED: {}", trouble.join("; "))
}

fn objects(count: usize) -> String {
    format!("{count} object{}", if count == 1 { "" } else { "s" })
}

fn headline(status: &AgentsStatus, address: &str) -> String {
    let agent = &status.agent;
    let stopping = if agent.draining { ", stopping" } else { "" };
    format!(
        "agent {} at {address}, up {}{stopping}; {}, {} calls, {} refused, {} undeliverable",
        agent.version,
        span(agent.uptime),
        objects(status.objects.len()),
        agent.calls.requested,
        agent.calls.refused,
        agent.traffic.undeliverable,
    )
}

const HEADS: [&str; 11] = [
    "OBJECT",
    "STATE",
    "SINCE",
    "QUEUE",
    "DONE",
    "FAILED",
    "REFUSED",
    "P50",
    "P99",
    "MAX",
    "LOCKED BY",
];

/// A line for each object below its heads; what went wrong last stands below its object.
fn table(status: &AgentsStatus) -> Vec<String> {
    if status.objects.is_empty() {
        return Vec::new();
    }
    let row = |(name, object): (&String, &ObjectStatus)| {
        let calls = &object.calls;
        let latency = &object.latency;
        let time =
            |micros: u64| if latency.max == 0 { "-".to_owned() } else { micros_text(micros) };
        let doing = match object.doing.as_str() {
            "" => object.state.clone(),
            doing => format!("{} {doing}", object.state),
        };
        [
            name.clone(),
            doing,
            span(object.since),
            object.queue.to_string(),
            calls.done.to_string(),
            calls.failed.to_string(),
            calls.refused.to_string(),
            time(latency.p50),
            time(latency.p99),
            time(latency.max),
            object.lease.as_ref().map_or("-".to_owned(), |lease| one_line(&lease.holder)),
        ]
    };
    let rows: Vec<_> =
        std::iter::once(HEADS.map(String::from)).chain(status.objects.iter().map(row)).collect();
    let mut widths = [0; HEADS.len()];
    for (width, column) in widths.iter_mut().zip(0..) {
        let cells = rows.iter().filter_map(|row| row.get(column));
        *width = cells.map(|cell| cell.chars().count()).max().unwrap_or_default();
    }
    let notes = status.objects.values().map(notes);
    let mut lines = vec![String::new()];
    for (row, notes) in rows.iter().zip(std::iter::once(Vec::new()).chain(notes)) {
        let mut line = String::new();
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
            // Names to the left, numbers to the right.
            let left = column < 2 || column + 1 == HEADS.len();
            let (first, second) = if left { (cell, &pad) } else { (&pad, cell) };
            line.extend([first, second, "  "]);
        }
        lines.push(line.trim_end().to_owned());
        lines.extend(notes);
    }
    lines
}

/// What stands below an object: why its device is disconnected, and what it answered last that was wrong.
fn notes(object: &ObjectStatus) -> Vec<String> {
    let link = object.link.as_ref().filter(|link| link.state == "disconnected");
    let link = link.map(|link| {
        let why = link.error.as_deref().map(one_line).unwrap_or_default();
        format!("  disconnected for {}: {why}; the next call tries again", span(link.since))
    });
    let error = object.error.as_ref().map(|error| {
        let (class, message) = (&error.class, one_line(&error.message));
        format!("  last error, {} ago: {class}: {message}", span(error.ago))
    });
    link.into_iter().chain(error).collect()
}

/// A span of time in its two largest units.
fn span(millis: u64) -> String {
    let seconds = millis / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

fn micros_text(micros: u64) -> String {
    let time = Duration::from_micros(micros);
    match micros {
        0..1000 => format!("{micros} us"),
        1000..1_000_000 => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proximity_proto::status::{ErrorStatus, Latency, LeaseStatus, LinkStatus, ObjectCalls};

    fn status() -> AgentsStatus {
        let mut status = AgentsStatus::default();
        status.agent.version = "1.2.3".into();
        status.agent.uptime = 93_784_000;
        status.agent.calls.requested = 107;
        let tally = ObjectStatus {
            state: "ready".into(),
            since: 61_000,
            calls: ObjectCalls { done: 100, failed: 2, refused: 3 },
            latency: Latency { p50: 90, p99: 1500, max: 2_500_000 },
            lease: Some(LeaseStatus { holder: "ann".into(), expires_in: 1000 }),
            ..ObjectStatus::default()
        };
        status.objects.insert("tally".into(), tally);
        status
    }

    fn add_trouble(status: &mut AgentsStatus) {
        let error = "no answer\nfrom the rack".into();
        let away = ObjectStatus {
            state: "away".into(),
            since: 7_384_000,
            error: Some(ErrorStatus { class: "TimeoutError".into(), message: error, ago: 3000 }),
            ..ObjectStatus::default()
        };
        let link =
            LinkStatus { state: "disconnected".into(), since: 1, error: Some("refused".into()) };
        let down = ObjectStatus {
            state: "disconnected".into(),
            link: Some(link),
            ..ObjectStatus::default()
        };
        let stuck = ObjectStatus {
            state: "stuck".into(),
            doing: "read()".into(),
            ..ObjectStatus::default()
        };
        let all = [("roach", away), ("srbs", down), ("vna", stuck)];
        status.objects.extend(all.map(|(name, object)| (name.to_owned(), object)));
    }

    #[test]
    fn a_check_is_one_line() {
        let mut status = status();
        assert_eq!(check(&status), "OK: 1 object");
        add_trouble(&mut status);
        assert_eq!(
            check(&status),
            "DEGRADED: roach is away for 2 h 3 min: no answer from the rack; \
             srbs is disconnected for 0 s: refused; vna is stuck for 0 s: in read()"
        );
        status.objects.clear();
        status.agent.draining = true;
        assert_eq!(check(&status), "DEGRADED: the agent is stopping");
    }

    #[test]
    fn the_table_is_aligned() {
        let mut status = status();
        add_trouble(&mut status);
        let lines = table(&status);
        let expected = [
            "",
            "OBJECT  STATE             SINCE  QUEUE  DONE  FAILED  REFUSED    P50     P99    MAX  LOCKED BY",
            "roach   away          2 h 3 min      0     0       0        0      -       -      -  -",
            "  last error, 3 s ago: TimeoutError: no answer from the rack",
            "srbs    disconnected        0 s      0     0       0        0      -       -      -  -",
            "  disconnected for 0 s: refused; the next call tries again",
            "tally   ready         1 min 1 s      0   100       2        3  90 us  1.5 ms  2.5 s  ann",
            "vna     stuck read()        0 s      0     0       0        0      -       -      -  -",
        ];
        assert_eq!(lines, expected);
        assert_eq!(
            headline(&status, "tcp://colossus:5555"),
            "agent 1.2.3 at tcp://colossus:5555, up 1 d 2 h; 4 objects, 107 calls, 0 refused, 0 undeliverable"
        );
    }
}
