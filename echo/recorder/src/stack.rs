//! The stack on which a record was logged: captured as addresses, and resolved to functions and lines
//! when a page is written.

use std::collections::{HashMap, HashSet};
use std::ffi::c_void;
use std::path::Path;
use std::sync::Arc;

/// The most frames of a stack that are kept, from the innermost one outward.
const MAX_FRAMES: usize = 128;

/// The least number of different stacks to keep before looking for those that no event refers to.
const FEW_STACKS: usize = 1024;

/// The return addresses of a stack, the innermost first.
pub(crate) type Stack = Arc<[usize]>;

/// Captures the stack of the caller. The addresses are not resolved, which would take a thousand
/// times as long.
pub(crate) fn capture() -> Vec<usize> {
    let mut addresses = Vec::with_capacity(MAX_FRAMES);
    backtrace::trace(|frame| {
        addresses.push(frame.ip() as usize);
        addresses.len() < MAX_FRAMES
    });
    addresses
}

/// The different stacks of a recording. A run has few, because its tasks repeat what they do.
#[derive(Default)]
pub(crate) struct Stacks {
    known: HashSet<Stack>,
    limit: usize,
}

impl Stacks {
    /// Returns the stack with these addresses.
    pub(crate) fn intern(&mut self, addresses: &[usize]) -> Stack {
        if let Some(known) = self.known.get(addresses) {
            return known.clone();
        }
        if self.known.len() >= self.limit {
            self.known.retain(|stack| Arc::strong_count(stack) > 1);
            self.limit = FEW_STACKS.max(2 * self.known.len());
        }
        let stack = Stack::from(addresses);
        self.known.insert(stack.clone());
        stack
    }
}

/// A function on a stack, and the line that it is executing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The demangled path of the function.
    pub(crate) path: String,
    /// The absolute path of its file; empty if the program contains no debug information.
    pub(crate) file: String,
    pub(crate) line: u32,
}

/// Resolves stacks. It caches the frames of each address, because resolving takes long.
#[derive(Default)]
pub(crate) struct Resolver {
    frames: HashMap<usize, Arc<[Frame]>>,
}

impl Resolver {
    /// Returns the frames of a stack, the innermost first. An address has several frames if the compiler
    /// has inlined functions there.
    pub(crate) fn resolve(&mut self, stack: &[usize]) -> Vec<Frame> {
        stack.iter().flat_map(|address| self.frames_at(*address).to_vec()).collect()
    }

    fn frames_at(&mut self, address: usize) -> Arc<[Frame]> {
        self.frames.entry(address).or_insert_with(|| look_up(address)).clone()
    }
}

fn look_up(address: usize) -> Arc<[Frame]> {
    let mut frames = Vec::new();
    backtrace::resolve(address as *mut c_void, |symbol| {
        frames.push(Frame {
            path: symbol.name().map_or(String::new(), |name| format!("{name:#}")),
            file: symbol.filename().map_or(String::new(), |file: &Path| file.display().to_string()),
            line: symbol.lineno().unwrap_or_default(),
        });
    });
    frames.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn captured() -> Vec<usize> {
        capture()
    }

    #[test]
    fn stack_is_resolved_to_functions_and_lines() {
        let frames = Resolver::default().resolve(&captured());
        let own = frames.iter().position(|frame| frame.path.contains("captured"));
        let own = &frames[own.expect("a frame of the caller")];
        assert!(own.file.ends_with("recorder/src/stack.rs"), "{own:?}");
        let text = include_str!("stack.rs").lines().nth(own.line as usize - 1);
        assert_eq!(text.map(str::trim), Some("capture()"), "{own:?}");
    }

    #[test]
    fn equal_stacks_share_their_memory() {
        let mut stacks = Stacks::default();
        let (one, other) = (stacks.intern(&[1, 2]), stacks.intern(&[1, 2]));
        assert!(Arc::ptr_eq(&one, &other));
        assert!(!Arc::ptr_eq(&one, &stacks.intern(&[1])));
    }

    #[test]
    fn stacks_that_no_event_refers_to_are_forgotten() {
        let mut stacks = Stacks::default();
        let kept = stacks.intern(&[0]);
        (0..10 * FEW_STACKS).for_each(|nth| _ = stacks.intern(&[1, nth]));
        assert!(stacks.known.len() <= 2 * FEW_STACKS, "{}", stacks.known.len());
        assert!(Arc::ptr_eq(&kept, &stacks.intern(&[0])));
    }
}
