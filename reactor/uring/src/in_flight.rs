//! The operations in flight: the two queues shared with the kernel, and every operation whose
//! buffer the kernel may still access. All `unsafe` code of this workspace, except in tests, is in
//! this file.
//!
//! One rule makes the code sound, and all safety comments below rely on it: **while a slot is in
//! the state [`State::Kernel`], only the kernel accesses what its operation owns, and the operation
//! is neither moved out of the slot nor dropped.** A slot leaves that state in two ways only.
//! Either its completion has arrived, and the kernel no longer uses the operation. Or the operation
//! is forgotten, and its memory is never used for anything else. Dropping the future that waits for
//! the operation does not break the rule, because the future does not own the operation.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use io_uring::opcode::AsyncCancel;
use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{Builder, IoUring, cqueue, squeue};
use rustix::io::Errno;
use slab::Slab;

use crate::operation::{MAX_INLINE, Operation, Outcome, Success};

/// How long [`InFlight::close`] waits for operations that the kernel has. An operation that can be
/// canceled completes immediately. Any other operation waits for a disk, which takes milliseconds.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long to wait after the kernel was out of memory. It is short for a waiting task, and long
/// enough that the retries cost no noticeable processor time.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// The errors of a kernel that is out of memory.
const OUT_OF_MEMORY: &[Errno] = &[Errno::AGAIN, Errno::NOMEM];

/// Capacity: if a burst made the tables larger than this, their memory is freed when nothing is in
/// flight.
const MAX_IDLE_CAPACITY: usize = 1024;

/// Marks the user data of a cancellation. No key of the slab has this bit, because a slab never
/// grows that large.
const CANCEL_FLAG: u64 = 1 << 63;

/// The ring, and all operations whose outcome was not taken yet.
pub(crate) struct InFlight {
    ring: IoUring,
    slots: Slab<Slot>,
    /// The keys of slots that were not submitted yet, in the order of [`begin`](InFlight::begin).
    ///
    /// Capacity: it needs no limit. A key whose future exists takes less memory than the future,
    /// and [`abandon_queued`](InFlight::abandon_queued) limits the number of the other keys.
    queued: VecDeque<usize>,
    /// How many slots in `queued` are abandoned.
    abandoned_in_queue: usize,
    /// The keys of slots to cancel. The cancellations are submitted first, and they do not count
    /// for `in_kernel`. Otherwise operations that never complete would keep out their own
    /// cancellations.
    to_cancel: VecDeque<usize>,
    /// The number of slots for which a completion is outstanding. It never exceeds the number of
    /// entries of the submission queue.
    ///
    /// So the completion queue, which has twice as many entries, never overflows: a slot has at
    /// most two outstanding completions, one of the operation and one of its cancellation.
    in_kernel: usize,
    /// Set by `close`. From then on no operation is started, and no task reaps completions.
    closed: bool,
}

/// One operation, from the first poll of its future until its outcome is taken.
struct Slot {
    operation: Operation,
    state: State,
    /// The waker to call when the operation has completed.
    waker: Option<Waker>,
    /// Whether the future was dropped, so that no task will take the outcome.
    abandoned: bool,
    /// Whether a cancellation is to be submitted, or its completion is outstanding. Until then the
    /// slot must not be reused. Otherwise the cancellation would hit the next operation in the
    /// slot.
    cancel_pending: bool,
}

enum State {
    /// The operation was not submitted yet.
    Queued,
    /// The operation is in the submission queue or in the kernel, which may read and write what the
    /// operation owns.
    Kernel,
    /// The completion has arrived.
    Done(io::Result<Success>),
}

/// The effects of reaped completions, which the caller must carry out.
///
/// Reentrancy: calling wakers and logging run user code, so the caller does both when no `RefCell`
/// is borrowed.
#[derive(Default)]
pub(crate) struct Reaped {
    /// The number of completions.
    pub(crate) completions: usize,
    /// The wakers to call.
    pub(crate) woken: Vec<Waker>,
    /// The number of operations whose memory is never freed, because the kernel did not complete
    /// them.
    pub(crate) forgotten: usize,
}

impl Slot {
    /// Returns whether the operation has completed and no cancellation is outstanding.
    fn is_settled(&self) -> bool {
        matches!(self.state, State::Done(_)) && !self.cancel_pending
    }
}

