//! `copy` and the budget: no byte is lost, no task starves, and a waiting copy owns no buffer.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use proptest::collection::vec;
use proptest::prelude::*;
use reactor::budget::{OPERATIONS, enter};
use reactor::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter, copy, copy_bidirectional,
    repeat, sink,
};
use reactor::net::TcpStream;
use reactor::{Async, Reactor};
use tests::records::capture;
use tests::wakers::{Counter, poll};
use tests::{run, tcp_pair, tcp_pair_with_std, within_deadline};

/// The most bytes that one copy moves in one poll.
const SCRATCH: usize = 256 * 1024;
/// The most bytes of one read until the writer has accepted [`PROVEN`] bytes without a stall.
const SMALL_READ: usize = 68 * 1024;
const PROVEN: usize = 6 << 20;

/// The answer of a scripted reader or writer to one call.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Pending,
    /// Transfers at most this many bytes.
    Bytes(usize),
    Error,
}

/// The calls that a scripted reader and writer received.
#[derive(Default)]
struct Log {
    /// The sizes of the buffers offered to the reader.
    reads: Vec<usize>,
    /// The sizes of the buffers offered to the writer.
    writes: Vec<usize>,
    flushes: usize,
    closes: usize,
    /// The bytes that the writer took.
    taken: Vec<u8>,
}

/// A reader and writer with scripted answers. After the last answer, each call transfers all bytes.
struct Script {
    answers: VecDeque<Answer>,
    source: VecDeque<u8>,
    log: Rc<RefCell<Log>>,
}

impl Script {
    fn new(answers: &[Answer], source: &[u8], log: &Rc<RefCell<Log>>) -> Script {
        let answers = answers.iter().copied().collect();
        Script { answers, source: source.to_vec().into(), log: log.clone() }
    }

    /// Returns how many of `length` bytes the next call transfers.
    fn answer(&mut self, cx: &mut Context<'_>, length: usize) -> Poll<io::Result<usize>> {
        match self.answers.pop_front() {
            Some(Answer::Pending) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Answer::Error) => Poll::Ready(Err(ErrorKind::ConnectionReset.into())),
            Some(Answer::Bytes(bytes)) => Poll::Ready(Ok(bytes.min(length))),
            None => Poll::Ready(Ok(length)),
        }
    }
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.log.borrow_mut().reads.push(buf.len());
        let length = buf.len();
        let answer = std::task::ready!(self.answer(cx, length))?;
        self.source.read(&mut buf[..answer]).into()
    }
}

/// A reader that claims `excess` bytes more than it has read.
struct Claims {
    script: Script,
    excess: usize,
}

impl AsyncRead for Claims {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = std::task::ready!(Pin::new(&mut self.script).poll_read(cx, buf))?;
        let claimed = if read == 0 { 0 } else { buf.len().min(read + self.excess) };
        Poll::Ready(Ok(claimed))
    }
}

