//! What the wake protocol is built from. `task.rs` and `queue.rs` take it from here alone, so that
//! the model test can hand the very same files loom's versions instead.

pub(crate) use std::sync::atomic::{AtomicBool, Ordering, fence};
pub(crate) use std::thread_local;

pub(crate) use crossbeam_channel::{Receiver, Sender, unbounded};
pub(crate) use reactor::Notifier;
