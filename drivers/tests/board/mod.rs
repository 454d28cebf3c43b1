//! A board with the surroundings that an agent gives it.

#![allow(dead_code)] // each test file takes what it needs of this

use proximity_drivers::fpga::{Fpga, Setup};
use proximity_proto::{
    Context, Fault, Object, Principal, Value, json,
    limits::Limits,
    object::{Args, Flow, Host, Interface},
};
use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// The surroundings of a call: a real clock.
pub(crate) struct Surroundings {
    start: Instant,
    cancelled: AtomicBool,
    progress: Mutex<Vec<(u64, u64)>>,
}

impl Surroundings {
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

impl Host for Surroundings {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    fn progress(&self, done: u64, total: u64, _text: &str) {
        self.progress.lock().unwrap().push((done, total));
    }
}

/// A board and how its methods are called here.
pub(crate) struct Board {
    fpga: Fpga,
    interface: Interface,
    pub(crate) surroundings: Surroundings,
    /// How long a caller waits.
    pub(crate) patience: Duration,
}

impl Board {
    pub(crate) fn new(host: &str, port: u16) -> Self {
        Self::of(&Setup::new(host, port))
    }

    pub(crate) fn of(setup: &Setup) -> Self {
        let fpga = Fpga::new(setup);
        let interface = fpga.interface();
        let surroundings = Surroundings {
            start: Instant::now(),
            cancelled: AtomicBool::new(false),
            progress: Mutex::default(),
        };
        Self { fpga, interface, surroundings, patience: Duration::from_secs(20) }
    }

    pub(crate) fn fpga(&mut self) -> &mut Fpga {
        &mut self.fpga
    }

    pub(crate) fn interface(&self) -> &Interface {
        &self.interface
    }

    pub(crate) fn address(&self) -> String {
        self.fpga.address().to_owned()
    }

    pub(crate) fn progress(&self) -> Vec<(u64, u64)> {
        self.surroundings.progress.lock().unwrap().clone()
    }

    /// Calls a method as Rust does; its error is what a caller gets.
    pub(crate) fn call<T, E: Into<Fault>>(
        &mut self,
        method: impl FnOnce(&mut Fpga, &Context<'_>) -> Result<T, E>,
    ) -> Result<T, Fault> {
        let principal = Principal::local();
        let deadline = self.surroundings.now() + self.patience;
        let cx = Context::new(&self.surroundings, Some(deadline), &principal);
        method(&mut self.fpga, &cx).map_err(Into::into)
    }

    /// Starts a call as an agent does: arguments by position as JSON.
    pub(crate) fn start(&mut self, method: &str, args: &str) -> Result<Started, Fault> {
        let mut bytes = Vec::new();
        json::to_messagepack(args.as_bytes(), &Limits::default(), &mut bytes).unwrap();
        let Some(Value::Array(positional)) = Value::first(&bytes) else {
            panic!("{args}: no list")
        };
        let named = |m: &&proximity_proto::object::Method| m.name == method;
        let method =
            self.interface.methods.iter().find(named).expect("there is such a method").clone();
        let mut out = Vec::new();
        let args = Args { positional, ..Args::NONE };
        let flow = self.call(|fpga, cx| fpga.call(&method, args, cx, &mut out))?;
        Ok(Started { flow, out })
    }

    /// Goes on with a call that waits, at its time, until it ends.
    pub(crate) fn finish(&mut self, mut started: Started) -> Result<Vec<u8>, Fault> {
        while let Flow::Later(resume) = started.flow {
            thread::sleep(resume.at.saturating_sub(self.surroundings.now()));
            let out = &mut started.out;
            started.flow = self.call(|fpga, cx| (resume.run)(fpga, cx, out))?;
        }
        Ok(started.out)
    }

    /// Calls a method as an agent does, and returns its result as JSON, or the lines of its error with `BOARD` for
    /// the address.
    pub(crate) fn ask(&mut self, method: &str, args: &str) -> String {
        let result = self.start(method, args).and_then(|started| self.finish(started));
        match result {
            Ok(bytes) => String::from_utf8(json::from_messagepack(&bytes).unwrap()).unwrap(),
            Err(fault) => lines(&fault).replace(&self.address(), "BOARD"),
        }
    }

    /// The bytes that a method results in.
    pub(crate) fn bytes(&mut self, method: &str, args: &str) -> Vec<u8> {
        let started = self.start(method, args).unwrap();
        let out = self.finish(started).unwrap();
        Value::first(&out).and_then(|value| value.as_bytes()).expect("bytes").to_vec()
    }
}

/// A call that is under way.
pub(crate) struct Started {
    pub(crate) flow: Flow,
    pub(crate) out: Vec<u8>,
}

/// An error as a person sees it.
pub(crate) fn lines(fault: &Fault) -> String {
    let detail = fault.detail.iter().cloned();
    let hint = fault.hint.iter().map(|hint| format!("hint: {hint}"));
    std::iter::once(fault.to_string()).chain(detail).chain(hint).collect::<Vec<_>>().join("\n  ")
}