impl InFlight {
    /// Sets up a ring with at least `entries` entries.
    pub(crate) fn new(entries: u32) -> io::Result<InFlight> {
        let ring = build_ring(entries)?;
        let params = ring.params();
        // `EXT_ARG` lets `close` wait with a timeout. It needs Linux 5.11. Everything else that is
        // used here is older.
        if !params.is_feature_nodrop() || !params.is_feature_ext_arg() {
            let text = "the io_uring of this kernel is too old: Linux 5.11 is required";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        Ok(InFlight {
            ring,
            slots: Slab::new(),
            queued: VecDeque::new(),
            abandoned_in_queue: 0,
            to_cancel: VecDeque::new(),
            in_kernel: 0,
            closed: false,
        })
    }

    /// Returns the descriptor of the ring, which is readable when completions have arrived.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Returns the number of operations whose outcome was not taken yet, and of abandoned
    /// operations for which a completion is outstanding.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns whether [`submit`](InFlight::submit) could submit anything now. This includes
    /// entries that the kernel did not take last time.
    pub(crate) fn can_submit(&mut self) -> bool {
        let has_space = self.in_kernel < self.entries();
        !self.ring.submission().is_empty()
            || !self.to_cancel.is_empty()
            || has_space && !self.queued.is_empty()
    }

    fn entries(&self) -> usize {
        self.ring.params().sq_entries() as usize
    }

    /// Queues an operation, and returns its key, which its completion carries as user data.
    pub(crate) fn begin(&mut self, operation: Operation) -> usize {
        let state = State::Queued;
        let slot = Slot { operation, state, waker: None, abandoned: false, cancel_pending: false };
        let key = self.slots.insert(slot);
        self.queued.push_back(key);
        key
    }

    /// Takes the outcome of an operation if it has completed.
    pub(crate) fn take(&mut self, key: usize) -> Option<Outcome> {
        if !matches!(self.slots[key].state, State::Done(_)) {
            return None;
        }
        let Slot { operation, state, .. } = self.remove(key);
        let State::Done(result) = state else { unreachable!("the state was checked above") };
        Some((operation, result))
    }

    /// Stores the waker of an operation. Returns the previous waker, which the caller drops when no
    /// `RefCell` is borrowed.
    pub(crate) fn set_waker(&mut self, key: usize, waker: Waker) -> Option<Waker> {
        self.slots[key].waker.replace(waker)
    }

    /// Gives up an operation whose future was dropped. Returns its waker, which the caller drops
    /// when no `RefCell` is borrowed.
    pub(crate) fn abandon(&mut self, key: usize) -> Option<Waker> {
        let slot = &mut self.slots[key];
        slot.abandoned = true;
        let waker = slot.waker.take();
        match slot.state {
            State::Kernel => self.request_cancel(key),
            State::Queued => self.abandon_queued(key),
            State::Done(_) if slot.cancel_pending => {}
            State::Done(_) => drop(self.remove(key)),
        }
        waker
    }

    /// Empties a queued operation. Its key stays in the queue, and `push_operation` skips it.
    ///
    /// Behind a full ring, that may never happen. So if more than half of the queue is abandoned,
    /// all abandoned keys are removed. This is amortized O(1): it looks at fewer than two keys for
    /// each key that it removes.
    fn abandon_queued(&mut self, key: usize) {
        self.slots[key].operation = Operation::Empty;
        self.abandoned_in_queue += 1;
        if 2 * self.abandoned_in_queue <= self.queued.len() {
            return;
        }
        let queued = mem::take(&mut self.queued).into_iter();
        let (gone, kept): (VecDeque<_>, _) = queued.partition(|&key| self.slots[key].abandoned);
        (self.queued, self.abandoned_in_queue) = (kept, 0);
        for key in gone {
            self.remove(key);
        }
    }

    fn request_cancel(&mut self, key: usize) {
        let slot = &mut self.slots[key];
        if slot.operation.is_cancelable() && !slot.cancel_pending {
            slot.cancel_pending = true;
            self.to_cancel.push_back(key);
        }
    }

    /// Submits queued operations, up to two limits: the entries of the ring, and [`MAX_INLINE`]
    /// bytes that the kernel may copy during this call. The caller submits the rest after
    /// completions have freed entries, or after other tasks have run.
    ///
    /// Returns false if the kernel is out of memory. The caller must then wait for [`RETRY_PAUSE`].
    pub(crate) fn submit(&mut self) -> io::Result<bool> {
        let mut inline_bytes = 0;
        loop {
            self.fill(&mut inline_bytes);
            if self.ring.submission().is_empty() {
                return Ok(true);
            }
            match self.ring.submit() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The kernel requires completions to be reaped first. Entries that it has not taken
                // stay in the submission queue for the next call.
                Err(error) if matches_any(&error, &[Errno::BUSY]) => return Ok(true),
                Err(error) if matches_any(&error, OUT_OF_MEMORY) => return Ok(false),
                Err(error) => return Err(error),
                // The kernel may stop at an invalid entry, for which it posts a completion. Submit
                // the entries behind it in the next pass.
                Ok(_) => {}
            }
        }
    }

