//! [`copy`]: from a reader to a writer, without a buffer while it waits.
//!
//! On one thread only one copy runs at a time, so all of them share one scratch buffer: a copy
//! reads into it and writes from it at once. Only what the writer did not take is moved to a
//! buffer of the copy's own, exactly as large, and freed when it is written; if it is much, the
//! copy keeps the scratch buffer itself for so long. An idle connection therefore owns no buffer
//! at all, and the bytes in flight stay in the processor's cache.
//!
//! Nobody can know before a read how much the writer will take, and what was read must be kept. So
//! while the copies of a thread keep much already, all of them read little at once: a thousand
//! peers that do not read must not cost a thousand scratch buffers.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};

use crate::budget;

/// Bytes of the scratch buffer, and the most that one copy reads in one poll. What was left from
/// before may be written in the same one.
const SCRATCH: usize = 256 * 1024;

/// What a copy reads at once while the copies of its thread keep more than [`MANY`].
const LITTLE: usize = 32 * 1024;

/// Bytes in remainders that are nothing to worry about: those of a few slow peers.
const MANY: usize = 4 * SCRATCH;

/// Reads that one poll makes at most, however small they are: a reader that never waits, such as
/// `repeat`, must not keep the thread.
const ROUNDS: u32 = budget::OPERATIONS;

thread_local! {
    static SCRATCH_BUFFER: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
    /// Bytes in the remainders of all copies of this thread.
    static KEPT: Cell<usize> = const { Cell::new(0) };
}

/// Copies all bytes from `reader` to `writer`, and returns how many there were.
///
/// Ends at the reader's end-of-file, when all is written and flushed. The writer stays open, as
/// with [`std::io::copy`]. Whenever the reader has to wait, what was written is flushed.
///
/// Both may be given by value or as `&mut`; the two halves of a split socket make an echo.
///
/// # Errors
///
/// The first error of either side; `WriteZero`, if the writer takes nothing.
///
/// # Cancel safety
///
/// Not cancel safe: bytes that were read and not yet written are lost with the future.
///
/// # Examples
///
/// ```
/// use reactor::io;
///
/// # fn main() -> io::Result<()> {
/// let mut target = Vec::new();
/// let bytes = executor::block_on(io::copy(&b"hello"[..], &mut target))?;
/// assert_eq!((bytes, &target[..]), (5, &b"hello"[..]));
/// # Ok(())
/// # }
/// ```
pub fn copy<R, W>(reader: R, writer: W) -> Copy<R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    Copy { reader, writer, flow: Flow::default() }
}

/// The future of [`copy`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct Copy<R, W> {
    reader: R,
    writer: W,
    flow: Flow,
}

impl<R, W> Copy<R, W> {
    /// Bytes written so far: also after an error, or before the copy is given up.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::io::{Cursor, ErrorKind, copy};
    ///
    /// let mut room = [0; 3];
    /// let mut copy = copy(&b"hello"[..], Cursor::new(&mut room[..]));
    /// let error = executor::block_on(&mut copy).unwrap_err();
    /// assert_eq!((error.kind(), copy.copied()), (ErrorKind::WriteZero, 3));
    /// ```
    pub fn copied(&self) -> u64 {
        self.flow.copied
    }
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Future for Copy<R, W> {
    type Output = io::Result<u64>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        let Copy { reader, writer, flow } = &mut *self;
        let charge = ready!(Charge::begin(cx, &mut flow.waited, flow.copied));
        let mut polled = flow.poll_copy(cx, reader, writer);
        if let Poll::Ready(Ok(())) = polled {
            polled = Pin::new(writer).poll_flush(cx);
        }
        charge.end(polled.is_ready(), &mut flow.waited, flow.copied);
        polled.map_ok(|()| flow.copied)
    }
}

