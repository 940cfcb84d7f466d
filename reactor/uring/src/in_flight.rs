//! What the kernel has in hand: the two queues that are shared with it, and every operation whose
//! buffer it may still touch. All `unsafe` of this workspace, but that of tests, is in this file.
//!
//! One rule makes it sound, and all proofs below lean on it: **as long as a slot is in the state
//! [`State::Kernel`], nobody but the kernel touches what its operation owns, and it is neither
//! taken out nor dropped.** It leaves that state in two ways only: its completion has arrived, and
//! then the kernel is done with it; or it is forgotten, and then its memory is nobody else's ever.
//! That the future which waits for it is dropped changes nothing: the operation is not in there.

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

use crate::operation::{Answer, IN_PLACE, Operation, Outcome};

/// How long the end of an executor waits for what the kernel still has. Whatever can be cancelled
/// comes back at once; what cannot is being read from a disk, which takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a kernel that is short of memory is left alone: short to whoever waits for it, long
/// enough that to ask again and again costs nothing.
pub(crate) const PAUSE: Duration = Duration::from_millis(10);

/// What it says then.
const SHORT: &[Errno] = &[Errno::AGAIN, Errno::NOMEM];

/// Room that grew beyond this with a burst is given back when nothing is in flight.
const BURST: usize = 1024;

/// Marks the completion of a request to cancel. A slab never grows so far.
const CANCEL: u64 = 1 << 63;

/// The ring, and all operations that were begun on it and not taken back.
pub(crate) struct InFlight {
    ring: IoUring,
    slots: Slab<Slot>,
    /// Slots that the kernel is to be told of, in the order of their coming. Without a limit of its
    /// own: most belong to futures that somebody holds, and those are larger; the abandoned are
    /// never more than there were of these.
    queued: VecDeque<usize>,
    /// How many of these are abandoned.
    abandoned: usize,
    /// Slots that the kernel is to be asked to let go. They go first, and past the limit below:
    /// else operations that never end would keep out the requests to end them.
    to_cancel: VecDeque<usize>,
    /// Slots of which the kernel owes a completion: never more than the submission queue has
    /// entries.
    ///
    /// The completion queue has twice as many. A slot is owed two completions at most, its own and
    /// that of its cancellation: so that queue never overflows.
    in_kernel: usize,
    /// Nothing is begun any more, and nobody looks for completions.
    closed: bool,
}

/// One operation, from the first poll of its future until its outcome is taken.
struct Slot {
    operation: Operation,
    state: State,
    /// Whom its completion wakes.
    waker: Option<Waker>,
    /// The future is gone: nobody will take the outcome.
    abandoned: bool,
    /// The kernel owes the completion of a cancellation, or is yet to be asked for one. The slot
    /// stays until then: another operation in it would be cancelled in its place.
    cancelling: bool,
}

enum State {
    /// The kernel does not know of it.
    Queued,
    /// It is described to the kernel, which may read and write what the operation owns.
    Kernel,
    /// Its completion has arrived.
    Done(io::Result<Answer>),
}

/// What completions bring, and the end. To wake and to log run foreign code, so whoever gets this
/// does it when nothing is borrowed.
#[derive(Default)]
pub(crate) struct Reaped {
    pub(crate) completions: usize,
    pub(crate) woken: Vec<Waker>,
    /// Operations whose memory is never freed, for the kernel kept them.
    pub(crate) forgotten: usize,
}

impl Slot {
    /// The kernel has no more to say of it.
    fn is_settled(&self) -> bool {
        matches!(self.state, State::Done(_)) && !self.cancelling
    }
}

