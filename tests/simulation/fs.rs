//! The file `file.rs` of `reactor`, on the simulated pool.
//!
//! The files themselves are real. The seed, and not the page cache, decides whether a read runs in
//! place or as a job.

#[allow(dead_code, unreachable_pub)]
#[path = "../../reactor/src/fs/file.rs"]
mod file;
#[allow(dead_code, unreachable_pub, unfulfilled_lint_expectations)]
#[path = "../../reactor/src/fs/options.rs"]
mod options;

pub(crate) use file::File;
use options::OpenOptions;

/// Decides at random whether a read runs in place or in the pool.
mod cached {
    use std::cell::Cell;
    use std::fs::File;
    use std::io::Read;
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    use crate::kernel::Random;

    thread_local! {
        static NEXT: Cell<u64> = const { Cell::new(0) };
    }

    pub(super) fn begin(seed: u64) {
        NEXT.set(seed);
    }

    fn is_cached() -> bool {
        let random = Random::new(NEXT.get());
        NEXT.set(random.next());
        random.one_in(2)
    }

    pub(super) async fn open(_: &Path) -> Option<File> {
        None
    }

    pub(super) fn read_in_place(mut file: &File, bytes: &mut [u8]) -> Option<usize> {
        if !is_cached() {
            return None;
        }
        file.read(bytes).ok()
    }

    pub(super) fn read_in_place_at(file: &File, bytes: &mut [u8], offset: u64) -> Option<usize> {
        if !is_cached() {
            return None;
        }
        file.read_at(bytes, offset).ok()
    }
}

/// Seeds the random choices of a run.
pub(crate) fn begin(seed: u64) {
    cached::begin(seed);
}
