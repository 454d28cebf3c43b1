//! A Python object without an agent around it.

use proximity_drivers::{Opener, kind, settings::Settings};
use proximity_proto::{
    Context, Fault, Interface, Object, Principal, ToReply, Value,
    object::{Args, Flow, Host, Lost},
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Condvar, Mutex, Once,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use toml::Table;

/// Longer than anything that is waited for takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A directory with `lab.py` in it, removed at the end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("proximity-python-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("lab.py"), include_str!("lab.py")).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a table of the configuration, which lacks the path, makes an object with.
pub(crate) fn opener(name: &str, table: &str, scratch: &Scratch) -> Opener {
    Log::start();
    let mut table: Table = table.parse().unwrap();
    table.insert("path".into(), vec![scratch.0.to_str().unwrap().to_owned()].into());
    let mut settings = Settings::new(&table, &[]).of(name);
    let opener = (kind("python").unwrap().configure)(&mut settings);
    assert_eq!(settings.finish(), []);
    opener
}

/// An open object.
pub(crate) struct Opened {
    pub(crate) object: Box<dyn Object>,
    pub(crate) interface: Interface,
    pub(crate) opener: Opener,
    /// What a call has for its time; an old client's has nothing.
    pub(crate) time: Option<Duration>,
    scratch: Scratch,
}

impl Opened {
    /// A `Lab`, in a process that runs on.
    pub(crate) fn lab() -> Self {
        Self::open("lab", "class = 'lab:Lab'")
    }

    pub(crate) fn open(name: &str, table: &str) -> Self {
        let scratch = Scratch::new();
        let opener = opener(name, table, &scratch);
        let object = opener().unwrap();
        let interface = object.interface();
        Self { object, interface, opener, time: None, scratch }
    }

    /// Puts something else in place of the object's module, for processes that are started from now on.
    pub(crate) fn spoil(&self, text: &str) {
        fs::write(self.scratch.0.join("lab.py"), text).unwrap();
    }

    /// Opens it anew, as the agent does after it was lost.
    pub(crate) fn reopen(&mut self) -> Result<(), Fault> {
        self.object = (self.opener)()?;
        Ok(())
    }

    /// Calls a method; what it returns is MessagePack.
    pub(crate) fn try_call(
        &mut self,
        method: &str,
        args: &[u8],
        kwargs: &[u8],
    ) -> Result<Result<Vec<u8>, Lost>, Fault> {
        let Some(Value::Array(positional)) = Value::first(args) else { panic!("no list") };
        let Some(Value::Map(named)) = Value::first(kwargs) else { panic!("no dict") };
        let args = Args { positional, named };
        let method = self.interface.method(method).unwrap();
        let clock = Clock(Instant::now());
        let cx = Context::new(&clock, self.time, NOBODY);
        let mut out = b"before".to_vec();
        let flow = self.object.call(method, args, &cx, &mut out)?;
        Ok(ended(flow, out))
    }

    /// Calls a method that returns something.
    pub(crate) fn call(&mut self, method: &str, args: &impl ToReply) -> Vec<u8> {
        let result = self.try_call(method, &packed(args), &[0x80]);
        result.unwrap().unwrap_or_else(|lost| panic!("{}", lost.fault))
    }

    /// Calls a method that returns a whole number.
    pub(crate) fn number(&mut self, method: &str) -> u64 {
        Value::first(&self.call(method, &Nothing)).unwrap().as_u64().unwrap()
    }

    /// Calls a method that raises something.
    pub(crate) fn fault(&mut self, method: &str, args: &impl ToReply) -> Fault {
        match self.try_call(method, &packed(args), &[0x80]) {
            Err(fault) => fault,
            Ok(Ok(value)) => panic!("{method} returned {value:02x?}"),
            Ok(Err(lost)) => panic!("{}", lost.fault),
        }
    }

    /// Calls a method that the object does not outlive.
    pub(crate) fn lost(&mut self, method: &str, args: &impl ToReply) -> Lost {
        let Ok(Err(lost)) = self.try_call(method, &packed(args), &[0x80]) else {
            panic!("{method} left the object whole");
        };
        lost
    }

    pub(crate) fn get(&mut self, attribute: &str) -> Result<Vec<u8>, Fault> {
        let attribute = self.interface.attribute(attribute).unwrap();
        let clock = Clock(Instant::now());
        let mut out = b"before".to_vec();
        let flow =
            self.object.get(attribute, &Context::new(&clock, self.time, NOBODY), &mut out)?;
        Ok(ended(flow, out).unwrap_or_else(|lost| panic!("{}", lost.fault)))
    }

    pub(crate) fn set(&mut self, attribute: &str, value: &impl ToReply) -> Result<Vec<u8>, Fault> {
        let attribute = self.interface.attribute(attribute).unwrap();
        let clock = Clock(Instant::now());
        let bytes = packed(value);
        let value = Value::first(&bytes).unwrap();
        let mut out = b"before".to_vec();
        let flow = self.object.set(
            attribute,
            value,
            &Context::new(&clock, self.time, NOBODY),
            &mut out,
        )?;
        Ok(ended(flow, out).unwrap_or_else(|lost| panic!("{}", lost.fault)))
    }
}

/// No arguments.
pub(crate) struct Nothing;

impl ToReply for Nothing {
    fn to_reply(&self, out: &mut Vec<u8>) {
        out.push(0x90);
    }

    fn ty() -> proximity_proto::arg::Type {
        proximity_proto::arg::Type::named("list")
    }
}

/// A value as the agent writes it.
pub(crate) fn packed(value: &impl ToReply) -> Vec<u8> {
    let mut out = Vec::new();
    value.to_reply(&mut out);
    out
}

const NOBODY: &Principal = &Principal::local();

fn ended(flow: Flow, mut out: Vec<u8>) -> Result<Vec<u8>, Lost> {
    match flow {
        Flow::Done => {
            assert_eq!(out.drain(..6).as_slice(), b"before", "a result is appended");
            Ok(out)
        }
        Flow::Lost(lost) => Err(lost),
        Flow::Later(_) => panic!("no call of a Python object waits"),
    }
}

struct Clock(Instant);

impl Host for Clock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn is_cancelled(&self) -> bool {
        false
    }

    fn progress(&self, _done: u64, _total: u64, _text: &str) {}
}

