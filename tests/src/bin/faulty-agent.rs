//! An agent with a mistake: `faulty-agent serve -c FILE`, as the shipped one, and a comment in the file
//! says which. Nothing of it is in the shipped agent.
#![allow(clippy::print_stdout, reason = "the harness reads it")]
#![allow(clippy::expect_used, reason = "a test that cannot go on panics")]

use proximity_agent::{Agent, config};
use proximity_tests::faulty::{self, Mistake};
use std::net::TcpListener;

fn main() {
    let file = std::env::args().nth(3).expect("serve -c FILE");
    let text = std::fs::read_to_string(file).expect("a file");
    let mistake = Mistake::of(&text).expect("a mistake");
    let Ok((mut config, _)) = config::parse("agent.toml", &text) else {
        unreachable!("the harness writes it")
    };
    let address = config.listen.first().map(ToString::to_string).expect("an endpoint");
    let front = TcpListener::bind(address.trim_start_matches("tcp://")).expect("the port is free");
    config.listen = vec!["tcp://127.0.0.1:0".parse().expect("an endpoint")];
    let agent = Agent::start(config).expect("the agent starts");
    let behind = agent.address().trim_start_matches("tcp://").parse().expect("an address");
    println!("listening tcp://{}", front.local_addr().expect("it is bound"));
    println!("ready");
    faulty::serve(&front, behind, mistake);
}