impl AsyncWrite for Script {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.log.borrow_mut().writes.push(buf.len());
        let bytes = std::task::ready!(self.answer(cx, buf.len()))?;
        self.log.borrow_mut().taken.extend(&buf[..bytes]);
        Poll::Ready(Ok(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.log.borrow_mut().flushes += 1;
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.log.borrow_mut().closes += 1;
        Poll::Ready(Ok(()))
    }
}

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

/// Polls a future until it is ready. Each pending poll must have woken the waker. Returns the
/// output and the number of polls.
fn drive<F: Future>(future: F) -> (F::Output, usize) {
    let mut future = pin!(future);
    let (counter, waker) = Counter::with_waker();
    for polls in 1.. {
        if let Poll::Ready(output) = poll(future.as_mut(), &waker) {
            return (output, polls);
        }
        assert!(counter.wakes() >= polls, "the copy waits without having been woken");
    }
    unreachable!("the loop ends with the future")
}

fn answers() -> impl Strategy<Value = Vec<Answer>> {
    let one = prop_oneof![
        1 => Just(Answer::Pending),
        2 => (1_usize..10).prop_map(Answer::Bytes),
        2 => (1_usize..100_000).prop_map(Answer::Bytes),
    ];
    vec(one, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: tests::cases(100), failure_persistence: None, ..ProptestConfig::default() })]

    // The reader and the writer take random numbers of bytes and wait at random.
    #[test]
    fn every_byte_arrives_once_and_in_order(
        reads in answers(),
        writes in answers(),
        length in prop_oneof![0_usize..100, 0_usize..1_000_000],
    ) {
        let log = Rc::default();
        let bytes = text(length);
        let reader = Script::new(&reads, &bytes, &log);
        let mut writer = Script::new(&writes, &[], &log);
        let (copied, _) = drive(copy(reader, &mut writer));
        assert_eq!(copied.unwrap(), length as u64);
        assert!(log.borrow().taken == bytes, "the bytes differ");
        assert_eq!(log.borrow().closes, 0, "copy leaves the writer open");
        assert!(log.borrow().flushes > 0);
    }

    // Several copies run by turns. Each copies a byte of its own, and its reader claims some bytes
    // more than it has read.
    // Pitfall: B3
    #[test]
    fn no_copy_sends_the_bytes_of_another(
        copies in vec((answers(), answers(), 1_usize..100_000, 0_usize..1000), 2..5),
        turns in vec(any::<usize>(), 0..50),
    ) {
        let logs: Vec<Rc<RefCell<Log>>> = copies.iter().map(|_| Rc::default()).collect();
        let mut running = Vec::new();
        for (own, (reads, writes, length, excess)) in copies.iter().enumerate() {
            let bytes = vec![own as u8 + 1; *length];
            let reader = Claims { script: Script::new(reads, &bytes, &logs[own]), excess: *excess };
            running.push(Box::pin(copy(reader, Script::new(writes, &[], &logs[own]))));
        }
        let mut ended = vec![false; running.len()];
        for turn in turns {
            let own = turn % running.len();
            if !ended[own] {
                ended[own] = poll(running[own].as_mut(), Waker::noop()).is_ready();
            }
        }
        for (own, log) in logs.iter().enumerate() {
            let is_own = |byte: &u8| [0, own as u8 + 1].contains(byte);
            assert!(log.borrow().taken.iter().all(is_own), "a copy sent bytes of another copy");
        }
    }
}

#[test]
fn writer_that_takes_nothing_is_an_error() {
    let log = Rc::default();
    let reader = Script::new(&[], b"x", &log);
    let mut copy = pin!(copy(reader, Script::new(&[Answer::Bytes(0)], &[], &log)));
    let Poll::Ready(Err(error)) = poll(copy.as_mut(), Waker::noop()) else { panic!("no error") };
    assert_eq!(error.kind(), ErrorKind::WriteZero);

    let reader = Script::new(&[], b"xyz", &log);
    let answers = [Answer::Bytes(1), Answer::Pending, Answer::Bytes(0)];
    let mut copy = pin!(reactor::io::copy(reader, Script::new(&answers, &[], &log)));
    assert!(poll(copy.as_mut(), Waker::noop()).is_pending());
    let Poll::Ready(Err(error)) = poll(copy.as_mut(), Waker::noop()) else { panic!("no error") };
    assert_eq!((error.kind(), copy.copied()), (ErrorKind::WriteZero, 1));
}

#[test]
fn error_of_either_side_keeps_the_count_of_copied_bytes() {
    let log = Rc::default();
    let reader = Script::new(&[Answer::Bytes(3), Answer::Error], b"abcdef", &log);
    let mut copying = copy(reader, sink());
    let (result, _) = drive(&mut copying);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(copying.copied(), 3);

    let writer = Script::new(&[Answer::Bytes(2), Answer::Error], &[], &log);
    let mut copying = copy(&b"abcdef"[..], writer);
    let (result, _) = drive(&mut copying);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(copying.copied(), 2);
}

#[test]
fn copy_flushes_new_bytes_when_its_reader_waits() {
    let log = Rc::default();
    let answers = [Answer::Pending, Answer::Bytes(5), Answer::Pending, Answer::Pending];
    let mut writer = Script::new(&[], &[], &log);
    let mut copy = pin!(copy(Script::new(&answers, b"hello", &log), &mut writer));
    assert!(poll(copy.as_mut(), Waker::noop()).is_pending());
    assert_eq!(log.borrow().flushes, 0);
    assert!(poll(copy.as_mut(), Waker::noop()).is_pending());
    assert_eq!((log.borrow().flushes, log.borrow().taken.len()), (1, 5));
    assert!(poll(copy.as_mut(), Waker::noop()).is_pending());
    assert_eq!(log.borrow().flushes, 1);
}

