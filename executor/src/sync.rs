//! The parts that the inbox is built from. `inbox.rs` imports them from here alone, so that the
//! model test can compile the same file with loom's versions.

pub(crate) use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use crossbeam_channel::{Receiver, Sender, unbounded};
pub(crate) use reactor::Notifier;
