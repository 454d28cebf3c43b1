//! The process that an object lives in: started, asked, watched, ended.

use proximity_proto::{
    Fault, Value,
    limits::{Limits, MAX_FRAME},
    value::check,
};
use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
};
use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader, ErrorKind, IoSlice, Read, Write},
    net::Shutdown,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Child, Command, ExitStatus},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// What the process runs. It comes through the socket, so that nothing need be installed for it.
const TEXT: &str = include_str!("child.py");

/// What gets [`TEXT`] running. The socket is moved away from standard input, to where only we know it.
const STARTER: &str = "\
import os
agent = open(os.dup(0), 'rb')
answers = open(agent.fileno(), 'wb', closefd=False)
exec(compile(agent.read(int(agent.readline())), '<proximity>', 'exec'))
";

/// How long a process has to end by itself, and again after SIGTERM, before it is killed.
const GRACE: Duration = Duration::from_secs(1);

/// Bytes of a line that are logged as one.
const LINE: u64 = 4096;

/// Said of a process that sends what is no answer.
const GARBLED: &str = "sent what is no answer";

/// Lines that are kept for the caller whose call the process does not outlive.
const LAST_LINES: usize = 20;

/// A running process.
pub(super) struct Process {
    link: BufReader<Link>,
    watch: Arc<Watch>,
    /// Where what it prints comes from.
    printed: UnixStream,
    keeper: Option<JoinHandle<()>>,
    /// It does not do what it is asked.
    is_stuck: bool,
}

/// What a request is answered with.
pub(super) enum Answer {
    /// A value, which stands at the end of the buffer.
    Value,
    /// An exception.
    Error(Fault),
}

