//! Writes to files: an acknowledged write is done, and its error is not lost.
//!
//! Also checks the order of the operations of one file, and fairness between tasks that share a
//! file.

use std::fs;
use std::future::Future;
use std::io::{ErrorKind, IoSlice};
use std::path::PathBuf;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use executor::{Executor, block_on, spawn, yield_now};
use reactor::fs::{File, OpenOptions};
use reactor::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt, SeekFrom};
use reactor::stdio::stdout;
use tests::child::is_child;
use tests::wakers::poll;
use tests::{folder, run};

/// Returns the path of the file that the child process writes.
fn child_file() -> PathBuf {
    std::env::var_os("FILE").expect("set by the parent").into()
}

/// Polls an operation once and drops it. Returns whether it was pending.
fn poll_and_drop<F: Future>(operation: F) -> bool {
    poll(pin!(operation).as_mut(), Waker::noop()).is_pending()
}

const BYTES: &[u8] = b"some bytes";

/// Writes to a file, drops the file in one of three ways, and exits like a return from `main`.
fn write_and_exit(path: PathBuf, way: &str) -> ! {
    let write = |path: PathBuf| async move {
        let mut file = File::create(path).await.unwrap();
        file.write_all(BYTES).await.unwrap();
        file
    };
    match way {
        "file first" => drop(block_on(write(path))),
        "aborted task" => block_on(async {
            let task = spawn(async move {
                let _file = write(path.clone()).await;
                fs::write(path.with_extension("written"), "").unwrap();
                std::future::pending::<()>().await;
            });
            while !task.is_finished() {
                if child_file().with_extension("written").exists() {
                    task.abort();
                }
                yield_now().await;
            }
        }),
        _ => {
            let executor = Executor::new().unwrap();
            let file = executor.block_on(write(path));
            drop(executor);
            drop(file);
        }
    }
    std::process::exit(0)
}

// Pitfall: F1
#[test]
fn acknowledged_write_survives_process_exit() {
    let name = "acknowledged_write_survives_process_exit";
    if is_child() {
        write_and_exit(child_file(), &std::env::var("WAY").unwrap());
    }
    let folder = folder();
    for way in ["file first", "aborted task", "executor first"] {
        for n in 0..70 {
            let path = folder.path().join(format!("{way} {n}"));
            let mut child = Command::new(std::env::current_exe().unwrap());
            child.args([name, "--exact"]).env("TESTS_CHILD", name).stdout(Stdio::null());
            assert!(child.env("FILE", &path).env("WAY", way).status().unwrap().success());
            assert_eq!(fs::read(&path).unwrap(), BYTES, "{way}, run {n}");
        }
    }
}

// Pitfall: F1, F3
#[test]
fn acknowledged_output_survives_process_exit() {
    let name = "acknowledged_output_survives_process_exit";
    if is_child() {
        let written = block_on(async {
            let bufs = [&b""[..], b"some", b" ", b"bytes"].map(IoSlice::new);
            stdout().write_vectored(&bufs).await
        });
        std::process::exit(if written.is_ok_and(|written| written == BYTES.len()) { 0 } else { 1 });
    }
    for n in 0..70 {
        let mut child = Command::new(std::env::current_exe().unwrap());
        let output = child.args([name, "--exact"]).env("TESTS_CHILD", name).output().unwrap();
        assert!(output.status.success(), "run {n}: not all buffers were taken");
        assert!(output.stdout.ends_with(BYTES), "run {n}: {output:?}");
    }
}

/// Lets four tasks repeat an operation of one file for a while. Returns how often each one
/// completed.
async fn counts_of_tasks(file: File, operation: impl AsyncFn(&File) + Copy + 'static) -> [u32; 4] {
    let file = Rc::new(file);
    let end = Instant::now() + Duration::from_millis(100);
    let tasks = [(); 4].map(|()| {
        let file = file.clone();
        spawn(async move {
            let mut count = 0;
            while Instant::now() < end {
                operation(&file).await;
                count += 1;
            }
            count
        })
    });
    let mut counts = [0; 4];
    for (count, task) in counts.iter_mut().zip(tasks) {
        *count = task.await.unwrap();
    }
    counts
}

#[track_caller]
fn assert_fair(counts: [u32; 4]) {
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    // On a busy machine, one task may be woken late.
    assert!(*least > 0 && *least >= most / 3, "{counts:?}");
}

