//! io_uring: whatever is begun is done once or given up, and nothing is lost or leaked: when
//! futures are dropped, when the ring is full, when signals come, and when rings and executors end
//! first.
//!
//! An empty pipe is what keeps an operation in flight here for as long as a test wants it to be.

#![cfg(target_os = "linux")]

use std::cell::RefCell;
use std::collections::HashSet;
use std::future::Future;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::thread::{JoinHandleExt, RawPthread};
use std::pin::{Pin, pin};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use executor::{Executor, JoinSet, yield_now};
use log::{Log, Metadata, Record};
use reactor::time::sleep;
use reactor_uring::{File, OpenOptions, Ring};
use rustix::fs::{CWD, Mode, mkfifoat};
use tests::child::{in_child, is_child};
use tests::wakers::{Counter, poll, waker_fn};
use tests::{Place, place, run, until, within_deadline};

/// Ends every test where the kernel has no io_uring for us: all that remains is the fallback.
macro_rules! ring_or_return {
    ($entries:expr) => {
        match Ring::new($entries) {
            Ok(ring) => ring,
            Err(error) => return println!("skipped: the kernel refuses io_uring: {error}"),
        }
    };
}

/// A file with that content, which goes in the end.
fn file_with(content: &[u8]) -> Place {
    let path = place();
    fs::write(&path, content).unwrap();
    path
}

/// The end of a pipe that a ring reads, and the other one.
fn pipe(ring: &Ring) -> (File, PipeWriter) {
    let (reader, writer) = io::pipe().unwrap();
    (File::from_std(ring, OwnedFd::from(reader).into()), writer)
}

type Reading<'a> = Pin<Box<dyn Future<Output = (io::Result<usize>, Vec<u8>)> + 'a>>;

/// Reads of what has nothing, each begun and with the kernel.
async fn in_flight<'a>(ring: &Ring, file: &'a File, count: usize) -> Vec<Reading<'a>> {
    let before = ring.in_flight();
    let mut reads: Vec<Reading<'_>> = Vec::new();
    for _ in 0..count {
        let mut read = Box::pin(file.read_at(vec![0; 4096], 0));
        assert!(poll(read.as_mut(), Waker::noop()).is_pending());
        reads.push(read);
    }
    yield_now().await;
    yield_now().await;
    assert_eq!(ring.in_flight(), before + count);
    reads
}

fn descriptors() -> HashSet<String> {
    let name = |entry: io::Result<fs::DirEntry>| {
        let path = entry.ok()?.path();
        let target = fs::read_link(&path).ok()?;
        Some(format!("{} {}", path.display(), target.display()))
    };
    // The one that lists them is among them, and closed by now.
    let all = fs::read_dir("/proc/self/fd").unwrap().filter_map(name);
    all.filter(|descriptor| !descriptor.contains("/fd ") && !descriptor.ends_with("/fd")).collect()
}

/// Runs `body` in a process of its own, which a tool watches, or disturbs.
fn in_child_under(tool: &[&str], test: &str, body: impl FnOnce()) {
    if is_child() {
        return body();
    }
    let found = Command::new(tool[0]).arg("--version").stdout(Stdio::null()).status();
    if found.is_err() {
        return println!("skipped: {} is not installed", tool[0]);
    }
    let output = Command::new(tool[0])
        .args(&tool[1..])
        .arg(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env("TESTS_CHILD", test)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("PTRACE_TRACEME") {
        return println!("skipped: {} may not watch other processes here", tool[0]);
    }
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}\n{errors}");
}

