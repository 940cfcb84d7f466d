//! Exercise 5: lines, cancel safe. The task is in section 5 of the README of this folder.
//!
//! ```text
//! cargo run --example exercise -- 5
//! ```

use std::io;

use futures_lite::{AsyncRead, AsyncReadExt};

/// Reads lines.
pub(crate) struct Lines<R> {
    reader: R,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn new(reader: R) -> Lines<R> {
        Lines { reader }
    }

    /// Returns the next line without its line feed, or `None` at the end. A `\r` before the line
    /// feed stays in the line.
    ///
    /// # Errors
    ///
    /// Returns an error of the reader. Returns `InvalidData` if the line is not valid UTF-8; the next
    /// call returns the line after it.
    pub(crate) async fn next(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let mut chunk = [0; 64];
        loop {
            let count = self.reader.read(&mut chunk).await?;
            if count == 0 {
                return if line.is_empty() { Ok(None) } else { text(line).map(Some) };
            }
            line.extend_from_slice(&chunk[..count]);
            if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
                line.truncate(end);
                return text(line).map(Some);
            }
        }
    }
}

fn text(line: Vec<u8>) -> io::Result<String> {
    String::from_utf8(line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[path = "checks/05_lines.rs"]
pub(crate) mod check;
