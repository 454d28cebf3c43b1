//! The server: one thread a board, as on the board.
//!
//! It waits for sockets and timers, and handles requests one after the other; so replies come in order, and what one
//! client does is told to all between their own replies.

use crate::board::{Board, World};
use crate::clients::{Client, Clients, Level, message};
use crate::commands::{self, Next};
use crate::input::{BadMid, Request};
use crate::output::{Flushed, Output};
use crate::sensors::sensors;
use crate::upload::Upload;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The real server's writes, which the `stall` fault brings back.
const BLOCK: usize = 4096;
/// Answers are sent before more requests are handled once they are so many bytes.
const ANSWER_FIRST: usize = 256 << 10;
/// The most of a received line that is kept to be looked at.
const RECORDED: usize = 4096;

/// What the server's thread and the mock's owner share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) board: Mutex<Board>,
    /// Told after everything the server has done.
    pub(crate) changed: Condvar,
}

impl Shared {
    /// The board. A panic elsewhere leaves nothing half done that matters here.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became ready.
#[derive(Clone, Copy)]
enum Token {
    Wake,
    Listener,
    Upload(usize),
    Client(u64),
}

/// Why a connection ends, as far as others are told.
enum End {
    /// The client closed it.
    Eof,
    /// It broke.
    Reset,
    /// The server closed it.
    Closed,
}

pub(crate) struct Server {
    shared: Arc<Shared>,
    addr: SocketAddr,
    listener: Option<TcpListener>,
    clients: Clients,
    uploads: Vec<Upload>,
    wake: UnixStream,
    last_id: u64,
    /// Off the network until then.
    away_until: Option<Instant>,
}

impl Server {
    /// `wake` ends the thread when its other end is closed, and makes it look at the faults when a byte comes.
    pub(crate) fn new(
        shared: Arc<Shared>,
        listener: TcpListener,
        wake: UnixStream,
        v5: bool,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        wake.set_nonblocking(true)?;
        Ok(Self {
            shared,
            addr: listener.local_addr()?,
            listener: Some(listener),
            clients: Clients::new(v5),
            uploads: Vec::new(),
            wake,
            last_id: 0,
            away_until: None,
        })
    }