#[test]
fn buffered_bytes_reach_the_peer_while_the_reader_waits() {
    run(|| async {
        let (ours, mut peer) = tcp_pair_with_std().await.unwrap();
        let (reader, writer) = ours.into_split();
        drop(executor::spawn(copy(reader, BufWriter::new(writer))));
        executor::yield_now().await;
        peer.write_all(b"ping").unwrap();
        let answer = reactor::blocking::unblock(move || {
            let mut bytes = [0; 4];
            peer.read_exact(&mut bytes).map(|()| bytes)
        });
        assert_eq!(&answer.await.unwrap(), b"ping");
    });
}

#[test]
fn one_poll_moves_at_most_one_scratch_buffer() {
    let log = Rc::default();
    let bytes = text(10 * SCRATCH);
    let mut writer = Script::new(&[], &[], &log);
    let (counter, waker) = Counter::with_waker();
    let mut copy = pin!(copy(Script::new(&[], &bytes, &log), &mut writer));
    for polls in 1..=10 {
        assert!(poll(copy.as_mut(), &waker).is_pending());
        assert_eq!(log.borrow().taken.len(), polls * SCRATCH);
        assert_eq!(counter.wakes(), polls, "the copy must wake itself");
    }
    assert!(poll(copy.as_mut(), &waker).is_ready());

    // Several smaller reads share the same limit.
    let log = Rc::default();
    let portions = [Answer::Bytes(SCRATCH / 8 * 3); 3];
    let mut copy = pin!(reactor::io::copy(Script::new(&portions, &bytes, &log), sink()));
    assert!(poll(copy.as_mut(), &waker).is_pending());
    assert_eq!(copy.copied(), SCRATCH as u64);
}

#[test]
fn copy_of_single_bytes_yields() {
    let log = Rc::default();
    let answers = [Answer::Bytes(1); 1000];
    let (result, polls) = drive(copy(Script::new(&answers, &text(1000), &log), sink()));
    assert_eq!(result.unwrap(), 1000);
    assert!(polls >= 1000 / OPERATIONS as usize, "{polls} polls");
}

#[test]
fn endless_copy_does_not_starve_other_tasks() {
    run(|| async {
        let endless = executor::spawn(copy(repeat(7), sink()));
        for _ in 0..10 {
            executor::yield_now().await;
        }
        reactor::time::sleep(std::time::Duration::from_millis(1)).await;
        assert!(!endless.is_finished());
    });
}

