//! Typical mistakes: wrong solutions, each of which its check must find.

mod always_reading;
mod cloned_locked;
mod dropped_borrowed;
mod early_wake;
mod end_read_again;
mod events_lost;
mod late_waker;
mod line_taken;
mod locked_twice;
mod loser_dropped;
mod overtaking;
mod permit_lost;
mod poll_blocks;
mod polled_again;
mod queue_borrowed;
mod rounded_down;
mod silent_drop;
mod slot_displaced;
mod slot_unlimited;
mod spent_late;
mod stale_waker;
mod waiting_charged;
mod wake_swallowed;
mod waker_borrowed;
mod waker_kept;
mod woken_locked;
mod yield_unwoken;

use crate::check::Step;

/// The name of each mistake, its exercise and what is wrong, and what the check runs.
pub(crate) const MISTAKES: &[(&str, &str, &[Step])] = &[
    ("waker-kept", "1: only the first waker is stored", waker_kept::check::STEPS),
    ("waker-borrowed", "1: the waker is called during a borrow", waker_borrowed::check::STEPS),
    ("early-wake", "1: the waker is called before the flag is set", early_wake::check::STEPS),
    (
        "dropped-borrowed",
        "1: the old waker is dropped during a borrow",
        dropped_borrowed::check::STEPS,
    ),
    ("silent-drop", "2: the sender's drop wakes no task", silent_drop::check::STEPS),
    ("late-waker", "2: the lock is released before the waker is stored", late_waker::check::STEPS),
    ("woken-locked", "2: the waker is called under the lock", woken_locked::check::STEPS),
    (
        "locked-twice",
        "2: a guard is alive when the lock is taken again",
        locked_twice::check::STEPS,
    ),
    ("cloned-locked", "2: the waker is cloned under the lock", cloned_locked::check::STEPS),
    ("poll-blocks", "2: the poll blocks until the value is there", poll_blocks::check::STEPS),
    ("polled-again", "3: a completed future is polled again", polled_again::check::STEPS),
    ("loser-dropped", "4: the loser is dropped with its bytes", loser_dropped::check::STEPS),
    ("end-read-again", "4: the end of a pipe is read in a loop", end_read_again::check::STEPS),
    ("line-taken", "5: the future holds the unfinished line", line_taken::check::STEPS),
    ("permit-lost", "6: a dropped waiter keeps its permit", permit_lost::check::STEPS),
    ("overtaking", "6: a newcomer can take a released permit", overtaking::check::STEPS),
    ("queue-borrowed", "6: the waker is called during a borrow", queue_borrowed::check::STEPS),
    ("stale-waker", "7: a wakeup goes to a task that has gone", stale_waker::check::STEPS),
    ("wake-swallowed", "7: a dropped task keeps its wakeup", wake_swallowed::check::STEPS),
    ("events-lost", "8: one read returns several events", events_lost::check::STEPS),
    ("always-reading", "9: reading is watched during a full write", always_reading::check::STEPS),
    ("rounded-down", "10: deadlines are rounded down to a tick", rounded_down::check::STEPS),
    ("waiting-charged", "11: an operation that waits is charged", waiting_charged::check::STEPS),
    ("yield-unwoken", "11: a task without budget is not woken", yield_unwoken::check::STEPS),
    ("spent-late", "11: the budget is spent after the item is taken", spent_late::check::STEPS),
    ("slot-unlimited", "12: nothing limits the use of the slot", slot_unlimited::check::STEPS),
    ("slot-displaced", "12: a task in the slot is forgotten", slot_displaced::check::STEPS),
];