    /// Fills the submission queue, and adds to `inline_bytes` what the kernel may copy on this
    /// thread.
    fn fill(&mut self, inline_bytes: &mut usize) {
        while !self.ring.submission().is_full() {
            if let Some(key) = self.to_cancel.pop_front() {
                self.push(&cancellation(key));
            } else if self.in_kernel == self.entries() || *inline_bytes >= MAX_INLINE {
                return;
            } else if let Some(key) = self.queued.pop_front() {
                *inline_bytes += self.push_operation(key);
            } else {
                return;
            }
        }
    }

    /// Puts an operation into the submission queue, unless it is abandoned. Returns how many bytes
    /// the kernel may copy on this thread.
    fn push_operation(&mut self, key: usize) -> usize {
        let slot = &mut self.slots[key];
        if slot.abandoned {
            self.abandoned_in_queue -= 1;
            self.remove(key);
            return 0;
        }
        slot.state = State::Kernel;
        self.in_kernel += 1;
        let bytes = slot.operation.bytes();
        let entry = slot.operation.entry().user_data(key as u64);
        self.push(&entry);
        if bytes <= MAX_INLINE { bytes } else { 0 }
    }

    /// Puts an entry into the submission queue, which must not be full.
    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: everything that the entry points to must stay valid until the operation
        // completes.
        // - A cancellation points to nothing.
        // - Any other entry was just made by `Operation::entry` for an operation in a slot of this
        //   slab. It points to a buffer or a path on the heap, which the operation owns. So the
        //   address does not change when the slab grows and moves its slots. The length does not
        //   exceed the rest of the buffer, and a path ends with a zero byte.
        // - The slot is in the state `Kernel`. By the rule in the module documentation, only the
        //   kernel accesses this memory until the completion arrives.
        // - The descriptor belongs to a file that the operation keeps open. A close has taken the
        //   descriptor out of its owner, so no other code closes it.
        // - If this ring is dropped first, `InFlight::drop` forgets every operation that the kernel
        //   has not completed, even if an earlier `close` was interrupted by a panic. Forgetting
        //   runs no user code, so it cannot be interrupted.
        let pushed = unsafe { self.ring.submission().push(entry) };
        pushed.expect("`fill` has checked that the queue is not full");
    }

    /// Takes the completions that have arrived out of the completion queue.
    pub(crate) fn reap(&mut self) -> Reaped {
        let mut reaped = Reaped::default();
        while let Some(completion) = self.next_completion() {
            reaped.completions += 1;
            let key = (completion.user_data() & !CANCEL_FLAG) as usize;
            if completion.user_data() & CANCEL_FLAG == 0 {
                reaped.woken.extend(self.complete(key, completion.result()));
            } else {
                // Ignore the result. The operation's own completion reports whether it was
                // canceled.
                self.slots[key].cancel_pending = false;
            }
            self.settle(key);
        }
        reaped
    }

    /// Takes one completion. Dropping the queue's borrow at the end of this function publishes to
    /// the kernel that the entry is free.
    fn next_completion(&mut self) -> Option<cqueue::Entry> {
        self.ring.completion().next()
    }

    /// Handles the completion of an operation, which the kernel no longer uses. Returns the waker
    /// to call.
    fn complete(&mut self, key: usize, result: i32) -> Option<Waker> {
        let slot = &mut self.slots[key];
        // EINTR: a signal arrived before any byte was moved. ECANCELED without a cancellation:
        // signals kept the kernel from starting a thread for the operation. Since Linux 6.11 it
        // gives up after three attempts.
        let not_done = [Errno::INTR, Errno::CANCELED].map(|errno| -errno.raw_os_error());
        // Retry, except in two cases. An abandoned operation was canceled on purpose. A close must
        // not be repeated, because as with close(2) on Linux, its descriptor is already closed.
        let retry = slot.operation.is_repeatable() && !slot.abandoned && !self.closed;
        if not_done.contains(&result) && retry {
            slot.state = State::Queued;
            self.in_kernel -= 1;
            self.queued.push_front(key);
            return None;
        }
        slot.state = State::Done(decode(&slot.operation, result));
        slot.waker.take()
    }

    /// Frees the entry of a slot for which no completion is outstanding, and the slot if it is
    /// abandoned.
    fn settle(&mut self, key: usize) {
        let slot = &self.slots[key];
        if slot.is_settled() {
            self.in_kernel -= 1;
            if slot.abandoned {
                self.remove(key);
            }
        }
    }

    fn remove(&mut self, key: usize) -> Slot {
        let slot = self.slots.remove(key);
        // Capacity: every key in the queues belongs to a slot, so the queues are empty as well.
        // Free the memory of all three.
        if self.slots.is_empty() && self.slots.capacity() > MAX_IDLE_CAPACITY {
            (self.slots, self.queued, self.to_cancel) = Default::default();
        }
        slot
    }

    /// Cancels all operations, waits until the kernel has completed them, and forgets the rest.
    /// Afterwards no slot is in the state `Kernel`, and none enters it.
    ///
    /// This blocks the thread. The driver calls it when it is dropped, because no task reaps
    /// completions afterwards.
    pub(crate) fn close(&mut self) -> Reaped {
        let mut reaped = Reaped::default();
        if mem::replace(&mut self.closed, true) {
            return reaped;
        }
        self.cancel_all(&mut reaped);
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        let mut works = true;
        while works && self.in_kernel > 0 && Instant::now() < deadline {
            self.fill(&mut 0);
            works = self.wait_until(deadline);
            reaped.append(self.reap());
        }
        self.forget_all(&mut reaped);
        reaped
    }

    fn keys(&self) -> Vec<usize> {
        self.slots.iter().map(|(key, _)| key).collect()
    }

    /// Fails the queued operations, and requests the cancellation of those that the kernel has.
    fn cancel_all(&mut self, reaped: &mut Reaped) {
        self.queued.clear();
        self.abandoned_in_queue = 0;
        for key in self.keys() {
            match self.slots[key].state {
                State::Queued => reaped.woken.extend(self.fail(key)),
                State::Kernel => self.request_cancel(key),
                State::Done(_) => {}
            }
        }
    }

    /// Completes an operation with ECANCELED, and returns the waker to call.
    fn fail(&mut self, key: usize) -> Option<Waker> {
        let slot = &mut self.slots[key];
        slot.state = State::Done(Err(Errno::CANCELED.into()));
        slot.waker.take()
    }

    /// Submits, and waits for a completion until `deadline`. Returns false after an error that a
    /// retry would repeat. The caller checks the clock.
    fn wait_until(&self, deadline: Instant) -> bool {
        let left = Timespec::from(deadline.saturating_duration_since(Instant::now()));
        match self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&left)) {
            Err(error) if matches_any(&error, OUT_OF_MEMORY) => thread::sleep(RETRY_PAUSE),
            Err(error) => return matches_any(&error, &[Errno::INTR, Errno::TIME, Errno::BUSY]),
            Ok(_) => {}
        }
        true
    }

    /// Forgets all operations that the kernel has, and completes them with ECANCELED.
    fn forget_all(&mut self, reaped: &mut Reaped) {
        let mut keys = self.keys();
        keys.retain(|&key| matches!(self.slots[key].state, State::Kernel));
        reaped.forgotten += keys.len();
        for key in keys {
            self.slots[key].operation.forget();
            reaped.woken.extend(self.fail(key));
        }
    }
}

