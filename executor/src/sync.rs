//! The synchronization primitives of the inbox. `inbox.rs` imports them only from here, so that
//! `tests/tests/wake_protocol.rs` can compile the same file with loom's versions.

pub(crate) use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use crossbeam_channel::{Receiver, Sender, unbounded};
pub(crate) use reactor::Notifier;
