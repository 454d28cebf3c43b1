//! What the agent asks of the operating system that safe Rust cannot: its only unsafe code.

#![allow(unsafe_code, reason = "each block says why it is sound")]

use std::{ffi::c_void, io, mem::MaybeUninit, time::Duration};

/// Waits until one of `fds` can be read, or `timeout` is over; `None` waits for ever.
///
/// Takes descriptors as numbers because libzmq gives them so. A number that is not open is told by its
/// `revents`, as everything else is.
///
/// # Errors
///
/// The kernel's. A signal is none: the wait just ends.
pub(crate) fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<()> {
    #[allow(
        clippy::cast_possible_wrap,
        clippy::cast_lossless,
        reason = "it is below 10^9, and has 32 bits on some machines"
    )]
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos() as libc::c_long,
    });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let count = fds.len() as libc::nfds_t;
    // SAFETY: `fds` is a slice of `count` entries that the kernel reads and writes in place; `timeout`
    // is null or points to a value that lives until the end of this function; a null signal mask
    // leaves the mask as it is.
    let result = unsafe { libc::ppoll(fds.as_mut_ptr(), count, timeout, std::ptr::null()) };
    if result >= 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    // Whatever the last wait left there is not true of this one.
    for fd in fds {
        fd.revents = 0;
    }
    if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}

/// Blocks of at least this many bytes come from the kernel and go back to it when freed.
const MAPPED: libc::c_int = 4 << 20;

/// Free memory at the end of the heap beyond this goes back to the kernel.
const KEPT: libc::c_int = 8 << 20;

/// Has the allocator give memory back once large replies are gone.
///
/// By itself glibc raises both limits with each large block that is freed, and then keeps for good
/// what one burst of bulk reads took. Smaller blocks stay in the heap: mapping a 1 MiB reply anew each
/// time costs more than copying it.
pub(crate) fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in [(libc::M_MMAP_THRESHOLD, MAPPED), (libc::M_TRIM_THRESHOLD, KEPT)] {
        // SAFETY: mallopt takes two numbers, touches no memory of ours, and may be called at any time
        // from any thread: glibc takes the arena's lock.
        let taken = unsafe { libc::mallopt(parameter, value) };
        if taken == 0 {
            log::warn!("the allocator does not take option {parameter} = {value}");
        }
    }
}

/// Has the allocator give back all that is free, also between what is not.
pub(crate) fn trim_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes a number, touches free memory only, and may be called at any time from
    // any thread: glibc takes the arenas' locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// A message that libzmq has while it is on its way, and gives back then.
pub(crate) trait Lent: Send {
    /// What is sent. Must stay where it is, also when the value itself is moved.
    fn bytes(&self) -> &[u8];

    /// The message has left, or was thrown away. Called on any thread; must not panic.
    fn give_back(self: Box<Self>);
}

/// Lends `parcel` to libzmq as the last frame of a message to `socket`, whose other frames it has taken.
///
/// It is given back in any case, at once if it is not sent; false says that it was not.
pub(crate) fn lend<P: Lent>(socket: &mut zmq::Socket, parcel: Box<P>) -> bool {
    extern "C" fn given_back<P: Lent>(_: *mut c_void, hint: *mut c_void) {
        // SAFETY: `hint` is what `Box::into_raw` gave below, for the same `P`, and libzmq calls this
        // once for each message.
        let parcel = unsafe { Box::from_raw(hint.cast::<P>()) };
        parcel.give_back();
    }
    let bytes = parcel.bytes();
    let (data, size) = (bytes.as_ptr().cast_mut().cast::<c_void>(), bytes.len());
    let hint = Box::into_raw(parcel).cast::<c_void>();
    let mut message = MaybeUninit::<zmq_sys::zmq_msg_t>::uninit();
    // SAFETY: `message` is memory for a message, which this fills; `data` points to `size` bytes that
    // stay where they are until `given_back` drops them, and that libzmq only reads.
    let result = unsafe {
        zmq_sys::zmq_msg_init_data(message.as_mut_ptr(), data, size, Some(given_back::<P>), hint)
    };
    if result != 0 {
        // No memory for its head: there is no message, and nobody calls.
        given_back::<P>(data, hint);
        return false;
    }
    // SAFETY: `message` was initialised, and the socket is open as long as its owner lends it to us.
    let result = unsafe {
        zmq_sys::zmq_msg_send(
            message.as_mut_ptr(),
            socket.as_mut_ptr(),
            zmq_sys::ZMQ_DONTWAIT.cast_signed(),
        )
    };
    if result < 0 {
        // SAFETY: a message that could not be sent is still ours, and is closed once, here.
        unsafe { zmq_sys::zmq_msg_close(message.as_mut_ptr()) };
    }
    result >= 0
}

/// Has the kernel close connections whose peer has not taken for so long what it was sent.
pub(crate) fn give_up_deaf_peers(socket: &mut zmq::Socket, after: Duration) {
    let after = libc::c_int::try_from(after.as_millis()).unwrap_or(libc::c_int::MAX);
    if !set_option(socket, zmq_sys::ZMQ_TCP_MAXRT.cast_signed(), after) {
        log::warn!("libzmq does not close connections of peers that do not read");
    }
}

/// `ZMQ_IN_BATCH_SIZE`, a draft of libzmq's that zmq-sys does not know.
const IN_BATCH_SIZE: libc::c_int = 101;

/// Has each connection read into a buffer of so many bytes; what is larger is read to where it stays.
pub(crate) fn read_in_batches(socket: &mut zmq::Socket, size: libc::c_int) {
    if !set_option(socket, IN_BATCH_SIZE, size) {
        log::warn!("libzmq takes no size for its buffers: each connection costs some KiB more");
    }
}

/// `ZMQ_DISCONNECT_MSG`, another such draft.
const DISCONNECT_MSG: libc::c_int = 111;

/// Has the socket receive `word` as if it were the last message of each connection that ends.
pub(crate) fn tell_of_ends(socket: &mut zmq::Socket, word: &[u8]) {
    if !set_bytes(socket, DISCONNECT_MSG, word) {
        log::warn!("libzmq does not tell of connections that end: replies find out");
    }
}

/// Sets an option that the zmq crate does not have; false says that libzmq does not take it.
fn set_option(socket: &mut zmq::Socket, option: libc::c_int, value: libc::c_int) -> bool {
    set_bytes(socket, option, &value.to_ne_bytes())
}

fn set_bytes(socket: &mut zmq::Socket, option: libc::c_int, value: &[u8]) -> bool {
    // SAFETY: the socket is open; of the value this is the address and the size, and libzmq reads no
    // more of it than that, and keeps nothing but a copy.
    let result = unsafe {
        zmq_sys::zmq_setsockopt(socket.as_mut_ptr(), option, value.as_ptr().cast(), value.len())
    };
    result == 0
}
