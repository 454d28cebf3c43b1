//! Stands in for zeromq-src 0.2 in zmq-sys' build script, so that the `zmq` crate gets libzmq 4.3.5 with CURVE.
//!
//! What `build` prints makes both archives, libsodium's and libzmq's, part of zmq-sys' own rlib: a crate that
//! depends on `zmq` links CURVE with nothing more to say. No `extern crate libsodium_sys`, no link argument.
//!
//! libsodium comes out of libsodium-sys-stable's package, built for the machine that builds. When building for
//! another one set `SODIUM_LIB_DIR` and, unless the compiler finds `sodium.h` by itself, `SODIUM_INCLUDE_DIR`.
//!
//! zeromq-src leaves out most of what libzmq's own configuration finds out about Linux. That costs more than
//! speed: sockets would be open in child processes, and keepalive would be set in vain. [`LINUX`] gives it back.
//!
//! libzmq's drafts are built too, for two of them: how large the buffer of a connection is, and what is received
//! when it ends. They add functions, options and socket types, and change no type that the `zmq` crate knows.
#![forbid(unsafe_code)]

pub use real::LibLocation;
use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

/// What CMake finds out on every Linux since 2.6.32, with glibc or musl.
///
/// Without `HAVE_FORK`, that costs a system call for each wake: a child process that goes on with the parent's
/// sockets is not served.
const LINUX: &str = "\
#define ZMQ_HAVE_EVENTFD
#define ZMQ_HAVE_EVENTFD_CLOEXEC
#define ZMQ_IOTHREAD_POLLER_USE_EPOLL_CLOEXEC
#define ZMQ_HAVE_SOCK_CLOEXEC
#define ZMQ_HAVE_O_CLOEXEC
#define HAVE_ACCEPT4
#define ZMQ_HAVE_SO_PEERCRED
#define ZMQ_HAVE_SO_KEEPALIVE
#define ZMQ_HAVE_TCP_KEEPCNT
#define ZMQ_HAVE_TCP_KEEPIDLE
#define ZMQ_HAVE_TCP_KEEPINTVL
#define ZMQ_HAVE_SO_PRIORITY
#define ZMQ_HAVE_SO_BINDTODEVICE
#define ZMQ_HAVE_BUSY_POLL
#define ZMQ_HAVE_IFADDRS
#define HAVE_IF_NAMETOINDEX
#define HAVE_MKDTEMP
#define HAVE_CLOCK_GETTIME
#define HAVE_POSIX_MEMALIGN 1
#define ZMQ_CACHELINE_SIZE 64
#define ZMQ_HAVE_NOEXCEPT
#define ZMQ_HAVE_PTHREAD_SETNAME_2
#define ZMQ_HAVE_PTHREAD_SET_AFFINITY
";

/// How many messages a pipe's memory grows by: 32, where libzmq says 256.
///
/// Each connection has two pipes, and of both at least the first 32 places: 4 KiB where it would be 32. Places
/// are used again, so that a pipe that is read allocates nothing.
///
/// libzmq's own number is an enumerator, and the definition of its name has to come after it.
const PIPES: &str = "\
#ifdef __cplusplus
#include <config.hpp>
#define message_pipe_granularity 32
#endif
";

/// A ROUTER names its connections itself, whatever names they give themselves.
///
/// libzmq takes a peer's word for its name, and from 0 on in it lie the names that it gives away itself, of which
/// the next one is easily guessed: a peer that had that name would end the process, by an assertion of libzmq's.
/// A name that is taken leaves its connection unread, and what it sent in memory for ever; and a name of
/// megabytes comes with each message.
///
/// Where libzmq looks whether a peer's name is taken, it gets another one first, and the name itself is never
/// kept. Both places are told by the word that the argument begins with.
const NAMES: &str = "\
#ifdef __cplusplus
#define lookup_out_pipe(id) lookup_out_pipe (PROXIMITY_##id)
#define PROXIMITY_const const
#define PROXIMITY_blob_t blob_t
#define PROXIMITY_routing_id_blob routing_id_blob
#define PROXIMITY_routing_id ([&] () -> const blob_t & { \\
    unsigned char own[5] = {0}; \\
    put_uint32 (own + 1, _next_integral_routing_id++); \\
    routing_id.set (own, sizeof own); \\
    return routing_id; \\
} ())
#define set_peer_routing_id(id, size) set_peer_routing_id (id, PROXIMITY_##size)
#define PROXIMITY_size_t size_t
#define PROXIMITY_value_length 0
#endif
";

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
        let include = find("SODIUM_INCLUDE_DIR", option_env!("DEP_SODIUM_INCLUDE"));
        let include = configured(include).expect("cannot write libzmq's configuration");
        real::Build::new()
            .enable_draft(true)
            .with_libsodium(Some(LibLocation::new(lib, include)))
            .build();
    }
}

/// Returns a directory that leads to libsodium's headers, in `sodium` or where the compiler finds them, and in
/// which libzmq finds its configuration before the empty one that zeromq-src writes.
fn configured(sodium: Option<String>) -> io::Result<PathBuf> {
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return Ok(sodium.unwrap_or_else(|| "/usr/include".to_owned()).into());
    }
    let out = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    let include = Path::new(&out).join("configured");
    fs::create_dir_all(&include)?;
    fs::write(include.join("platform.hpp"), [LINUX, PIPES, NAMES].concat())?;
    let header = sodium.map_or("#include_next <sodium.h>\n".to_owned(), |directory| {
        format!("#include \"{directory}/sodium.h\"\n")
    });
    fs::write(include.join("sodium.h"), header)?;
    Ok(include)
}
