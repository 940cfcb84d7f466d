//! Check of exercise 8.

use std::fs;
use std::future::{Future, poll_fn};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::thread;
use std::time::Duration;

use executor::block_on;
use reactor::time::timeout;
use rustix::event::{EventfdFlags, eventfd};

use super::{AsyncFd, Watcher};
use crate::check::{Seen, Step, require, times};

pub(crate) const STEPS: &[Step] = &[
    ("a task that waits for a file is not polled until one appears", waits),
    ("three files that appear together are three names", three_files),
    ("a call that is dropped while it waits loses nothing", dropped),
    ("another descriptor can be waited for, too", event_descriptor),
];

/// How long the task waits until another thread acts.
const PAUSE: Duration = Duration::from_millis(100);

/// A run that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(2);

/// A new folder, which is removed with all its files at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> io::Result<Folder> {
        let path = std::env::temp_dir().join(format!("exercise-{name}-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Folder(path))
    }

    fn create(&self, name: &str) -> io::Result<()> {
        fs::write(self.0.join(name), "")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs `future` with a limit. Returns its output and how often it was polled.
async fn counted<T>(future: impl Future<Output = io::Result<T>>) -> Result<(T, usize), String> {
    let mut polls = 0;
    let mut future = pin!(future);
    let counting = poll_fn(|cx| {
        polls += 1;
        future.as_mut().poll(cx)
    });
    match timeout(LIMIT, counting).await {
        Ok(Ok(output)) => Ok((output, polls)),
        Ok(Err(error)) => Err(format!("the call returned the error {error}")),
        Err(_) => Err(format!("nothing arrived within {} s", LIMIT.as_secs())),
    }
}

/// Describes the polls of a task that had to wait once.
fn require_few(polls: usize, what: &str) -> Seen {
    let count = if polls > 1000 { "more than 1000 times".to_owned() } else { times(polls) };
    require(polls <= 3, format!("{what}, the task was polled {count}"), "2 times, 3 at most")
}

fn watch(folder: &Path) -> Result<Watcher, String> {
    Watcher::new(folder).map_err(|error| format!("Watcher::new returned the error {error}"))
}

fn waits() -> Seen {
    let folder = Folder::new("waits").map_err(|error| error.to_string())?;
    block_on(async {
        let mut watcher = watch(&folder.0)?;
        let path = folder.0.join("hello");
        let writer = thread::spawn(move || {
            thread::sleep(PAUSE);
            fs::write(path, "")
        });
        let (name, polls) = counted(watcher.created()).await?;
        let _ = writer.join();
        require(name == "hello", format!("the name was {name:?}"), "hello")?;
        require_few(polls, "while one file was created")
    })
}

fn three_files() -> Seen {
    let folder = Folder::new("three").map_err(|error| error.to_string())?;
    block_on(async {
        let mut watcher = watch(&folder.0)?;
        let mut names = Vec::new();
        for name in ["one", "two", "three"] {
            folder.create(name).map_err(|error| error.to_string())?;
        }
        for _ in 0..3 {
            match counted(watcher.created()).await {
                Ok((name, _)) => names.push(name),
                Err(why) => return Err(format!("the names were {names:?}, then {why}")),
            }
        }
        require(names == ["one", "two", "three"], format!("{names:?}"), "one, two, three")
    })
}

fn dropped() -> Seen {
    let folder = Folder::new("dropped").map_err(|error| error.to_string())?;
    block_on(async {
        let mut watcher = watch(&folder.0)?;
        let early = timeout(PAUSE / 10, watcher.created()).await;
        require(early.is_err(), "a name was returned before there was a file", "it to wait")?;
        folder.create("late").map_err(|error| error.to_string())?;
        let (name, _) = counted(watcher.created()).await?;
        require(name == "late", format!("after a call that was dropped: {name:?}"), "late")
    })
}

fn event_descriptor() -> Seen {
    let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
    let counter = eventfd(0, flags).map_err(|error| error.to_string())?;
    let writer = counter.try_clone().map_err(|error| error.to_string())?;
    block_on(async {
        let source = AsyncFd::new(counter).map_err(|error| error.to_string())?;
        let writer = thread::spawn(move || {
            thread::sleep(PAUSE);
            rustix::io::write(&writer, &7_u64.to_ne_bytes())
        });
        let mut bytes = [0; 8];
        let read = source.read_with(|fd| Ok(rustix::io::read(fd, &mut bytes)?));
        let (_, polls) = counted(read).await?;
        let _ = writer.join();
        let value = u64::from_ne_bytes(bytes);
        require(value == 7, format!("an eventfd returned {value}"), "7")?;
        require_few(polls, "for one event of an eventfd")
    })
}