async fn writes_and_reads(ring: Ring) {
    let path = place();
    let content: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let file = File::create(&ring, &path).await.unwrap();
    let (written, buffer) = file.write_all_at(content, 0).await;
    written.unwrap();
    file.sync_data().await.unwrap();
    file.sync_all().await.unwrap();
    file.close().await.unwrap();
    assert!(fs::read(&path).unwrap() == buffer);

    let file = File::open(&ring, &path).await.unwrap();
    assert!(file.read_to_end().await.unwrap() == buffer);
    let (read, part) = file.read_at(vec![9; 8], 4_000_000 - 4).await;
    assert_eq!((read.unwrap(), part), (4, [&buffer[4_000_000 - 4..], &[9; 4]].concat()));
    let (read, part) = file.read_at(vec![9; 8], 4_000_000).await;
    assert_eq!((read.unwrap(), part), (0, vec![9; 8]));
    file.close().await.unwrap();
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn what_is_written_by_a_ring_is_read_by_it_and_by_std() {
    run(|| async { writes_and_reads(ring_or_return!(8)).await });
}

#[test]
fn what_is_written_by_the_pool_is_read_by_it_and_by_std() {
    run(|| async { writes_and_reads(Ring::pool()).await });
}

// All 1,000 are begun before the first one is submitted. Some of them need no wait, others do.
#[test]
fn a_thousand_operations_at_once_pass_through_a_ring_of_two_entries() {
    run(|| async {
        let ring = ring_or_return!(2);
        let path = place();
        let file = Rc::new(File::create(&ring, &path).await.unwrap());
        let mut writes = JoinSet::new();
        for n in 0..1000_u64 {
            let file = file.clone();
            writes.spawn(async move { file.write_at(n.to_le_bytes().to_vec(), 8 * n).await.0 });
        }
        while let Some(written) = writes.join_next().await {
            assert_eq!(written.unwrap().unwrap(), 8);
        }
        let expected: Vec<u8> = (0..1000_u64).flat_map(u64::to_le_bytes).collect();
        assert!(fs::read(&path).unwrap() == expected);
        assert_eq!(ring.in_flight(), 0);
    });
}

#[test]
fn operations_that_wait_for_their_turn_get_it_when_others_let_go() {
    run(|| async {
        let ring = ring_or_return!(2);
        let (file, _writer) = pipe(&ring);
        // More than the ring has entries: some of them are in line.
        let reads = in_flight(&ring, &file, 10).await;
        let path = file_with(b"here");
        let mut open = pin!(File::open(&ring, &path));
        assert!(poll(open.as_mut(), Waker::noop()).is_pending());
        drop(reads);
        let opened = open.await.unwrap();
        assert_eq!(opened.read_to_end().await.unwrap(), b"here");
        until(|| ring.in_flight() == 0).await;
    });
}

// They stay complete, and hold no entry of the ring.
#[test]
fn outcomes_that_nobody_takes_hold_up_no_other_operation() {
    run(|| async {
        let ring = ring_or_return!(2);
        let path = file_with(b"here");
        let file = File::open(&ring, &path).await.unwrap();
        let mut untaken: Vec<_> = (0..100).map(|_| Box::pin(file.read_to_end())).collect();
        for read in &mut untaken {
            assert!(poll(read.as_mut(), Waker::noop()).is_pending());
        }
        for _ in 0..10 {
            assert_eq!(file.read_to_end().await.unwrap(), b"here");
        }
        for read in untaken {
            assert_eq!(read.await.unwrap(), b"here");
        }
    });
}

#[test]
fn a_short_read_is_told_and_reading_to_the_end_goes_on_after_it() {
    run(|| async {
        let ring = ring_or_return!(8);
        let (file, mut writer) = pipe(&ring);
        writer.write_all(b"abc").unwrap();
        let (read, buffer) = file.read_at(vec![0; 8], 0).await;
        assert_eq!((read.unwrap(), &buffer[..]), (3, &b"abc\0\0\0\0\0"[..]));

        let reading = executor::spawn(async move { file.read_to_end().await });
        for byte in 0..100 {
            writer.write_all(&[byte]).unwrap();
            // Each is a read of its own.
            yield_now().await;
            yield_now().await;
        }
        drop(writer);
        assert_eq!(reading.await.unwrap().unwrap(), (0..100).collect::<Vec<u8>>());
    });
}

// The ring becomes readable when a completion arrives that needed a wait.
#[test]
fn a_completion_wakes_whoever_polled_last_and_nobody_else() {
    run(|| async {
        let ring = ring_or_return!(8);
        let (file, mut writer) = pipe(&ring);
        let mut reads = in_flight(&ring, &file, 1).await;
        let (first, waker) = Counter::with_waker();
        assert!(poll(pin!(&mut reads[0]), &waker).is_pending());
        let (second, waker) = Counter::with_waker();
        assert!(poll(pin!(&mut reads[0]), &waker).is_pending());
        writer.write_all(b"x").unwrap();
        until(|| second.wakes() == 1).await;
        assert_eq!(first.wakes(), 0);
        let Poll::Ready((read, _)) = poll(pin!(&mut reads[0]), &waker) else {
            panic!("it is done")
        };
        assert_eq!(read.unwrap(), 1);
    });
}

#[test]
fn dropped_reads_give_up_their_buffers_and_take_no_bytes() {
    in_child("dropped_reads_give_up_their_buffers_and_take_no_bytes", dropped_reads);
}

fn dropped_reads() {
    run(|| async {
        let before = descriptors();
        let ring = ring_or_return!(64);
        let (file, mut writer) = pipe(&ring);
        for _ in 0..20 {
            drop(in_flight(&ring, &file, 100).await);
            until(|| ring.in_flight() == 0).await;
        }
        // Some that the kernel never saw, too.
        for _ in 0..1000 {
            let mut read = pin!(file.read_at(vec![0; 4096], 0));
            assert!(poll(read.as_mut(), Waker::noop()).is_pending());
        }
        until(|| ring.in_flight() == 0).await;
        writer.write_all(b"x").unwrap();
        let (read, buffer) = file.read_at(vec![0; 8], 0).await;
        assert_eq!((read.unwrap(), buffer[0]), (1, b'x'));
        drop((file, writer, ring));
        until(|| descriptors() == before).await;
    });
}

#[test]
fn valgrind_finds_no_error_in_dropped_reads_and_no_leak() {
    const TEST: &str = "valgrind_finds_no_error_in_dropped_reads_and_no_leak";
    let valgrind = [
        "valgrind",
        "-q",
        "--error-exitcode=1",
        "--leak-check=full",
        "--errors-for-leak-kinds=definite",
    ];
    in_child_under(&valgrind, TEST, || {
        within_deadline(|| {
            executor::block_on(async {
                let ring = ring_or_return!(8);
                let (file, mut writer) = pipe(&ring);
                drop(in_flight(&ring, &file, 20).await);
                until(|| ring.in_flight() == 0).await;
                let mut reads = in_flight(&ring, &file, 1).await;
                writer.write_all(b"x").unwrap();
                assert_eq!(reads.remove(0).await.0.unwrap(), 1);
                drop(reads);
            });
            let executor = Executor::new().unwrap();
            executor.block_on(async {
                let ring = ring_or_return!(8);
                let (file, writer) = pipe(&ring);
                drop(executor::spawn(
                    async move { (file.read_at(vec![0; 4096], 0).await, writer) },
                ));
                until(|| ring.in_flight() == 1).await;
            });
        });
    });
}

// Once in line, once with the kernel, once complete.
#[test]
fn a_file_that_is_opened_for_nobody_is_closed() {
    in_child("a_file_that_is_opened_for_nobody_is_closed", || {
        run(|| async {
            let ring = ring_or_return!(8);
            let path = file_with(b"");
            let before = descriptors();
            for rounds in 0..3 {
                let mut opens: Vec<_> =
                    (0..50).map(|_| Box::pin(File::open(&ring, &path))).collect();
                for open in &mut opens {
                    assert!(poll(open.as_mut(), Waker::noop()).is_pending());
                }
                for _ in 0..rounds {
                    yield_now().await;
                }
                drop(opens);
                until(|| ring.in_flight() == 0).await;
                assert_eq!(descriptors(), before);
            }
        });
    });
}

// To open a named pipe waits until somebody opens the other end, on a thread of the kernel.
#[test]
fn an_open_that_waits_is_given_up() {
    run(|| async {
        let ring = ring_or_return!(8);
        let path = place();
        mkfifoat(CWD, &*path, Mode::RWXU).unwrap();
        let mut open = Box::pin(File::open(&ring, &path));
        assert!(poll(open.as_mut(), Waker::noop()).is_pending());
        yield_now().await;
        assert_eq!(ring.in_flight(), 1);
        drop(open);
        until(|| ring.in_flight() == 0).await;
    });
}

#[test]
fn a_close_whose_future_is_dropped_closes_all_the_same() {
    in_child("a_close_whose_future_is_dropped_closes_all_the_same", || {
        run(|| async {
            let ring = ring_or_return!(8);
            let path = file_with(b"");
            let before = descriptors();
            for begun in [false, true] {
                let file = File::open(&ring, &path).await.unwrap();
                let mut close = Box::pin(file.close());
                assert!(poll(close.as_mut(), Waker::noop()).is_pending());
                if begun {
                    yield_now().await;
                }
                drop(close);
                until(|| ring.in_flight() == 0).await;
                assert_eq!(descriptors(), before);
            }
        });
    });
}

#[test]
fn a_file_stays_open_until_its_last_operation_is_complete() {
    run(|| async {
        let ring = ring_or_return!(8);
        let (file, mut writer) = pipe(&ring);
        let mut read = Box::pin(async move { file.read_at(vec![0; 8], 0).await });
        assert!(poll(read.as_mut(), Waker::noop()).is_pending());
        drop(read);
        // In line, and given up: then the pipe has no reader any more.
        until(|| writer.write(b"x").is_err()).await;
        until(|| ring.in_flight() == 0).await;
    });
}

#[test]
fn the_end_of_the_last_handle_ends_the_ring() {
    in_child("the_end_of_the_last_handle_ends_the_ring", || {
        run(|| async {
            let before = descriptors();
            for _ in 0..10 {
                let ring = ring_or_return!(8);
                let copy = ring.clone();
                let (file, writer) = pipe(&ring);
                let reads = in_flight(&ring, &file, 20).await;
                drop(ring);
                drop(reads);
                drop((copy, file, writer));
                // The reads are still with the kernel: the driver waits for them.
                assert_ne!(descriptors(), before);
                until(|| descriptors() == before).await;
            }
        });
    });
}

#[test]
fn an_executor_that_ends_waits_for_what_the_kernel_has() {
    in_child("an_executor_that_ends_waits_for_what_the_kernel_has", || {
        within_deadline(|| {
            let before = descriptors();
            for _ in 0..10 {
                let executor = Executor::new().unwrap();
                let mut reader: Option<PipeReader> = None;
                executor.block_on(async {
                    let ring = ring_or_return!(4);
                    let (file, writer) = pipe(&ring);
                    reader = Some(rustix::io::dup(&file).unwrap().into());
                    drop(executor::spawn(async move {
                        let reads = in_flight(&ring, &file, 20).await;
                        for read in reads {
                            read.await.0.unwrap();
                        }
                        drop(writer);
                    }));
                    for _ in 0..5 {
                        yield_now().await;
                    }
                });
                drop(executor);
                // The writer went with its task, and no read has the other end any more.
                let Some(mut reader) = reader else { return };
                assert_eq!(reader.read(&mut [0]).unwrap(), 0);
            }
            assert_eq!(descriptors(), before);
        });
    });
}

#[test]
fn a_read_that_outlives_its_executor_gets_its_buffer_back() {
    within_deadline(|| {
        let mut left = None;
        executor::block_on(async {
            let ring = ring_or_return!(2);
            let (file, writer) = pipe(&ring);
            let file = Box::leak(Box::new(file));
            left = Some((in_flight(&ring, file, 5).await, ring, writer, &*file));
        });
        let Some((reads, ring, _writer, file)) = left else { return };
        executor::block_on(async {
            for read in reads {
                let (result, buffer) = read.await;
                assert_eq!(result.unwrap_err().raw_os_error(), Some(125), "ECANCELED");
                assert_eq!(buffer.len(), 4096);
            }
            assert_eq!(ring.in_flight(), 0);
            let (result, buffer) = file.read_at(vec![0; 7], 0).await;
            assert_eq!(result.unwrap_err().to_string(), "the executor of this ring is gone");
            assert_eq!(buffer.len(), 7);
        });
    });
}

async fn errors_are_those_of_std(ring: Ring) {
    let error = |result: io::Result<File>| result.unwrap_err();
    let path = file_with(b"content");
    let missing = place();
    assert_eq!(error(File::open(&ring, &missing).await).kind(), ErrorKind::NotFound);
    assert_eq!(error(File::open(&ring, "a\0b").await).kind(), ErrorKind::InvalidInput);
    let nothing = OpenOptions::new();
    let invalid = error(File::open_with(&ring, &path, &nothing).await);
    assert_eq!(invalid.kind(), ErrorKind::InvalidInput);

    let folder = File::open(&ring, env::temp_dir()).await.unwrap();
    let (result, buffer) = folder.read_at(vec![7; 8], 0).await;
    assert_eq!((result.unwrap_err().kind(), buffer), (ErrorKind::IsADirectory, vec![7; 8]));

    let file = File::open(&ring, &path).await.unwrap();
    let (result, buffer) = file.write_at(vec![7; 8], 0).await;
    assert_eq!((result.unwrap_err().raw_os_error(), buffer), (Some(9), vec![7; 8]), "EBADF");
    for offset in [u64::MAX, 1 << 63] {
        let (result, buffer) = file.read_at(vec![7; 8], offset).await;
        assert_eq!((result.unwrap_err().kind(), buffer), (ErrorKind::InvalidInput, vec![7; 8]));
    }
    let full = OpenOptions::new().write(true);
    let full = File::open_with(&ring, "/dev/full", &full).await.unwrap();
    let (result, _) = full.write_all_at(vec![0; 8], 0).await;
    assert_eq!(result.unwrap_err().kind(), ErrorKind::StorageFull);
}

#[test]
fn errors_of_a_ring_are_those_of_std() {
    run(|| async { errors_are_those_of_std(ring_or_return!(8)).await });
}

#[test]
fn errors_of_the_pool_are_those_of_std() {
    run(|| async { errors_are_those_of_std(Ring::pool()).await });
}

#[test]
fn a_ring_without_entries_is_an_error_and_no_reason_for_the_pool() {
    run(|| async {
        drop(ring_or_return!(1));
        assert_eq!(Ring::or_pool(0).unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

/// Files by whatever there is; and whether that is the pool.
fn by_either() -> bool {
    executor::block_on(async {
        let ring = Ring::or_pool(8).unwrap();
        writes_and_reads(ring.clone()).await;
        ring.is_pool()
    })
}

// strace makes the system call fail, as a sandbox would.
#[test]
fn where_a_sandbox_refuses_io_uring_the_pool_does_the_work() {
    let strace = ["strace", "-f", "-qq", "-o/dev/null", "-einject=io_uring_setup:error=EPERM"];
    in_child_under(&strace, "where_a_sandbox_refuses_io_uring_the_pool_does_the_work", || {
        executor::block_on(async {
            assert_eq!(Ring::new(8).unwrap_err().kind(), ErrorKind::PermissionDenied);
        });
        assert!(by_either());
    });
}

#[test]
fn where_the_kernel_has_no_io_uring_the_pool_does_the_work() {
    let strace = ["strace", "-f", "-qq", "-o/dev/null", "-einject=io_uring_setup:error=ENOSYS"];
    in_child_under(&strace, "where_the_kernel_has_no_io_uring_the_pool_does_the_work", || {
        executor::block_on(async {
            assert_eq!(Ring::new(8).unwrap_err().kind(), ErrorKind::Unsupported);
        });
        assert!(by_either());
    });
}

// Each second call fails, at submission and at the end of the executor.
#[test]
fn an_interrupted_submission_is_made_again() {
    let inject = "-einject=io_uring_enter:error=EINTR:when=1+2";
    let strace = ["strace", "-f", "-qq", "-o/dev/null", inject];
    in_child_under(&strace, "an_interrupted_submission_is_made_again", submissions_that_fail);
}

#[test]
fn a_submission_for_which_there_is_no_memory_is_made_again() {
    let inject = "-einject=io_uring_enter:error=EAGAIN:when=1+2";
    let strace = ["strace", "-f", "-qq", "-o/dev/null", inject];
    let test = "a_submission_for_which_there_is_no_memory_is_made_again";
    in_child_under(&strace, test, submissions_that_fail);
}

fn submissions_that_fail() {
    within_deadline(|| {
        if !by_either() {
            dropped_reads();
        }
    });
}

#[test]
fn a_ring_that_takes_nothing_any_more_fails_its_operations() {
    let inject = "-einject=io_uring_enter:error=EBADFD:when=3+1";
    let strace = ["strace", "-f", "-qq", "-o/dev/null", inject];
    let test = "a_ring_that_takes_nothing_any_more_fails_its_operations";
    in_child_under(&strace, test, || {
        run(|| async {
            let ring = ring_or_return!(8);
            let path = file_with(b"here");
            let file = File::open(&ring, &path).await.unwrap();
            assert_eq!(file.read_at(vec![0; 8], 0).await.0.unwrap(), 4);
            assert!(file.read_at(vec![0; 8], 0).await.0.is_err());
            assert!(file.read_at(vec![0; 8], 0).await.0.is_err());
        });
    });
}

thread_local! {
    /// What the logger below asks, on the thread of its executor.
    static ASKED: RefCell<Option<Ring>> = const { RefCell::new(None) };
    static TOLD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// A logger that calls the ring of which it is told.
struct Asks;

impl Log for Asks {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        ASKED.with_borrow(|ring| ring.as_ref().map(Ring::in_flight));
        TOLD.with_borrow_mut(|told| told.push(record.args().to_string()));
    }

    fn flush(&self) {}
}

// The kernel takes the read, and nothing after that: so it is forgotten in the end.
#[test]
fn a_logger_may_ask_a_ring_that_tells_what_the_kernel_kept() {
    let inject = "-einject=io_uring_enter:error=EBADFD:when=2+";
    let strace = ["strace", "-f", "-qq", "-o/dev/null", inject];
    let test = "a_logger_may_ask_a_ring_that_tells_what_the_kernel_kept";
    in_child_under(&strace, test, || {
        log::set_logger(&Asks).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
        within_deadline(|| {
            let executor = Executor::new().unwrap();
            executor.block_on(async {
                let ring = ring_or_return!(8);
                ASKED.set(Some(ring.clone()));
                let (file, writer) = pipe(&ring);
                drop(executor::spawn(
                    async move { (file.read_at(vec![0; 4096], 0).await, writer) },
                ));
                yield_now().await;
                until(|| ring.in_flight() == 1).await;
                yield_now().await;
            });
            // To wait for it any longer would be in vain.
            let begin = Instant::now();
            drop(executor);
            assert!(begin.elapsed() < Duration::from_millis(500), "{:?}", begin.elapsed());
            if ASKED.take().is_some() {
                assert_eq!(
                    TOLD.take(),
                    ["the kernel keeps 1 operations: their memory is never freed"]
                );
            }
        });
    });
}

#[test]
fn operations_that_are_dropped_in_line_do_not_pile_up_behind_a_full_ring() {
    run(|| async {
        let ring = ring_or_return!(8);
        let (file, _writer) = pipe(&ring);
        let _full = in_flight(&ring, &file, 8).await;
        // One after the other; then each when the next one is in line, behind one that stays.
        for staying in [0, 1] {
            let _stay = in_flight(&ring, &file, staying).await;
            let mut before = None;
            for _ in 0..1000 {
                let mut read = Box::pin(file.read_at(vec![0; 4096], 0));
                assert!(poll(read.as_mut(), Waker::noop()).is_pending());
                before = (staying > 0).then_some(read);
                // As many again that are dropped as are not.
                assert!(ring.in_flight() <= 8 + 2 * (staying + 1), "{}", ring.in_flight());
            }
            drop(before);
        }
    });
}

// Both are complete when the ring is looked at.
#[test]
fn a_waker_that_panics_costs_nobody_else_the_wake() {
    run(|| async {
        let ring = ring_or_return!(8);
        let ((first, mut to_first), (second, mut to_second)) = (pipe(&ring), pipe(&ring));
        let mut panics = in_flight(&ring, &first, 1).await;
        let mut counts = in_flight(&ring, &second, 1).await;
        let waker = waker_fn(|| panic!("a waker of somebody else's"));
        assert!(poll(pin!(&mut panics[0]), &waker).is_pending());
        let (counter, waker) = Counter::with_waker();
        assert!(poll(pin!(&mut counts[0]), &waker).is_pending());
        to_first.write_all(b"x").unwrap();
        to_second.write_all(b"x").unwrap();
        until(|| counter.wakes() == 1).await;
        // And the ring goes on.
        assert_eq!(counts.remove(0).await.0.unwrap(), 1);
        to_second.write_all(b"x").unwrap();
        assert_eq!(second.read_at(vec![0; 8], 0).await.0.unwrap(), 1);
    });
}

#[test]
fn a_kernel_that_is_short_of_memory_is_not_asked_all_the_time() {
    let inject = "-einject=io_uring_enter:error=EAGAIN:when=1+";
    let strace = ["strace", "-f", "-qq", "-o/dev/null", inject];
    let test = "a_kernel_that_is_short_of_memory_is_not_asked_all_the_time";
    in_child_under(&strace, test, || {
        within_deadline(|| {
            let executor = Executor::new().unwrap();
            executor.block_on(async {
                let ring = ring_or_return!(8);
                let mut open = pin!(File::open(&ring, "/"));
                assert!(poll(open.as_mut(), Waker::noop()).is_pending());
                sleep(Duration::from_millis(200)).await;
            });
            let polls = executor.metrics().polls;
            assert!(polls < 50, "{polls}");
        });
    });
}

// SAFETY: it is POSIX's function, with its types.
unsafe extern "C" {
    fn pthread_kill(thread: RawPthread, signal: i32) -> i32;
}

#[test]
fn a_storm_of_signals_loses_nothing() {
    let caught = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, caught.clone()).unwrap();
    within_deadline(|| {
        let worker = thread::spawn(|| executor::block_on(works_in_a_storm()));
        while !worker.is_finished() {
            // SAFETY: the thread has not been joined, so its handle is valid.
            unsafe { pthread_kill(worker.as_pthread_t(), signal_hook::consts::SIGUSR1) };
            thread::yield_now();
        }
        worker.join().unwrap();
    });
    assert!(caught.load(Ordering::SeqCst));
}

async fn works_in_a_storm() {
    let ring = ring_or_return!(4);
    let (silent, _silent_writer) = pipe(&ring);
    let (file, mut writer) = pipe(&ring);
    for byte in 0..100 {
        let dropped = in_flight(&ring, &silent, 2).await;
        let mut reads = in_flight(&ring, &file, 1).await;
        let other = thread::spawn(move || writer.write_all(&[byte]).map(|()| writer));
        let (read, buffer) = reads.remove(0).await;
        assert_eq!((read.unwrap(), buffer[0]), (1, byte));
        writer = other.join().unwrap().unwrap();
        drop(dropped);
        until(|| ring.in_flight() == 0).await;
        writes_and_reads_little(&ring).await;
    }
}

async fn writes_and_reads_little(ring: &Ring) {
    let path = place();
    let file = File::create(ring, &path).await.unwrap();
    file.write_all_at(b"little".to_vec(), 0).await.0.unwrap();
    file.sync_data().await.unwrap();
    file.close().await.unwrap();
    let file = File::open(ring, &path).await.unwrap();
    assert_eq!(file.read_to_end().await.unwrap(), b"little");
}

// Else it would take completions that are its parent's. In a process of its own: a ring is marked a
// moment after it is mapped, and that of another test may be seen in between.
#[test]
fn a_forked_child_has_no_ring() {
    in_child("a_forked_child_has_no_ring", || {
        run(|| async {
            let _ring = ring_or_return!(2);
            let maps = fs::read_to_string("/proc/self/smaps").unwrap();
            let maps: Vec<&str> = maps.split("VmFlags:").collect();
            let rings = maps.windows(2).filter(|pair| pair[0].contains("[io_uring]"));
            let flags: Vec<&str> = rings.filter_map(|pair| pair[1].lines().next()).collect();
            assert!(!flags.is_empty());
            assert!(flags.iter().all(|flags| flags.contains(" dc")), "{flags:?}");
        });
    });
}

#[test]
fn two_executors_on_two_threads_have_a_ring_each() {
    within_deadline(|| {
        let work = |_| {
            thread::spawn(|| {
                executor::block_on(async {
                    let ring = ring_or_return!(8);
                    let mut works = JoinSet::new();
                    for _ in 0..100 {
                        let ring = ring.clone();
                        works.spawn(async move { writes_and_reads_little(&ring).await });
                    }
                    while let Some(result) = works.join_next().await {
                        result.unwrap();
                    }
                });
            })
        };
        let threads: Vec<_> = (0..2).map(work).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_flood_of_reads_lets_its_neighbours_run() {
    run(|| async {
        let ring = ring_or_return!(64);
        let path = file_with(&[1; 64 << 10]);
        let file = Rc::new(File::open(&ring, &path).await.unwrap());
        let mut flood = JoinSet::new();
        for _ in 0..100 {
            let file = file.clone();
            flood.spawn(async move {
                let mut buffer = vec![0; 64 << 10];
                loop {
                    let read;
                    (read, buffer) = file.read_at(buffer, 0).await;
                    assert_eq!(read.unwrap(), 64 << 10);
                }
            });
        }
        // A turn of the reactor for each.
        for _ in 0..100 {
            reactor::time::sleep(std::time::Duration::from_micros(1)).await;
        }
        assert!(!flood.is_empty());
    });
}

// Pitfall: B1
#[test]
fn timer_fires_beside_a_loop_over_operations_that_fail_at_once() {
    /// Repeats an operation for a second, or until its task is dropped.
    async fn forever<T>(mut operation: impl AsyncFnMut() -> T) {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(1) {
            operation().await;
        }
    }
    async fn fires_in_time(repeating: impl Future<Output = ()> + 'static) {
        let repeating = executor::spawn(repeating);
        let start = Instant::now();
        sleep(Duration::from_millis(10)).await;
        assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
        repeating.abort();
    }
    run(|| async {
        let ring = Ring::or_pool(4).unwrap();
        let path = file_with(b"content");
        let file = Rc::new(File::open(&ring, &path).await.unwrap());
        let own = file.clone();
        fires_in_time(async move { forever(async || own.read_at(vec![], u64::MAX).await).await })
            .await;
        let own = file.clone();
        fires_in_time(async move { forever(async || own.write_all_at(vec![], 0).await).await })
            .await;
        let own = ring.clone();
        fires_in_time(async move { forever(async || File::open(&own, "a\0b").await).await }).await;
        let options = OpenOptions::new();
        fires_in_time(async move {
            forever(async || File::open_with(&ring, "x", &options).await).await;
        })
        .await;
    });
}
