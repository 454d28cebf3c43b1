//! Compiles only while `proto` and all that it uses do without std.
//!
//! A program has one panic handler. std brings one along, so if any crate in the graph links std the
//! compiler finds two and stops: "found duplicate lang item `panic_impl`".
#![no_std]
#![forbid(unsafe_code)]

extern crate proximity_proto;

#[panic_handler]
fn never(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
