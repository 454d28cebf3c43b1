//! Stands in for zeromq-src 0.2 in zmq-sys' build script, so that the `zmq` crate gets libzmq 4.3.5 with CURVE.
//!
//! What `build` prints makes both archives, libsodium's and libzmq's, part of zmq-sys' own rlib: a crate that
//! depends on `zmq` links CURVE with nothing more to say. No `extern crate libsodium_sys`, no link argument.
//!
//! libsodium comes out of libsodium-sys-stable's package, built for the machine that builds. When building for
//! another one set `SODIUM_LIB_DIR` and, unless the compiler finds `sodium.h` by itself, `SODIUM_INCLUDE_DIR`.
#![forbid(unsafe_code)]

pub use real::LibLocation;
use std::env;

/// The part of zeromq-src 0.2 that zmq-sys calls.
#[derive(Default)]
pub struct Build;

impl Build {
    /// Starts a build.
    pub fn new() -> Self {
        Self
    }

    /// Takes no heed of zmq-sys' choice, which is always to do without.
    pub fn with_libsodium(self, _none: Option<LibLocation>) -> Self {
        self
    }

    /// Builds libzmq with CURVE and tells cargo to link it.
    ///
    /// # Panics
    ///
    /// If there is no libsodium: a build without CURVE would run open where keys were asked for.
    pub fn build(self) {
        let find = |name: &str, built: Option<&str>| {
            println!("cargo:rerun-if-env-changed={name}");
            env::var(name).ok().or_else(|| built.map(str::to_owned))
        };
        let lib = find("SODIUM_LIB_DIR", option_env!("DEP_SODIUM_LIB"))
            .expect("libsodium-sys-stable named no library; set SODIUM_LIB_DIR");
        let include = find("SODIUM_INCLUDE_DIR", option_env!("DEP_SODIUM_INCLUDE"))
            .unwrap_or_else(|| "/usr/include".to_owned());
        real::Build::new().with_libsodium(Some(LibLocation::new(lib, include))).build();
    }
}