/// Starts a copy of `length` bytes whose writer stalls after `accepted` bytes, and polls the copy
/// until the stall. Returns the copy and its calls.
fn stalled_after(accepted: usize, length: usize) -> (impl Future<Output = io::Result<u64>>, Log) {
    let log: Rc<RefCell<Log>> = Rc::default();
    let mut left = accepted;
    let writer = from_fn(move |cx, length| {
        if left < length {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        left -= length;
        Poll::Ready(Ok(length))
    });
    let mut copy = Box::pin(copy(Script::new(&[], &vec![7; length], &log), writer));
    let (counter, waker) = Counter::with_waker();
    // Each poll moves one scratch buffer, and the last poll stalls.
    for polls in 1..=accepted / SCRATCH + 1 {
        assert!(poll(copy.as_mut(), &waker).is_pending());
        assert_eq!(counter.wakes(), polls);
    }
    (copy, log.take())
}

/// A writer that calls a function with the number of offered bytes.
struct FromFn<F>(F);

fn from_fn<F>(write: F) -> FromFn<F>
where
    F: FnMut(&mut Context<'_>, usize) -> Poll<io::Result<usize>> + Unpin,
{
    FromFn(write)
}

impl<F> AsyncWrite for FromFn<F>
where
    F: FnMut(&mut Context<'_>, usize) -> Poll<io::Result<usize>> + Unpin,
{
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        (self.0)(cx, buf.len())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Copies `length` bytes to a writer that stalls at the given calls. Returns the sizes of the
/// reads.
fn reads(length: usize, stalls: &[usize]) -> Vec<usize> {
    let log: Rc<RefCell<Log>> = Rc::default();
    let mut call = 0;
    let stalls = stalls.to_vec();
    let writer = from_fn(move |cx, length| {
        call += 1;
        if stalls.contains(&call) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(length))
    });
    drive(copy(Script::new(&[], &vec![7; length], &log), writer)).0.unwrap();
    log.take().reads
}

/// Returns how many small reads precede the first large one, and the sum of their sizes.
fn small_reads(sizes: &[usize]) -> (usize, usize) {
    let count = sizes.iter().take_while(|&&size| size <= SMALL_READ).count();
    (count, sizes[..count].iter().sum())
}

#[test]
fn message_of_64_kib_is_read_and_written_in_one_piece() {
    let log: Rc<RefCell<Log>> = Rc::default();
    let bytes = text(64 * 1024);
    let mut writer = Script::new(&[], &[], &log);
    drive(copy(Script::new(&[], &bytes, &log), &mut writer)).0.unwrap();
    assert_eq!(log.borrow().writes, [bytes.len()]);
    // A buffer of just this size would be full, and a full read does not show that nothing is left.
    assert!(log.borrow().reads[0] > bytes.len());
}

// Pitfall: B2
#[test]
fn copy_reads_large_blocks_once_its_writer_is_proven() {
    let sizes = reads(PROVEN + 2 * SCRATCH, &[]);
    let (count, bytes) = small_reads(&sizes);
    assert_eq!((sizes[0], bytes, sizes[count]), (SMALL_READ, PROVEN, SCRATCH));
}

// Pitfall: B2
#[test]
fn copy_reads_small_blocks_again_after_a_stall() {
    let (count, _) = small_reads(&reads(PROVEN + 2 * SCRATCH, &[]));
    // The writer stalls at the first large write, so it must prove itself again.
    let sizes = reads(2 * PROVEN + 4 * SCRATCH, &[count + 1]);
    let (_, again) = sizes.split_at(count + 1);
    assert_eq!((sizes[count], again[0]), (SCRATCH, SMALL_READ));
    // The rest of that large write counts as accepted.
    let (count, bytes) = small_reads(again);
    assert_eq!((bytes, again[count]), (PROVEN - SCRATCH, SCRATCH));
}

// Pitfall: B2
#[test]
fn stalled_copies_do_not_change_the_reads_of_others() {
    let alone = reads(PROVEN + 2 * SCRATCH, &[]);
    let mut kept = Vec::new();
    // A hundred stalled copies keep a small remainder, and eight keep as much as a read can take.
    for _ in 0..100 {
        let (copy, log) = stalled_after(0, 4 * SCRATCH);
        assert_eq!(log.reads, [SMALL_READ]);
        kept.push(copy);
    }
    for _ in 0..8 {
        let (copy, log) = stalled_after(PROVEN, PROVEN + SCRATCH);
        assert_eq!(log.reads.last(), Some(&SCRATCH));
        kept.push(copy);
    }
    assert_eq!(reads(PROVEN + 2 * SCRATCH, &[]), alone);
    // Leaked copies must not change the reads either.
    std::mem::forget(kept);
    assert_eq!(reads(PROVEN + 2 * SCRATCH, &[]), alone);
}

/// Sends from a peer, without reading, until neither the kernel nor the server takes more bytes.
async fn stall(peer: &mut std::net::TcpStream) {
    peer.set_nonblocking(true).unwrap();
    let mut failed_attempts = 0;
    while failed_attempts < 20 {
        match peer.write(&[7; 1 << 16]) {
            Ok(written) => failed_attempts = if written > 0 { 0 } else { failed_attempts + 1 },
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                failed_attempts += 1;
                reactor::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        }
    }
}

// Pitfall: B2
#[test]
fn four_stalled_peers_do_not_shrink_the_reads_of_a_fifth() {
    const MESSAGE: usize = 20 * 1024;
    async fn scene() {
        let mut peers = Vec::new();
        for _ in 0..5 {
            let (server, peer) = tcp_pair_with_std().await.unwrap();
            drop(executor::spawn(async move {
                let (reader, writer) = server.into_split();
                copy(reader, writer).await
            }));
            peers.push(peer);
        }
        let fifth = peers.pop().unwrap();
        for peer in &mut peers {
            stall(peer).await;
        }
        fifth.set_nonblocking(true).unwrap();
        let mut fifth = TcpStream::from_std(fifth).unwrap();
        let mut message = vec![7; MESSAGE];
        for _ in 0..PROVEN / MESSAGE + 8 {
            fifth.write_all(&message).await.unwrap();
            fifth.read_exact(&mut message).await.unwrap();
        }
    }
    let records = within_deadline(|| capture(|| executor::block_on(scene())).1);
    let read_sizes: Vec<usize> = records
        .iter()
        .filter(|record| record.kind == "tried" && record.get("operation") == "read")
        .map(|record| record.get("length").parse().unwrap())
        // The reads of the fifth peer itself are not longer than a message.
        .filter(|&length| length > MESSAGE)
        .collect();
    let of_the_fifth = &read_sizes[read_sizes.len() - 4..];
    assert_eq!(of_the_fifth, [SCRATCH; 4], "the last reads from the fifth peer are large");
}

/// A reader that returns a larger number than the bytes that it wrote into the buffer.
struct Overclaiming {
    written: &'static [u8],
    claimed: Option<usize>,
}

impl AsyncRead for Overclaiming {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Some(claimed) = self.claimed.take() else { return Poll::Ready(Ok(0)) };
        buf[..self.written.len()].copy_from_slice(self.written);
        Poll::Ready(Ok(claimed))
    }
}

/// Copies from an [`Overclaiming`] reader. Returns the bytes that arrive.
fn copy_overclaimed(claimed: usize) -> Vec<u8> {
    let mut target = Vec::new();
    let reader = Overclaiming { written: b"ab", claimed: Some(claimed) };
    drive(copy(reader, &mut target)).0.unwrap();
    target
}

// Pitfall: B3
#[test]
fn reader_that_claims_too_much_exposes_no_other_bytes() {
    let expected = [&b"ab"[..], &[0; 998]].concat();
    drive(copy(&[7; 1000][..], sink())).0.unwrap();
    assert!(copy_overclaimed(1000) == expected, "the bytes of a copy in memory are visible");
    // A copy from a socket leaves its bytes in the scratch buffer.
    run(|| async {
        let (mut stream, peer) = tcp_pair().await.unwrap();
        stream.write_all(&[7; 1000]).await.unwrap();
        stream.close().await.unwrap();
        copy(peer, sink()).await.unwrap();
        assert!(
            copy_overclaimed(1000) == [&b"ab"[..], &[0; 998]].concat(),
            "the bytes of a socket are visible"
        );
    });
    // Drop a stalled copy whose remainder is as large as one read can be.
    drop(stalled_after(PROVEN, PROVEN + SCRATCH));
    assert!(copy_overclaimed(1000) == expected, "the bytes of a remainder are visible");
    // An overclaiming reader must not see the bytes of an earlier one.
    assert!(copy_overclaimed(1000) == expected, "the bytes of another reader are visible");
}

#[test]
#[should_panic = "the reader claims 69633 bytes in a buffer of 69632"]
fn reader_that_claims_more_than_the_buffer_panics() {
    copy_overclaimed(SMALL_READ + 1);
}

#[test]
#[should_panic = "the writer claims 6 of 5 bytes"]
fn writer_that_claims_more_than_it_was_given_panics() {
    let writer = from_fn(|_, length| Poll::Ready(Ok(length + 1)));
    drop(drive(copy(&b"hello"[..], writer)));
}

#[test]
fn remainder_is_written_before_the_next_read() {
    let log: Rc<RefCell<Log>> = Rc::default();
    let bytes = text(4 * SCRATCH);
    let answers = [Answer::Bytes(10), Answer::Pending, Answer::Pending];
    let mut writer = Script::new(&answers, &[], &log);
    let (copied, _) = drive(copy(Script::new(&[], &bytes, &log), &mut writer));
    assert_eq!(copied.unwrap(), bytes.len() as u64);
    let log = log.borrow();
    assert!(log.taken == bytes, "the bytes differ");
    assert_eq!(log.writes[..4], [SMALL_READ, SMALL_READ - 10, SMALL_READ - 10, SMALL_READ - 10]);
}

/// A reader of nothing that notes where in a memory page the buffer starts.
struct NotesPageOffset(usize);

impl AsyncRead for NotesPageOffset {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.0 = buf.as_ptr().addr() % 4096;
        Poll::Ready(Ok(0))
    }
}

#[test]
fn copy_reads_into_the_middle_of_a_page() {
    let page_offset = || {
        let mut reader = NotesPageOffset(0);
        drive(copy(&mut reader, sink())).0.unwrap();
        reader.0
    };
    assert_eq!(page_offset(), 2048);
}

/// A reader that reports the end of the stream, but first replaces the first byte of the buffer and
/// stores the old one.
struct Scribbles(u8);

impl AsyncRead for Scribbles {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.0 = std::mem::replace(&mut buf[0], 7);
        Poll::Ready(Ok(0))
    }
}

