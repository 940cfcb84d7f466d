//! Measures polls, and finds those that held the thread for long.

use std::collections::HashMap;
use std::time::Duration;

use crate::event::{Event, Kind};

/// The shortest poll that is worth reporting. `--warn-blocking` is usually given this limit, too.
const LONG: Duration = Duration::from_millis(10);

/// The polls that are running, while events are replayed.
#[derive(Default)]
pub(crate) struct PollLengths {
    /// When the running poll of each task began.
    began: HashMap<u64, Duration>,
}

impl PollLengths {
    /// Returns the length of the poll that this event ends, if the poll held the thread for long.
    pub(crate) fn held_until(&mut self, event: &Event) -> Option<Duration> {
        self.ended_by(event).filter(|length| *length >= LONG)
    }

    /// Returns the length of the poll that this event ends.
    pub(crate) fn ended_by(&mut self, event: &Event) -> Option<Duration> {
        let task = event.task_id()?;
        match event.kind {
            Kind::Poll { .. } => {
                self.began.insert(task, event.at);
                None
            }
            Kind::Pending | Kind::Done { .. } | Kind::Abort | Kind::Panic => {
                let began = self.began.remove(&task)?;
                Some(event.at.saturating_sub(began))
            }
            _ => None,
        }
    }
}
