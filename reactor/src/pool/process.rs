//! [`PerProcess`]: statics that do not survive a `fork`.

use std::process;
use std::sync::OnceLock;

/// A static value that each process has for itself, even after a `fork`.
///
/// A `fork` copies the memory of the parent, but only the thread that calls it. In the child,
/// counters of threads are then wrong, and a lock that another thread held stays locked forever. So
/// the child does not touch the parent's value: it finds another process ID there, and appends a
/// value of its own.
pub(crate) struct PerProcess<T: 'static>(OnceLock<Box<Node<T>>>);

struct Node<T: 'static> {
    process: u32,
    value: T,
    /// The value of a child process that inherited this node.
    child: PerProcess<T>,
}

impl<T> PerProcess<T> {
    pub(crate) const fn new() -> PerProcess<T> {
        PerProcess(OnceLock::new())
    }

    /// Returns the value of this process. The first call makes it. Each call makes one system call.
    pub(crate) fn get(&'static self, make: impl Fn() -> T) -> &'static T {
        self.get_for(process::id(), make)
    }

    fn get_for(&self, process: u32, make: impl Fn() -> T) -> &T {
        let mut place = self;
        loop {
            let node = place.0.get_or_init(|| {
                Box::new(Node { process, value: make(), child: PerProcess::new() })
            });
            if node.process == process {
                return &node.value;
            }
            place = &node.child;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_gets_a_value_of_its_own_and_keeps_it() {
        let values = PerProcess::new();
        for process in [10, 20, 10, 30, 20] {
            assert_eq!(*values.get_for(process, || process), process);
        }
    }
}
