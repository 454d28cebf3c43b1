//! An agent with objects that no real configuration has: slow ones, large ones, ones that panic.
//!
//! It runs the agent's own library. Listens where its first argument says and prints what the agent
//! prints.
#![allow(clippy::print_stdout, reason = "the harness reads it")]
#![allow(clippy::expect_used, reason = "a test that cannot go on panics")]

use proximity_agent::{
    Control,
    access::{Filter, Networks},
    config::{Bounds, Config, DEFAULT_QUEUE, Legacy, ObjectConfig},
    run,
};
use proximity_drivers::Opener;
use proximity_proto::limits::Limits;
use proximity_tests::{
    foo::Foo,
    odd::{Blob, Panicker, Sleeper},
};
use std::process::ExitCode;

fn main() -> ExitCode {
    let listen = std::env::args().nth(1).unwrap_or_else(|| "tcp://127.0.0.1:0".to_owned());
    let objects: [(&str, Opener); 5] = [
        ("foo", Box::new(|| Ok(Box::new(Foo)))),
        ("animals.angry", Box::new(|| Ok(Box::new(Foo)))),
        ("sleeper", Box::new(|| Ok(Box::new(Sleeper)))),
        ("blob", Box::new(|| Ok(Box::new(Blob::default())))),
        ("panicker", Box::new(|| Ok(Box::new(Panicker::open())))),
    ];
    let config = Config {
        listen: vec![listen.parse().expect("an endpoint")],
        plaintext: Networks::default(),
        limits: Limits::default(),
        queue: DEFAULT_QUEUE,
        bounds: Bounds::default(),
        legacy: Legacy::default(),
        log: log::LevelFilter::Warn,
        audit: None,
        objects: objects
            .into_iter()
            .map(|(name, opener)| ObjectConfig {
                name: name.to_owned(),
                kind: "test",
                opener,
                filter: Filter::default(),
                legacy: Legacy::default(),
                fingerprint: String::new(),
            })
            .collect(),
    };
    let ready = |endpoints: &[String]| {
        for endpoint in endpoints {
            println!("listening {endpoint}");
        }
        println!("ready");
    };
    let control = Control::new().expect("an event to wait for");
    match run(config, &control, ready) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