/// Copies in both directions until both have ended, and returns how many bytes there were.
///
/// The first number is that of the bytes from `a` to `b`, the second from `b` to `a`. Each writer
/// is closed at its reader's end-of-file, after all bytes: an end-of-file travels through, and the
/// other direction goes on. So does tokio's function of this name.
///
/// # Errors
///
/// As [`copy`].
///
/// # Cancel safety
///
/// Not cancel safe, as [`copy`].
///
/// # Examples
///
/// ```
/// use reactor::io::{self, AsyncReadExt, AsyncWriteExt, copy_bidirectional};
/// # use reactor::net::{TcpListener, TcpStream};
/// # async fn connection() -> io::Result<(TcpStream, TcpStream)> {
/// #     let listener = TcpListener::bind("127.0.0.1:0").await?;
/// #     let stream = TcpStream::connect(listener.local_addr()?).await?;
/// #     Ok((stream, listener.accept().await?.0))
/// # }
///
/// # fn main() -> io::Result<()> {
/// # executor::block_on(async {
/// let (mut client, mut front) = connection().await?;
/// let (mut back, mut server) = connection().await?;
/// let proxy = async move { copy_bidirectional(&mut front, &mut back).await };
/// let proxy = executor::spawn(proxy);
///
/// client.write_all(b"ping").await?;
/// client.close().await?;
/// let mut request = String::new();
/// server.read_to_string(&mut request).await?; // It ends, for the end-of-file came through.
/// server.write_all(b"pong!").await?;
/// server.close().await?;
/// assert_eq!(proxy.await??, (4, 5));
/// # Ok(())
/// # })
/// # }
/// ```
pub async fn copy_bidirectional<A, B>(a: &mut A, b: &mut B) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite + Unpin + ?Sized,
    B: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    let (mut there, mut back) = (Flow::default(), Flow::default());
    let mut back_first = true;
    let mut poll_both = |cx: &mut Context<'_>, there: &mut Flow, back: &mut Flow| {
        // By turns, for they share the budget of the task: a flood in the direction that is polled
        // first may spend all of it, and in each poll.
        back_first = !back_first;
        let mut ended = true;
        // Both are polled each time, so that each leaves its waker.
        for is_back in [back_first, !back_first] {
            let polled = match is_back {
                false => there.poll_copy_and_close(cx, &mut *a, &mut *b)?,
                true => back.poll_copy_and_close(cx, &mut *b, &mut *a)?,
            };
            ended &= polled.is_ready();
        }
        if ended { Poll::Ready(io::Result::Ok(())) } else { Poll::Pending }
    };
    poll_fn(|cx| {
        let charge = ready!(Charge::begin(cx, &mut there.waited, there.copied + back.copied));
        let polled = poll_both(cx, &mut there, &mut back);
        let copied = there.copied + back.copied;
        charge.end(polled.is_ready(), &mut there.waited, copied);
        polled
    })
    .await?;
    Ok((there.copied, back.copied))
}

/// One direction of a copy: all that it keeps while it waits.
#[derive(Debug, Default)]
struct Flow {
    copied: u64,
    /// What the writer did not take: empty nearly always, and then it owns no memory.
    remainder: Remainder,
    /// Something was written since the last flush.
    dirty: bool,
    /// Kept, for a copy is polled again while its flush or the other direction waits: a reader that
    /// has ended is not asked once more.
    end_of_file: bool,
    closed: bool,
    /// Whether the last poll returned `Pending`, for [`Charge`].
    waited: bool,
}

/// The budget of a copy whose reader and writer spend none, because both are in memory.
///
/// A loop of such copies must not keep the thread, however short or long each one is.
struct Charge {
    left: u32,
    copied: u64,
}

impl Charge {
    /// Begins a poll. The first poll of a copy yields if the task has no budget left.
    fn begin(cx: &mut Context<'_>, waited: &mut bool, copied: u64) -> Poll<Charge> {
        ready!(budget::poll_first(cx, waited));
        Poll::Ready(Charge { left: budget::left(), copied })
    }

    /// Ends a poll. If it completed the copy, and nothing inside has spent budget, the copy spends
    /// one operation, and more by its bytes: [`SCRATCH`] bytes spend all of a budget.
    fn end(self, is_ready: bool, waited: &mut bool, copied: u64) {
        *waited = !is_ready;
        if is_ready {
            let operations =
                (copied - self.copied) / (SCRATCH / budget::OPERATIONS as usize) as u64;
            budget::charge_if_unspent(self.left, 1 + operations as u32);
        }
    }
}

