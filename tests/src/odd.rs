//! Objects that misbehave as devices do: slow, large, and broken.

use proximity_proto::{Context, Fault, expose};
use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

/// Holds its thread, as a device that does not answer does.
pub struct Sleeper;

#[expose]
impl Sleeper {
    /// Does nothing for a while, and cannot be interrupted.
    ///
    /// seconds: how long
    /// returns: the same
    #[effect(write)]
    pub fn sleep(&self, seconds: f64) -> f64 {
        // What it is for: a device that is slow.
        std::thread::sleep(Duration::from_secs_f64(seconds.clamp(0.0, 60.0)));
        seconds
    }

    /// Holds its thread until it is told to stop.
    ///
    /// returns: whether it was told, and not just late
    #[effect(write)]
    pub fn wait(&self, cx: &Context<'_>) -> bool {
        while !cx.is_cancelled() {
            std::thread::yield_now();
        }
        true
    }
}

/// Has more bytes than fit.
#[derive(Default)]
pub struct Blob {
    bytes: Vec<u8>,
}

#[expose]
impl Blob {
    /// Reads `size` bytes.
    ///
    /// size: bytes
    /// returns: bytes, each of its place's low eight bits
    #[effect(read)]
    pub fn read(&mut self, size: u32) -> &[u8] {
        let size = size as usize;
        if self.bytes.len() < size {
            self.bytes = (0..=u8::MAX).cycle().take(size).collect();
        }
        self.bytes.get(..size).unwrap_or_default()
    }
}

/// How many panickers were opened in this process.
static OPENED: AtomicU32 = AtomicU32::new(0);

/// Panics, and tells which of its kind it is.
pub struct Panicker {
    number: u32,
    broken: bool,
}

impl Panicker {
    /// Another one.
    pub fn open() -> Self {
        Self { number: OPENED.fetch_add(1, Relaxed) + 1, broken: false }
    }
}

#[expose]
impl Panicker {
    /// Breaks itself, then panics.
    #[allow(clippy::missing_panics_doc, reason = "that is what it is for")]
    pub fn boom(&mut self) -> u32 {
        self.broken = true;
        panic!("boom number {}", self.number);
    }

    /// Panics where the router runs it itself.
    #[quick]
    #[allow(clippy::missing_panics_doc, reason = "that is what it is for")]
    pub fn quick_boom(&mut self) -> u32 {
        self.broken = true;
        panic!("quick boom number {}", self.number);
    }

    /// How many of its kind were opened up to it.
    ///
    /// raises RuntimeError: it was used after a panic
    pub fn number(&self) -> Result<u32, Fault> {
        if self.broken {
            return Err(Fault::runtime_error("used after a panic"));
        }
        Ok(self.number)
    }
}