#[test]
fn copies_of_a_thread_share_one_buffer() {
    let found = || {
        let mut reader = Scribbles(0);
        drive(copy(&mut reader, sink())).0.unwrap();
        reader.0
    };
    assert_eq!([found(), found()], [0, 7]);
}

// `Debug` shows the remainder, the bytes that the writer did not take.
#[test]
fn remainder_holds_only_unwritten_bytes() {
    let log = Rc::default();
    let answers = [Answer::Bytes(2), Answer::Pending, Answer::Bytes(1), Answer::Pending];
    let reads = [Answer::Bytes(6), Answer::Pending];
    let mut writer = Script::new(&answers, &[], &log);
    let reader = HiddenReader(Script::new(&reads, b"abcdef", &log));
    let mut copy = pin!(copy(reader, HiddenWriter(&mut writer)));
    let remainder = |copy: &dyn std::fmt::Debug| {
        let text = format!("{copy:?}");
        let (_, rest) = text.split_once("bytes: [")?;
        Some(rest.split_once(']').unwrap().0.to_owned())
    };
    assert!(poll(copy.as_mut(), Waker::noop()).is_pending());
    assert_eq!(remainder(&copy).unwrap(), "99, 100, 101, 102");
    assert!(poll(copy.as_mut(), Waker::noop()).is_pending());
    assert_eq!(copy.copied(), 3);
    assert!(poll(copy.as_mut(), Waker::noop()).is_pending());
    assert_eq!((copy.copied(), remainder(&copy)), (6, None));
}

