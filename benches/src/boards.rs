//! 256 boards behind one agent: how long the slowest calls to those that are well take while one of the others hangs
//! and one restarts again and again, beside the same while all are well.

use crate::cores::{Client, Cores};
use crate::report::{Gate, Report};
use crate::requests::{Line, Question};
use crate::servers::{Config, Server};
use crate::{Failure, ROUNDS};
use proximity_proto::Value;
use proximity_proto::call::Op;
use proximity_proto::request::Arguments;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const BOARDS: usize = 256;
const HUNG: usize = 7;
const RESTARTING: usize = 100;
/// How often each board that is well is asked in a measurement.
const TURNS: usize = 40;
/// How long the one hangs: longer than a measurement takes. Whoever asks it waits until then.
const HANG: Duration = Duration::from_secs(5);
/// How long the board that restarts is away, and how long it is there then: as quick as an init system would be.
const AWAY_MS: u32 = 50;
const THERE: Duration = Duration::from_millis(50);

/// Measures pairs of both, one right after the other.
pub(crate) fn measure(report: &mut Report) -> Result<(), Failure> {
    let cores = Cores::find()?;
    let mock = cores.as_server(|| Server::mock_with(&[], BOARDS))??;
    let config = Config::boards(&mock)?;
    let agent = cores.as_server(|| Server::agent(&config))??;
    let mut questions: Vec<Question> = (0..BOARDS).map(question).collect();
    let mut line = Line::connect(&zmq::Context::new(), &agent.address)?;
    for question in &mut questions {
        line.value(question)?;
    }
    let address = |board: usize| mock.addresses.get(board).map_or("", String::as_str);
    let mut pairs = Vec::new();
    for _ in 0..ROUNDS {
        let well = cores.as_client(Client::Cross, || slowest(&mut line, &mut questions))??;
        tell(address(HUNG), &format!("hang {}", HANG.as_millis()))?;
        let hung = Instant::now();
        let over = AtomicBool::new(false);
        let trouble = thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    // Away it cannot be told, and that it is it shows by not listening.
                    let _ = tell(address(RESTARTING), &format!("restart {AWAY_MS}"));
                    thread::sleep(THERE);
                }
            });
            for board in [HUNG, RESTARTING] {
                let (agent, over) = (&agent, &over);
                scope.spawn(move || keep_asking(&agent.address, board, over));
            }
            let slowest = cores.as_client(Client::Cross, || slowest(&mut line, &mut questions));
            let took = hung.elapsed();
            over.store(true, Ordering::Relaxed);
            if took > HANG {
                Err("the machine is too slow: the hang ended first".into())
            } else {
                slowest?
            }
        })?;
        pairs.push((well, trouble));
    }
    let what = format!("p99 of {} boards, two others in trouble", BOARDS - 2);
    report.compare(what, "us", "all are well", &pairs, Gate::AtMost(1.10));
    Ok(())
}

fn question(board: usize) -> Question {
    let mut args = Arguments::default();
    args.push("sys_board_id");
    // Questions keep names for as long as the process runs; so many names are no burden.
    let name = String::leak(format!("board{board}"));
    Question::new(Op::Call, name, "read_uint", args).by_another()
}

/// Asks all boards but the two in turn; the 99th percentile of the times, in microseconds.
fn slowest(line: &mut Line, questions: &mut [Question]) -> Result<f64, Failure> {
    let mut times = Vec::with_capacity(TURNS * BOARDS);
    for _ in 0..TURNS {
        for (board, question) in questions.iter_mut().enumerate() {
            if board == HUNG || board == RESTARTING {
                continue;
            }
            let begun = Instant::now();
            let value = line.value(question)?;
            times.push(begun.elapsed().as_secs_f64() * 1e6);
            if value != Value::Uint(0xb00b) {
                return Err(format!("board {board} has {value:?}").into());
            }
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(times.get(times.len() * 99 / 100).copied().unwrap_or_default())
}

/// Asks a board in trouble, whatever it answers, until it is over.
fn keep_asking(agent: &str, board: usize, over: &AtomicBool) -> Result<(), Failure> {
    let mut line = Line::connect(&zmq::Context::new(), agent)?;
    let mut question = question(board);
    while !over.load(Ordering::Relaxed) {
        line.ask(&mut question)?;
        // Somebody at a prompt, not a flood: what is measured is not how busy the machine is.
        thread::sleep(THERE);
    }
    Ok(())
}

/// Has a mock board do something wrong.
fn tell(address: &str, fault: &str) -> Result<(), Failure> {
    let mut link = TcpStream::connect(address)?;
    writeln!(link, "?mock-fault {fault}")?;
    let mut lines = BufReader::new(link).lines().map_while(Result::ok);
    lines.find(|line| line.starts_with('!')).map(|_| ()).ok_or_else(|| "no answer".into())
}
