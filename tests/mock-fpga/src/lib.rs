//! The mock board.
