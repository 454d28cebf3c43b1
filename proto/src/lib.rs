//! Bytes to values: no I/O, no clock, no threads.