/// Why there is no answer.
pub(super) enum Broken {
    /// It did not come in time.
    Late,
    /// The process has gone, or sends what is no answer; the text says which.
    Gone(&'static str),
}

impl Process {
    /// Starts `interpreter`. What the process prints is logged as the object's. `on_end` is told once it has ended
    /// although nothing was asked of it; see [`Process::rest`].
    ///
    /// # Errors
    ///
    /// The system's: there is no such program, or no room for it.
    pub(super) fn spawn(
        interpreter: &str,
        object: &str,
        class: &str,
        on_end: impl Fn(bool) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        // A socket, not a pipe: reading from it can be ended although somebody could still write.
        let (printed, prints) = UnixStream::pair()?;
        let reader = printed.try_clone()?;
        let mut command = Command::new(interpreter);
        command
            // The names are for whoever looks at the list of processes.
            .args(["-c", STARTER, object, class])
            .stdin(OwnedFd::from(theirs))
            .stdout(OwnedFd::from(prints.try_clone()?))
            .stderr(OwnedFd::from(prints))
            // So that what it starts can be ended with it, and a terminal's Ctrl-C is not for it.
            .process_group(0);
        let (started, start) = mpsc::sync_channel(1);
        let object = object.to_owned();
        let name = format!("keeper {object}");
        let keeper = thread::Builder::new().name(name).spawn(move || {
            // Here, for the system ends the process with the thread that it was started by.
            let child = command.spawn();
            // The other ends of its sockets are its own now.
            drop(command);
            match child {
                Ok(child) => {
                    let watch = Arc::new(Watch::new(&child, on_end));
                    let _ = started.send(Ok(Arc::clone(&watch)));
                    watch.keep(child, reader, &object);
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            }
        })?;
        // The thread tells, whatever comes of it.
        let watch = start.recv().map_err(|_| io::Error::from(ErrorKind::BrokenPipe))??;
        Ok(Self {
            link: BufReader::new(Link { stream: ours, until: Instant::now() }),
            watch,
            printed,
            keeper: Some(keeper),
            is_stuck: false,
        })
    }

    /// Has the process make its object from `birth`, and appends what it tells of it to `out`.
    ///
    /// # Errors
    ///
    /// As [`Process::ask`].
    pub(super) fn begin(
        &mut self,
        birth: &[u8],
        until: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Answer, Broken> {
        let text = format!("{}\n{TEXT}", TEXT.len());
        self.link.get_mut().until = until;
        self.link.get_mut().write_all(text.as_bytes()).map_err(|error| broken(&error))?;
        self.exchange(birth, until, out)
    }

    /// Sends a request, and appends its result to `out`.
    ///
    /// # Errors
    ///
    /// There was no answer by `until`, or there will be none.
    pub(super) fn ask(
        &mut self,
        request: &[u8],
        until: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Answer, Broken> {
        {
            let mut state = self.watch.lock();
            state.wanted = Wanted::Answer;
            state.lines.clear();
        }
        let answer = self.exchange(request, until, out)?;
        self.watch.lock().has_answered = true;
        self.rest();
        Ok(answer)
    }

    /// Nothing is asked of the process for now: should it end, or have ended, that is told.
    pub(super) fn rest(&self) {
        self.watch.lock().wanted = Wanted::Presence;
        self.watch.tell_end();
    }

    fn exchange(
        &mut self,
        request: &[u8],
        until: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Answer, Broken> {
        let link = self.link.get_mut();
        link.until = until;
        // No request is longer than a frame, nor a frame than 1 GiB.
        let len = u32::try_from(request.len()).map_err(|_| Broken::Gone("takes no 4 GiB"))?;
        // One write for both, or a small request would wake the process twice.
        let head = len.to_be_bytes();
        let mut parts = [IoSlice::new(&head), IoSlice::new(request)];
        let mut parts = parts.as_mut_slice();
        while !parts.is_empty() {
            match link.write_vectored(parts) {
                Ok(count) => IoSlice::advance_slices(&mut parts, count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(&error)),
            }
        }
        let mut head = [0; 5];
        self.link.read_exact(&mut head).map_err(|error| broken(&error))?;
        let [kind, len @ ..] = head;
        let len = u32::from_be_bytes(len);
        if len as usize > MAX_FRAME {
            return Err(Broken::Gone(GARBLED));
        }
        let mut body = self.link.by_ref().take(len.into());
        match kind {
            b'v' => {
                let begin = out.len();
                body.read_to_end(out).map_err(|error| broken(&error))?;
                whole(out.len() - begin, len)?;
                Ok(Answer::Value)
            }
            b'e' | b'b' => {
                let mut error = Vec::new();
                body.read_to_end(&mut error).map_err(|error| broken(&error))?;
                whole(error.len(), len)?;
                let fault = read_fault(&error).ok_or(Broken::Gone(GARBLED))?;
                Ok(Answer::Error(if kind == b'b' { fault.before() } else { fault }))
            }
            _ => Err(Broken::Gone(GARBLED)),
        }
    }

    /// How the process ended, if it has.
    pub(super) fn end(&self) -> Option<ExitStatus> {
        let state = self.watch.lock();
        if !state.has_ended {
            return None;
        }
        drop(state);
        // It is just being reaped, if that has not been done.
        self.watch.wait(GRACE);
        self.watch.lock().status
    }

    /// Whether it has answered a call.
    pub(super) fn has_answered(&self) -> bool {
        self.watch.lock().has_answered
    }

    /// Has it ended without being asked, once it is dropped.
    pub(super) fn give_up(&mut self) {
        self.is_stuck = true;
    }

    /// Ends what is left of a process that has gone. `fact` is what is to be told of it.
    pub(super) fn post_mortem(&mut self, fact: &str) -> Fault {
        self.watch.signal(Signal::KILL);
        // Its last lines are there already, and stay readable.
        let _ = self.printed.shutdown(Shutdown::Read);
        self.watch.wait(GRACE);
        let state = self.watch.lock();
        let message = match state.status {
            Some(status) => format!("{fact}: {status}"),
            None => fact.to_owned(),
        };
        let mut fault = Fault::runtime_error(message);
        fault.detail.extend(state.lines.iter().cloned());
        fault
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.watch.lock().wanted = Wanted::End;
        let mut has_ended = false;
        if !self.is_stuck {
            // It reads the end of its requests, and ends by itself.
            let _ = self.link.get_ref().stream.shutdown(Shutdown::Both);
            has_ended = self.watch.wait(GRACE);
        }
        if !has_ended {
            self.watch.signal(Signal::TERM);
            has_ended = self.watch.wait(GRACE);
        }
        if !has_ended {
            self.watch.signal(Signal::KILL);
        }
        let _ = self.printed.shutdown(Shutdown::Read);
        if let Some(keeper) = self.keeper.take() {
            // It does not panic, and would have been heard of.
            let _ = keeper.join();
        }
    }
}

/// The socket, with a time at which reading and writing end.
struct Link {
    stream: UnixStream,
    until: Instant,
}

impl Link {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What an error of the socket means.
fn broken(error: &io::Error) -> Broken {
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Broken::Late,
        _ => Broken::Gone("ended"),
    }
}

/// An answer that ends early is none: the process ended as it wrote it.
fn whole(read: usize, announced: u32) -> Result<(), Broken> {
    if read == announced as usize { Ok(()) } else { Err(Broken::Gone("ended")) }
}

/// Reads an exception: class, message, the lines of its traceback.
fn read_fault(bytes: &[u8]) -> Option<Fault> {
    check(bytes, &Limits { max_frame: MAX_FRAME, max_items: u32::MAX }).ok()?;
    let Some(Value::Array(told)) = Value::first(bytes) else { return None };
    let text = |value: Value<'_>| value.as_text().map(str::to_owned);
    let (class, message) = (text(told.get(0)?)?, text(told.get(1)?)?);
    let Value::Array(lines) = told.get(2)? else { return None };
    let mut fault = Fault::new(class, message);
    fault.detail = lines.iter().map(text).collect::<Option<_>>()?;
    Some(fault)
}

/// What a process and its keeper share.
struct Watch {
    pid: Pid,
    state: Mutex<State>,
    changed: Condvar,
    /// What to do once the process has ended although nothing was asked of it; it gets whether a call was answered.
    on_end: Box<dyn Fn(bool) + Send + Sync>,
}

/// What a process is to do.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Wanted {
    /// To answer.
    #[default]
    Answer,
    /// To be there.
    Presence,
    /// To end.
    End,
}

#[derive(Default)]
struct State {
    /// It has ended.
    has_ended: bool,
    /// How, once that is known. Its number may belong to another from then on.
    status: Option<ExitStatus>,
    wanted: Wanted,
    /// It has answered a call.
    has_answered: bool,
    /// What it printed last, since the call in hand came.
    lines: VecDeque<String>,
}

impl Watch {
    fn new(child: &Child, on_end: impl Fn(bool) + Send + Sync + 'static) -> Self {
        Self {
            pid: Pid::from_child(child),
            state: Mutex::default(),
            changed: Condvar::new(),
            on_end: Box::new(on_end),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a signal to the process and to what it has started.
    fn signal(&self, signal: Signal) {
        let state = self.lock();
        if state.status.is_none() {
            // It may be gone already, which is what is wanted.
            let _ = kill_process_group(self.pid, signal);
        }
    }

    /// Tells of the end of the process, if it has come in idleness.
    fn tell_end(&self) {
        let mut state = self.lock();
        if state.wanted == Wanted::Presence && state.has_ended {
            state.wanted = Wanted::Answer;
            let has_answered = state.has_answered;
            drop(state);
            (self.on_end)(has_answered);
        }
    }

    /// Waits for the end of the process; tells whether it came.
    fn wait(&self, time: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), time, |s| s.status.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.status.is_some()
    }

    /// Logs what the process prints, up to its end, and reaps it.
    fn keep(&self, mut child: Child, printed: UnixStream, object: &str) {
        let mut printed = BufReader::new(printed);
        let mut line = Vec::new();
        while let Ok(1..) = printed.by_ref().take(LINE).read_until(b'\n', &mut line) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if text.is_empty() {
                continue;
            }
            log::info!("object '{object}': {text}");
            let mut state = self.lock();
            if state.lines.len() == LAST_LINES {
                state.lines.pop_front();
            }
            state.lines.push_back(text);
        }
        // Waits, but leaves the process its number, so that what it has started can be ended too.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(Errno::INTR) = waitid(WaitId::Pid(self.pid), options) {}
        self.lock().has_ended = true;
        // Before others see it: then whoever does finds what is done about it.
        self.tell_end();
        let mut state = self.lock();
        let _ = kill_process_group(self.pid, Signal::KILL);
        match child.wait() {
            Ok(status) => {
                if state.wanted != Wanted::End {
                    log::warn!("the process of object '{object}' ended: {status}");
                }
                state.status = Some(status);
            }
            Err(error) => log::error!("the process of object '{object}' cannot be reaped: {error}"),
        }
        drop(state);
        self.changed.notify_all();
    }
}
