//! The pages of the guide.

use std::path::Path;

/// All pages: the front door and the chapters in reading order, and then the other pages.
pub const READMES: [&str; 29] = [
    "README.md",
    "reactor/README.md",
    "executor/README.md",
    "echo/README.md",
    "echo/OPERATING.md",
    "tests/README.md",
    "tests/GUARANTEES.md",
    "tests/PITFALLS.md",
    "tests/FAULTS.md",
    "tests/UNDONE.md",
    "tests/DEPENDENCIES.md",
    "echo/recorder/README.md",
    "reactor/uring/README.md",
    "tests/interop/hyper-io/README.md",
    "tests/peers/README.md",
    "echo/learn/README.md",
    "echo/learn/thirty-minutes.md",
    "echo/learn/map.md",
    "echo/learn/questions.md",
    "echo/learn/stages/README.md",
    "echo/learn/course.md",
    "echo/learn/reading.md",
    "echo/learn/comparison.md",
    "echo/learn/glossary.md",
    "echo/learn/tokio.md",
    "echo/learn/own-program.md",
    "echo/learn/exercises/README.md",
    "echo/learn/predict.md",
    "echo/learn/faults.md",
];

/// Returns the folder of the workspace.
///
/// # Panics
///
/// Panics if the package `tests` is not in a workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace")
}