// Pitfall: F2
#[test]
fn tasks_that_share_a_file_get_equal_shares() {
    let folder = folder();
    run(|| async move {
        let file = async |name: &str| File::create(folder.path().join(name)).await.unwrap();
        assert_fair(
            counts_of_tasks(file("1").await, async |file: &File| drop(file.metadata().await)).await,
        );
        assert_fair(
            counts_of_tasks(file("2").await, async |file: &File| file.set_len(9).await.unwrap())
                .await,
        );
        assert_fair(
            counts_of_tasks(file("3").await, async |file: &File| file.sync_data().await.unwrap())
                .await,
        );
        assert_fair(
            counts_of_tasks(file("4").await, async |file: &File| file.sync_all().await.unwrap())
                .await,
        );
        let permissions = async |file: &File| {
            let permissions = file.metadata().await.unwrap().permissions();
            file.set_permissions(permissions).await.unwrap();
        };
        assert_fair(counts_of_tasks(file("5").await, permissions).await);
    });
}

// Pitfall: F3
#[test]
fn vectored_write_to_a_file_takes_all_buffers() {
    let folder = folder();
    run(|| async move {
        let path = folder.path().join("file");
        let mut file = File::create(&path).await.unwrap();
        let bufs = [&b""[..], b"ab", b"", b"cde", b"f"].map(IoSlice::new);
        assert_eq!(file.write_vectored(&bufs).await.unwrap(), 6);
        assert_eq!(fs::read(&path).unwrap(), b"abcdef");
    });
}

/// Opens a file whose every write fails with `StorageFull`.
async fn full() -> File {
    OpenOptions::new().read(true).write(true).open("/dev/full").await.unwrap()
}

// Pitfall: F4
#[test]
fn error_is_reported_by_the_write_that_caused_it() {
    run(|| async {
        let mut full = full().await;
        for _ in 0..3 {
            assert_eq!(full.write(b"x").await.unwrap_err().kind(), ErrorKind::StorageFull);
            full.flush().await.unwrap();
            full.metadata().await.unwrap();
        }
    });
}

/// Drops a write that fails, before it has reported its error.
fn drop_failing_write(file: &mut File) {
    // If the pool has been fast enough to return the error, try again.
    while !poll_and_drop(file.write(b"x")) {}
}

// Pitfall: F4
#[test]
fn error_of_a_dropped_write_is_kept_until_it_is_reported() {
    run(|| async {
        let mut file = full().await;
        drop_failing_write(&mut file);
        for _ in 0..20 {
            // A pending operation is dropped before it reports the error. A ready one has reported
            // it.
            let unreported = poll_and_drop(file.flush());
            let unreported = unreported && poll_and_drop(file.metadata());
            if !(unreported && poll_and_drop(file.sync_all())) {
                drop_failing_write(&mut file);
            }
        }
        assert_eq!(file.flush().await.unwrap_err().kind(), ErrorKind::StorageFull);
        file.flush().await.unwrap();
    });
}

#[test]
fn every_operation_reports_the_error_of_a_dropped_write() {
    run(|| async {
        let mut file = full().await;
        let full = ErrorKind::StorageFull;
        drop_failing_write(&mut file);
        assert_eq!(file.flush().await.unwrap_err().kind(), full);
        drop_failing_write(&mut file);
        assert_eq!(file.read(&mut [0]).await.unwrap_err().kind(), full);
        drop_failing_write(&mut file);
        assert_eq!(file.seek(SeekFrom::Start(0)).await.unwrap_err().kind(), full);
        drop_failing_write(&mut file);
        assert_eq!(file.sync_data().await.unwrap_err().kind(), full);
        drop_failing_write(&mut file);
        assert_eq!(file.write(b"y").await.unwrap_err().kind(), full);
        file.flush().await.unwrap();
        drop_failing_write(&mut file);
        assert_eq!(file.into_std().await.unwrap_err().kind(), full);
    });
}

#[test]
fn dropped_write_completes_before_the_next_one() {
    let folder = folder();
    run(|| async move {
        let path = folder.path().join("file");
        let mut file = File::create(&path).await.unwrap();
        for _ in 0..100 {
            poll_and_drop(file.write(b"ab"));
            poll_and_drop(file.write(b"cd"));
            file.write_all(b"ef").await.unwrap();
        }
        assert_eq!(fs::read(&path).unwrap(), b"abcdef".repeat(100));
    });
}

#[test]
fn repeating_a_dropped_write_writes_the_bytes_once() {
    let folder = folder();
    run(|| async move {
        let path = folder.path().join("file");
        let mut file = File::create(&path).await.unwrap();
        if poll_and_drop(file.write_all(b"hello")) {
            file.write_all(b"hello, file").await.unwrap();
        } else {
            file.write_all(b", file").await.unwrap();
        }
        assert_eq!(fs::read(&path).unwrap(), b"hello, file");
        // After a flush, the same bytes are a new write.
        poll_and_drop(file.write_all(b"!"));
        file.flush().await.unwrap();
        file.write_all(b"!").await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"hello, file!!");
    });
}