#[test]
fn copy_counts_reads_that_return_bytes() {
    let log = Rc::default();
    let answers = [Answer::Bytes(2), Answer::Pending, Answer::Bytes(3), Answer::Bytes(0)];
    let mut copy = pin!(copy(Script::new(&answers, b"abcdefgh", &log), sink()));
    assert!(poll(copy.as_mut(), Waker::noop()).is_pending());
    assert_eq!(copy.reads(), 1);
    assert!(poll(copy.as_mut(), Waker::noop()).is_ready());
    assert_eq!((copy.reads(), copy.copied()), (2, 5));
}

#[test]
fn unwritten_counts_bytes_that_the_writer_has_not_taken() {
    let log = Rc::default();
    let answers = [Answer::Bytes(2), Answer::Pending, Answer::Bytes(1), Answer::Pending];
    let reads = [Answer::Bytes(6), Answer::Pending];
    let mut writer = Script::new(&answers, &[], &log);
    let mut copy = pin!(copy(Script::new(&reads, b"abcdef", &log), &mut writer));
    for unwritten in [4, 3, 0] {
        assert!(poll(copy.as_mut(), Waker::noop()).is_pending());
        assert_eq!(copy.unwritten(), unwritten);
    }
}

/// A reader whose `Debug` output is empty.
struct HiddenReader(Script);
/// A writer whose `Debug` output is empty.
struct HiddenWriter<'a>(&'a mut Script);

impl std::fmt::Debug for HiddenReader {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Ok(())
    }
}

impl std::fmt::Debug for HiddenWriter<'_> {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Ok(())
    }
}

impl AsyncRead for HiddenReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for HiddenWriter<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_close(cx)
    }
}

/// A reader that runs a whole copy of its own inside each poll.
struct Nested(Script);

impl AsyncRead for Nested {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let inner = text(1000);
        let mut target = Vec::new();
        let (copied, _) = drive(copy(&inner[..], &mut target));
        assert_eq!((copied.unwrap(), &target), (1000, &inner));
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

#[test]
fn nested_copy_has_its_own_buffer() {
    let log: Rc<RefCell<Log>> = Rc::default();
    let bytes = text(100_000);
    let answers = [Answer::Bytes(40_000); 3];
    let mut writer = Script::new(&[], &[], &log);
    drive(copy(Nested(Script::new(&answers, &bytes, &log)), &mut writer)).0.unwrap();
    assert!(log.borrow().taken == bytes, "the inner copy wrote into the buffer of the outer copy");
}

#[test]
fn bidirectional_copy_forwards_each_end_of_file() {
    run(|| async {
        let (mut left, mut client) = tcp_pair().await.unwrap();
        let (mut right, mut server) = tcp_pair().await.unwrap();
        let proxy = executor::spawn(async move { copy_bidirectional(&mut left, &mut right).await });
        client.write_all(b"question").await.unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut question = String::new();
        server.read_to_string(&mut question).await.unwrap();
        assert_eq!(question, "question");
        assert!(!proxy.is_finished());
        let answer = text(3 << 20);
        let (written, read) = futures_lite::future::zip(
            async {
                server.write_all(&answer).await.unwrap();
                server.close().await
            },
            async {
                let mut bytes = Vec::new();
                client.read_to_end(&mut bytes).await.map(|_| bytes)
            },
        )
        .await;
        written.unwrap();
        assert!(read.unwrap() == answer, "the answer differs");
        assert_eq!(proxy.await.unwrap().unwrap(), (8, 3 << 20));
    });
}

/// One end of a connection, made of a reader and a writer.
struct End<R, W>(R, W);

impl<R: AsyncRead + Unpin, W: Unpin> AsyncRead for End<R, W> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<R: Unpin, W: AsyncWrite + Unpin> AsyncWrite for End<R, W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.1).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.1).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.1).poll_close(cx)
    }
}

