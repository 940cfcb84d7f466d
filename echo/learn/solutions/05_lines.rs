//! Solution of exercise 5: lines, cancel safe.

use std::io;

use futures_lite::{AsyncRead, AsyncReadExt};

/// Reads lines.
pub(crate) struct Lines<R> {
    reader: R,
    /// The bytes that were read and not yet returned: the beginning of a line, or several lines.
    ///
    /// They are kept here and not in the future of `next`, so that they survive if that future is
    /// dropped.
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn new(reader: R) -> Lines<R> {
        Lines { reader, buffer: Vec::new() }
    }

    /// Returns the next line without its line feed, or `None` at the end. A `\r` before the line
    /// feed stays in the line.
    ///
    /// # Errors
    ///
    /// Returns an error of the reader. Returns `InvalidData` if the line is not valid UTF-8; the next
    /// call returns the line after it.
    pub(crate) async fn next(&mut self) -> io::Result<Option<String>> {
        loop {
            // No `.await` stands between taking the line and returning it.
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                return text(line).map(Some);
            }
            let mut chunk = [0; 64];
            // Nothing is lost if the future is dropped here: `read` takes bytes only in the poll in
            // which it completes, and the next statement stores them.
            let count = self.reader.read(&mut chunk).await?;
            self.buffer.extend_from_slice(&chunk[..count]);
            if count == 0 {
                let line = std::mem::take(&mut self.buffer);
                return if line.is_empty() { Ok(None) } else { text(line).map(Some) };
            }
        }
    }
}

fn text(line: Vec<u8>) -> io::Result<String> {
    String::from_utf8(line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[path = "../exercises/checks/05_lines.rs"]
pub(crate) mod check;
