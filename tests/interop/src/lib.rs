//! Third-party code, running unmodified over our sockets.
//!
//! Crates that ask for the traits of futures-io take our sockets as they are: async-tungstenite,
//! futures-rustls, asynchronous-codec and async-compression do. hyper has traits of its own, and
//! [`reactor_hyper`] is the adapter. With it runs everything that builds on hyper's services, for
//! example axum's `Router`.
//!
//! The examples `web` and `lines` are servers made of these parts, and `tests/` has a test for each
//! of them. The README of `reactor-hyper` says what does not work, and what to use instead.

pub use reactor_hyper;

/// The programs of the guide's page, as doctests.
#[cfg(doctest)]
#[doc = include_str!("../../../echo/learn/own-program.md")]
mod own_program {}
