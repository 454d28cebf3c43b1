//! How fast a megabyte of a board's memory arrives, through the agent and straight from the board.
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

/// The memory that is read, all of it.
const REGISTER: &str = "big_bram";
const BYTES: u32 = 1 << 20;
/// The pieces in which the agent's driver reads, and how many of them it has under way.
const PIECE: u32 = 64 << 10;
const DEPTH: usize = 4;
/// Reads in a measurement.
const READS: usize = 40;
const PATIENCE: Duration = Duration::from_secs(10);

/// Measures reads of a megabyte that holds random bytes: how many of them are escaped matters.
pub(crate) fn measure(report: &mut Report) -> Result<(), Failure> {
    let cores = Cores::find()?;
    let mock = cores.as_server(Server::mock)??;
    let config = Config::new(&mock)?;
    let agent = cores.as_server(|| Server::agent(&config))??;
    let pattern = random_bytes();
    let mut board = Board::connect(&mock)?;
    board.write(&pattern)?;
    for (client, name) in [(Client::Cross, "across cores"), (Client::Same, "on one core")] {
        let (mut pairs, mut pieces) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let direct = cores.as_client(client, || rate(|| board.read(&pattern)))??;
            let ours = cores.as_client(client, || through_agent(&agent, &pattern))??;
            pairs.push((direct, ours));
            let piecewise = || rate(|| board.read_in_pieces(&pattern));
            pieces.push(cores.as_client(client, piecewise)??);
        }
        let what = format!("1 MiB read, {name}");
        report.compare(what, "MB/s", "the board itself", &pairs, Gate::AtLeast(0.85));
        let what = format!("the same in pieces without an agent, {name}");
        report.note(what, "MB/s", median(&mut pieces));
    }
    Ok(())
}

fn through_agent(agent: &Server, expected: &[u8]) -> Result<f64, Failure> {
    let mut args = Arguments::default();
    args.push(REGISTER);
    args.push(&BYTES);
    let mut question = Question::new(Op::Call, "srbs", "read", args);
    let mut line = Line::connect(&zmq::Context::new(), &agent.address)?;
    rate(|| same(line.value(&mut question)?.as_bytes().unwrap_or_default(), expected))
}

/// Returns the megabytes a second of the median read.
fn rate(mut read: impl FnMut() -> Result<(), Failure>) -> Result<f64, Failure> {
    read()?;
    let mut times = Vec::with_capacity(READS);
    for _ in 0..READS {
        let begun = Instant::now();
        read()?;
        times.push(begun.elapsed().as_secs_f64());
    }
    Ok(f64::from(BYTES) / 1e6 / median(&mut times))
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

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let context = self.caller.context();
        let limit = Limit::new(&context, PATIENCE);
        let args = [REGISTER.into(), 0.into(), katcp_client::Arg::Bytes(bytes)];
        self.client.ask(&limit, "write", &args, |_| {})?;
        Ok(())
    }

    fn read(&mut self, expected: &[u8]) -> Result<(), Failure> {
        let context = self.caller.context();
        let limit = Limit::new(&context, PATIENCE);
        let args = [REGISTER.into(), 0.into(), katcp_client::Arg::Uint(BYTES.into())];
        let mut reply = self.client.ask(&limit, "read", &args, |_| {})?;
        same(reply.next_arg().ok_or("a reply without bytes")?, expected)
    }

    fn read_in_pieces(&mut self, expected: &[u8]) -> Result<(), Failure> {
        let context = self.caller.context();
        let limit = Limit::new(&context, PATIENCE);
        let pieces = usize::try_from(BYTES / PIECE)?;
        let mut read = Vec::with_capacity(expected.len());
        let outcome = self.client.ask_many(
            &limit,
            "read",
            (pieces, DEPTH),
            |index, writer| {
                let offset = index as u64 * u64::from(PIECE);
                writer.arg(REGISTER.as_bytes()).uint(offset).uint(PIECE.into())
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
fn random_bytes() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..BYTES / 8).flat_map(|_| next()).collect()
}