impl InFlight {
    /// Sets up a ring of at least so many entries.
    pub(crate) fn new(entries: u32) -> io::Result<InFlight> {
        let ring = set_up(entries)?;
        let params = ring.params();
        // To wait for a limited time at the end. Linux 5.11; all else that is used here is older.
        if !params.is_feature_nodrop() || !params.is_feature_ext_arg() {
            let text = "io_uring of this kernel is too old: it takes Linux 5.11";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        Ok(InFlight {
            ring,
            slots: Slab::new(),
            queued: VecDeque::new(),
            abandoned: 0,
            to_cancel: VecDeque::new(),
            in_kernel: 0,
            closed: false,
        })
    }

    /// The descriptor of the ring: it is readable when there are completions.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Operations that were begun and not taken back, or whose completion has not arrived.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether the kernel could be told of more at once: what it did not take last time included.
    pub(crate) fn has_more(&mut self) -> bool {
        let has_room = self.in_kernel < self.entries();
        !self.ring.submission().is_empty()
            || !self.to_cancel.is_empty()
            || has_room && !self.queued.is_empty()
    }

    fn entries(&self) -> usize {
        self.ring.params().sq_entries() as usize
    }

    /// Puts an operation in line. Its key is that of its completion, too.
    pub(crate) fn begin(&mut self, operation: Operation) -> usize {
        let state = State::Queued;
        let slot = Slot { operation, state, waker: None, abandoned: false, cancelling: false };
        let key = self.slots.insert(slot);
        self.queued.push_back(key);
        key
    }

    /// Takes the outcome of an operation, if it is done.
    pub(crate) fn take(&mut self, key: usize) -> Option<Outcome> {
        if !matches!(self.slots[key].state, State::Done(_)) {
            return None;
        }
        let Slot { operation, state, .. } = self.remove(key);
        let State::Done(answer) = state else { unreachable!("it has just been looked at") };
        Some((operation, answer))
    }

    /// Leaves the waker with the operation. Returns the one that it replaces, to be dropped.
    pub(crate) fn set_waker(&mut self, key: usize, waker: Waker) -> Option<Waker> {
        self.slots[key].waker.replace(waker)
    }

    /// The future of an operation is gone. Returns its waker, to be dropped.
    pub(crate) fn abandon(&mut self, key: usize) -> Option<Waker> {
        let slot = &mut self.slots[key];
        slot.abandoned = true;
        let waker = slot.waker.take();
        match slot.state {
            State::Kernel => self.request_cancel(key),
            State::Queued => self.abandon_queued(key),
            State::Done(_) if slot.cancelling => {}
            State::Done(_) => drop(self.remove(key)),
        }
        waker
    }

    /// It stays in line, without what it owned, and is passed over when its turn comes. But behind
    /// a full ring that may be never: so when more are abandoned than not, all of these go. That is
    /// O(1) for each, as it looks at two entries at most for each that goes.
    fn abandon_queued(&mut self, key: usize) {
        self.slots[key].operation = Operation::Lost;
        self.abandoned += 1;
        if 2 * self.abandoned <= self.queued.len() {
            return;
        }
        let queued = mem::take(&mut self.queued).into_iter();
        let (gone, kept): (VecDeque<_>, _) = queued.partition(|&key| self.slots[key].abandoned);
        (self.queued, self.abandoned) = (kept, 0);
        for key in gone {
            self.remove(key);
        }
    }

    fn request_cancel(&mut self, key: usize) {
        let slot = &mut self.slots[key];
        if slot.operation.may_be_cancelled() && !slot.cancelling {
            slot.cancelling = true;
            self.to_cancel.push_back(key);
        }
    }

    /// Tells the kernel of as much as it may have at once. What is left over follows when
    /// completions have made room; and when the neighbours had their turn, if these operations
    /// copy much. Returns false if the kernel is short of memory: then it is to be left alone for
    /// [`PAUSE`].
    pub(crate) fn submit(&mut self) -> io::Result<bool> {
        let mut in_place = 0;
        loop {
            self.fill(&mut in_place);
            if self.ring.submission().is_empty() {
                return Ok(true);
            }
            match self.ring.submit() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It wants its completions to be taken first. Whatever it has not taken stays in
                // the queue, for the next time.
                Err(error) if is(&error, &[Errno::BUSY]) => return Ok(true),
                Err(error) if is(&error, SHORT) => return Ok(false),
                Err(error) => return Err(error),
                // It may stop at an entry that it refuses, and has told so in a completion.
                Ok(_) => {}
            }
        }
    }

    /// Fills the submission queue.
    fn fill(&mut self, in_place: &mut usize) {
        while !self.ring.submission().is_full() {
            if let Some(key) = self.to_cancel.pop_front() {
                self.push(&cancellation(key));
            } else if self.in_kernel == self.entries() || *in_place >= IN_PLACE {
                return;
            } else if let Some(key) = self.queued.pop_front() {
                *in_place += self.hand_over(key);
            } else {
                return;
            }
        }
    }

    /// Gives an operation to the kernel. Returns how many bytes that may copy at once.
    fn hand_over(&mut self, key: usize) -> usize {
        let slot = &mut self.slots[key];
        if slot.abandoned {
            self.abandoned -= 1;
            self.remove(key);
            return 0;
        }
        slot.state = State::Kernel;
        self.in_kernel += 1;
        let bytes = slot.operation.bytes();
        let entry = slot.operation.entry().user_data(key as u64);
        self.push(&entry);
        if bytes <= IN_PLACE { bytes } else { 0 }
    }

