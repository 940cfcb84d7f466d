//! The sources that a recording points into, as they were when this was built.

/// Path and text, in the order in which they are read.
pub(crate) const FILES: [(&str, &str); 13] = [
    ("echo/src/serve.rs", include_str!("../../src/serve.rs")),
    ("reactor/src/source.rs", include_str!("../../../reactor/src/source.rs")),
    ("reactor/src/reactor.rs", include_str!("../../../reactor/src/reactor.rs")),
    ("executor/src/task.rs", include_str!("../../../executor/src/task.rs")),
    ("executor/src/queue.rs", include_str!("../../../executor/src/queue.rs")),
    ("executor/src/executor.rs", include_str!("../../../executor/src/executor.rs")),
    ("reactor/src/net/tcp.rs", include_str!("../../../reactor/src/net/tcp.rs")),
    ("reactor/src/budget.rs", include_str!("../../../reactor/src/budget.rs")),
    ("reactor/src/time/mod.rs", include_str!("../../../reactor/src/time/mod.rs")),
    ("reactor/src/pool/job.rs", include_str!("../../../reactor/src/pool/job.rs")),
    ("reactor/src/os/signal.rs", include_str!("../../../reactor/src/os/signal.rs")),
    ("executor/src/join.rs", include_str!("../../../executor/src/join.rs")),
    ("reactor/src/io/copy.rs", include_str!("../../../reactor/src/io/copy.rs")),
];

/// The text of a file of the runtime.
pub(crate) fn text(path: &str) -> Option<&'static str> {
    FILES.iter().find(|(name, _)| *name == path).map(|(_, text)| *text)
}
