//! Which signals have arrived, for reactors that are about to wait.
//!
//! A signal handler cannot call a waker. It sets the flag of its signal and the flag [`ANY`]; see
//! [`signal`](crate::signal). Before each wait, a reactor checks [`ANY`], and if it is set, notifies
//! the reactors of the other threads, so that each of them looks at the flags of its own signals.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::notifier::Notifier;

/// Whether any signal has arrived since the flags were last checked. All handlers set it, so a
/// reactor checks only this flag before each wait.
pub(crate) static ANY: AtomicBool = AtomicBool::new(false);

/// The watched signals of all threads. The lock is never held for longer than one statement.
static WATCHED: Mutex<Vec<Watched>> = Mutex::new(Vec::new());

struct Watched {
    arrived: Arc<AtomicBool>,
    /// The notifier of the reactor whose task watches the signal.
    notifier: Notifier,
}

/// Notifies the reactor whenever the flag `arrived` is set, until [`unwatch`].
pub(crate) fn watch(arrived: Arc<AtomicBool>, notifier: Notifier) {
    watched().push(Watched { arrived, notifier });
}

/// Ends what [`watch`] began.
pub(crate) fn unwatch(arrived: &Arc<AtomicBool>) {
    watched().retain(|watched| !Arc::ptr_eq(&watched.arrived, arrived));
}

/// Returns whether a handler has run on any thread since the last call. If so, notifies each
/// reactor that watches a signal whose flag is set, except the calling reactor, whose notifier is
/// `own`.
pub(crate) fn take(own: &Notifier) -> bool {
    // Load before the swap: this runs before each wait, and a relaxed load is cheaper.
    if !ANY.load(Ordering::Relaxed) || !ANY.swap(false, Ordering::AcqRel) {
        return false;
    }
    let is_elsewhere = |watched: &&Watched| {
        watched.arrived.load(Ordering::Acquire) && !watched.notifier.is_same(own)
    };
    // Reentrancy: release the lock before `notify`, which logs a failure. A logger is user code and
    // may create or drop a `Signal`, which takes the same lock.
    let notifiers: Vec<Notifier> =
        watched().iter().filter(is_elsewhere).map(|watched| watched.notifier.clone()).collect();
    notifiers.iter().for_each(Notifier::notify);
    true
}

fn watched() -> MutexGuard<'static, Vec<Watched>> {
    // The lock is never poisoned, because nothing panics while it is held.
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}
