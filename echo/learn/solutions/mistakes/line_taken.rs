//! Mistake: `next` moves the buffer into its future, which loses it when it is dropped.

use std::io;

use futures_lite::{AsyncRead, AsyncReadExt};

/// Reads lines.
pub(crate) struct Lines<R> {
    reader: R,
    /// The bytes behind the last line that was returned.
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
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            if let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = buffer.drain(..=end).collect();
                self.buffer = buffer;
                line.pop();
                return text(line).map(Some);
            }
            let mut chunk = [0; 64];
            let count = self.reader.read(&mut chunk).await?;
            buffer.extend_from_slice(&chunk[..count]);
            if count == 0 {
                return if buffer.is_empty() { Ok(None) } else { text(buffer).map(Some) };
            }
        }
    }
}

fn text(line: Vec<u8>) -> io::Result<String> {
    String::from_utf8(line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[path = "../../exercises/checks/05_lines.rs"]
pub(crate) mod check;
