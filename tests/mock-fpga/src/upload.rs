//! Uploads: a port of their own, closed after one transfer.

use crate::board::World;
use crate::clients::{Level, message};
use crate::design::Design;
use flate2::read::MultiGzDecoder;
use proximity_proto::gateware::is_gzip;
use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// The most that is taken, sent or decompressed: no FPGA of these boards has a larger bitstream.
const MOST: u64 = 64 << 20;

/// What the data is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Goal {
    /// To be kept under this name.
    Save(String),
    /// To be programmed, a `.bof` or a `.fpg`.
    Program,
    /// A bitstream; registers come as requests afterwards.
    Bitstream,
}

/// A transfer awaited or under way.
#[derive(Debug)]
pub(crate) struct Upload {
    goal: Goal,
    listener: TcpListener,
    stream: Option<TcpStream>,
    received: Vec<u8>,
    len: Option<u32>,
    pub(crate) deadline: Instant,
    /// Who asked: client, request, message id.
    asked: (u64, Vec<u8>, Option<u32>),
}

impl Upload {
    pub(crate) fn new(
        goal: Goal,
        addr: SocketAddr,
        len: Option<u32>,
        timeout: Duration,
        asked: (u64, Vec<u8>, Option<u32>),
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(addr)?;
        listener.set_nonblocking(true)?;
        let deadline = Instant::now() + timeout;
        Ok(Self { goal, listener, stream: None, received: Vec::new(), len, deadline, asked })
    }

    /// The socket to wait for.
    pub(crate) fn socket(&self) -> &dyn std::os::fd::AsFd {
        match &self.stream {
            Some(stream) => stream,
            None => &self.listener,
        }
    }

    /// Takes what has come; `true` when the transfer has ended.
    pub(crate) fn progress(&mut self) -> io::Result<bool> {
        if self.stream.is_none() {
            let (stream, _) = self.listener.accept()?;
            stream.set_nonblocking(true)?;
            self.stream = Some(stream);
        }
        let Some(stream) = &mut self.stream else { return Ok(false) };
        match stream.take(MOST + 1).read_to_end(&mut self.received) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                Ok(self.received.len() as u64 > MOST)
            }
            Err(error) => Err(error),
        }
    }

    /// Does with the data what it is for. `timed_out`: nobody sent any in time.
    pub(crate) fn finish(self, world: &mut World<'_>, timed_out: bool) {
        let Self { goal, received, len, asked: (client, name, mid), .. } = self;
        if timed_out {
            let process = world.board.next_job();
            world.log(Level::Warn, format!("process {process} terminated by signal 14"));
        } else if let Some(len) = len.filter(|&len| len as usize != received.len()) {
            let what = format!("expected {len} bytes but received {}", received.len());
            world.clients.log(Level::Error, "upload", what);
            let job = world.board.next_job();
            world.log(Level::Info, format!("job {job} completed with code 1"));
        } else if let Some(done) = decompressed(received).map(|data| goal.reach(world, data)) {
            if let Some(code) = done {
                reply(world, client, &name, mid, code);
            }
            return;
        } else {
            world.clients.log(Level::Error, "upload", "unable to decompress data");
        }
        world.log(Level::Error, "transfer returned status fail");
        if goal != Goal::Program {
            world.log(Level::Error, "transfer returned status fail");
            reply(world, client, &name, mid, "fail");
        }
    }
}

fn reply(world: &mut World<'_>, client: u64, name: &[u8], mid: Option<u32>, code: &str) {
    if let Some(client) = world.clients.by_id(client) {
        message(client.output.tail(), b"!", mid, &[name, code.as_bytes()]);
        client.waiting = false;
    }
}

/// `data`, or what it is the gzip of; `None` if that is broken or too much.
fn decompressed(data: Vec<u8>) -> Option<Vec<u8>> {
    if !is_gzip(&data) {
        return (data.len() as u64 <= MOST).then_some(data);
    }
    let mut out = Vec::new();
    MultiGzDecoder::new(&data[..]).take(MOST + 1).read_to_end(&mut out).ok()?;
    (out.len() as u64 <= MOST).then_some(out)
}

impl Goal {
    /// Returns the code of the reply, if one is to be sent.
    fn reach(&self, world: &mut World<'_>, data: Vec<u8>) -> Option<&'static str> {
        match self {
            Self::Save(name) => {
                let files = &mut world.board.files;
                match files.iter_mut().find(|(file, _)| file == name) {
                    Some((_, file)) => *file = data,
                    None => files.push((name.clone(), data)),
                }
                Some("ok")
            }
            Self::Bitstream => {
                let all = world.board.config.map_limit;
                world.map(all);
                world.board.load(&Design {
                    name: String::new(),
                    registers: Vec::new(),
                    metadata: Some(Vec::new()),
                });
                // Every design has the board's id at address 0, whatever it will be called.
                world.board.memory.set_word(0, 0xb00b);
                Some("ok")
            }
            Self::Program => {
                program(world, &data);
                None
            }
        }
    }
}

/// Programs what `?progremote` was sent. The reply is long gone: all the client learns is informs.
fn program(world: &mut World<'_>, data: &[u8]) {
    match Design::from_file("<unknown file>", data) {
        Ok((design, bitstream)) if design.metadata.is_none() => {
            world.program(&design, bitstream.len(), None);
        }
        Ok((design, _)) => program_fpg(world, &design),
        Err(_) => {
            world.log(Level::Warn, "unknown file format");
            world.log(Level::Error, "was sent unusable or invalid format");
        }
    }
}

/// A `.fpg` is programmed by a process of its own, which connects as a client and sends the requests in the file.
fn program_fpg(world: &mut World<'_>, design: &Design) {
    let port = 32_768 + world.board.next_job() % 28_000;
    let addr = format!("127.0.0.1:{port}");
    world.log(Level::Info, format!("new client connection {addr}"));
    world.clients.inform(&[b"client-connected", addr.as_bytes()]);
    let all = world.board.config.map_limit;
    if world.map(all) {
        world.board.load(design);
        world.finalise();
    }
    world.log(Level::Info, format!("received end of file from {addr}"));
    world.clients.inform(&[b"client-disconnected", addr.as_bytes()]);
    world.clients.log(Level::Info, "kcpfpg", "retrying connect to port 7146");
    world.clients.log(Level::Info, "kcpfpg", "fpga programmed");
}
