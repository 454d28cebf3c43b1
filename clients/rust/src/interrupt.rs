//! Ctrl-C while a call runs: the call is taken back, and the wait for it ends.

use crate::{
    cmd::App,
    failure::{Failure, INTERRUPTED},
};
use proximity_client::{
    CallError, CallId, CallOptions, Client, Error, HowCancelled, NotSent, Progress, Reason, Reply,
    Stop, Unknown,
};
use signal_hook::{consts::SIGINT, iterator::Signals};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long the agent may take to say that it has taken a call back: a person waits for a prompt.
const PATIENCE: Duration = Duration::from_millis(500);

/// Hears Ctrl-C from its making on, instead of ending the process.
#[derive(Clone)]
pub(crate) struct Interrupt {
    running: Arc<Mutex<Option<Running>>>,
}

/// What Ctrl-C ends.
#[derive(Clone)]
struct Running {
    stop: Stop,
    /// The call that can be taken back.
    id: Option<CallId>,
}

/// What Ctrl-C does while nothing waits for the agent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenIdle {
    /// It ends the process.
    Exit,
    /// Nothing: it is somebody else's.
    Ignore,
}

impl Interrupt {
    /// Starts to listen. Where that is not possible Ctrl-C ends the process, as ever.
    pub(crate) fn new(client: &Client, when_idle: WhenIdle) -> Self {
        let this = Self { running: Arc::default() };
        let (heard, client) = (this.clone(), client.clone().with_timeout(PATIENCE));
        match Signals::new([SIGINT]) {
            Ok(mut signals) => {
                std::thread::spawn(move || {
                    for _ in signals.forever() {
                        let running = heard.lock().clone();
                        match running {
                            Some(running) => running.end(&client),
                            None if when_idle == WhenIdle::Exit => {
                                std::process::exit(INTERRUPTED.into())
                            }
                            None => {}
                        }
                    }
                });
            }
            Err(error) => log::warn!("Ctrl-C will end the process: {error}"),
        }
        this
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what `ask` asks of the agent, so that Ctrl-C ends the wait for it.
    pub(crate) fn run<T>(
        &self,
        app: &App<'_>,
        ask: impl FnOnce(&App<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let (client, stop) = app.client.clone().with_stop();
        *self.lock() = Some(Running { stop, id: None });
        let result = ask(&App { client, output: app.output, held: app.held });
        *self.lock() = None;
        result.map_err(|failure| match failure {
            Failure::Call(error) if was_interrupted(&error) => Failure::Interrupted(error),
            other => other,
        })
    }

    /// Makes a call within [`Interrupt::run`], which Ctrl-C takes back, and shows its progress.
    pub(crate) fn call(
        &self,
        app: &App<'_>,
        call: impl FnOnce(CallOptions<'_>) -> Result<Reply, Error>,
    ) -> Result<Reply, Failure> {
        let id = app.client.new_id();
        if let Some(running) = &mut *self.lock() {
            running.id = Some(id);
        }
        let mut shown = false;
        let mut show = |progress: Progress<'_>| {
            shown = true;
            app.output.progress(progress);
        };
        let progress: Option<&mut dyn FnMut(Progress<'_>)> =
            if app.output.shows_progress() { Some(&mut show) } else { None };
        let result = call(CallOptions { timeout: None, progress, id: Some(id) });
        if shown {
            app.output.end_progress();
        }
        Ok(result?)
    }
}

impl Running {
    fn end(self, client: &Client) {
        match self.id.map(|id| client.cancel(id)) {
            // The agent has taken it back, and answers the call itself with that.
            Some(Ok(HowCancelled::Queued | HowCancelled::Waiting)) => {}
            other => {
                log::debug!("the call is not taken back: {other:?}");
                self.stop.stop();
            }
        }
    }
}

/// Whether a call ended by Ctrl-C.
pub(crate) fn was_interrupted(error: &Error) -> bool {
    matches!(
        error,
        Error::Call(
            CallError::NotExecuted { reason: Some(Reason::Cancelled), .. }
                | CallError::NotSent { why: NotSent::Interrupted, .. }
                | CallError::OutcomeUnknown { why: Unknown::Interrupted, .. }
        )
    )
}
