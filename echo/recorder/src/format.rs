//! The three kinds of file that a recording can be written to.

use std::path::Path;

/// What a recording is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A page to step through, for people.
    Html,
    /// Chrome's trace format, for Perfetto.
    Chrome,
    /// One event a line, for programs.
    Lines,
}

impl Format {
    /// The one that the name of the file asks for.
    pub fn of(path: &Path) -> Option<Format> {
        match path.extension()?.to_str()? {
            "html" => Some(Format::Html),
            "json" => Some(Format::Chrome),
            "jsonl" => Some(Format::Lines),
            _ => None,
        }
    }
}
