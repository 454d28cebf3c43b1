//! Ctrl-C while a call runs: the call is taken back, and the wait for it ends.

use crate::cmd::App;
use proximity_client::{
    CallError, CallId, CallOptions, Client, Error, HowCancelled, NotSent, Progress, Reason, Reply,
    Stop, Unknown,
};
use signal_hook::{consts::SIGINT, iterator::Signals};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How long the agent may take to say that it has taken a call back: a person waits for a prompt.
const PATIENCE: Duration = Duration::from_millis(500);

/// Hears Ctrl-C from its making on, instead of ending the process.
#[derive(Clone)]
pub(crate) struct Interrupt {
    running: Arc<Mutex<Option<(CallId, Stop)>>>,
}

impl Interrupt {
    /// Starts to listen. Where that is not possible Ctrl-C ends the process, as ever.
    pub(crate) fn new(client: &Client) -> Self {
        let this = Self { running: Arc::default() };
        let (heard, client) = (this.clone(), client.clone().with_timeout(PATIENCE));
        match Signals::new([SIGINT]) {
            Ok(mut signals) => {
                std::thread::spawn(move || {
                    for _ in signals.forever() {
                        heard.end_call(&client);
                    }
                });
            }
            Err(error) => log::warn!("Ctrl-C will end the process: {error}"),
        }
        this
    }

    fn end_call(&self, client: &Client) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some((id, stop)) = running else { return };
        match client.cancel(id) {
            // The agent has taken it back, and answers the call itself with that.
            Ok(HowCancelled::Queued | HowCancelled::Waiting) => {}
            other => {
                log::debug!("the call is not taken back: {other:?}");
                stop.stop();
            }
        }
    }

    /// Runs `call` so that Ctrl-C ends it, showing its progress.
    pub(crate) fn guard(
        &self,
        app: &App<'_>,
        call: impl FnOnce(CallOptions<'_>) -> Result<Reply, Error>,
    ) -> Result<Reply, Error> {
        let (id, stop) = (app.client.new_id(), app.client.stop());
        let set = |to| *self.running.lock().unwrap_or_else(PoisonError::into_inner) = to;
        set(Some((id, stop.clone())));
        let mut shown = false;
        let mut show = |progress: Progress<'_>| {
            shown = true;
            app.output.progress(progress);
        };
        let progress: Option<&mut dyn FnMut(Progress<'_>)> =
            if app.output.shows_progress() { Some(&mut show) } else { None };
        let result = call(CallOptions { timeout: None, progress, id: Some(id), stop: Some(&stop) });
        set(None);
        if shown {
            app.output.end_progress();
        }
        result
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
