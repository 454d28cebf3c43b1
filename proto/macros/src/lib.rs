//! `#[expose]`.
