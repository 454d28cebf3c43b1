//! 256 boards behind one agent: what one of them suffers, the others do not notice.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a failing test panics"
)]

use proximity_client::Client;
use proximity_tests::{
    PATIENCE,
    process::{Agent, Process, program},
};
use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

const BOARDS: usize = 256;
/// Boards in trouble: one does nothing any more, one restarts again and again.
const HUNG: usize = 7;
const RESTARTING: usize = 100;
/// How soon all others have to answer.
const SOON: Duration = Duration::from_millis(100);
/// How often each is asked; the median counts, for a busy machine may take its time with one.
const TRIES: usize = 5;
/// The others are asked until the one has restarted so often.
const RESTARTS: usize = 20;
/// Threads of an agent beside those of its objects.
const OWN: usize = 32;

/// A request to a board itself, on a connection of its own, and its reply.
fn ask(address: &str, request: &str) -> std::io::Result<String> {
    let mut link = TcpStream::connect(address)?;
    link.set_read_timeout(Some(PATIENCE))?;
    writeln!(link, "{request}")?;
    let mut lines = BufReader::new(link).lines().map_while(Result::ok);
    Ok(lines.find(|line| line.starts_with('!')).unwrap_or_default())
}

/// How many files a process has open, and how many threads it has.
fn resources(agent: &Agent) -> (usize, usize) {
    let count = |what: &str| {
        let folder = format!("/proc/{}/{what}", agent.process.id());
        fs::read_dir(folder).expect("the agent runs").count()
    };
    (count("fd"), count("task"))
}

/// Asks every board that is well, one after the other; the medians of the times that they take.
fn times(client: &Client) -> Vec<(usize, Duration)> {
    let well = (0..BOARDS).filter(|&board| board != HUNG && board != RESTARTING);
    let mut all: Vec<(usize, Vec<Duration>)> = well.map(|board| (board, Vec::new())).collect();
    for _ in 0..TRIES {
        for (board, times) in &mut all {
            let object = client.object(&format!("board{board}"));
            let start = Instant::now();
            let reply = object.call("read_uint", ("sys_board_id",)).expect("a board that is well");
            times.push(start.elapsed());
            assert_eq!(reply.get::<u32>().expect("a number"), 0xb00b, "board {board}");
        }
    }
    let median = |(board, mut times): (usize, Vec<Duration>)| {
        times.sort();
        (board, times[times.len() / 2])
    };
    all.into_iter().map(median).collect()
}

#[test]
fn two_of_256_boards_in_trouble_delay_none_of_the_others() {
    let mut mock = Process::start(Command::new(program("mock-fpga")).args(["--boards", "256"]));
    let addresses: Vec<String> = (0..BOARDS).map(|_| mock.line("listening ")).collect();
    let objects = (0..BOARDS).fold(String::new(), |mut text, board| {
        let port = addresses[board].rsplit(':').next().expect("a port");
        let _ = writeln!(
            text,
            "[objects.board{board}]\ndriver = \"fpga\"\nhost = \"127.0.0.1\"\nport = {port}"
        );
        text
    });
    let agent = Agent::start(&objects);
    let client = Client::new(&agent.endpoint).expect("an address").with_timeout(PATIENCE);
    // Connects to all of them.
    for board in 0..BOARDS {
        let reply = client.object(&format!("board{board}")).call("ping", ()).expect("it is there");
        assert!(reply.get::<bool>().expect("a bool"));
    }
    let (files, threads) = resources(&agent);
    assert!(threads <= BOARDS + OWN, "{threads} threads for {BOARDS} boards");

    let (over, restarts) = (AtomicBool::new(false), &AtomicUsize::new(0));
    thread::scope(|scope| {
        // Ends with the test however that ends, or the scope would wait for ever.
        let _over = Over(&over);
        let told = ask(&addresses[HUNG], "?mock-fault hang 3600000").expect("it listens");
        assert_eq!(told, "!mock-fault ok");
        // Somebody waits for the board that hangs, all the time.
        let (over, client) = (&over, &client);
        scope.spawn(move || {
            let impatient = Client::new(client.address()).expect("an address");
            let impatient = impatient.with_timeout(Duration::from_secs(2));
            while !over.load(Ordering::Relaxed) {
                let answer = impatient.object(&format!("board{HUNG}")).call("ping", ());
                let class = answer.expect_err("a hung board does not answer").class().to_owned();
                // Once a reply is overdue the link is made anew.
                assert!(["TimeoutError", "ConnectionError"].contains(&class.as_str()), "{class}");
            }
        });
        let address = &addresses[RESTARTING];
        scope.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                // It is away every other time, which nothing but trying again tells.
                if ask(address, "?mock-fault restart 20").is_ok_and(|told| !told.is_empty()) {
                    restarts.fetch_add(1, Ordering::Relaxed);
                }
                thread::park_timeout(Duration::from_millis(5));
            }
        });
        scope.spawn(move || {
            let object = client.object(&format!("board{RESTARTING}"));
            while !over.load(Ordering::Relaxed) {
                // Whatever it says: sometimes it has no gateware, sometimes it is not there.
                let _ = object.call("read_uint", ("sys_board_id",));
            }
        });
        let mut slowest = Duration::ZERO;
        while restarts.load(Ordering::Relaxed) < RESTARTS {
            for (board, time) in times(client) {
                assert!(time < SOON, "board {board} took {time:?}");
                slowest = slowest.max(time);
            }
        }
        println!("the slowest of the others took {slowest:?}");
    });

    // Connections to the two in trouble came and went, and left nothing behind.
    let (files_after, threads_after) = resources(&agent);
    assert!(files_after <= files + 8, "{files} files were open before, {files_after} after");
    assert!(threads_after <= threads + 2, "{threads} threads before, {threads_after} after");
}

/// Tells the threads of a scope that it is over, when it goes.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
