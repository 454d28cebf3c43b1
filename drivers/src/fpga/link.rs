//! The connection to the board, as the original's callers know it.

use super::{Fpga, FpgaError, lossy, plain::Dict};
use crate::katcp_client::Limit;
use proximity_proto::{Context, Later, expose};
use std::time::Duration;

/// How long `is_connected()` waits for a connection that is being made: boards nearby take a millisecond.
const LOOK: Duration = Duration::from_millis(200);
/// How often a method that waits looks again.
const POLL: Duration = Duration::from_millis(50);
/// How long `wait_connected()` and `join()` wait for a caller who names no time.
const WAIT: Duration = Duration::from_secs(5);
/// The longest that they wait, whatever the caller names.
const MOST: Duration = Duration::from_hours(1);

#[expose(part = Links)]
impl Fpga {
    /// Asks the board's server for a sign of life.
    ///
    /// returns: True
    ///
    /// Nothing on the board changes.
    ///
    /// raises ConnectionError: there is no connection to the board
    /// raises TimeoutError: the board did not answer in time
    #[effect(read)]
    pub fn ping(&mut self, cx: &Context<'_>) -> Result<bool, FpgaError> {
        self.client.ask(&self.limit(cx, 0), "watchdog", &[], |_| {})?;
        Ok(true)
    }

    /// Tells whether there is a connection to the board.
    ///
    /// returns: True or False
    ///
    /// If there is none, one is tried for, as any other method does. Nothing on the board changes.
    #[effect(read)]
    pub fn is_connected(&mut self, cx: &Context<'_>) -> bool {
        self.client.is_connected(Some(&Limit::new(cx, LOOK)))
    }

    /// Waits until there is a connection to the board.
    ///
    /// timeout: seconds to wait at most; None for 5
    /// returns: True if there is one, False if the time was over first
    ///
    /// Other calls to the same board are served meanwhile. Nothing on the board changes.
    #[effect(read)]
    pub fn wait_connected(
        &mut self,
        cx: &Context<'_>,
        #[default(None)] timeout: Option<f64>,
    ) -> Later<Self, bool> {
        self.wait_until(cx, until(cx, timeout), |board| board.client.is_connected(None))
    }

    /// Tells whether connections to the board are made at all.
    ///
    /// returns: True, until stop() is called
    ///
    /// Nothing on the board changes.
    #[quick]
    pub fn running(&self) -> bool {
        self.client.is_running()
    }

    /// Allows connections again after stop().
    ///
    /// timeout, daemon, excepthook: without meaning here, where no thread is started
    ///
    /// The connection is made by the next call that needs it.
    ///
    /// raises RuntimeError: stop() was not called before
    #[effect(admin)]
    pub fn start(
        &mut self,
        #[default(None)] timeout: Option<f64>,
        #[default(None)] daemon: Option<bool>,
        #[default(None)] excepthook: Option<bool>,
    ) -> Result<(), FpgaError> {
        let _ = (timeout, daemon, excepthook);
        if self.client.is_running() {
            let board = self.client.board().clone();
            return Err(FpgaError::Running { board });
        }
        self.client.start();
        Ok(())
    }

    /// Takes the connection to the board down, and makes none until start() is called.
    ///
    /// Meanwhile all that needs the board raises ConnectionError. Other objects are not touched, nor is the board.
    ///
    /// raises RuntimeError: it was stopped before
    #[effect(admin)]
    pub fn stop(&mut self) -> Result<(), FpgaError> {
        if !self.client.is_running() {
            let board = self.client.board().clone();
            return Err(FpgaError::NotRunning { board });
        }
        self.client.stop();
        self.devices.forget();
        Ok(())
    }

    /// Waits until stop() was called.
    ///
    /// timeout: seconds to wait at most; None for 5
    ///
    /// Other calls to the same board are served meanwhile. Nothing on the board changes.
    #[effect(read)]
    pub fn join(
        &mut self,
        cx: &Context<'_>,
        #[default(None)] timeout: Option<f64>,
    ) -> Later<Self, ()> {
        match self.wait_until(cx, until(cx, timeout), |board| !board.client.is_running()) {
            Later::Ready(_) => Later::Ready(()),
            Later::At(at, rest) => nothing(at, rest),
        }
    }

    /// The loop of the original's own thread, which cannot be called from afar.
    ///
    /// raises RuntimeError: always; start() allows connections
    #[effect(read)]
    pub fn run(&mut self) -> Result<(), FpgaError> {
        Err(FpgaError::OwnLoop)
    }

    /// Tells the versions of the board's software.
    ///
    /// returns: a dictionary: each part's name, such as katcp-protocol or kernel, and its version
    ///
    /// Nothing on the board changes.
    #[effect(read)]
    pub fn versions(&mut self, cx: &Context<'_>) -> Result<Dict, FpgaError> {
        let limit = self.limit(cx, 0);
        let mut listed = Vec::new();
        let asked = self.client.ask(&limit, "version-list", &[], |mut inform| {
            let mut word = || inform.next_arg().map(|word| lossy(word));
            listed.push((word().unwrap_or_default(), word().unwrap_or_default(), word()));
        });
        // An old server does not know the question, but has introduced itself.
        asked.map(|_| ()).or_else(FpgaError::unless_refused)?;
        let greeted = self.client.versions().iter();
        let greeted = greeted.map(|v| (v.name.clone(), v.version.clone(), v.build.clone()));
        let mut versions = Dict::default();
        for (name, version, build) in greeted.chain(listed) {
            if versions.get(&name).is_none() {
                let build = build.map(|build| format!(" {build}")).unwrap_or_default();
                versions.add(name, version + &build);
            }
        }
        Ok(versions)
    }
}

impl Fpga {
    /// Looks every now and then whether `what` is true, up to `until`; tells whether it came true.
    fn wait_until(
        &mut self,
        cx: &Context<'_>,
        until: Duration,
        what: fn(&mut Self) -> bool,
    ) -> Later<Self, bool> {
        if what(self) {
            return Later::Ready(true);
        }
        if cx.now() >= until {
            return Later::Ready(false);
        }
        let at = until.min(cx.now() + POLL);
        Later::at(at, move |board: &mut Self, cx| Ok(board.wait_until(cx, until, what)))
    }
}

/// The same wait, with no result.
fn nothing(at: Duration, rest: proximity_proto::object::Rest<Fpga, bool>) -> Later<Fpga, ()> {
    Later::at(at, move |board: &mut Fpga, cx| match rest(board, cx)? {
        Later::Ready(_) => Ok(Later::Ready(())),
        Later::At(at, rest) => Ok(nothing(at, rest)),
    })
}

/// The end of a wait of `seconds`, or of the caller's own if that is nearer.
fn until(cx: &Context<'_>, seconds: Option<f64>) -> Duration {
    let wait = seconds.map_or(WAIT, |s| Duration::try_from_secs_f64(s.max(0.0)).unwrap_or(MOST));
    let until = cx.now() + wait.min(MOST);
    cx.deadline().map_or(until, |deadline| deadline.min(until))
}
