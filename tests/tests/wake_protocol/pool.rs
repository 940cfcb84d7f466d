//! The files of the thread pool, compiled with the primitives of a model checker.

#[path = "../../../reactor/src/pool/job.rs"]
pub(crate) mod job;
#[path = "../../../reactor/src/pool/sequence.rs"]
pub(crate) mod sequence;
#[path = "../../../reactor/src/pool/threads.rs"]
#[allow(unreachable_pub)]
pub(crate) mod threads;
#[path = "../../../reactor/src/pool/unfinished.rs"]
mod unfinished;

use super::sync;
pub(crate) use job::JobHandle;
pub(crate) use sequence::Sequence;
pub(crate) use threads::{Job, Pool};

/// Returns whether the list of unfinished jobs, which diagnostics use, is empty.
pub(crate) fn has_no_unfinished_job() -> bool {
    Pool::current().unfinished().lock().is_empty()
}

/// A static that has a separate value in each run of a model.
pub(crate) struct PerProcess<T: 'static>(std::marker::PhantomData<fn() -> T>);

impl<T> PerProcess<T> {
    pub(crate) const fn new() -> PerProcess<T> {
        PerProcess(std::marker::PhantomData)
    }

    pub(crate) fn get(&'static self, make: impl Fn() -> T) -> &'static T {
        sync::of_this_run(make)
    }
}
