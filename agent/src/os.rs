//! What the agent asks of the operating system that safe Rust cannot: its only unsafe code.

#![allow(unsafe_code, reason = "each block says why it is sound")]

use std::{io, time::Duration};

/// Waits until one of `fds` can be read, or `timeout` is over; `None` waits for ever.
///
/// Takes descriptors as numbers because libzmq gives them so. A number that is not open is told by its
/// `revents`, as everything else is.
///
/// # Errors
///
/// The kernel's. A signal is none: the wait just ends.
pub(crate) fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<()> {
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
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
