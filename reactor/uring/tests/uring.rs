//! io_uring: each operation is carried out once or canceled, and no result, buffer or descriptor is
//! lost. The tests drop futures, fill the ring, send signals, and end rings and executors early.
//!
//! A read from an empty pipe stays in flight for as long as a test needs it.

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

/// Sets up a ring, or skips the test if the kernel refuses io_uring.
macro_rules! ring_or_return {
    ($entries:expr) => {
        match Ring::new($entries) {
            Ok(ring) => ring,
            Err(error) => return println!("skipped: the kernel refuses io_uring: {error}"),
        }
    };
}

/// Creates a file with this content. It is removed when the returned value is dropped.
fn file_with(content: &[u8]) -> Place {
    let path = place();
    fs::write(&path, content).unwrap();
    path
}

/// Returns a pipe: its read end as a file of the ring, and its write end.
fn pipe(ring: &Ring) -> (File, PipeWriter) {
    let (reader, writer) = io::pipe().unwrap();
    (File::from_std(ring, OwnedFd::from(reader).into()), writer)
}

type Reading<'a> = Pin<Box<dyn Future<Output = (io::Result<usize>, Vec<u8>)> + 'a>>;

/// Starts reads from an empty pipe, and waits until the driver has submitted as many as fit.
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
    // Leave out the descriptor that lists the directory. It is closed by now.
    let all = fs::read_dir("/proc/self/fd").unwrap().filter_map(name);
    all.filter(|descriptor| !descriptor.contains("/fd ") && !descriptor.ends_with("/fd")).collect()
}

/// Runs `body` in a child process under a tool such as strace or valgrind.
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
        return println!("skipped: {} is not permitted to trace processes here", tool[0]);
    }
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && report.contains("1 passed"), "{report}\n{errors}");
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
fn ring_and_std_read_what_a_ring_has_written() {
    run(|| async { writes_and_reads(ring_or_return!(8)).await });
}

#[test]
fn pool_and_std_read_what_the_pool_has_written() {
    run(|| async { writes_and_reads(Ring::pool()).await });
}

