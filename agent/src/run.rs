//! Runs an agent: on the caller's thread, or on one of its own.

use crate::{
    config::Config,
    control::Control,
    os,
    router::Router,
    transport::{ListenError, Transport, zmq::Zmq},
};
use std::{
    io,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

/// Serves `config` until `control` tells it to stop.
///
/// `on_ready` is told how clients reach the agent: once all is set up, and again after a reload that
/// changed where it listens.
///
/// # Errors
///
/// [`RunError`] where it cannot start; then nothing was started.
pub fn run(
    config: Config,
    control: &Control,
    on_ready: impl FnMut(&[String]),
) -> Result<(), RunError> {
    os::give_memory_back();
    run_over(Box::new(Zmq::new(Arc::clone(control.bell()))?), config, control, on_ready)
}

/// [`run`], over any transport.
///
/// # Errors
///
/// As [`run`].
pub fn run_over(
    transport: Box<dyn Transport>,
    config: Config,
    control: &Control,
    mut on_ready: impl FnMut(&[String]),
) -> Result<(), RunError> {
    let (mut router, addresses) = Router::new(config, control.clone(), transport)?;
    router.open_objects();
    on_ready(&addresses);
    router.tell_ready();
    router.serve(&mut on_ready);
    router.close();
    Ok(())
}

/// Why an agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It cannot listen where it is to.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The system has no thread or descriptor left for it.
    #[error("the agent cannot be started")]
    System(#[from] io::Error),
}

/// Has each panic logged as one line, in place of the standard library's report.
///
/// A driver's panic is caught and answered; this line is what remains of where it came from.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        let name = thread.name().unwrap_or("without a name");
        let said = panic.payload_as_str().unwrap_or("(no message)");
        match panic.location() {
            Some(place) => log::error!("thread '{name}' panicked at {place}: {said}"),
            None => log::error!("thread '{name}' panicked: {said}"),
        }
    }));
}

/// An agent in this process, on a thread of its own: for tests, and for programs that are agents
/// beside something else.
///
/// Dropping it stops it, without waiting for the end.
pub struct Agent {
    control: Control,
    addresses: Vec<String>,
    thread: Option<JoinHandle<Result<(), RunError>>>,
}

impl Agent {
    /// Starts an agent, and returns once it serves.
    ///
    /// # Errors
    ///
    /// As [`run`].
    pub fn start(config: Config) -> Result<Self, RunError> {
        let control = Control::new()?;
        let (ready, told) = mpsc::channel();
        let own = control.clone();
        let thread = thread::Builder::new().name("router".into()).spawn(move || {
            run(config, &own, |addresses| {
                // Whoever started it may not want to know any more.
                let _ = ready.send(addresses.to_vec());
            })
        })?;
        let mut agent = Self { control, addresses: Vec::new(), thread: Some(thread) };
        match told.recv() {
            Ok(addresses) => {
                agent.addresses = addresses;
                Ok(agent)
            }
            // It ended before it was ready.
            Err(_) => Err(agent.join().err().unwrap_or_else(|| {
                RunError::System(io::Error::other("it ended before it was ready"))
            })),
        }
    }

    /// How clients reach it, in the order of the configuration's endpoints.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// How clients reach its first endpoint.
    pub fn address(&self) -> &str {
        self.addresses.first().map_or("", String::as_str)
    }

    /// Its control.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Stops it, and waits until what runs has ended.
    ///
    /// # Errors
    ///
    /// [`RunError::System`] if it panicked.
    pub fn stop(mut self) -> Result<(), RunError> {
        self.control.drain();
        self.join()
    }

    fn join(&mut self) -> Result<(), RunError> {
        let ended = self.thread.take().map_or(Ok(Ok(())), JoinHandle::join);
        ended.unwrap_or_else(|_| Err(RunError::System(io::Error::other("it panicked"))))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.control.drain();
    }
}
