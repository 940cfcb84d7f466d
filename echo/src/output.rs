//! Standard output and standard error, which may be closed, full, or read by nobody.

use std::io::{self, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// What a pipe takes in one piece when it says that it takes anything.
const LINE: usize = 4096;

/// Writes whole lines to a stream of the process, and drops those that it does not take at once.
/// A pipe that nobody reads would else hold up the server with the log.
pub(crate) struct Lines<W>(pub(crate) W);

impl<W: Write + AsFd> Lines<W> {
    /// Whether the stream took the line.
    fn offer(&mut self, line: &[u8]) -> bool {
        let takes = takes_a_line(&self.0);
        if takes {
            // Nobody can be told that nobody can be told.
            let _ = write_cut(&mut self.0, line);
            let _ = self.0.flush();
        }
        takes
    }
}

impl<W: Write + AsFd> Write for Lines<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.offer(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Standard error, locked before it is asked whether it takes a line: else the line of another
/// thread may take the room in between, and this one would block for ever.
pub(crate) struct StandardError;

impl Write for StandardError {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        Lines(io::stderr().lock()).write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines that belong together: when some were dropped, the next one says so.
pub(crate) struct Unbroken<W> {
    lines: Lines<W>,
    dropped: u64,
}

impl<W: Write + AsFd> Unbroken<W> {
    pub(crate) fn new(stream: W) -> Unbroken<W> {
        Unbroken { lines: Lines(stream), dropped: 0 }
    }
}

impl<W: Write + AsFd> Write for Unbroken<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let gap = format!("({} lines were dropped: nobody read)\n", self.dropped);
        if self.dropped > 0 && self.lines.offer(gap.as_bytes()) {
            self.dropped = 0;
        }
        if self.dropped > 0 || !self.lines.offer(line) {
            self.dropped += 1;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes the line in one piece. One that is too long keeps its start, and ends as a line.
fn write_cut(stream: &mut impl Write, line: &[u8]) -> io::Result<()> {
    if line.len() <= LINE {
        return stream.write_all(line);
    }
    let mut cut = line[..LINE - 1].to_vec();
    cut.push(b'\n');
    stream.write_all(&cut)
}

fn takes_a_line(stream: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(stream, PollFlags::OUT)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::OUT)
}

/// One line on standard error that names what is wrong.
pub(crate) fn complain(text: &str) {
    // A name may have lines.
    let text = text.replace('\n', "\\n");
    let _ = StandardError.write(format!("echod: {text}\n").as_bytes());
}

/// What the system refuses to the server, why, and the cure.
pub(crate) fn cannot(act: &str, error: &io::Error) -> String {
    let cure = match Errno::from_io_error(error) {
        _ if is_out_of_descriptors(error) => MORE_DESCRIPTORS,
        Some(Errno::AGAIN) => "allow more threads (ulimit -u), or choose fewer",
        Some(Errno::NOMEM) => "make room in the memory",
        None => "the lines above say more",
        _ => "strace shows which call is refused; allow it",
    };
    format!("cannot {act}: {error}: {cure}")
}

/// The cure, wherever there is no descriptor left.
pub(crate) const MORE_DESCRIPTORS: &str = "allow more descriptors (ulimit -n)";

/// Whether the process, or the system, has as many descriptors as it may.
pub(crate) fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_call_has_refused_is_not_sent_to_strace() {
        let panicked = cannot("start the threads", &io::Error::other("it panicked"));
        assert_eq!(panicked, "cannot start the threads: it panicked: the lines above say more");
        assert!(cannot("start", &Errno::PERM.into()).contains("strace"));
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_still_ends_as_a_line() {
        for (length, expected) in [(10, 11), (LINE - 1, LINE), (LINE, LINE), (3 * LINE, LINE)] {
            let mut written = Vec::new();
            let line = format!("{}\n", "x".repeat(length));
            write_cut(&mut written, line.as_bytes()).unwrap();
            assert_eq!((written.len(), written.last()), (expected, Some(&b'\n')), "{length}");
        }
    }
}
