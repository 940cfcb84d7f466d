//! Reading and writing: the traits of futures-io, the methods of futures-lite, and [`copy`].
//!
//! [`AsyncRead`] and [`AsyncWrite`] are std's `Read` and `Write` with one more result, `Pending`:
//! the operation has to wait, and the waker is stored. The traits are re-exported from futures-io,
//! which many crates share, and the extension traits from futures-lite. [`copy`] is our own,
//! because it shows who owns the bytes while a task waits.
//!
//! # Cancel safety
//!
//! A future that is dropped while it waits, by a timeout or a `select!`, never continues. What is
//! lost depends on the operation:
//!
//! | operation | after its future was dropped |
//! |---|---|
//! | `read`, `read_vectored`, `fill_buf` | nothing is lost: no byte was taken |
//! | `read_exact` | the bytes taken so far are in the buffer, but their number is unknown |
//! | `read_to_end`, `read_until` | nothing is lost: the bytes taken so far are at the end of the `Vec`. Call it again to continue |
//! | `read_to_string`, `read_line` | the bytes taken so far are lost |
//! | `lines().next()`, `split().next()` | nothing is lost: the stream keeps the bytes. Drop the item's future, not the stream |
//! | `write`, `write_vectored` | nothing was written |
//! | `write_all` | an unknown number of bytes was written |
//! | `flush` | nothing is lost: the writer keeps the bytes. Call it again to continue |
//! | `copy`, `copy_bidirectional` | bytes that were read but not written are lost |
//!
//! To interrupt an operation without a loss, keep its future and poll it again: pin it once, and
//! pass `&mut` to [`timeout`](crate::time::timeout). To read lines under a timeout, use `lines` or
//! `read_until`. A `BufWriter` that is dropped does not flush, because `drop` cannot wait.

mod copy;
pub(crate) mod vectored;

pub use copy::{Copy, copy, copy_bidirectional};
pub use futures_io::{
    AsyncBufRead, AsyncRead, AsyncSeek, AsyncWrite, Error, ErrorKind, IoSlice, IoSliceMut, Result,
    SeekFrom,
};
pub use futures_lite::io::{
    AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, AsyncWriteExt, BufReader, BufWriter, Cursor,
    ReadHalf, WriteHalf, empty, repeat, sink, split,
};
