//! How fast megabytes of a board's memory arrive, through the agent and straight from the board.
//!
//! The board is a machine of its own: "apart" means that it has a core for itself, and whoever reads it, the agent too,
//! has another. That is how boards are deployed, and what is promised. "On one core" all three take turns: there the
//! bytes' second way through the kernel, from the agent to its client, cannot go on while the board writes, and costs a
//! megabyte about a fifth. Its gate only holds what was reached.
//!
//! Straight means: one request for all of it, by the client that the agent's own driver uses. The agent asks
//! in pieces, several under way at a time, so that part of its reading is done while the board still sends; what
//! that is worth without an agent is told beside it.

use crate::cores::{Client, Cores};
use crate::report::{Gate, Report, median};
use crate::requests::{Line, Question};
use crate::servers::{Config, Server};
use crate::{Failure, ROUNDS};
use proximity_drivers::katcp_client::{self, KatcpClient, Limit};
use proximity_proto::call::Op;
use proximity_proto::object::{Context, Host, Principal, PrincipalKind};
use proximity_proto::request::Arguments;
use std::time::{Duration, Instant};

/// A read that is measured, and the least of the direct rate that the agent has to reach.
struct Subject {
    what: &'static str,
    register: &'static str,
    bytes: u32,
    /// Reads in a measurement.
    reads: usize,
    apart: f64,
    same: f64,
}

const SUBJECTS: [Subject; 2] = [
    Subject {
        what: "1 MiB",
        register: "big_bram",
        bytes: 1 << 20,
        reads: 40,
        apart: 0.85,
        same: 0.65,
    },
    Subject {
        what: "16 MiB",
        register: "dram_memory",
        bytes: 16 << 20,
        reads: 6,
        apart: 0.75,
        same: 0.75,
    },
];

/// The pieces in which the agent's driver reads, and how many of them it has under way.
const PIECE: u32 = 64 << 10;
const DEPTH: usize = 4;
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures reads of memory that holds random bytes: how many of them are escaped matters. First as the mock writes
/// by itself, then in blocks of 4 KiB with Nagle's algorithm on, as real servers do.
pub(crate) fn measure(report: &mut Report) -> Result<(), Failure> {
    let cores = Cores::find()?;
    let mock = cores.as_server(|| Server::mock_with(&["--design", "adc"], 1))??;
    let config = Config::new(&mock)?;
    let ways = [(Client::Cross, "apart"), (Client::Same, "on one core")];
    let mut agents = Vec::new();
    for (client, _) in ways {
        agents.push(cores.as_client(client, || Server::agent(&config))??);
    }
    let mut board = Board::connect(&mock)?;
    for (fault, stalls) in [("none", ""), ("stall", ", 4 KiB blocks")] {
        board.set_fault(fault)?;
        for subject in &SUBJECTS {
            let pattern = random_bytes(subject.bytes);
            board.write(subject, &pattern)?;
            for ((client, name), agent) in ways.into_iter().zip(&agents) {
                let (mut pairs, mut pieces) = (Vec::new(), Vec::new());
                for _ in 0..ROUNDS {
                    let round = || by_turns(subject, &mut board, agent, &pattern);
                    let [direct, ours, piecewise] = cores.as_client(client, round)??;
                    pairs.push((direct, ours));
                    pieces.push(piecewise);
                }
                let what = format!("{} read, {name}{stalls}", subject.what);
                let least = if client == Client::Same { subject.same } else { subject.apart };
                report.compare(what, "MB/s", "the board itself", &pairs, Gate::AtLeast(least));
                let what = "  the same in pieces without an agent".to_owned();
                report.note(what, "MB/s", median(&mut pieces));
            }
        }
    }
    Ok(())
}

