//! An instrument on a pseudo-terminal, that does what instruments do: and a driver with the surroundings that
//! an agent gives it.

#![allow(dead_code)] // each test file takes what it needs of this

use proximity_drivers::{kind, settings::Settings};
use proximity_proto::{
    Context, Fault, Object, Principal, Value, json,
    limits::Limits,
    object::{Args, Flow, Host, Interface},
};
use serialport::{SerialPort, TTYPort};
use std::{
    env, fs,
    io::{ErrorKind, Read, Write},
    os::unix::fs::symlink,
    path::PathBuf,
    process,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// The surroundings of a call: a real clock.
pub(crate) struct Surroundings {
    start: Instant,
    pub(crate) cancelled: AtomicBool,
    pub(crate) progress: Mutex<Vec<(u64, u64, String)>>,
}

impl Host for Surroundings {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    fn progress(&self, done: u64, total: u64, text: &str) {
        self.progress.lock().unwrap().push((done, total, text.to_owned()));
    }
}

/// An object as an agent has it.
pub(crate) struct Device {
    object: Box<dyn Object>,
    pub(crate) interface: Interface,
    pub(crate) surroundings: Arc<Surroundings>,
    /// How long a caller waits; an old client does not tell.
    pub(crate) patience: Option<Duration>,
}

impl Device {
    /// The object with that table in the configuration.
    pub(crate) fn new(driver: &str, table: &str) -> Self {
        let table = table.parse().unwrap();
        let mut settings = Settings::new(&table, &[]);
        let opener = (kind(driver).unwrap().configure)(&mut settings);
        assert_eq!(settings.finish(), [], "{table}");
        let object = opener().unwrap();
        let interface = object.interface();
        let surroundings = Arc::new(Surroundings {
            start: Instant::now(),
            cancelled: AtomicBool::new(false),
            progress: Mutex::default(),
        });
        Self { object, interface, surroundings, patience: Some(Duration::from_secs(20)) }
    }

    fn run(
        &mut self,
        call: impl FnOnce(&mut dyn Object, &Context<'_>, &mut Vec<u8>) -> Result<Flow, Fault>,
    ) -> Result<Vec<u8>, Fault> {
        let principal = Principal::local();
        let surroundings = Arc::clone(&self.surroundings);
        let deadline = self.patience.map(|patience| surroundings.now() + patience);
        let cx = Context::new(&*surroundings, deadline, &principal);
        let mut out = Vec::new();
        let mut flow = call(&mut *self.object, &cx, &mut out)?;
        while let Flow::Later(resume) = flow {
            thread::sleep(resume.at.saturating_sub(surroundings.now()));
            flow = (resume.run)(&mut *self.object, &cx, &mut out)?;
        }
        Ok(out)
    }

    /// Calls a method, with arguments by position as JSON, and returns its result as MessagePack.
    pub(crate) fn call(&mut self, method: &str, args: &str) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::new();
        json::to_messagepack(args.as_bytes(), &Limits::default(), &mut bytes).unwrap();
        let Some(Value::Array(positional)) = Value::first(&bytes) else {
            panic!("{args}: no list")
        };
        let found = self.interface.methods.iter().find(|m| m.name == method);
        let method = found.expect("there is such a method").clone();
        let args = Args { positional, ..Args::NONE };
        self.run(|object, cx, out| object.call(&method, args, cx, out))
    }

    /// The same, as JSON or the lines of the error.
    pub(crate) fn ask(&mut self, method: &str, args: &str) -> String {
        told(self.call(method, args))
    }

    /// The text that a method results in.
    pub(crate) fn text(&mut self, method: &str, args: &str) -> Result<String, Fault> {
        let out = self.call(method, args)?;
        Ok(Value::first(&out).and_then(|value| value.as_text()).expect("text").to_owned())
    }

    /// The bytes that a method results in.
    pub(crate) fn bytes(&mut self, method: &str, args: &str) -> Vec<u8> {
        let out = self.call(method, args).unwrap();
        Value::first(&out).and_then(|value| value.as_bytes()).expect("bytes").to_vec()
    }

    /// Reads an attribute, as JSON.
    pub(crate) fn get(&mut self, name: &str) -> String {
        let found = self.interface.attributes.iter().find(|a| a.name == name);
        let attribute = found.expect("there is such an attribute").clone();
        told(self.run(|object, cx, out| object.get(&attribute, cx, out)))
    }

    /// Sets an attribute to JSON.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> String {
        let mut bytes = Vec::new();
        json::to_messagepack(value.as_bytes(), &Limits::default(), &mut bytes).unwrap();
        let value = Value::first(&bytes).unwrap();
        let found = self.interface.attributes.iter().find(|a| a.name == name);
        let attribute = found.expect("there is such an attribute").clone();
        told(self.run(|object, cx, out| object.set(&attribute, value, cx, out)))
    }
}

fn told(result: Result<Vec<u8>, Fault>) -> String {
    match result {
        Ok(bytes) => String::from_utf8(json::from_messagepack(&bytes).unwrap()).unwrap(),
        Err(fault) => lines(&fault),
    }
}