/// Whether a process is there, and no zombie.
pub(crate) fn lives(pid: u64) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    // NUMBER (NAME) STATE ..
    stat.is_ok_and(|stat| !stat.rsplit_once(") ").unwrap().1.starts_with('Z'))
}

/// Whether a process is there, if only as a zombie.
pub(crate) fn exists(pid: u64) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// The processes of an object of that name.
pub(crate) fn processes_of(object: &str) -> Vec<u64> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let entry = entry.unwrap();
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let command = fs::read_to_string(entry.path().join("cmdline")).ok()?;
        // INTERPRETER -c TEXT OBJECT CLASS, started by this test program.
        let words: Vec<&str> = command.split('\0').collect();
        (words.get(1) == Some(&"-c") && words.get(3) == Some(&object)).then_some(pid)
    });
    pids.filter(|&pid| lives(pid)).collect()
}

/// Kills a process.
pub(crate) fn kill(pid: u64) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// Waits until something is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        // Of other processes there is no event to wait for.
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// What is logged in this test program.
pub(crate) struct Log {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

static LOG: Log = Log { lines: Mutex::new(Vec::new()), more: Condvar::new() };

impl Log {
    fn start() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            log::set_logger(&LOG).unwrap();
            log::set_max_level(log::LevelFilter::Info);
        });
    }

    /// Waits for a line.
    pub(crate) fn wait_for(line: &str) {
        let lines = LOG.lines.lock().unwrap();
        let missing = |lines: &mut Vec<String>| !lines.iter().any(|logged| logged == line);
        let (lines, waited) = LOG.more.wait_timeout_while(lines, PATIENCE, missing).unwrap();
        assert!(!waited.timed_out(), "no line '{line}' in {lines:#?}");
    }
}

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {}", record.level(), record.args());
        self.lines.lock().unwrap().push(line);
        self.more.notify_all();
    }

    fn flush(&self) {}
}