#[test]
fn bidirectional_copy_closes_a_writer_after_the_remainder() {
    let (there, back): (Rc<RefCell<Log>>, Rc<RefCell<Log>>) = Default::default();
    let slow = [Answer::Bytes(1), Answer::Pending, Answer::Pending];
    let reads = [Answer::Pending; 10];
    let mut a = End(Script::new(&[], b"abc", &there), Script::new(&[], &[], &back));
    let mut b = End(Script::new(&reads, b"de", &back), Script::new(&slow, &[], &there));
    let mut copy = pin!(copy_bidirectional(&mut a, &mut b));
    assert!(poll(copy.as_mut(), Waker::noop()).is_pending());
    assert_eq!((there.borrow().closes, &there.borrow().taken[..]), (0, &b"a"[..]));
    let (copied, _) = drive(copy);
    assert_eq!(copied.unwrap(), (3, 2));
    assert_eq!((there.borrow().closes, &there.borrow().taken[..]), (1, &b"abc"[..]));
    assert_eq!((back.borrow().closes, &back.borrow().taken[..]), (1, &b"de"[..]));
}

/// Waits forever, and never calls a waker.
struct Never;

impl AsyncRead for Never {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Pending
    }
}

// As in tokio's tests of `copy_bidirectional`: a peer that does not read must not keep its own bytes
// from the other peer.
#[test]
fn stall_in_one_direction_does_not_stop_the_other() {
    let (there, back): (Rc<RefCell<Log>>, Rc<RefCell<Log>>) = Default::default();
    let full = from_fn(|_, _| Poll::Pending);
    let mut a = End(Script::new(&[], &text(1000), &there), Script::new(&[], &[], &back));
    let mut b = End(Script::new(&[Answer::Pending], b"de", &back), full);
    let mut copy = pin!(copy_bidirectional(&mut a, &mut b));
    for _ in 0..3 {
        assert!(poll(copy.as_mut(), Waker::noop()).is_pending());
    }
    assert_eq!((back.borrow().closes, &back.borrow().taken[..]), (1, &b"de"[..]));
}

// As in tokio's tests of `copy_bidirectional`, but the other direction still waits: nothing else
// would end the copy of two peers of which one is gone.
#[test]
fn error_in_one_direction_ends_a_waiting_copy() {
    async fn ends<A, B>(mut a: A, mut b: B)
    where
        A: AsyncRead + AsyncWrite + Unpin,
        B: AsyncRead + AsyncWrite + Unpin,
    {
        let copied = futures_lite::future::poll_once(copy_bidirectional(&mut a, &mut b)).await;
        assert!(matches!(copied, Some(Err(_))), "{copied:?}");
    }
    run(|| async {
        let log = Rc::default();
        let fails = || Script::new(&[Answer::Error], &[], &log);
        let byte = || Script::new(&[], b"x", &log);
        // A reader fails.
        ends(End(fails(), sink()), End(Never, sink())).await;
        ends(End(Never, sink()), End(fails(), sink())).await;
        // A writer fails.
        ends(End(byte(), sink()), End(Never, fails())).await;
        ends(End(Never, fails()), End(byte(), sink())).await;
    });
}

/// Reads single bytes forever. Each read is an operation that the budget counts.
struct Flood(Async<mio::net::UnixStream>);

impl AsyncRead for Flood {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_read_with(cx, |_| Ok(1))
    }
}

