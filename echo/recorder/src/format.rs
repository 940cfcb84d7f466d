//! The file formats of a recording.

use std::path::Path;

/// A file format of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A page to step through.
    Html,
    /// Chrome's trace format, for Perfetto.
    Chrome,
    /// One event on each line, as JSON.
    Lines,
}

impl Format {
    /// Returns the format that the extension of a file name selects.
    pub fn of(path: &Path) -> Option<Format> {
        match path.extension()?.to_str()? {
            "html" => Some(Format::Html),
            "json" => Some(Format::Chrome),
            "jsonl" => Some(Format::Lines),
            _ => None,
        }
    }
}
