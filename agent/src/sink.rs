//! Standard error as the log writes to it: by a thread of its own, so that no call waits for whoever
//! reads the log, or does not.

use std::{
    io::{self, Write},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

/// Lines that may wait to be written.
const WAITING: usize = 1024;

/// How long the agent's end waits for the last of them.
const FAREWELL: Duration = Duration::from_secs(1);

/// Lines that found no room.
static LOST: AtomicU64 = AtomicU64::new(0);

static LINES: OnceLock<SyncSender<Entry>> = OnceLock::new();

enum Entry {
    Lines(Vec<u8>),
    /// All before it has been written: tell so.
    Mark(SyncSender<()>),
}

/// Takes lines for standard error, and never waits.
pub(crate) struct Sink;

impl Sink {
    /// Starts the thread that writes.
    ///
    /// # Errors
    ///
    /// The kernel's, where it gives no more threads.
    pub(crate) fn start() -> io::Result<Self> {
        let (sender, receiver) = sync_channel(WAITING);
        thread::Builder::new().name("log".into()).spawn(move || write_all(&receiver))?;
        // There is one log in a process.
        let _ = LINES.set(sender);
        Ok(Self)
    }
}

impl Write for Sink {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let sent = LINES.get().map(|sender| sender.try_send(Entry::Lines(lines.to_vec())));
        if !matches!(sent, Some(Ok(()))) {
            LOST.fetch_add(1, Relaxed);
        }
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits until all that was logged is written, or it takes too long.
pub(crate) fn flush() {
    let Some(sender) = LINES.get() else { return };
    let (mark, written) = sync_channel(1);
    if sender.try_send(Entry::Mark(mark)).is_ok() {
        let _ = written.recv_timeout(FAREWELL);
    }
}

/// Nothing can be done about a log that cannot be written: the next line may find it better.
fn write_all(entries: &Receiver<Entry>) {
    let mut stderr = io::stderr();
    for entry in entries {
        match entry {
            Entry::Lines(lines) => {
                let _ = stderr.write_all(&lines);
            }
            Entry::Mark(mark) => {
                let _ = mark.send(());
            }
        }
        let lost = LOST.swap(0, Relaxed);
        if lost > 0 {
            let _ = writeln!(stderr, "{lost} lines of the log were lost: it was not read in time");
        }
    }
}
