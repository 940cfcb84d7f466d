//! Third-party code that runs unmodified over our sockets.
//!
//! Crates that require the traits of futures-io accept our sockets as they are: async-tungstenite,
//! futures-rustls, asynchronous-codec and async-compression. hyper has its own traits, and
//! [`reactor_hyper`] adapts our sockets to them. Everything that builds on hyper's services runs
//! over the adapter, for example axum's `Router`.
//!
//! The examples `web` and `lines` are servers that use these crates, and `tests/` tests each crate.
//! The README of `reactor-hyper` says what does not work, and what to use instead.

pub use reactor_hyper;

/// The programs of the guide's page, as doctests.
#[cfg(doctest)]
#[doc = include_str!("../../../echo/learn/own-program.md")]
mod own_program {}