/// Closes the ring if that has not happened yet. A buffer that the kernel may write to must not be
/// freed, and closing the descriptor of a ring does not stop the operations that the kernel has.
impl Drop for InFlight {
    fn drop(&mut self) {
        let mut reaped = self.close();
        // Panic safety: this is needed if a panic interrupted an earlier `close`, because then the
        // call above does nothing.
        self.forget_all(&mut reaped);
        // Drop the wakers last, because that runs user code, which may panic.
        drop(reaped);
    }
}

impl Reaped {
    fn append(&mut self, other: Reaped) {
        self.completions += other.completions;
        self.woken.extend(other.woken);
        self.forgotten += other.forgotten;
    }
}

/// Converts the result of a completion. It must be the completion of `operation`, and be converted
/// only once.
fn decode(operation: &Operation, result: i32) -> io::Result<Success> {
    let Ok(count) = usize::try_from(result) else {
        return Err(io::Error::from_raw_os_error(-result));
    };
    if !matches!(operation, Operation::Open { .. }) {
        return Ok(Success::Count(count));
    }
    // SAFETY: the kernel has opened this descriptor for this completion, and a completion is taken
    // out of the queue only once. So the descriptor is open, and no other value owns it.
    Ok(Success::Opened(unsafe { OwnedFd::from_raw_fd(result) }))
}

fn cancellation(key: usize) -> squeue::Entry {
    AsyncCancel::new(key as u64).build().user_data(key as u64 | CANCEL_FLAG)
}

