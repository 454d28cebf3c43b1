//! One long measurement: `soak PART COUNT [SEED]`. The last line is its figures as JSON; the exit status
//! tells whether every promise was kept. `cargo xtask soak` runs all of them.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "xtask and people read it")]

use proximity_tests::rig::{
    Tolerance, garbling,
    parts::{self, End, Run},
    reload, storm,
};
use std::{
    process::ExitCode,
    time::{Duration, SystemTime},
};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize| args.get(place).and_then(|text| text.parse::<u64>().ok());
    let clock = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seed = number(2).or_else(|| clock().ok().map(|time| time.as_secs())).unwrap_or(1);
    let (Some(part), Some(count)) = (args.first(), number(1)) else {
        eprintln!(
            "usage: soak kill|brief|outage|terminate|stop|increments|storm|reload|garble|garble-board \
             COUNT [SEED]"
        );
        return ExitCode::from(2);
    };
    println!("seed {seed}");
    // An agent that is stopped or away needs no processor.
    let worlds = if matches!(part.as_str(), "outage" | "stop") { 4 } else { 1 };
    let run = Run { count, seed, tolerance: Tolerance::PROMISED, worlds, mistake: None };
    let mut verdict = match part.as_str() {
        "kill" => parts::restarts(&run, End::Kill),
        "brief" => parts::restarts(&run, End::Brief),
        "outage" => parts::restarts(&run, End::Outage),
        "terminate" => parts::restarts(&run, End::Terminate),
        "stop" => parts::stops(&run, Duration::from_millis(100), Duration::from_secs(5)),
        "increments" => parts::increments(&run),
        "storm" => match proximity_tests::raise_descriptors(count * 14 + 200) {
            Ok(()) => storm::storm(&run, 3, Duration::from_secs(5)),
            Err(text) => {
                eprintln!("soak: {text}");
                return ExitCode::FAILURE;
            }
        },
        "reload" => reload::reloads(&run),
        "garble" => garbling::garbling(&run, false),
        "garble-board" => garbling::garbling(&run, true),
        other => {
            eprintln!("soak: no part '{other}'");
            return ExitCode::from(2);
        }
    };
    for broken in &verdict.broken {
        println!("BROKEN {broken}");
    }
    verdict.figures.count("seed", seed);
    println!("{}", verdict.figures);
    if verdict.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
