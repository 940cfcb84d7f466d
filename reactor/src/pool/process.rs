//! [`PerProcess`]: a static that has a separate value in each process, even after a `fork`.

use std::process;
use std::sync::OnceLock;

/// A static that has a separate value in each process.
///
/// A `fork` copies all memory of the parent, but only the calling thread. In the child, thread
/// counts are then wrong, and a lock that another thread held stays locked forever. So the child
/// must not use the parent's value. Values are stored in a linked list together with their process
/// IDs. The child finds only the ID of another process there, and appends its own value.
pub(crate) struct PerProcess<T: 'static>(OnceLock<Box<Node<T>>>);

struct Node<T: 'static> {
    process: u32,
    value: T,
    /// The value of a forked child that inherited this node.
    child: PerProcess<T>,
}

impl<T> PerProcess<T> {
    pub(crate) const fn new() -> PerProcess<T> {
        PerProcess(OnceLock::new())
    }

    /// Returns the value of this process, which the first call makes. Each call costs one `getpid`
    /// system call.
    pub(crate) fn get(&'static self, make: impl Fn() -> T) -> &'static T {
        self.get_for(process::id(), make)
    }

    fn get_for(&self, process: u32, make: impl Fn() -> T) -> &T {
        let mut list = self;
        loop {
            let node = list.0.get_or_init(|| {
                Box::new(Node { process, value: make(), child: PerProcess::new() })
            });
            if node.process == process {
                return &node.value;
            }
            list = &node.child;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_gets_and_keeps_its_own_value() {
        let values = PerProcess::new();
        for process in [10, 20, 10, 30, 20] {
            assert_eq!(*values.get_for(process, || process), process);
        }
    }
}
