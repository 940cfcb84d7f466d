//! Selects the compiled-in mutant that takes effect. An environment variable names it.
//! `cargo run -p tests --example mutants` makes this file a crate of its copy of the tree.

use std::env;
use std::fs::File;
use std::io::Write;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

/// The ID of the mutant that takes effect in this process, or 0 for none.
static CHOSEN: LazyLock<u32> =
    LazyLock::new(|| env::var("MUTANT").ok().and_then(|text| text.parse().ok()).unwrap_or(0));

/// The file to which this process appends the ID of each mutant that it reaches.
static REACHED: LazyLock<Option<String>> = LazyLock::new(|| env::var("MUTANTS_REACHED").ok());

static SEEN: [AtomicBool; 10_000] = [const { AtomicBool::new(false) }; 10_000];

/// IDs that could not be written, because no descriptor was free. They are written with the next ID.
static UNWRITTEN: Mutex<String> = Mutex::new(String::new());

/// Returns whether mutant `id` takes effect.
pub fn on(id: u32) -> bool {
    on_if(id, || true)
}

/// Returns whether mutant `id` takes effect. The mutant counts as reached only where `differs`
/// returns true: the mutant and the original then have different values.
pub fn on_if(id: u32, differs: impl FnOnce() -> bool) -> bool {
    if let Some(path) = REACHED.as_ref()
        && !SEEN[id as usize].load(Ordering::Relaxed)
        && differs()
        && !SEEN[id as usize].swap(true, Ordering::Relaxed)
    {
        let mut lines = UNWRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_str(&format!("{id}\n"));
        // Open the file for each ID, so that no open descriptor disturbs tests that count descriptors.
        if let Ok(mut file) = File::options().append(true).create(true).open(path) {
            _ = file.write_all(mem::take(&mut *lines).as_bytes());
        }
    }
    *CHOSEN == id
}