    /// Serves until the other end of `wake` is closed.
    pub(crate) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            let mut board = shared.lock();
            self.do_what_is_due(&mut board);
            shared.changed.notify_all();
            let wait = self.wait_time(&board);
            let hung = board.faults.hung(Instant::now()).is_some();
            drop(board);
            let ready = match self.wait(wait, hung) {
                Ok(ready) => ready,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // Nothing is left to wait with.
                Err(_) => return,
            };
            let mut board = shared.lock();
            let deaf = board.faults.half_open(Instant::now()).is_some();
            for (token, flags) in ready {
                match token {
                    Token::Wake => {
                        if matches!(self.wake.read(&mut [0; 64]), Ok(0)) {
                            return;
                        }
                    }
                    Token::Listener => self.accept(&mut board, deaf),
                    Token::Upload(at) => self.upload(&mut board, at),
                    Token::Client(id) => self.client(&mut board, id, flags, deaf),
                }
            }
        }
    }

    /// Waits until something is ready, at most `limit`. A hung server looks at nothing but its owner.
    fn wait(&self, limit: Option<Duration>, hung: bool) -> io::Result<Vec<(Token, PollFlags)>> {
        let mut tokens = vec![Token::Wake];
        let mut fds = vec![PollFd::new(&self.wake, PollFlags::IN)];
        if !hung {
            if let Some(listener) = &self.listener {
                tokens.push(Token::Listener);
                fds.push(PollFd::new(listener, PollFlags::IN));
            }
            for (at, upload) in self.uploads.iter().enumerate() {
                tokens.push(Token::Upload(at));
                fds.push(PollFd::from_borrowed_fd(upload.socket().as_fd(), PollFlags::IN));
            }
            for client in &self.clients.list {
                let mut flags = PollFlags::empty();
                flags.set(PollFlags::IN, client.listens());
                flags.set(PollFlags::OUT, client.output.is_blocked());
                if !flags.is_empty() {
                    tokens.push(Token::Client(client.id));
                    fds.push(PollFd::new(&client.stream, flags));
                }
            }
        }
        let limit = limit.map(|limit| Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        });
        poll(&mut fds, limit.as_ref())?;
        let ready = tokens.into_iter().zip(fds.iter().map(PollFd::revents));
        Ok(ready.filter(|(_, flags)| !flags.is_empty()).collect())
    }

    /// How long nothing happens by itself.
    fn wait_time(&self, board: &Board) -> Option<Duration> {
        let now = Instant::now();
        if let Some(until) = board.faults.hung(now) {
            return Some(until - now);
        }
        let dues = self.clients.list.iter().flat_map(|client| {
            let samplings = client.samplings.iter().filter_map(|sampling| sampling.every);
            samplings.map(|(_, due)| due).chain(client.output.next_due())
        });
        let uploads = self.uploads.iter().map(|upload| upload.deadline);
        let next = dues.chain(uploads).chain(self.away_until).chain(board.faults.half_open(now));
        next.min().map(|due| due.saturating_duration_since(now))
    }

    fn do_what_is_due(&mut self, board: &mut Board) {
        let now = Instant::now();
        if board.faults.hung(now).is_some() {
            return;
        }
        if let Some((time, forget)) = board.faults.away.take() {
            self.go_away(board, time, forget);
        }
        if self.away_until.is_some_and(|until| until <= now) {
            // Somebody else may have taken the port meanwhile; then it is tried again.
            match TcpListener::bind(self.addr).and_then(|listener| {
                listener.set_nonblocking(true)?;
                Ok(listener)
            }) {
                Ok(listener) => (self.listener, self.away_until) = (Some(listener), None),
                Err(_) => self.away_until = Some(now + Duration::from_millis(10)),
            }
        }
        while let Some(at) = self.uploads.iter().position(|upload| upload.deadline <= now) {
            self.finish_upload(board, at, true);
        }
        self.report_sensors(board, now);
        // What one client did may be told to all.
        for id in self.ids() {
            self.flush(board, id);
        }
        if board.faults.half_open(now).is_none() {
            self.clients.list.retain(|client| !client.deaf_end);
        }
    }

    fn ids(&self) -> Vec<u64> {
        self.clients.list.iter().map(|client| client.id).collect()
    }

    /// Leaves the network for `time`. After a restart the FPGA is not programmed.
    fn go_away(&mut self, board: &mut Board, time: Duration, forget: bool) {
        self.listener = None;
        self.uploads.clear();
        for client in self.clients.list.drain(..) {
            if !forget {
                // Closed with nothing lingering is closed with a reset.
                let _ =
                    rustix::net::sockopt::set_socket_linger(&client.stream, Some(Duration::ZERO));
            }
        }
        if forget {
            board.unload();
            self.clients.log_default = Level::Info;
        }
        self.away_until = Some(Instant::now() + time);
    }

    fn report_sensors(&mut self, board: &Board, now: Instant) {
        let time = self.clients.timestamp();
        for client in &mut self.clients.list {
            for sampling in &mut client.samplings {
                let Some((every, due)) = &mut sampling.every else { continue };
                if *due > now {
                    continue;
                }
                *due = now + *every;
                let mut all = sensors(&board.config).iter();
                let Some(sensor) = all.find(|sensor| sensor.name == sampling.sensor) else {
                    continue;
                };
                let reading = sensor.reading(board.started.elapsed());
                let words = ["sensor-status", &time[..], "1"].into_iter();
                let words = words.chain(reading.iter().map(String::as_str)).map(str::as_bytes);
                message(client.output.tail(), b"#", None, &words.collect::<Vec<_>>());
            }
        }
    }

    fn accept(&mut self, board: &mut Board, deaf: bool) {
        let Some(Ok((stream, addr))) = self.listener.as_ref().map(TcpListener::accept) else {
            return;
        };
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        board.counters.connections += 1;
        if self.clients.list.len() >= board.config.max_clients {
            let unlucky = board.random.below(self.clients.list.len());
            if let Some(id) = self.clients.list.get(unlucky).map(|client| client.id) {
                self.end(board, id, &End::Closed);
            }
        }
        self.clients.log(Level::Info, "raw", format!("new client connection {addr}"));
        self.clients.inform(&[b"client-connected", addr.to_string().as_bytes()]);
        self.last_id += 1;
        let mut output = Output::default();
        if !deaf {
            let world = World { board, clients: &mut self.clients };
            output.tail().extend(commands::greeting(&world));
        }
        self.clients.list.push(Client {
            id: self.last_id,
            stream,
            addr,
            input: crate::input::Input::default(),
            output,
            log_limit: self.clients.log_default,
            waiting: false,
            nodelay: false,
            deaf_end: false,
            samplings: Vec::new(),
        });
    }

    /// Ends a connection and tells the others.
    fn end(&mut self, board: &Board, id: u64, why: &End) {
        let Some(at) = self.clients.list.iter().position(|client| client.id == id) else { return };
        let client = self.clients.list.remove(at);
        let addr = client.addr.to_string();
        match why {
            End::Eof => {
                self.clients.log(Level::Info, "raw", format!("received end of file from {addr}"));
            }
            End::Reset => {
                let what = format!("write to {addr} failed: Connection reset by peer");
                self.clients.log(Level::Warn, "raw", what);
            }
            End::Closed => {}
        }
        if !board.is_roach1() {
            self.clients.inform(&[b"client-disconnected", addr.as_bytes()]);
        }
    }

    fn upload(&mut self, board: &mut Board, at: usize) {
        let Some(upload) = self.uploads.get_mut(at) else { return };
        match upload.progress() {
            Ok(false) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(true) | Err(_) => self.finish_upload(board, at, false),
        }
    }

    fn finish_upload(&mut self, board: &mut Board, at: usize, timed_out: bool) {
        let upload = self.uploads.remove(at);
        upload.finish(&mut World { board, clients: &mut self.clients }, timed_out);
        // Requests behind the one that waited.
        for id in self.ids() {
            self.serve(board, id);
        }
    }

    fn client(&mut self, board: &mut Board, id: u64, flags: PollFlags, deaf: bool) {
        if flags.contains(PollFlags::OUT) && !self.flush(board, id) {
            return;
        }
        let broken = PollFlags::ERR | PollFlags::HUP;
        if flags.intersects(PollFlags::IN | broken) {
            let Some(client) = self.clients.by_id(id) else { return };
            if deaf {
                match client.stream.read(&mut [0; BLOCK]) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Ok(len @ 1..) => board.counters.ignored_bytes += len as u64,
                    Ok(0) | Err(_) => client.deaf_end = true,
                }
                return;
            }
            match client.input.receive(&client.stream) {
                Ok(0) => return self.end(board, id, &End::Eof),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.end(board, id, &End::Reset),
            }
        }
        self.serve(board, id);
    }

    /// Handles what a client has sent, as long as it takes the answers.
    fn serve(&mut self, board: &mut Board, id: u64) {
        loop {
            let more = self.handle_some(board, id);
            if !self.flush(board, id) || !more {
                return;
            }
            let blocked = self.clients.by_id(id).is_none_or(|client| client.output.is_blocked());
            if blocked {
                return;
            }
        }
    }

    /// Handles requests until there is none, or enough answers are waiting. Returns whether there may be more.
    fn handle_some(&mut self, board: &mut Board, id: u64) -> bool {
        let Some(client) = self.clients.by_id(id).filter(|client| !client.waiting) else {
            return false;
        };
        let mut input = std::mem::take(&mut client.input);
        let mut answered = 0;
        let mut more = false;
        while let Some(line) = input.next_line() {
            record(board, line);
            let request = match Request::parse(line) {
                Ok(Some(request)) => request,
                Ok(None) => continue,
                Err(BadMid) => {
                    self.end(board, id, &End::Closed);
                    return false;
                }
            };
            let shapes = board.faults.shapes();
            let Some(client) = self.clients.by_id(id) else { return false };
            let mark = client.output.tail().len();
            let world = World { board, clients: &mut self.clients };
            let next = commands::handle(world, &mut self.uploads, id, &request);
            let Some(client) = self.clients.by_id(id) else { return false };
            answered += client.output.tail().len().saturating_sub(mark);
            if shapes {
                let answer = client.output.tail().split_off(mark);
                let chunks = board.faults.shape(&answer, Instant::now(), &mut board.random);
                client.output.schedule(chunks);
            }
            match next {
                Next::Go => {}
                Next::Wait => client.waiting = true,
                Next::Restart => {
                    self.restart(board, id);
                    return false;
                }
            }
            if client.output.closes() {
                return false;
            }
            if client.waiting || answered >= ANSWER_FIRST {
                more = !client.waiting;
                break;
            }
        }
        if let Some(client) = self.clients.by_id(id) {
            client.input = input;
        }
        more
    }

    /// `?restart`: everybody is told, then the server is gone for a while.
    fn restart(&mut self, board: &mut Board, id: u64) {
        self.flush(board, id);
        let Some(at) = self.clients.list.iter().position(|client| client.id == id) else { return };
        let asked = self.clients.list.remove(at);
        self.clients.inform(&[b"disconnect", b"restart"]);
        self.clients.inform(&[b"client-disconnected", asked.addr.to_string().as_bytes()]);
        for id in self.ids() {
            self.flush(board, id);
        }
        self.go_away(board, board.config.restart_time, true);
    }

    /// Sends what is due; `false` if the connection has ended.
    fn flush(&mut self, board: &Board, id: u64) -> bool {
        let stall = board.faults.stall;
        let Some(client) = self.clients.by_id(id) else { return false };
        if client.nodelay == stall {
            client.nodelay = !stall;
            // A socket that refuses it is about to fail anyway.
            let _ = client.stream.set_nodelay(!stall);
        }
        let most = if stall { BLOCK } else { usize::MAX };
        match client.output.flush(&client.stream, most) {
            Ok(Flushed::Done | Flushed::Blocked) => true,
            Ok(Flushed::Close) => {
                self.end(board, id, &End::Closed);
                false
            }
            Err(_) => {
                self.end(board, id, &End::Reset);
                false
            }
        }
    }
}

impl Client {
    /// Whether its requests are to be received now.
    fn listens(&self) -> bool {
        !self.waiting && !self.deaf_end && !self.output.is_blocked()
    }
}

fn record(board: &mut Board, line: &[u8]) {
    let most = board.config.record;
    if most == 0 {
        return;
    }
    let mut kept = if board.received.len() < most {
        Vec::new()
    } else {
        board.received.pop_front().unwrap_or_default()
    };
    kept.clear();
    kept.extend_from_slice(line.get(..RECORDED).unwrap_or(line));
    board.received.push_back(kept);
}

/// A connection to a server's thread, whose end wakes it and whose closing ends it.
pub(crate) fn start(
    shared: &Arc<Shared>,
    listener: TcpListener,
    v5: bool,
) -> io::Result<(UnixStream, std::thread::JoinHandle<()>)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let server = Server::new(Arc::clone(shared), listener, theirs, v5)?;
    let thread = std::thread::Builder::new().name("mock-fpga".to_owned());
    Ok((ours, thread.spawn(move || server.run())?))
}
