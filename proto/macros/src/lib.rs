//! `#[expose]` makes an object of a Rust type, `#[derive(ToReply)]` a result of a struct.
//!
//! Both are re-exported by `proximity-proto`, which also has the traits that they implement.

mod expose;
mod method;
mod reply;

use proc_macro::TokenStream;

/// Makes an object of a type: its public methods can be called from afar.
///
/// Put it on an inherent `impl` block. Every `pub` method with `&self` or `&mut self` is exposed under
/// its own name, with its parameters' names and its doc comment; a private method, and one whose name
/// starts with an underscore, is not. `pub fn new(..)` and other functions without `self` stay what
/// they are.
///
/// On a method:
///
/// - `#[effect(read)]`, `#[effect(write)]` or `#[effect(admin)]`: what it does to the device. Without
///   it: read for `&self`, write for `&mut self`.
/// - `#[quick]`: it answers from memory in a few microseconds, so that the agent need not wake a
///   thread for it. Never for a method that talks to a device.
/// - `#[attribute]`: an attribute, not a method. `pub fn level(&self) -> f64` is read, and
///   `pub fn set_level(&mut self, level: f64)`, marked likewise, sets it.
/// - `#[undocumented]`: it may do without a doc comment.
///
/// On a parameter:
///
/// - `#[default(value)]`: what is taken where nothing is passed.
/// - `#[args]`: all further values, as `Array<'_>`; Python's `*args`.
/// - `#[kwargs]`: all further named values, as `Kwargs<'_>`; Python's `**kwargs`.
///
/// A first parameter of type `&Context<'_>` gets the call's surroundings and is not published.
///
/// An object of many methods may have them in several blocks: `#[expose(part = Snapshots)]` on a further one,
/// which may be in another file, and `#[expose(parts(snapshots::Snapshots))]` on the main one, which has the
/// attributes.
///
/// # Examples
///
/// See `drivers/src/counter.rs`, which is written to be copied.
#[proc_macro_attribute]
pub fn expose(args: TokenStream, item: TokenStream) -> TokenStream {
    expose::expose(args.into(), item.into()).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Makes a result of a struct with named fields: a dictionary with the fields' names as keys.
#[proc_macro_derive(ToReply)]
pub fn derive_to_reply(item: TokenStream) -> TokenStream {
    reply::derive(item.into()).unwrap_or_else(|error| error.to_compile_error()).into()
}