/// An error as a person sees it.
pub(crate) fn lines(fault: &Fault) -> String {
    let detail = fault.detail.iter().cloned();
    let hint = fault.hint.iter().map(|hint| format!("hint: {hint}"));
    std::iter::once(fault.to_string()).chain(detail).chain(hint).collect::<Vec<_>>().join("\n  ")
}

/// Where a port appears when an instrument is plugged in: a name that stays, as in /dev/serial/by-id.
pub(crate) struct Socket {
    folder: PathBuf,
}

impl Socket {
    pub(crate) fn new() -> Arc<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("proximity-pty-{}-{count}", process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Arc::new(Self { folder })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join("instrument")
    }

    /// The key `port` of the configuration.
    pub(crate) fn key(&self) -> String {
        format!("port = '{}'\n", self.path().display())
    }

    pub(crate) fn plug(self: &Arc<Self>) -> Plug {
        let (mut master, slave) = TTYPort::pair().unwrap();
        master.set_timeout(Duration::from_millis(20)).unwrap();
        symlink(slave.name().unwrap(), self.folder.join("new")).unwrap();
        fs::rename(self.folder.join("new"), self.path()).unwrap();
        Plug { master, slave, socket: Arc::clone(self) }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// An instrument that is plugged in; no longer once this is dropped.
pub(crate) struct Plug {
    pub(crate) master: TTYPort,
    /// Held open, for a master whose port nobody has open cannot be read.
    pub(crate) slave: TTYPort,
    socket: Arc<Socket>,
}

impl Plug {
    /// What came within 20 ms.
    pub(crate) fn hear(&mut self, space: &mut [u8]) -> usize {
        match self.master.read(space) {
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Interrupted) => 0,
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn say(&mut self, bytes: &[u8]) {
        self.master.write_all(bytes).unwrap();
    }
}

impl Drop for Plug {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.socket.path());
    }
}

/// What an instrument does.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Say(Vec<u8>),
    Wait(Duration),
    /// Is pulled out, until [`Instrument::plug_in`].
    HangUp,
}

pub(crate) fn say(bytes: impl AsRef<[u8]>) -> Vec<Act> {
    vec![Act::Say(bytes.as_ref().to_vec())]
}

/// An instrument in a thread of its own.
pub(crate) struct Instrument {
    plug_in: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Instrument {
    /// One that takes what it understands off what has come, and acts.
    pub(crate) fn new(
        socket: &Arc<Socket>,
        mut act: impl FnMut(&mut Vec<u8>) -> Vec<Act> + Send + 'static,
    ) -> Self {
        let (plug_in, plugged) = mpsc::channel();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (socket, log) = (Arc::clone(socket), Arc::clone(&heard));
        // Plugged in before this returns, so that nobody has to wait for it.
        let plug = socket.plug();
        let thread = thread::spawn(move || serve(&socket, plug, &plugged, &log, &mut act));
        Self { plug_in: Some(plug_in), thread: Some(thread), heard }
    }

    /// One that answers lines.
    pub(crate) fn lines(
        socket: &Arc<Socket>,
        mut answer: impl FnMut(&str) -> Vec<Act> + Send + 'static,
    ) -> Self {
        Self::new(socket, move |input| {
            let mut acts = Vec::new();
            while let Some(at) = input.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = input.drain(..=at).collect();
                acts.extend(answer(str::from_utf8(&line[..at]).unwrap()));
            }
            acts
        })
    }

    /// Plugs it in again after it hung up.
    pub(crate) fn plug_in(&self) {
        self.plug_in.as_ref().unwrap().send(()).unwrap();
    }

    /// All that it heard.
    pub(crate) fn heard(&self) -> Vec<u8> {
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for Instrument {
    fn drop(&mut self) {
        self.plug_in = None;
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking(), "the instrument panicked");
    }
}

fn serve(
    socket: &Arc<Socket>,
    mut plug: Plug,
    plugged: &Receiver<()>,
    log: &Mutex<Vec<u8>>,
    act: &mut impl FnMut(&mut Vec<u8>) -> Vec<Act>,
) {
    let (mut input, mut space) = (Vec::new(), [0; 4096]);
    loop {
        match plugged.recv_timeout(Duration::ZERO) {
            Err(RecvTimeoutError::Disconnected) => return,
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
        }
        let count = plug.hear(&mut space);
        if count == 0 {
            continue;
        }
        log.lock().unwrap().extend_from_slice(&space[..count]);
        input.extend_from_slice(&space[..count]);
        for act in act(&mut input) {
            match act {
                Act::Say(bytes) => plug.say(&bytes),
                Act::Wait(time) => thread::sleep(time),
                Act::HangUp => {
                    drop(plug);
                    if plugged.recv().is_err() {
                        return;
                    }
                    plug = socket.plug();
                }
            }
        }
    }
}

/// Waits for a fact, which must come true in time.
pub(crate) fn eventually(what: &str, mut fact: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !fact() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}
