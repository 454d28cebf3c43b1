//! The mock board.
fn main() {}
