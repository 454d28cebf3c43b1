//! `cargo xtask fuzz`, where there is no cargo-fuzz: the same bodies, fed by our own mutation.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks to its user")]

use lexopt::{Arg, ValueExt};
use proximity_fuzz::{TARGETS, Target, drive, nil, target};
use std::{error::Error, fs, path::PathBuf, process::ExitCode, time::SystemTime};

struct Options {
    targets: Vec<&'static Target>,
    runs: u64,
    seed: u64,
    replay: Option<PathBuf>,
    crashes: PathBuf,
}

fn main() -> ExitCode {
    // What a body says is told once, with its input.
    std::panic::set_hook(Box::new(|_| {}));
    match options().and_then(|options| work(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fuzz: {error}");
            ExitCode::from(2)
        }
    }
}

fn options() -> Result<Options, Box<dyn Error>> {
    let mut options = Options {
        targets: Vec::new(),
        runs: 1_000_000,
        seed: SystemTime::UNIX_EPOCH.elapsed()?.as_secs(),
        replay: None,
        crashes: PathBuf::from("crashes"),
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("runs") => options.runs = parser.value()?.parse()?,
            Arg::Long("seed") => options.seed = parser.value()?.parse()?,
            Arg::Long("replay") => options.replay = Some(parser.value()?.into()),
            Arg::Long("crashes") => options.crashes = parser.value()?.into(),
            Arg::Value(name) => {
                let name = name.string()?;
                let names = TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
                let found = target(&name);
                options
                    .targets
                    .push(found.ok_or(format!("no target '{name}'; there are {names}"))?);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    if options.targets.is_empty() {
        options.targets = TARGETS.iter().collect();
    }
    Ok(options)
}

/// Whether nothing broke.
fn work(options: &Options) -> Result<bool, Box<dyn Error>> {
    let mut whole = true;
    for target in &options.targets {
        let outcome = match &options.replay {
            Some(file) => drive::once(target, &fs::read(file)?, 0).map(|_| None),
            None => drive::run(target, options.runs, options.seed).map(Some),
        };
        match outcome {
            Ok(None) => println!("{}: the input breaks nothing", target.name),
            Ok(Some(figures)) => {
                let seconds = figures.elapsed.as_secs_f64();
                #[allow(clippy::cast_precision_loss, reason = "a rate")]
                let rate = figures.runs as f64 / seconds;
                println!(
                    "{{\"target\": \"{}\", \"runs\": {}, \"seconds\": {seconds:.1}, \
                     \"runs_per_second\": {rate:.0}, \"seed\": {}, \"outcomes\": {}, \"broken\": 0}}",
                    target.name, figures.runs, options.seed, figures.outcomes
                );
            }
            Err(broken) => {
                whole = false;
                fs::create_dir_all(&options.crashes)?;
                let file = options.crashes.join(format!("{}-{}", target.name, broken.after));
                fs::write(&file, &broken.input)?;
                let (name, file) = (target.name, file.display());
                eprintln!("{name}: {}\nseed {}, input {}", broken.why, options.seed, broken.after);
                eprintln!("again: cargo xtask fuzz {name} --replay {file}");
            }
        }
    }
    let time = nil::time();
    println!(
        "{{\"what\": \"16 MiB of nil refused\", \"ms\": {:.3}, \"at_most\": {}}}",
        time.as_secs_f64() * 1e3,
        nil::LIMIT.as_millis()
    );
    Ok(whole && time <= nil::LIMIT)
}
