//! The synchronization primitives that the executor shares with other threads. `inbox.rs` and
//! `mailbox.rs` import them only from here, so that `tests/tests/wake_protocol` can compile the same
//! files with those of a model checker.

pub(crate) use std::sync::atomic::{AtomicBool, Ordering};
pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) use crossbeam_channel::{Receiver, Sender, unbounded};
pub(crate) use reactor::Notifier;
