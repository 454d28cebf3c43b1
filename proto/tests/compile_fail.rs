//! What `#[expose]` and `#[derive(ToReply)]` refuse, in which words, at which token.
//!
//! After a deliberate change: `TRYBUILD=overwrite cargo test -p proximity-proto --test compile_fail`,
//! then read every `.stderr` that changed.

#[test]
fn mistakes_are_told_at_the_token() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