impl Flow {
    fn poll_copy_and_close<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin + ?Sized,
        W: AsyncWrite + Unpin + ?Sized,
    {
        ready!(self.poll_copy(cx, reader, writer))?;
        if !self.closed {
            ready!(Pin::new(writer).poll_close(cx))?;
            self.closed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Copies until the reader's end-of-file is reached and all is written.
    fn poll_copy<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin + ?Sized,
        W: AsyncWrite + Unpin + ?Sized,
    {
        ready!(self.poll_write_remainder(cx, writer))?;
        if self.end_of_file {
            return Poll::Ready(Ok(()));
        }
        // Taken, not borrowed: should the reader copy something itself, it finds none here and
        // brings its own.
        let mut scratch = take_scratch();
        let result = self.poll_through(cx, reader, writer, &mut scratch);
        give_back(scratch);
        result
    }

    /// Reads into the scratch buffer and writes from it at once. A function of its own, so that the
    /// buffer is given back whichever way this ends.
    fn poll_through<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        scratch: &mut Box<[u8]>,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin + ?Sized,
        W: AsyncWrite + Unpin + ?Sized,
    {
        let mut allowance = SCRATCH;
        for _ in 0..ROUNDS {
            let length = allowance.min(if KEPT.get() < MANY { SCRATCH } else { LITTLE });
            let Poll::Ready(read) = Pin::new(&mut *reader).poll_read(cx, &mut scratch[..length])
            else {
                return self.flush_while_waiting(cx, writer);
            };
            let read = read?;
            if read == 0 {
                self.end_of_file = true;
                return Poll::Ready(Ok(()));
            }
            let mut written = 0;
            while written < read {
                let rest = &scratch[written..read];
                let Poll::Ready(result) = Pin::new(&mut *writer).poll_write(cx, rest) else {
                    self.remainder = Remainder::keep(scratch, written..read);
                    return Poll::Pending;
                };
                written += self.count(result?)?;
            }
            allowance -= read;
            if allowance == 0 {
                break;
            }
        }
        budget::yield_to_neighbours(cx);
        Poll::Pending
    }

    fn poll_write_remainder<W: AsyncWrite + Unpin + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        writer: &mut W,
    ) -> Poll<io::Result<()>> {
        while !self.remainder.rest.is_empty() {
            let rest = &self.remainder.bytes[self.remainder.rest.clone()];
            let result = ready!(Pin::new(&mut *writer).poll_write(cx, rest));
            self.remainder.rest.start += self.count(result?)?;
            if self.remainder.rest.is_empty() {
                self.remainder = Remainder::default();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn count(&mut self, written: usize) -> io::Result<usize> {
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.copied += written as u64;
        self.dirty = true;
        Ok(written)
    }

    /// The reader has to wait, so the peer shall at least see what was written.
    fn flush_while_waiting<W: AsyncWrite + Unpin + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        writer: &mut W,
    ) -> Poll<io::Result<()>> {
        if self.dirty {
            ready!(Pin::new(writer).poll_flush(cx))?;
            self.dirty = false;
        }
        Poll::Pending
    }
}

/// What a writer did not take. It is freed when all of it is written.
#[derive(Debug, Default)]
struct Remainder {
    bytes: Box<[u8]>,
    /// Those of the bytes that are still to be written.
    rest: Range<usize>,
    /// It is counted on the thread that made it, and must go there.
    _not_send: PhantomData<*const ()>,
}

impl Remainder {
    /// Keeps a part of the scratch buffer: a copy, exactly as large; or if that is much, the
    /// scratch buffer itself, and an empty one is left.
    fn keep(scratch: &mut Box<[u8]>, rest: Range<usize>) -> Remainder {
        let (bytes, rest) = if rest.len() > LITTLE {
            (mem::take(scratch), rest)
        } else {
            (scratch[rest.clone()].into(), 0..rest.len())
        };
        let remainder = Remainder { bytes, rest, _not_send: PhantomData };
        KEPT.set(KEPT.get() + remainder.bytes.len());
        remainder
    }
}

impl Drop for Remainder {
    fn drop(&mut self) {
        KEPT.set(KEPT.get() - self.bytes.len());
        if self.bytes.len() == SCRATCH {
            give_back(mem::take(&mut self.bytes));
        }
    }
}

fn take_scratch() -> Box<[u8]> {
    // In a thread's last moments the thread-local may be gone.
    let kept = SCRATCH_BUFFER.try_with(Cell::take).ok().flatten();
    kept.unwrap_or_else(|| vec![0; SCRATCH].into_boxed_slice())
}

fn give_back(scratch: Box<[u8]>) {
    if !scratch.is_empty() {
        let _ = SCRATCH_BUFFER.try_with(|kept| kept.set(Some(scratch)));
    }
}