    /// Puts an entry where the kernel will find it.
    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: all that the entry points to must stay valid until the operation is complete.
        // - A cancellation points to nothing.
        // - Any other entry is that of an operation in a slot of this slab, made by
        //   `Operation::entry` just now. Its addresses are those of a buffer or of a path on the
        //   heap, owned by the operation: they do not change when the slab grows and moves its
        //   slots. The length is that of the buffer, or less; a path ends with a zero.
        // - The slot is in the state `Kernel`: by the rule above, the kernel alone touches all
        //   that until the completion.
        // - The descriptor is that of a file which the operation keeps open; or, of a close, one
        //   that has been taken out of its owner, so that nobody else closes it.
        // - Should this ring end first: `InFlight::drop` forgets what the kernel did not give back,
        //   also if a close was begun and did not come to its end; and to forget runs no foreign
        //   code, which might panic in between.
        let pushed = unsafe { self.ring.submission().push(entry) };
        pushed.expect("there is room: it has just been looked at");
    }

    /// Takes the completions that have arrived.
    pub(crate) fn reap(&mut self) -> Reaped {
        let mut reaped = Reaped::default();
        while let Some(completion) = self.next_completion() {
            reaped.completions += 1;
            let key = (completion.user_data() & !CANCEL) as usize;
            if completion.user_data() & CANCEL == 0 {
                reaped.woken.extend(self.complete(key, completion.result()));
            } else {
                // Whether it was cancelled, or was done already: its own completion tells.
                self.slots[key].cancelling = false;
            }
            self.settle(key);
        }
        reaped
    }

    /// In a function of its own, which ends the borrow: dropping it tells the kernel of the room.
    fn next_completion(&mut self) -> Option<cqueue::Entry> {
        self.ring.completion().next()
    }

    /// The kernel is done with an operation: what it owns is ours again. Returns whom that wakes.
    fn complete(&mut self, key: usize, result: i32) -> Option<Waker> {
        let slot = &mut self.slots[key];
        // A signal came before anything was moved. Or signals kept the kernel from starting the thread
        // that would have moved it: since Linux 6.11, it gives up after three attempts.
        let undone = [Errno::INTR, Errno::CANCELED].map(|errno| -errno.raw_os_error());
        // Once more, unless nobody wants it: then it was we who cancelled it. But not a close: its
        // descriptor is gone all the same, as by close(2) of Linux.
        let again = slot.operation.may_be_repeated() && !slot.abandoned && !self.closed;
        if undone.contains(&result) && again {
            slot.state = State::Queued;
            self.in_kernel -= 1;
            self.queued.push_front(key);
            return None;
        }
        slot.state = State::Done(answer(&slot.operation, result));
        slot.waker.take()
    }

    /// If the kernel has no more to say of a slot, another one may take its place there.
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
        // Then no key is in line anywhere: all that are there belong to slots.
        if self.slots.is_empty() && self.slots.capacity() > BURST {
            (self.slots, self.queued, self.to_cancel) = Default::default();
        }
        slot
    }

    /// Gets everything back from the kernel, or forgets it. After this, no slot is in the state
    /// `Kernel`, and none gets there.
    ///
    /// This blocks the thread: it is for the end of an executor, after which nobody looks for
    /// completions.
    pub(crate) fn close(&mut self) -> Reaped {
        let mut reaped = Reaped::default();
        if mem::replace(&mut self.closed, true) {
            return reaped;
        }
        self.cancel_all(&mut reaped);
        let deadline = Instant::now() + PATIENCE;
        let mut goes_on = true;
        while goes_on && self.in_kernel > 0 && Instant::now() < deadline {
            self.fill(&mut 0);
            goes_on = self.wait_until(deadline);
            reaped.append(self.reap());
        }
        self.forget_all(&mut reaped);
        reaped
    }

    fn keys(&self) -> Vec<usize> {
        self.slots.iter().map(|(key, _)| key).collect()
    }

    /// Those that the kernel does not know end here; of the others, it is asked to let go.
    fn cancel_all(&mut self, reaped: &mut Reaped) {
        self.queued.clear();
        self.abandoned = 0;
        for key in self.keys() {
            match self.slots[key].state {
                State::Queued => reaped.woken.extend(self.fail(key)),
                State::Kernel => self.request_cancel(key),
                State::Done(_) => {}
            }
        }
    }

    fn fail(&mut self, key: usize) -> Option<Waker> {
        let slot = &mut self.slots[key];
        slot.state = State::Done(Err(Errno::CANCELED.into()));
        slot.waker.take()
    }

    /// Submits, and waits for a completion. Returns whether it is worth doing again: it is after a
    /// signal, and when the time is over the caller sees it by the clock.
    fn wait_until(&self, deadline: Instant) -> bool {
        let left = Timespec::from(deadline.saturating_duration_since(Instant::now()));
        match self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&left)) {
            Err(error) if is(&error, SHORT) => thread::sleep(PAUSE),
            Err(error) => return is(&error, &[Errno::INTR, Errno::TIME, Errno::BUSY]),
            Ok(_) => {}
        }
        true
    }

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

