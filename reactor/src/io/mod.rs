//! Reading and writing: the traits of futures-io, the methods of futures-lite, and [`copy`].
//!
//! [`AsyncRead`] and [`AsyncWrite`] are std's `Read` and `Write` with one more answer: *not yet,
//! your waker is kept*. They are re-exported from futures-io, the common ground of the ecosystem,
//! with its extension traits from futures-lite; what this project teaches, [`copy`], is its own.

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
