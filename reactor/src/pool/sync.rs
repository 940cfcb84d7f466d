//! The synchronization primitives of the pool. The other files import them only from here, so that
//! `tests/tests/wake_protocol` can compile the same files with those of a model checker.

pub(super) use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
pub(super) use std::thread;