/// The last safeguard, should nobody have closed it: a buffer that the kernel may write to must not
/// be freed. The kernel itself outlives its ring: it goes on with what it has begun.
impl Drop for InFlight {
    fn drop(&mut self) {
        let mut reaped = self.close();
        // Also if a close was begun and did not come to its end.
        self.forget_all(&mut reaped);
        // The wakers go last: to drop one runs foreign code.
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

/// What a completion says. It must be that of this operation, and be asked once.
fn answer(operation: &Operation, result: i32) -> io::Result<Answer> {
    let Ok(count) = usize::try_from(result) else {
        return Err(io::Error::from_raw_os_error(-result));
    };
    if !matches!(operation, Operation::Open { .. }) {
        return Ok(Answer::Count(count));
    }
    // SAFETY: the kernel has opened this descriptor for this very completion, and a completion is
    // taken out of the queue once: so it is open, and nobody else owns it.
    Ok(Answer::Opened(unsafe { OwnedFd::from_raw_fd(result) }))
}

fn cancellation(key: usize) -> squeue::Entry {
    AsyncCancel::new(key as u64).build().user_data(key as u64 | CANCEL)
}

fn is(error: &io::Error, among: &[Errno]) -> bool {
    among.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Completions need not interrupt this thread, which looks for them when it comes by: that is a
/// flag since Linux 5.19, and an older kernel does without.
///
/// The queues are not there in a forked child: it would share them with its parent, and take
/// completions that are the parent's.
fn set_up(entries: u32) -> io::Result<IoUring> {
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
    fn the_memory_of_a_burst_comes_back() {
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

    // Cancelled, it might leave the descriptor open, and nobody would know.
    #[test]
    fn a_close_that_is_with_the_kernel_is_not_cancelled() {
        let Ok(mut in_flight) = InFlight::new(2) else {
            return println!("skipped: the kernel refuses io_uring");
        };
        let descriptor = Some(OwnedFd::from(std::fs::File::open("/").unwrap()));
        let key = in_flight.begin(Operation::Close { descriptor });
        in_flight.submit().unwrap();
        in_flight.abandon(key);
        assert!(in_flight.to_cancel.is_empty() && !in_flight.slots[key].cancelling);
        assert_eq!((in_flight.reap().completions, in_flight.len()), (1, 0));
    }

    // Whatever kept the close from its end, the kernel may still write there.
    #[test]
    fn what_the_kernel_has_is_not_freed_though_a_close_was_begun() {
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

    // As it does if signals keep it from starting a thread for it.
    #[test]
    fn what_the_kernel_gives_up_is_made_again_unless_we_have_asked_for_it() {
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

    // The descriptor is gone: the second time, the kernel would close none.
    #[test]
    fn a_close_that_a_signal_interrupts_is_not_made_again() {
        let Ok(mut in_flight) = InFlight::new(2) else {
            return println!("skipped: the kernel refuses io_uring");
        };
        let key = in_flight.begin(Operation::Close { descriptor: None });
        in_flight.queued.clear();
        in_flight.slots[key].state = State::Kernel;
        in_flight.complete(key, -Errno::INTR.raw_os_error());
        let (_, answer) = in_flight.take(key).expect("it is done");
        assert_eq!(answer.unwrap_err().kind(), io::ErrorKind::Interrupted);
    }

    #[test]
    fn two_completions_are_owed_at_most_for_each_entry_of_the_ring() {
        let Ok(in_flight) = InFlight::new(5) else {
            return println!("skipped: the kernel refuses io_uring");
        };
        let params = in_flight.ring.params();
        assert_eq!(params.cq_entries(), 2 * params.sq_entries());
    }
}
