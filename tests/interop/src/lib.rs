//! Code that nobody here wrote, running unmodified over our sockets.
//!
//! What asks for the traits of futures-io takes our sockets as they are: async-tungstenite,
//! futures-rustls, asynchronous-codec and async-compression do. hyper has traits of its own, and
//! [`hyper_io`] is the adapter: one file, to be taken along. With it runs whatever stands on hyper's
//! services, axum's `Router` among it.
//!
//! The examples `web` and `lines` are servers made of these parts, and `tests/` has a test for each
//! of them.
//!
//! What stays outside is what insists on `Send`, for sockets and timers stay on their thread:
//!
//! - hyper's upgrades box the connection as `Send`. A WebSocket that does not share its port with
//!   HTTP needs none: see `tests/interop/tests/websocket.rs`.
//! - The futures of axum's handlers must be `Send`, so they cannot await a socket or a sleep of ours.
//!   They may send to a task that does, over a channel.

pub mod hyper_io;
