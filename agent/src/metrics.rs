//! `--metrics`: how the agent is, as Prometheus reads it, over HTTP.
//!
//! A few threads of their own answer, and ask the router for what they tell; a router that does not
//! answer is told of by status 503. Whoever asks slowly or without end holds one of these threads for
//! a moment, and nothing else.

mod http;
mod text;

use crate::{control::Control, router::Snapshot};
use http::{Answer, TEXT};
use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

/// Connections that are answered at the same time.
const THREADS: usize = 4;

/// How long the router may take to tell.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long to pause when no connection can be accepted, as where descriptors have run out.
const PAUSE: Duration = Duration::from_millis(200);

/// What a reader of the text is told that it is.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves the figures of the agent of `control` at `address`, until the process ends. Returns where
/// exactly.
///
/// Callers from other machines are answered if the configuration's `plaintext` lets them come.
///
/// # Errors
///
/// The system's: the address cannot be had, or there is no thread left.
pub fn serve_metrics(address: SocketAddr, control: &Control) -> io::Result<SocketAddr> {
    let listener = Arc::new(TcpListener::bind(address)?);
    let address = listener.local_addr()?;
    for _ in 0..THREADS {
        let (listener, control) = (Arc::clone(&listener), control.clone());
        let accept = move || {
            loop {
                match listener.accept() {
                    Ok((stream, from)) => answer(stream, from.ip(), &control),
                    Err(error) => {
                        log::debug!("no connection for metrics: {error}");
                        thread::sleep(PAUSE);
                    }
                }
            }
        };
        thread::Builder::new().name("metrics".into()).spawn(accept)?;
    }
    Ok(address)
}

fn answer(mut stream: TcpStream, from: IpAddr, control: &Control) {
    let ended = http::serve(&mut stream, |path| match path {
        "/metrics" => figures(from, control),
        "/" => Answer { status: "200 OK", kind: TEXT, body: "/metrics\n".into() },
        _ => Answer { status: "404 Not Found", kind: TEXT, body: "there is: /metrics\n".into() },
    });
    if let Err(error) = ended {
        log::debug!("{from} got no metrics: {error}");
    }
}

fn figures(from: IpAddr, control: &Control) -> Answer {
    let Some(snapshot) = control.snapshot(PATIENCE) else {
        let body = "the agent's router does not answer\n".into();
        return Answer { status: "503 Service Unavailable", kind: TEXT, body };
    };
    if !may_ask(&snapshot, from) {
        let body = format!("this agent tells nothing to {from}: see 'plaintext' in its file\n");
        return Answer { status: "403 Forbidden", kind: TEXT, body };
    }
    match text::of(snapshot) {
        Ok(body) => Answer { status: "200 OK", kind: OPEN_METRICS, body },
        Err(error) => {
            let body = format!("the figures cannot be written: {error}\n");
            Answer { status: "500 Internal Server Error", kind: TEXT, body }
        }
    }
}

fn may_ask(snapshot: &Snapshot, from: IpAddr) -> bool {
    let from = from.to_canonical();
    from.is_loopback() || snapshot.plaintext.allows(from)
}
