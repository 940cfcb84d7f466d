//! The solutions of the exercises.

#[path = "08_async_fd.rs"]
pub(crate) mod async_fd;
#[path = "11_budget.rs"]
pub(crate) mod budget;
#[path = "03_join.rs"]
pub(crate) mod join;
#[path = "09_level.rs"]
pub(crate) mod level;
#[path = "12_lifo.rs"]
pub(crate) mod lifo;
#[path = "05_lines.rs"]
pub(crate) mod lines;
#[path = "02_oneshot.rs"]
pub(crate) mod oneshot;
#[path = "04_select.rs"]
pub(crate) mod select;
#[path = "06_semaphore.rs"]
pub(crate) mod semaphore;
#[path = "07_wake_one.rs"]
pub(crate) mod wake_one;
#[path = "01_waker.rs"]
pub(crate) mod waker;
#[path = "10_wheel.rs"]
pub(crate) mod wheel;