// All 1,000 operations begin before the first one is submitted. Some of them have to wait.
#[test]
fn ring_of_two_entries_carries_out_a_thousand_operations() {
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
fn queued_operation_runs_once_others_are_dropped() {
    run(|| async {
        let ring = ring_or_return!(2);
        let (file, _writer) = pipe(&ring);
        // There are more reads than entries, so some of them are queued.
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

// An operation that has completed occupies no entry of the ring.
#[test]
fn results_not_taken_do_not_block_other_operations() {
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
fn read_to_end_continues_after_short_reads() {
    run(|| async {
        let ring = ring_or_return!(8);
        let (file, mut writer) = pipe(&ring);
        writer.write_all(b"abc").unwrap();
        let (read, buffer) = file.read_at(vec![0; 8], 0).await;
        assert_eq!((read.unwrap(), &buffer[..]), (3, &b"abc\0\0\0\0\0"[..]));

        let reading = executor::spawn(async move { file.read_to_end().await });
        for byte in 0..100 {
            writer.write_all(&[byte]).unwrap();
            // Let the task read each byte separately.
            yield_now().await;
            yield_now().await;
        }
        drop(writer);
        assert_eq!(reading.await.unwrap().unwrap(), (0..100).collect::<Vec<u8>>());
    });
}

#[test]
fn completion_wakes_only_the_task_that_polled_last() {
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
            panic!("the read has completed")
        };
        assert_eq!(read.unwrap(), 1);
    });
}

#[test]
fn dropped_reads_consume_no_bytes() {
    in_child("dropped_reads_consume_no_bytes", dropped_reads);
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
        // Also drop reads that were never submitted.
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
fn valgrind_finds_no_error_or_leak_in_dropped_reads() {
    const TEST: &str = "valgrind_finds_no_error_or_leak_in_dropped_reads";
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

// The futures are dropped while the operation is queued, while the kernel has it, and after it has
// completed.
#[test]
fn file_opened_for_a_dropped_future_is_closed() {
    in_child("file_opened_for_a_dropped_future_is_closed", || {
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

// Opening a named pipe blocks a kernel thread until another process opens the other end.
#[test]
fn waiting_open_is_canceled_when_its_future_is_dropped() {
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
fn close_closes_the_file_even_if_its_future_is_dropped() {
    in_child("close_closes_the_file_even_if_its_future_is_dropped", || {
        run(|| async {
            let ring = ring_or_return!(8);
            let path = file_with(b"");
            let before = descriptors();
            for submitted in [false, true] {
                let file = File::open(&ring, &path).await.unwrap();
                let mut close = Box::pin(file.close());
                assert!(poll(close.as_mut(), Waker::noop()).is_pending());
                if submitted {
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
fn file_stays_open_until_its_last_operation_completes() {
    run(|| async {
        let ring = ring_or_return!(8);
        let (file, mut writer) = pipe(&ring);
        let mut read = Box::pin(async move { file.read_at(vec![0; 8], 0).await });
        assert!(poll(read.as_mut(), Waker::noop()).is_pending());
        drop(read);
        // The queued read is abandoned, and then the pipe has no reader.
        until(|| writer.write(b"x").is_err()).await;
        until(|| ring.in_flight() == 0).await;
    });
}

#[test]
fn dropping_the_last_handle_closes_the_ring() {
    in_child("dropping_the_last_handle_closes_the_ring", || {
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
                // The kernel still has the reads, so the driver waits for their completions.
                assert_ne!(descriptors(), before);
                until(|| descriptors() == before).await;
            }
        });
    });
}

#[test]
fn dropped_executor_waits_for_operations_in_the_kernel() {
    in_child("dropped_executor_waits_for_operations_in_the_kernel", || {
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
                // The task owned the write end, and no read keeps the read end open. So this
                // duplicate is at its end of file.
                let Some(mut reader) = reader else { return };
                assert_eq!(reader.read(&mut [0]).unwrap(), 0);
            }
            assert_eq!(descriptors(), before);
        });
    });
}

#[test]
fn read_that_outlives_its_executor_returns_its_buffer() {
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
            assert_eq!(result.unwrap_err().to_string(), "the executor of this ring was dropped");
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
fn ring_returns_the_errors_of_std() {
    run(|| async { errors_are_those_of_std(ring_or_return!(8)).await });
}

#[test]
fn pool_returns_the_errors_of_std() {
    run(|| async { errors_are_those_of_std(Ring::pool()).await });
}

#[test]
fn zero_entries_are_an_error_without_a_fallback_to_the_pool() {
    run(|| async {
        drop(ring_or_return!(1));
        assert_eq!(Ring::or_pool(0).unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

/// Writes and reads a file through `Ring::or_pool`, and returns whether that used the pool.
fn falls_back_to_the_pool() -> bool {
    executor::block_on(async {
        let ring = Ring::or_pool(8).unwrap();
        writes_and_reads(ring.clone()).await;
        ring.is_pool()
    })
}

// strace makes the system call fail as in a sandbox.
#[test]
fn pool_is_used_if_a_sandbox_forbids_io_uring() {
    let strace = ["strace", "-f", "-qq", "-o/dev/null", "-einject=io_uring_setup:error=EPERM"];
    in_child_under(&strace, "pool_is_used_if_a_sandbox_forbids_io_uring", || {
        executor::block_on(async {
            assert_eq!(Ring::new(8).unwrap_err().kind(), ErrorKind::PermissionDenied);
        });
        assert!(falls_back_to_the_pool());
    });
}

#[test]
fn pool_is_used_if_the_kernel_has_no_io_uring() {
    let strace = ["strace", "-f", "-qq", "-o/dev/null", "-einject=io_uring_setup:error=ENOSYS"];
    in_child_under(&strace, "pool_is_used_if_the_kernel_has_no_io_uring", || {
        executor::block_on(async {
            assert_eq!(Ring::new(8).unwrap_err().kind(), ErrorKind::Unsupported);
        });
        assert!(falls_back_to_the_pool());
    });
}

// Every other call fails, both in submissions and when the executor ends.
#[test]
fn interrupted_submission_is_retried() {
    let inject = "-einject=io_uring_enter:error=EINTR:when=1+2";
    let strace = ["strace", "-f", "-qq", "-o/dev/null", inject];
    in_child_under(&strace, "interrupted_submission_is_retried", failing_submissions);
}

#[test]
fn submission_is_retried_after_the_kernel_was_out_of_memory() {
    let inject = "-einject=io_uring_enter:error=EAGAIN:when=1+2";
    let strace = ["strace", "-f", "-qq", "-o/dev/null", inject];
    let test = "submission_is_retried_after_the_kernel_was_out_of_memory";
    in_child_under(&strace, test, failing_submissions);
}

fn failing_submissions() {
    within_deadline(|| {
        if !falls_back_to_the_pool() {
            dropped_reads();
        }
    });
}

#[test]
fn operations_fail_if_the_kernel_accepts_no_submission() {
    let inject = "-einject=io_uring_enter:error=EBADFD:when=3+1";
    let strace = ["strace", "-f", "-qq", "-o/dev/null", inject];
    let test = "operations_fail_if_the_kernel_accepts_no_submission";
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
    /// The ring that the logger below uses, on the thread of its executor.
    static RING: RefCell<Option<Ring>> = const { RefCell::new(None) };
    static LOGGED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// A logger that calls a method of the ring for each record.
struct ReentrantLogger;

impl Log for ReentrantLogger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        RING.with_borrow(|ring| ring.as_ref().map(Ring::in_flight));
        LOGGED.with_borrow_mut(|logged| logged.push(record.args().to_string()));
    }

    fn flush(&self) {}
}

// The kernel accepts the read and nothing afterwards, so the read cannot be canceled and is leaked.
#[test]
fn logger_may_use_the_ring_that_logs_a_leak() {
    let inject = "-einject=io_uring_enter:error=EBADFD:when=2+";
    let strace = ["strace", "-f", "-qq", "-o/dev/null", inject];
    let test = "logger_may_use_the_ring_that_logs_a_leak";
    in_child_under(&strace, test, || {
        log::set_logger(&ReentrantLogger).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
        within_deadline(|| {
            let executor = Executor::new().unwrap();
            executor.block_on(async {
                let ring = ring_or_return!(8);
                RING.set(Some(ring.clone()));
                let (file, writer) = pipe(&ring);
                drop(executor::spawn(
                    async move { (file.read_at(vec![0; 4096], 0).await, writer) },
                ));
                yield_now().await;
                until(|| ring.in_flight() == 1).await;
                yield_now().await;
            });
            // Because no completion can arrive, the executor must not wait the whole second for
            // one.
            let start = Instant::now();
            drop(executor);
            assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
            if RING.take().is_some() {
                assert_eq!(
                    LOGGED.take(),
                    ["leaking the memory of 1 io_uring operations that did not complete"]
                );
            }
        });
    });
}

#[test]
fn dropped_operations_do_not_accumulate_behind_a_full_ring() {
    run(|| async {
        let ring = ring_or_return!(8);
        let (file, _writer) = pipe(&ring);
        let _full = in_flight(&ring, &file, 8).await;
        // First drop each read immediately. Then keep one read in the queue, and drop each further
        // read only after the next one was queued behind it.
        for kept in [0, 1] {
            let _kept = in_flight(&ring, &file, kept).await;
            let mut previous = None;
            for _ in 0..1000 {
                let mut read = Box::pin(file.read_at(vec![0; 4096], 0));
                assert!(poll(read.as_mut(), Waker::noop()).is_pending());
                previous = (kept > 0).then_some(read);
                // At most half of the queue consists of dropped reads.
                assert!(ring.in_flight() <= 8 + 2 * (kept + 1), "{}", ring.in_flight());
            }
            drop(previous);
        }
    });
}

// The driver reaps both completions in one pass.
#[test]
fn panicking_waker_of_a_ring_does_not_prevent_other_wakes() {
    run(|| async {
        let ring = ring_or_return!(8);
        let ((first, mut to_first), (second, mut to_second)) = (pipe(&ring), pipe(&ring));
        let mut panics = in_flight(&ring, &first, 1).await;
        let mut counts = in_flight(&ring, &second, 1).await;
        let waker = waker_fn(|| panic!("a waker of another runtime"));
        assert!(poll(pin!(&mut panics[0]), &waker).is_pending());
        let (counter, waker) = Counter::with_waker();
        assert!(poll(pin!(&mut counts[0]), &waker).is_pending());
        to_first.write_all(b"x").unwrap();
        to_second.write_all(b"x").unwrap();
        until(|| counter.wakes() == 1).await;
        // The ring still works.
        assert_eq!(counts.remove(0).await.0.unwrap(), 1);
        to_second.write_all(b"x").unwrap();
        assert_eq!(second.read_at(vec![0; 8], 0).await.0.unwrap(), 1);
    });
}

#[test]
fn driver_pauses_while_the_kernel_is_out_of_memory() {
    let inject = "-einject=io_uring_enter:error=EAGAIN:when=1+";
    let strace = ["strace", "-f", "-qq", "-o/dev/null", inject];
    let test = "driver_pauses_while_the_kernel_is_out_of_memory";
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

// SAFETY: the declaration matches the signature in POSIX.
unsafe extern "C" {
    fn pthread_kill(thread: RawPthread, signal: i32) -> i32;
}

#[test]
fn operations_survive_a_storm_of_signals() {
    let caught = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, caught.clone()).unwrap();
    within_deadline(|| {
        let worker = thread::spawn(|| executor::block_on(operations_under_signals()));
        while !worker.is_finished() {
            // SAFETY: the thread has not been joined, so its handle is valid.
            unsafe { pthread_kill(worker.as_pthread_t(), signal_hook::consts::SIGUSR1) };
            thread::yield_now();
        }
        worker.join().unwrap();
    });
    assert!(caught.load(Ordering::SeqCst));
}

async fn operations_under_signals() {
    let ring = ring_or_return!(4);
    let (idle, _idle_writer) = pipe(&ring);
    let (file, mut writer) = pipe(&ring);
    for byte in 0..100 {
        let dropped = in_flight(&ring, &idle, 2).await;
        let mut reads = in_flight(&ring, &file, 1).await;
        let other = thread::spawn(move || writer.write_all(&[byte]).map(|()| writer));
        let (read, buffer) = reads.remove(0).await;
        assert_eq!((read.unwrap(), buffer[0]), (1, byte));
        writer = other.join().unwrap().unwrap();
        drop(dropped);
        until(|| ring.in_flight() == 0).await;
        writes_and_reads_few_bytes(&ring).await;
    }
}

async fn writes_and_reads_few_bytes(ring: &Ring) {
    let path = place();
    let file = File::create(ring, &path).await.unwrap();
    file.write_all_at(b"few".to_vec(), 0).await.0.unwrap();
    file.sync_data().await.unwrap();
    file.close().await.unwrap();
    let file = File::open(ring, &path).await.unwrap();
    assert_eq!(file.read_to_end().await.unwrap(), b"few");
}

// Otherwise a forked child could take its parent's completions. The test runs in its own process,
// because a ring is marked shortly after it is mapped, and this test must not see the ring of
// another test in between. `dc` is the flag of `MADV_DONTFORK`.
#[test]
fn forked_child_does_not_inherit_the_ring() {
    in_child("forked_child_does_not_inherit_the_ring", || {
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
fn executors_on_two_threads_use_separate_rings() {
    within_deadline(|| {
        let work = |_| {
            thread::spawn(|| {
                executor::block_on(async {
                    let ring = ring_or_return!(8);
                    let mut tasks = JoinSet::new();
                    for _ in 0..100 {
                        let ring = ring.clone();
                        tasks.spawn(async move { writes_and_reads_few_bytes(&ring).await });
                    }
                    while let Some(result) = tasks.join_next().await {
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
fn flood_of_reads_lets_other_tasks_run() {
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
        // Each sleep takes a turn of the reactor.
        for _ in 0..100 {
            sleep(Duration::from_micros(1)).await;
        }
        assert!(!flood.is_empty());
    });
}

// Pitfall: B1
#[test]
fn timer_fires_beside_a_loop_over_failing_operations() {
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
