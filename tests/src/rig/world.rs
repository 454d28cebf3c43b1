//! A mock board that keeps a journal, and an agent before it.

use crate::{
    faulty::Mistake,
    process::{Agent, program},
};
use mock_fpga::{Config, Mock, Written};
use std::{net::SocketAddr, path::PathBuf};

/// The object's name.
pub const BOARD: &str = "board";
/// A counter beside it, which can be changed without touching the board.
pub const COUNTER: &str = "counter";
/// How many words of `big_bram` serve as registers.
pub const REGISTERS: usize = 4;
/// Where `big_bram` begins in the board's memory.
const BIG_BRAM: u64 = 0x10_0000;

/// A write as the board did it.
#[derive(Clone, Copy, Debug)]
pub struct Execution {
    /// When.
    pub at: std::time::Instant,
    /// Into which register.
    pub register: u32,
    /// What.
    pub value: u32,
}

/// A board and an agent.
pub struct World {
    /// The board, in this process.
    pub board: Mock,
    /// The agent, in its own.
    pub agent: Agent,
    objects: String,
}

impl World {
    /// Starts both; an agent with a `mistake`, if that is what is to be found.
    ///
    /// # Panics
    ///
    /// If they do not come up.
    pub fn start(mistake: Option<Mistake>) -> Self {
        let board = journalled();
        let link = board.addr();
        Self::before(board, link, mistake)
    }

    /// Starts both, with the agent's log in a file, whose path is the second.
    ///
    /// # Panics
    ///
    /// If they do not come up.
    pub fn logged() -> (Self, PathBuf) {
        let board = journalled();
        let link = board.addr();
        Self::logged_before(board, link)
    }

    /// As [`Self::logged`], with an agent whose way to the board leads through `link`.
    ///
    /// # Panics
    ///
    /// If they do not come up.
    pub fn logged_before(board: Mock, link: SocketAddr) -> (Self, PathBuf) {
        let objects = objects(link, 0);
        let (agent, log) = Agent::logged(&objects);
        (Self { board, agent, objects }, log)
    }

    /// Starts an agent whose way to the board leads through `link`.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    pub fn before(board: Mock, link: SocketAddr, mistake: Option<Mistake>) -> Self {
        let (which, comment) = match mistake {
            Some(mistake) => ("faulty-agent", mistake.line()),
            None => ("proximity-agent", String::new()),
        };
        let objects = comment + &objects(link, 0);
        let agent = Agent::start_as(&program(which), &objects);
        Self { board, agent, objects }
    }

    /// Kills the agent if it still runs, and starts it again on its port.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    pub fn restart(&mut self) {
        self.agent.restart(&self.objects);
    }

    /// All writes to the registers, oldest first.
    pub fn executions(&self) -> Vec<Execution> {
        self.board.written().iter().filter_map(execution).collect()
    }
}

/// A board with a journal.
///
/// # Panics
///
/// If it does not come up.
pub fn journalled() -> Mock {
    Mock::start(Config { journal: true, record: 0, ..Config::default() }).expect("a board")
}

/// The object tables of the agent's configuration.
pub fn objects(board: SocketAddr, start: u32) -> String {
    format!(
        "[objects.{BOARD}]\ndriver = \"fpga\"\nhost = \"127.0.0.1\"\nport = {}\n\
         [objects.{COUNTER}]\ndriver = \"counter\"\nstart = {start}\n",
        board.port()
    )
}

fn execution(written: &Written) -> Option<Execution> {
    let register = written.address.checked_sub(BIG_BRAM)? / 4;
    let value = u32::from_be_bytes(written.data.as_slice().try_into().ok()?);
    Some(Execution { at: written.at, register: u32::try_from(register).ok()?, value })
}