// Pitfall: E5
#[test]
fn flood_in_one_direction_does_not_starve_the_other() {
    async fn answered(flood: impl AsyncRead + Unpin + 'static, flood_is_first: bool) {
        let (server, mut answer) = tcp_pair_with_std().await.unwrap();
        let (client, mut back) = tcp_pair().await.unwrap();
        answer.write_all(b"x").unwrap();
        let (mut a, mut b) = (End(flood, client), End(server, sink()));
        let proxy = executor::spawn(async move {
            match flood_is_first {
                true => copy_bidirectional(&mut a, &mut b).await,
                false => copy_bidirectional(&mut b, &mut a).await,
            }
        });
        assert_eq!(back.read(&mut [0; 8]).await.unwrap(), 1);
        proxy.abort();
    }
    run(|| async {
        for flood_is_first in [true, false] {
            answered(repeat(7), flood_is_first).await;
            let (socket, _peer) = mio::net::UnixStream::pair().unwrap();
            answered(Flood(Async::new(socket).unwrap()), flood_is_first).await;
        }
    });
}

// The reader spends nothing itself, so only the copy spends budget.
#[test]
fn copy_spends_a_unit_for_itself_and_for_every_2_kib() {
    let limit = enter();
    let log = Rc::default();
    let answers = [Answer::Bytes(20 * 2048), Answer::Pending, Answer::Bytes(3 * 2048 + 1)];
    let reader = || Script::new(&answers, &[7; 23 * 2048 + 1], &log);
    let mut one_way = pin!(copy(reader(), sink()));
    let (mut a, mut b) = (End(reader(), sink()), End(reader(), sink()));
    let mut both_ways = pin!(copy_bidirectional(&mut a, &mut b));
    assert!(poll(one_way.as_mut(), Waker::noop()).is_pending());
    assert!(poll(both_ways.as_mut(), Waker::noop()).is_pending());
    assert_eq!(limit.spent(), 0, "a copy that waits spends nothing");
    assert!(poll(one_way, Waker::noop()).is_ready());
    assert_eq!(limit.spent(), 4);
    limit.refill();
    assert!(poll(both_ways, Waker::noop()).is_ready());
    assert_eq!(limit.spent(), 7);
}

#[test]
fn one_poll_completes_at_most_the_budget() {
    run(|| async {
        let (ours, mut peer) = tcp_pair_with_std().await.unwrap();
        peer.write_all(&[7; 1000]).unwrap();
        let (most, polls) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (most_seen, poll_count) = (most.clone(), polls.clone());
        let reader = executor::spawn(async move {
            let done = Cell::new(0);
            let mut reading = pin!(async {
                for _ in 0..1000 {
                    (&ours).read_exact(&mut [0]).await.unwrap();
                    done.set(done.get() + 1);
                }
            });
            std::future::poll_fn(|cx| {
                done.set(0);
                let polled = reading.as_mut().poll(cx);
                most_seen.set(most_seen.get().max(done.get()));
                poll_count.set(poll_count.get() + 1);
                polled
            })
            .await;
        });
        let waits = Reactor::current().metrics().waits;
        reader.await.unwrap();
        assert_eq!((most.get(), polls.get()), (OPERATIONS, 1000_u32.div_ceil(OPERATIONS)));
        assert_eq!(
            Reactor::current().metrics().waits,
            waits,
            "a task that yields must not wait for the source"
        );
    });
}

// One connection is flooded, while another one sends a message at a time.
// Pitfall: E5
#[test]
fn connection_that_is_always_ready_does_not_delay_others() {
    run(|| async {
        let echo = |stream: TcpStream| async move {
            let (reader, writer) = stream.into_split();
            copy(reader, writer).await
        };
        let (flooded, flood) = tcp_pair_with_std().await.unwrap();
        let (polite, mut peer) = tcp_pair().await.unwrap();
        let mut drain = flood.try_clone().unwrap();
        let mut pour = flood.try_clone().unwrap();
        let pouring = std::thread::spawn(move || while pour.write_all(&[7; 65536]).is_ok() {});
        let draining =
            std::thread::spawn(move || while drain.read(&mut [0; 65536]).is_ok_and(|n| n > 0) {});
        drop(executor::spawn(echo(flooded)));
        drop(executor::spawn(echo(polite)));
        let start = std::time::Instant::now();
        for _ in 0..100 {
            peer.write_all(b"ping").await.unwrap();
            peer.read_exact(&mut [0; 4]).await.unwrap();
        }
        assert!(start.elapsed() < std::time::Duration::from_secs(5), "{:?}", start.elapsed());
        flood.shutdown(Shutdown::Both).unwrap();
        within_deadline(|| (pouring.join().unwrap(), draining.join().unwrap()));
    });
}