/// Reads from the board, through the agent, and from the board in pieces, by turns. Returns the megabytes a second
/// of the median read of each.
fn by_turns(
    subject: &Subject,
    board: &mut Board,
    agent: &Server,
    expected: &[u8],
) -> Result<[f64; 3], Failure> {
    let mut args = Arguments::default();
    args.push(subject.register);
    args.push(&subject.bytes);
    let mut question = Question::new(Op::Call, "srbs", "read", args);
    let mut line = Line::connect(&zmq::Context::new(), &agent.address)?;
    let mut times = [const { Vec::new() }; 3];
    for turn in 0..=subject.reads {
        for (way, times) in times.iter_mut().enumerate() {
            let begun = Instant::now();
            match way {
                0 => board.read(subject, expected)?,
                1 => same(line.value(&mut question)?.as_bytes().unwrap_or_default(), expected)?,
                _ => board.read_in_pieces(subject, expected)?,
            }
            // The first turn is not counted: buffers grow.
            if turn > 0 {
                times.push(begun.elapsed().as_secs_f64());
            }
        }
    }
    Ok(times.map(|mut times| f64::from(subject.bytes) / 1e6 / median(&mut times)))
}

fn same(read: &[u8], expected: &[u8]) -> Result<(), Failure> {
    if read == expected { Ok(()) } else { Err("what was read is not what was written".into()) }
}

/// The board, with no agent in between.
struct Board {
    client: KatcpClient,
    caller: Caller,
}

impl Board {
    fn connect(mock: &Server) -> Result<Self, Failure> {
        let (host, port) = mock.address.rsplit_once(':').ok_or("the mock told no port")?;
        let principal =
            Principal { kind: PrincipalKind::Local, name: String::new(), address: String::new() };
        let caller = Caller { start: Instant::now(), principal };
        Ok(Self { client: KatcpClient::new(host, port.parse()?), caller })
    }

    /// Sets a fault of the mock, or ends all of them.
    fn set_fault(&mut self, fault: &str) -> Result<(), Failure> {
        let context = self.caller.context();
        let limit = Limit::new(&context, PATIENCE);
        self.client.ask(&limit, "mock-fault", &[fault.into()], |_| {})?;
        Ok(())
    }

    fn write(&mut self, subject: &Subject, bytes: &[u8]) -> Result<(), Failure> {
        let context = self.caller.context();
        let limit = Limit::new(&context, PATIENCE);
        let args = [subject.register.into(), 0.into(), katcp_client::Arg::Bytes(bytes)];
        self.client.ask(&limit, "write", &args, |_| {})?;
        Ok(())
    }

    fn read(&mut self, subject: &Subject, expected: &[u8]) -> Result<(), Failure> {
        let context = self.caller.context();
        let limit = Limit::new(&context, PATIENCE);
        let args = [subject.register.into(), 0.into(), subject.bytes.into()];
        let mut reply = self.client.ask(&limit, "read", &args, |_| {})?;
        same(reply.next_arg().ok_or("a reply without bytes")?, expected)
    }

    fn read_in_pieces(&mut self, subject: &Subject, expected: &[u8]) -> Result<(), Failure> {
        let context = self.caller.context();
        let limit = Limit::new(&context, PATIENCE);
        let pieces = usize::try_from(subject.bytes / PIECE)?;
        let mut read = Vec::with_capacity(expected.len());
        let outcome = self.client.ask_many(
            &limit,
            "read",
            (pieces, DEPTH),
            |index, writer| {
                let offset = index as u64 * u64::from(PIECE);
                writer.arg(subject.register.as_bytes()).uint(offset).uint(PIECE.into())
            },
            |_, mut reply| {
                read.extend_from_slice(reply.next_arg().unwrap_or_default());
                Ok(())
            },
        );
        outcome.map_err(|(_, error)| error)?;
        same(&read, expected)
    }
}

/// Who asks the board: somebody who never changes their mind.
struct Caller {
    start: Instant,
    principal: Principal,
}

impl Caller {
    fn context(&self) -> Context<'_> {
        Context::new(self, None, &self.principal)
    }
}

impl Host for Caller {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn is_cancelled(&self) -> bool {
        false
    }

    fn progress(&self, _done: u64, _total: u64, _text: &str) {}
}

/// Returns the same random bytes each time (xorshift, Marsaglia 2003).
fn random_bytes(len: u32) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..len / 8).flat_map(|_| next()).collect()
}
