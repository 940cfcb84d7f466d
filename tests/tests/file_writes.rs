//! Writes to files: what was acknowledged is done, and an error is not lost.
//!
//! Also the order of the operations of one file, and that tasks which share a file share its time.

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

/// The file of the child process.
fn file_of_the_child() -> PathBuf {
    std::env::var_os("FILE").expect("set by the parent").into()
}

/// Polls an operation once and drops it.
fn give_up<F: Future>(operation: F) -> bool {
    poll(pin!(operation).as_mut(), Waker::noop()).is_pending()
}

const BYTES: &[u8] = b"some bytes";

/// Writes to a file in one of several ways, and ends the process as a return from `main` does.
fn write_and_exit(path: PathBuf, way: &str) -> ! {
    let write = |path: PathBuf| async move {
        let mut file = File::create(path).await.unwrap();
        file.write_all(BYTES).await.unwrap();
        file
    };
    match way {
        "kept" => drop(block_on(write(path))),
        "aborted" => block_on(async {
            let task = spawn(async move {
                let _file = write(path.clone()).await;
                fs::write(path.with_extension("written"), "").unwrap();
                std::future::pending::<()>().await;
            });
            while !task.is_finished() {
                if file_of_the_child().with_extension("written").exists() {
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
fn acknowledged_write_survives_the_end_of_the_process() {
    let name = "acknowledged_write_survives_the_end_of_the_process";
    if is_child() {
        write_and_exit(file_of_the_child(), &std::env::var("WAY").unwrap());
    }
    let folder = folder();
    for way in ["kept", "aborted", "executor first"] {
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
fn acknowledged_output_survives_the_end_of_the_process() {
    let name = "acknowledged_output_survives_the_end_of_the_process";
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

/// Lets four tasks repeat an operation of one file, and returns how often each could.
async fn share(file: File, operation: impl AsyncFn(&File) + Copy + 'static) -> [u32; 4] {
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
    // A thread of a busy machine may be late with the wake of one task.
    assert!(*least > 0 && *least >= most / 3, "{counts:?}");
}

// Pitfall: F2
#[test]
fn tasks_that_share_a_file_get_equal_shares() {
    let folder = folder();
    run(|| async move {
        let file = async |name: &str| File::create(folder.path().join(name)).await.unwrap();
        assert_fair(share(file("1").await, async |file: &File| drop(file.metadata().await)).await);
        assert_fair(
            share(file("2").await, async |file: &File| file.set_len(9).await.unwrap()).await,
        );
        assert_fair(
            share(file("3").await, async |file: &File| file.sync_data().await.unwrap()).await,
        );
        assert_fair(
            share(file("4").await, async |file: &File| file.sync_all().await.unwrap()).await,
        );
        let permissions = async |file: &File| {
            let permissions = file.metadata().await.unwrap().permissions();
            file.set_permissions(permissions).await.unwrap();
        };
        assert_fair(share(file("5").await, permissions).await);
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

async fn full() -> File {
    OpenOptions::new().read(true).write(true).open("/dev/full").await.unwrap()
}

// Pitfall: F4
#[test]
fn error_belongs_to_the_write_that_caused_it() {
    run(|| async {
        let mut full = full().await;
        for _ in 0..3 {
            assert_eq!(full.write(b"x").await.unwrap_err().kind(), ErrorKind::StorageFull);
            full.flush().await.unwrap();
            full.metadata().await.unwrap();
        }
    });
}

/// Drops a write whose error no caller has seen.
fn fail_unseen(file: &mut File) {
    // The pool may be that fast: then the error has been returned.
    while !give_up(file.write(b"x")) {}
}

// Pitfall: F4
#[test]
fn error_of_a_dropped_write_stays_until_a_caller_has_seen_it() {
    run(|| async {
        let mut file = full().await;
        fail_unseen(&mut file);
        for _ in 0..20 {
            // None of these is polled again, so none has returned the error, unless it was ready.
            let unseen = give_up(file.flush());
            let unseen = unseen && give_up(file.metadata());
            if !(unseen && give_up(file.sync_all())) {
                fail_unseen(&mut file);
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
        fail_unseen(&mut file);
        assert_eq!(file.flush().await.unwrap_err().kind(), full);
        fail_unseen(&mut file);
        assert_eq!(file.read(&mut [0]).await.unwrap_err().kind(), full);
        fail_unseen(&mut file);
        assert_eq!(file.seek(SeekFrom::Start(0)).await.unwrap_err().kind(), full);
        fail_unseen(&mut file);
        assert_eq!(file.sync_data().await.unwrap_err().kind(), full);
        fail_unseen(&mut file);
        assert_eq!(file.write(b"y").await.unwrap_err().kind(), full);
        file.flush().await.unwrap();
        fail_unseen(&mut file);
        assert_eq!(file.into_std().await.unwrap_err().kind(), full);
    });
}

#[test]
fn dropped_write_is_carried_out_before_the_next_one() {
    let folder = folder();
    run(|| async move {
        let path = folder.path().join("file");
        let mut file = File::create(&path).await.unwrap();
        for _ in 0..100 {
            give_up(file.write(b"ab"));
            give_up(file.write(b"cd"));
            file.write_all(b"ef").await.unwrap();
        }
        assert_eq!(fs::read(&path).unwrap(), b"abcdef".repeat(100));
    });
}

#[test]
fn write_of_the_same_bytes_takes_the_place_of_a_dropped_one() {
    let folder = folder();
    run(|| async move {
        let path = folder.path().join("file");
        let mut file = File::create(&path).await.unwrap();
        if give_up(file.write_all(b"hello")) {
            file.write_all(b"hello, file").await.unwrap();
        } else {
            file.write_all(b", file").await.unwrap();
        }
        assert_eq!(fs::read(&path).unwrap(), b"hello, file");
        // A flush in between makes it another write.
        give_up(file.write_all(b"!"));
        file.flush().await.unwrap();
        file.write_all(b"!").await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"hello, file!!");
    });
}
