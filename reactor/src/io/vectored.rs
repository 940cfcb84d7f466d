//! Vectored writes for the thread pool: a job must own its bytes, in one buffer.

use std::io::IoSlice;

/// Copies the bytes of several buffers into one, up to `most` bytes.
pub(crate) fn gather(bufs: &[IoSlice<'_>], most: usize) -> Vec<u8> {
    let length: usize = bufs.iter().map(|buf| buf.len()).sum();
    let mut bytes = Vec::with_capacity(length.min(most));
    for buf in bufs {
        bytes.extend_from_slice(&buf[..buf.len().min(most - bytes.len())]);
    }
    bytes
}

/// Returns whether the bytes of these buffers begin with `bytes`.
pub(crate) fn begin_with(bufs: &[IoSlice<'_>], mut bytes: &[u8]) -> bool {
    for buf in bufs {
        let length = buf.len().min(bytes.len());
        if buf[..length] != bytes[..length] {
            return false;
        }
        bytes = &bytes[length..];
    }
    bytes.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_gathered_up_to_a_limit() {
        let bufs = [b"ab".as_slice(), b"", b"cde"].map(IoSlice::new);
        assert_eq!(gather(&bufs, 9), b"abcde");
        assert_eq!(gather(&bufs, 3), b"abc");
        assert_eq!(gather(&[], 3), b"");
    }

    #[test]
    fn buffers_begin_with_their_first_bytes_only() {
        let bufs = [b"ab".as_slice(), b"", b"cde"].map(IoSlice::new);
        for same in ["", "a", "ab", "abc", "abcde"] {
            assert!(begin_with(&bufs, same.as_bytes()), "{same}");
        }
        for other in ["b", "aX", "abX", "abcdeX"] {
            assert!(!begin_with(&bufs, other.as_bytes()), "{other}");
        }
    }
}