fn matches_any(error: &io::Error, among: &[Errno]) -> bool {
    among.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Sets up a ring with two options.
///
/// `COOP_TASKRUN` tells the kernel not to interrupt this thread for a completion, because the
/// driver looks for completions anyway. The flag needs Linux 5.19 and is left out on older kernels.
///
/// `dontfork` removes the queues from a forked child. The child would share them with its parent,
/// and take the parent's completions.
fn build_ring(entries: u32) -> io::Result<IoUring> {
    let build = |builder: &mut Builder| builder.dontfork().build(entries);
    match build(IoUring::builder().setup_coop_taskrun()) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => build(&mut IoUring::builder()),
        made => made,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    // Pitfall: T5
    #[test]
    fn memory_of_a_burst_is_freed() {
        let Ok(mut in_flight) = InFlight::new(2) else {
            return println!("skipped: the kernel refuses io_uring");
        };
        let close = || Operation::Close { descriptor: None };
        let keys: Vec<usize> = (0..10_000).map(|_| in_flight.begin(close())).collect();
        assert!(in_flight.slots.capacity() >= 10_000);
        for key in keys {
            assert!(in_flight.abandon(key).is_none());
        }
        in_flight.submit().unwrap();
        assert_eq!((in_flight.len(), in_flight.in_kernel), (0, 0));
        assert_eq!((in_flight.slots.capacity(), in_flight.queued.capacity()), (0, 0));
    }

    // A canceled close might leave the descriptor open, and no caller would learn of it.
    #[test]
    fn close_in_the_kernel_is_not_canceled() {
        let Ok(mut in_flight) = InFlight::new(2) else {
            return println!("skipped: the kernel refuses io_uring");
        };
        let descriptor = Some(OwnedFd::from(std::fs::File::open("/").unwrap()));
        let key = in_flight.begin(Operation::Close { descriptor });
        in_flight.submit().unwrap();
        in_flight.abandon(key);
        assert!(in_flight.to_cancel.is_empty() && !in_flight.slots[key].cancel_pending);
        assert_eq!((in_flight.reap().completions, in_flight.len()), (1, 0));
    }

    // Whatever interrupted `InFlight::close`, the kernel may still write into the buffer.
    #[test]
    fn interrupted_close_frees_no_operation_in_the_kernel() {
        let Ok(mut in_flight) = InFlight::new(2) else {
            return println!("skipped: the kernel refuses io_uring");
        };
        let file = Arc::new(std::fs::File::open("/").unwrap());
        let (copy, buffer) = (file.clone(), vec![0; 8]);
        let read = Operation::Read { file: copy, buffer, from: 0, offset: 0 };
        let key = in_flight.begin(read);
        in_flight.slots[key].state = State::Kernel;
        in_flight.closed = true;
        drop(in_flight);
        assert_eq!(Arc::strong_count(&file), 2);
    }

    // The kernel does so if signals keep it from starting a thread for the operation.
    #[test]
    fn operation_canceled_by_kernel_is_retried_unless_abandoned() {
        let Ok(mut in_flight) = InFlight::new(2) else {
            return println!("skipped: the kernel refuses io_uring");
        };
        let file = Arc::new(std::fs::File::open("/").unwrap());
        let key = in_flight.begin(Operation::Sync { file, data_only: true });
        for (abandoned, left) in [(false, 1), (true, 0)] {
            assert_eq!(in_flight.queued.pop_front(), Some(key));
            (in_flight.slots[key].state, in_flight.in_kernel) = (State::Kernel, 1);
            in_flight.slots[key].abandoned = abandoned;
            in_flight.complete(key, -Errno::CANCELED.raw_os_error());
            in_flight.settle(key);
            assert_eq!((in_flight.len(), in_flight.in_kernel), (left, 0));
        }
    }

    // The first attempt has consumed the descriptor, so a second one would close nothing.
    #[test]
    fn interrupted_close_operation_is_not_repeated() {
        let Ok(mut in_flight) = InFlight::new(2) else {
            return println!("skipped: the kernel refuses io_uring");
        };
        let key = in_flight.begin(Operation::Close { descriptor: None });
        in_flight.queued.clear();
        in_flight.slots[key].state = State::Kernel;
        in_flight.complete(key, -Errno::INTR.raw_os_error());
        let (_, result) = in_flight.take(key).expect("it has completed");
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::Interrupted);
    }

    #[test]
    fn completion_queue_is_twice_as_long_as_the_submission_queue() {
        let Ok(in_flight) = InFlight::new(5) else {
            return println!("skipped: the kernel refuses io_uring");
        };
        let params = in_flight.ring.params();
        assert_eq!(params.cq_entries(), 2 * params.sq_entries());
    }
}
