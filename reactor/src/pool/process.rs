//! [`PerProcess`]: a static value that a forked child does not inherit.

use std::process;
use std::sync::OnceLock;

/// A static value of which each process has its own, even after a `fork`.
///
/// A `fork` copies all memory of the parent, but only the calling thread. In the child, thread
/// counts are then wrong, and a lock that another thread held stays locked forever. So the child
/// must not use the parent's value. It recognizes that value by its process ID, and appends its own
/// value to a linked list.
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
