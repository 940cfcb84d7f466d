//! The system's allocator, with counters that are off except while heap use is measured.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::Sub;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
static FREED: AtomicU64 = AtomicU64::new(0);

/// What the process has allocated and freed while counting was on.
#[derive(Clone, Copy)]
pub(crate) struct Heap {
    pub(crate) allocations: u64,
    pub(crate) bytes: u64,
    pub(crate) freed: u64,
}

impl Sub for Heap {
    type Output = Heap;

    fn sub(self, before: Heap) -> Heap {
        Heap {
            allocations: self.allocations - before.allocations,
            bytes: self.bytes - before.bytes,
            freed: self.freed - before.freed,
        }
    }
}

/// Turns counting on or off.
pub(crate) fn count(on: bool) {
    COUNTS.store(on, Relaxed);
}

pub(crate) fn now() -> Heap {
    Heap {
        allocations: ALLOCATIONS.load(Relaxed),
        bytes: BYTES.load(Relaxed),
        freed: FREED.load(Relaxed),
    }
}

struct Counting;

impl Counting {
    fn allocated(bytes: usize) {
        if COUNTS.load(Relaxed) {
            ALLOCATIONS.fetch_add(1, Relaxed);
            BYTES.fetch_add(bytes as u64, Relaxed);
        }
    }

    fn freed(bytes: usize) {
        if COUNTS.load(Relaxed) {
            FREED.fetch_add(bytes as u64, Relaxed);
        }
    }
}

// SAFETY: Every call goes to the system's allocator with the arguments of the caller, who keeps the
// contract of `GlobalAlloc`.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Counting::allocated(layout.size());
        // SAFETY: As above.
        unsafe { System.alloc(layout) }
    }

    // Not the default: the system knows of most memory that it is zero already.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Counting::allocated(layout.size());
        // SAFETY: As above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        Counting::freed(layout.size());
        // SAFETY: As above.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        Counting::freed(layout.size());
        Counting::allocated(new_size);
        // SAFETY: As above.
        unsafe { System.realloc(block, layout, new_size) }
    }
}
