//! Files: read in place if they are in the page cache, otherwise by the thread pool.
//!
//! Log records show whether the pool was given a job. The tests of cached files need a file system
//! that supports `RWF_NOWAIT`, and are skipped if there is none.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::future::Future;
use std::io::{self, ErrorKind, IoSliceMut, Read, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use executor::{Executor, block_on, spawn, yield_now};
use futures_lite::StreamExt;
use mio::unix::SourceFd;
use proptest::collection::vec;
use proptest::prelude::*;
use reactor::Async;
use reactor::blocking::unblock;
use reactor::budget::{OPERATIONS, consume_budget, enter};
use reactor::fs::{self as ours, File, OpenOptions};
use reactor::io::{AsyncRead, AsyncReadExt, AsyncSeekExt, AsyncWrite, AsyncWriteExt};
use rustix::fs::{Advice, CWD, FileType, Mode, OFlags, ResolveFlags, fadvise, mknodat, openat2};
use rustix::io::{ReadWriteFlags, preadv2};
use tests::TempDir;
use tests::child::{in_child_with, is_child};
use tests::records::capture;
use tests::wakers::poll;
use tests::{run, within_deadline};

/// The most bytes that one task may read in place before it yields.
const SHARE: usize = 256 * 1024;

/// A folder for one test, removed when it is dropped.
struct Folder(TempDir);

impl Folder {
    fn new_in(parent: impl AsRef<Path>) -> Folder {
        Folder(TempDir::new_in(parent).unwrap())
    }

    fn new() -> Folder {
        Folder::new_in(std::env::temp_dir())
    }

    /// Creates a folder on a file system with support for both attempts in place. If there is none,
    /// prints that the test is skipped.
    fn with_nowait() -> Option<Folder> {
        let parents = [std::env::temp_dir(), env!("CARGO_TARGET_TMPDIR").into(), ".".into()];
        let mut folders = parents.into_iter().map(Folder::new_in);
        let folder = folders.find(|folder| folder.opens_cached() && folder.reads_cached());
        if folder.is_none() {
            println!("skipped: no file system here supports RESOLVE_CACHED and RWF_NOWAIT");
        }
        folder
    }

    /// Creates a folder on a file system that opens cached files but refuses `RWF_NOWAIT`. If there
    /// is none, prints that the test is skipped.
    fn without_nowait() -> Option<Folder> {
        let parent = Path::new("/dev/shm").is_dir().then_some("/dev/shm");
        let folder = parent.map(Folder::new_in);
        let folder = folder.filter(|folder| folder.opens_cached() && !folder.reads_cached());
        if folder.is_none() {
            println!("skipped: /dev/shm does not exist, or supports RWF_NOWAIT");
        }
        folder
    }

    /// Whether `openat2` with `RESOLVE_CACHED` works here. Old kernels do not have it, and a
    /// sandbox may forbid it.
    fn opens_cached(&self) -> bool {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let probe = self.file("probe", "x");
        let open = || openat2(CWD, &probe, flags, Mode::empty(), ResolveFlags::CACHED);
        (0..5).any(|_| open().is_ok())
    }

    /// Whether `preadv2` with `RWF_NOWAIT` works here.
    fn reads_cached(&self) -> bool {
        let file = fs::File::open(self.file("probe", "x")).unwrap();
        let byte = &mut [0];
        let bufs = &mut [IoSliceMut::new(byte)];
        preadv2(&file, bufs, u64::MAX, ReadWriteFlags::NOWAIT).is_ok()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, contents).unwrap();
        path
    }

    fn fifo(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        path
    }
}

/// Returns bytes whose values depend on their offsets.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ at >> 8 ^ at >> 16) as u8).collect()
}

/// Runs a future. Returns its output and the number of jobs that it gave to the pool.
fn jobs<F: Future>(future: F) -> (F::Output, usize) {
    let (output, records) = capture(|| block_on(future));
    (output, records.iter().filter(|record| record.kind == "job submitted").count())
}

/// Asserts that an operation needs no job in at least one of five attempts. About once in ten
/// thousand times, the kernel returns `EAGAIN` although the file is in the page cache.
#[track_caller]
fn assert_in_place<F: Future>(mut operation: impl FnMut() -> F) {
    assert!((0..5).any(|_| jobs(operation()).1 == 0), "the pool was given a job each time");
}

/// Evicts the contents of a file from the page cache, beginning at an offset.
fn evict(path: &Path, from: u64) {
    let file = fs::File::open(path).unwrap();
    file.sync_all().unwrap();
    fadvise(&file, from, None, Advice::DontNeed).unwrap();
}

#[test]
fn epoll_refuses_a_regular_file() {
    let folder = Folder::new();
    let path = folder.file("file", "hello");
    run(|| async move {
        let file = fs::File::open(path).unwrap();
        let fd = file.as_raw_fd();
        let error = Async::new(SourceFd(&fd)).unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::PermissionDenied,
            "epoll must refuse a regular file with EPERM"
        );
    });
}

#[test]
fn cached_file_is_read_without_a_job() {
    let Some(folder) = Folder::with_nowait() else { return };
    within_deadline(move || {
        for length in [0, 1, 4096, 100_000, SHARE - 1] {
            let contents = pattern(length);
            let path = folder.file("file", &contents);
            assert_in_place(async || assert_eq!(ours::read(&path).await.unwrap(), contents));
        }
        let path = folder.file("text", "grüß");
        assert_in_place(async || assert_eq!(ours::read_to_string(&path).await.unwrap(), "grüß"));
    });
}

#[test]
fn cached_file_is_read_in_pieces_without_a_job() {
    let Some(folder) = Folder::with_nowait() else { return };
    within_deadline(move || {
        let contents = pattern(3 * SHARE);
        let path = folder.file("file", &contents);
        assert_in_place(async || {
            let mut file = File::open(&path).await.unwrap();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).await.unwrap();
            assert_eq!(bytes, contents);
            assert_eq!(file.seek(SeekFrom::Start(1000)).await.unwrap(), 1000);
            let mut piece = [0; 500];
            file.read_exact(&mut piece).await.unwrap();
            assert_eq!(piece, contents[1000..1500]);
            assert_eq!(file.seek(SeekFrom::Current(-100)).await.unwrap(), 1400);
        });
    });
}

#[test]
fn cached_file_is_read_at_an_offset_without_a_job() {
    let Some(folder) = Folder::with_nowait() else { return };
    within_deadline(move || {
        let contents = pattern(1000);
        let path = folder.file("file", &contents);
        assert_in_place(async || {
            let file = File::open(&path).await.unwrap();
            let mut piece = [0; 500];
            for (offset, read) in [(100, 500), (800, 200), (1000, 0), (1001, 0)] {
                assert_eq!(file.read_at(&mut piece, offset as u64).await.unwrap(), read);
                assert_eq!(piece[..read], contents[offset.min(1000)..][..read]);
            }
        });
    });
}

// strace makes each attempt in place return 0, as Linux 5.9 and 5.10 do in some cases.
#[test]
fn empty_read_before_the_end_is_repeated_by_the_pool() {
    let name = "empty_read_before_the_end_is_repeated_by_the_pool";
    in_child_with("preadv2:retval=0", name, || {
        block_on(async {
            let folder = Folder::new();
            let mut file = File::open(folder.file("file", "hello")).await?;
            let mut bytes = [0; 9];
            assert_eq!(file.read_at(&mut bytes, 1).await?, 4);
            assert_eq!(&bytes[..4], b"ello");
            assert_eq!(file.read(&mut bytes).await?, 5);
            assert_eq!(&bytes[..5], b"hello");
            assert_eq!((file.read(&mut bytes).await?, file.read_at(&mut bytes, 5).await?), (0, 0));
            io::Result::Ok(())
        })
        .unwrap();
    });
}

// If the last unit paid for no bytes, the read would return 0, and the task would take this for the
// end of the file.
#[test]
fn last_unit_of_the_budget_pays_for_a_read_of_2_kib() {
    let Some(folder) = Folder::with_nowait() else { return };
    run(|| async move {
        let mut file = File::open(folder.file("file", pattern(4000))).await.unwrap();
        let mut bytes = [0; 4000];
        for expected in [2048, 1952] {
            yield_now().await;
            for _ in 1..OPERATIONS {
                consume_budget().await;
            }
            assert_eq!(file.read(&mut bytes).await.unwrap(), expected);
        }
    });
}

#[test]
fn large_file_is_read_in_one_job() {
    let folder = Folder::new();
    within_deadline(move || {
        let contents = pattern(10 * SHARE);
        let path = folder.file("file", &contents);
        let (bytes, jobs) = jobs(ours::read(&path));
        assert_eq!((bytes.unwrap() == contents, jobs), (true, 1));
    });
}

#[test]
fn file_of_256_kib_is_read_in_one_job() {
    let Some(folder) = Folder::with_nowait() else { return };
    within_deadline(move || {
        let path = folder.file("file", pattern(SHARE));
        let (bytes, count) = jobs(ours::read(&path));
        assert_eq!((bytes.unwrap().len(), count), (SHARE, 1));
        fs::write(&path, pattern(SHARE - 1)).unwrap();
        assert_in_place(|| ours::read(&path));
    });
}

// Evicts the last pages of a file. The kernel may keep some of them, but in any case each byte must
// be read exactly once.
#[test]
fn partly_cached_file_is_read_without_gaps() {
    let Some(folder) = Folder::with_nowait() else { return };
    within_deadline(move || {
        let contents = pattern(200_000);
        let path = folder.file("file", &contents);
        for from in [0, 4096, 65_536, 131_072, 196_608] {
            evict(&path, from);
            let (bytes, jobs) = jobs(ours::read(&path));
            assert!(bytes.unwrap() == contents && jobs <= 1, "evicted from {from}, {jobs} jobs");
            evict(&path, from);
            let bytes = block_on(async {
                let mut bytes = Vec::new();
                File::open(&path).await.unwrap().read_to_end(&mut bytes).await.unwrap();
                bytes
            });
            assert!(bytes == contents, "evicted from {from}");
        }
    });
}

#[test]
fn file_system_without_nowait_is_read_by_the_pool() {
    let Some(folder) = Folder::without_nowait() else { return };
    within_deadline(move || {
        let path = folder.file("file", pattern(10_000));
        let (bytes, count) = jobs(ours::read(&path));
        assert_eq!((bytes.unwrap(), count), (pattern(10_000), 1));
        let (bytes, count) = jobs(async {
            let mut bytes = vec![0; 10_000];
            File::open(&path).await?.read_exact(&mut bytes).await?;
            std::io::Result::Ok(bytes)
        });
        assert_eq!((bytes.unwrap(), count), (pattern(10_000), 1));
    });
}

#[test]
fn file_of_reported_size_zero_is_read_to_its_end() {
    run(|| async {
        let path = "/proc/self/status";
        assert_eq!(fs::metadata(path).unwrap().len(), 0);
        assert!(ours::read_to_string(path).await.unwrap().contains("Threads:"));
        let mut text = String::new();
        File::open(path).await.unwrap().read_to_string(&mut text).await.unwrap();
        assert!(text.contains("Threads:"));
    });
}

// The attempt in place fails with another error, e.g. `EAGAIN` for a missing name.
#[test]
fn file_errors_equal_those_of_std() {
    let folder = Folder::new();
    run(|| async move {
        let file = folder.file("file", [0xff]);
        std::os::unix::fs::symlink("loop", folder.path("loop")).unwrap();
        let long = folder.path(&"x".repeat(300));
        let paths = [
            folder.path("missing"),
            folder.path("missing/file"),
            file.join("file"),
            folder.path("loop"),
            long,
            folder.path("nul\0"),
            folder.path(""),
            PathBuf::new(),
        ];
        for path in paths {
            let (our, std) = (ours::read(&path).await, fs::read(&path));
            let (our, std) = (our.unwrap_err(), std.unwrap_err());
            assert_eq!((our.kind(), our.raw_os_error()), (std.kind(), std.raw_os_error()));
            let (our, std) = (File::open(&path).await.map(drop), fs::File::open(&path).map(drop));
            assert_eq!(our.map_err(|e| e.kind()), std.map_err(|e| e.kind()), "{path:?}");
        }
        assert_eq!(ours::read_to_string(&file).await.unwrap_err().kind(), ErrorKind::InvalidData);
        let mut directory = File::open(&folder.0).await.unwrap();
        let error = directory.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::IsADirectory);
    });
}

// File permissions do not restrict root, so the test uses the open mode.
#[test]
fn access_that_the_mode_forbids_is_an_error() {
    let folder = Folder::new();
    run(|| async move {
        let mut file = File::create(folder.path("file")).await.unwrap();
        assert!(file.read(&mut [0]).await.is_err());
        let mut file = File::open(folder.path("file")).await.unwrap();
        assert!(file.write_all(b"x").await.is_err());
    });
}

#[test]
fn one_poll_reads_at_most_256_kib_in_place() {
    let Some(folder) = Folder::with_nowait() else { return };
    run(|| async move {
        let small = folder.file("small", pattern(4000));
        let large = folder.file("large", pattern(20 * SHARE));
        let read = Rc::new(Cell::new(0));
        let reader = spawn({
            let read = read.clone();
            async move {
                for _ in 0..300 {
                    read.set(read.get() + ours::read(&small).await.unwrap().len());
                }
                let mut file = File::open(&large).await.unwrap();
                let mut buffer = vec![0; 60_000];
                loop {
                    let bytes = file.read(&mut buffer).await.unwrap();
                    read.set(read.get() + bytes);
                    if bytes == 0 {
                        break;
                    }
                }
            }
        });
        let mut before = 0;
        while !reader.is_finished() {
            let bytes = read.get() - before;
            assert!(bytes <= SHARE, "{bytes} bytes in one poll");
            before = read.get();
            yield_now().await;
        }
        assert_eq!(read.get(), 300 * 4000 + 20 * SHARE);
    });
}

// After the first file, only a small part of the share is left.
#[test]
fn file_beyond_the_remaining_share_waits_for_the_next_poll() {
    let Some(folder) = Folder::with_nowait() else { return };
    run(|| async move {
        let paths = ["one", "two"].map(|name| folder.file(name, pattern(250 * 1024)));
        let read = Rc::new(Cell::new(0));
        let reader = spawn({
            let read = read.clone();
            async move {
                for path in paths {
                    read.set(read.get() + ours::read(&path).await.unwrap().len());
                }
            }
        });
        let mut before = 0;
        while before < 2 * 250 * 1024 {
            let bytes = read.get() - before;
            assert!(bytes <= SHARE, "{bytes} bytes in one poll");
            before = read.get();
            yield_now().await;
        }
        reader.await.unwrap();
    });
}

// One task reads and yields in a loop, the other one reads once. Each has a share of its own. With
// a common share, the second task would find it spent in every round.
#[test]
fn reader_of_small_files_does_not_starve_a_larger_read() {
    let folder = Folder::new();
    run(|| async move {
        let (small, larger) =
            (folder.file("small", pattern(100_000)), folder.file("larger", pattern(200_000)));
        let rounds = Rc::new(Cell::new(0));
        let counted = rounds.clone();
        let busy = spawn(async move {
            loop {
                ours::read(&small).await.unwrap();
                counted.set(counted.get() + 1);
                yield_now().await;
            }
        });
        // The busy task is ahead of this one in the run queue.
        let once = spawn(async move { ours::read(&larger).await.unwrap().len() });
        assert_eq!(once.await.unwrap(), 200_000);
        busy.abort();
        assert!(rounds.get() < 100, "{} rounds", rounds.get());
    });
}

#[test]
fn task_that_only_opens_files_yields() {
    let folder = Folder::new();
    run(|| async move {
        let path = folder.file("file", "");
        let opener = spawn(async move {
            for _ in 0..1000 {
                File::open(&path).await.unwrap();
            }
        });
        let mut yields = 0;
        while !opener.is_finished() {
            yields += 1;
            yield_now().await;
        }
        assert!(yields > 1000 / 128, "{yields}");
    });
}

#[test]
fn file_reads_writes_and_seeks_like_std() {
    let folder = Folder::new();
    run(|| async move {
        let path = folder.path("file");
        let mut file = OpenOptions::new().read(true).write(true).create(true).open(&path).await?;
        for piece in pattern(100_000).chunks(777) {
            file.write_all(piece).await?;
        }
        file.flush().await?;
        assert_eq!(fs::read(&path)?, pattern(100_000));

        assert_eq!(file.seek(SeekFrom::End(-10)).await?, 99_990);
        let mut end = Vec::new();
        assert_eq!(file.read_to_end(&mut end).await?, 10);
        assert_eq!(end, pattern(100_000)[99_990..]);
        assert_eq!(file.read(&mut [0; 10]).await?, 0, "at the end");
        assert_eq!(file.seek(SeekFrom::Current(-5)).await?, 99_995);
        file.write_all(b"0123456789").await?;
        assert_eq!(file.metadata().await?.len(), 100_005, "metadata must wait for the write");
        file.set_len(5).await?;
        file.sync_all().await?;
        file.sync_data().await?;
        assert_eq!(fs::read(&path)?, pattern(5));
        let error = file.seek(SeekFrom::Start(u64::MAX)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        std::io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn file_shares_the_cursor_of_its_descriptor() {
    let folder = Folder::new();
    run(|| async move {
        let path = folder.file("file", pattern(1000));
        let mut std = fs::File::open(&path)?;
        let mut file = File::from(std.try_clone()?);
        assert_eq!(file.as_raw_fd(), file.as_fd().as_raw_fd());
        let mut bytes = [0; 100];
        std.read_exact(&mut bytes)?;
        file.read_exact(&mut bytes).await?;
        assert_eq!(bytes, pattern(1000)[100..200]);
        let mut std = file.into_std().await?;
        std.read_exact(&mut bytes)?;
        assert_eq!(bytes, pattern(1000)[200..300]);

        let append = OpenOptions::new().append(true).open(&path).await;
        let mut append = append?;
        append.write_all(b"end").await?;
        append.flush().await?;
        assert!(fs::read(&path)?.ends_with(b"end"));
        std::io::Result::Ok(())
    })
    .unwrap();
}

/// Polls a read once, so that its job runs, and drops it.
async fn drop_a_read(file: &mut File) {
    loop {
        let cx = &mut Context::from_waker(Waker::noop());
        match Pin::new(&mut *file).poll_read(cx, &mut [0; 100]) {
            Poll::Pending => return,
            // The job was fast enough to return the bytes. Seek back and try again.
            Poll::Ready(read) => {
                let read = read.unwrap() as i64;
                file.seek(SeekFrom::Current(-read)).await.unwrap();
            }
        }
    }
}

// On this file system, each read is a job.
#[test]
fn dropped_file_read_loses_no_byte() {
    let Some(folder) = Folder::without_nowait() else { return };
    run(|| async move {
        let path = folder.file("file", pattern(1000));
        let mut file = File::options().read(true).write(true).open(&path).await.unwrap();
        drop_a_read(&mut file).await;
        let mut bytes = [0; 30];
        file.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes, pattern(1000)[..30]);
        // The job has read 70 more bytes. The write must begin before them, at the cursor.
        file.write_all(b"xyz").await.unwrap();
        file.flush().await.unwrap();
        assert_eq!(fs::read(&path).unwrap()[29..34], [29, b'x', b'y', b'z', 33]);

        drop_a_read(&mut file).await;
        assert_eq!(file.seek(SeekFrom::Current(0)).await.unwrap(), 33);
        drop_a_read(&mut file).await;
        let mut std = file.into_std().await.unwrap();
        std.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, pattern(1000)[33..63]);
    });
}

#[test]
fn seek_fails_if_the_cursor_moved_under_dropped_bytes() {
    let Some(folder) = Folder::without_nowait() else { return };
    run(|| async move {
        let std = fs::File::open(folder.file("file", pattern(1000)))?;
        let mut file = File::from(std.try_clone()?);
        drop_a_read(&mut file).await;
        file.metadata().await?; // It completes after the read.
        // Before the start of the file, there is no place for the bytes that were read.
        rustix::fs::seek(&std, rustix::fs::SeekFrom::Start(0))?;
        let error = file.seek(SeekFrom::Current(0)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn two_reads_of_a_fifo_at_once_lose_no_byte() {
    let folder = Folder::new();
    run(|| async move {
        let pipe = folder.fifo("pipe");
        let mut writer = fs::File::options().read(true).write(true).open(&pipe)?;
        let mut first = File::from(writer.try_clone()?);
        let (mut second, third) = (first.try_clone().await?, first.try_clone().await?);
        let cx = &mut Context::from_waker(Waker::noop());
        let mut bytes = [[0; 8]; 2];
        assert!(Pin::new(&mut first).poll_read(cx, &mut bytes[0]).is_pending());
        assert!(Pin::new(&mut second).poll_read(cx, &mut bytes[1]).is_pending());
        writer.write_all(&pattern(16))?;
        third.metadata().await?; // It completes after both reads.
        first.read_exact(&mut bytes[0]).await?;
        second.read_exact(&mut bytes[1]).await?;
        assert_eq!(bytes.concat(), pattern(16));
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn acknowledged_write_is_done_when_its_file_is_dropped() {
    let folder = Folder::new();
    run(|| async move {
        let path = folder.path("file");
        let mut file = File::create(&path).await.unwrap();
        file.write_all(&pattern(SHARE)).await.unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), pattern(SHARE));
    });
}

#[test]
fn dropped_file_operations_keep_their_order() {
    let folder = Folder::new();
    run(|| async move {
        let path = folder.path("file");
        let mut file = File::create(&path).await.unwrap();
        for _ in 0..200 {
            file.write_all(&pattern(1000)).await.unwrap();
            // The first poll waits for the write or starts the truncation. Then drop the operation.
            let _ = poll(pin!(file.set_len(0)).as_mut(), Waker::noop());
            file.set_len(0).await.unwrap();
            assert_eq!(file.metadata().await.unwrap().len(), 0);
            file.seek(SeekFrom::Start(0)).await.unwrap();
        }
    });
}

#[derive(Clone, Debug)]
enum Step {
    Read(usize),
    Write(usize),
    SeekTo(usize),
    /// Seeks to this many bytes before the end, or to the beginning.
    SeekFromEnd(usize),
    SetLength(usize),
    /// Gives the running job time to complete.
    Pause,
}

fn step() -> impl Strategy<Value = Step> {
    // Most steps fall inside the file, where there are bytes to read, to overwrite and to truncate.
    prop_oneof![
        3 => (0..1000_usize).prop_map(Step::Read),
        1 => (0..2000_usize).prop_map(Step::Write),
        1 => (0..500_usize).prop_map(Step::SeekTo),
        1 => (0..1000_usize).prop_map(Step::SeekFromEnd),
        2 => (0..1000_usize).prop_map(Step::SetLength),
        1 => Just(Step::Pause),
    ]
}

/// The expected state of a file: its bytes and its cursor.
#[derive(Default)]
struct Model {
    bytes: Vec<u8>,
    cursor: usize,
    writes: u8,
}

impl Model {
    /// Performs a step on the file and compares the results. If `cancel` is true, a pending
    /// operation is dropped after its first poll. It still completes, except that a read takes no
    /// bytes.
    async fn perform(&mut self, file: &mut File, path: &Path, step: &Step, cancel: bool) {
        match *step {
            Step::Read(length) => {
                let mut bytes = vec![0; length];
                let Some(read) = once(file.read(&mut bytes), cancel).await else { return };
                let rest = self.bytes.get(self.cursor..).unwrap_or_default();
                // The read may be short if it returns the bytes that a dropped read had fetched.
                assert!(read.min(1) == rest.len().min(length).min(1), "{read} of {}", rest.len());
                assert_eq!(bytes[..read], rest[..read]);
                self.cursor += read;
            }
            Step::Write(length) => {
                // Write other bytes each time. The same bytes would continue a dropped write.
                self.writes = self.writes.wrapping_add(1);
                let bytes: Vec<_> = pattern(length).iter().map(|byte| byte ^ self.writes).collect();
                let written = once(file.write(&bytes), cancel).await;
                assert!(written.is_none_or(|written| written == length));
                let end = self.cursor + length;
                // An empty write beyond the end does not extend the file.
                if length > 0 {
                    self.bytes.resize(self.bytes.len().max(end), 0);
                    self.bytes[self.cursor..end].copy_from_slice(&bytes);
                }
                self.cursor = end;
                // What has been acknowledged outlives the process, so the file has it now. A write
                // of no bytes does not wait for a dropped write, and acknowledges nothing.
                if written.is_some() && length > 0 {
                    assert_eq!(fs::read(path).unwrap(), self.bytes, "an acknowledged write");
                }
            }
            Step::SeekTo(offset) => {
                let result = once(file.seek(SeekFrom::Start(offset as u64)), cancel).await;
                assert!(result.is_none_or(|result| result == offset as u64));
                self.cursor = offset;
            }
            Step::SeekFromEnd(back) => {
                let back = back.min(self.bytes.len());
                let offset = self.bytes.len() - back;
                let result = once(file.seek(SeekFrom::End(-(back as i64))), cancel).await;
                assert!(result.is_none_or(|result| result == offset as u64));
                self.cursor = offset;
            }
            Step::SetLength(length) => {
                once(file.set_len(length as u64), cancel).await;
                self.bytes.resize(length, 0);
            }
            Step::Pause => pause().await,
        }
    }
}

/// Awaits an operation and returns its result. If `cancel` is true, polls it only once.
async fn once<T>(operation: impl Future<Output = io::Result<T>>, cancel: bool) -> Option<T> {
    let mut operation = pin!(operation);
    match poll(operation.as_mut(), Waker::noop()) {
        Poll::Ready(result) => Some(result.unwrap()),
        Poll::Pending if cancel => None,
        Poll::Pending => Some(operation.await.unwrap()),
    }
}

/// Waits for 100 us, so that the pool may complete earlier jobs.
async fn pause() {
    unblock(|| thread::sleep(Duration::from_micros(100))).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: tests::cases(100), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn file_matches_the_model_despite_dropped_operations(steps in vec((step(), any::<bool>()), 1..100)) {
        for folder in [Some(Folder::new()), Folder::without_nowait()].into_iter().flatten() {
            let (path, steps) = (folder.path("file"), steps.clone());
            run(|| async move {
                let mut file = File::create_new(&path).await.unwrap();
                let mut model = Model::default();
                for (step, cancel) in &steps {
                    model.perform(&mut file, &path, step, *cancel).await;
                }
                file.flush().await.unwrap();
                assert_eq!(fs::read(&path).unwrap(), model.bytes);
            });
        }
    }
}

// On this file system, each read is a job.
#[test]
fn set_len_discards_the_bytes_of_a_dropped_read() {
    let Some(folder) = Folder::without_nowait() else { return };
    run(|| async move {
        let path = folder.file("file", pattern(1000));
        let mut file = File::options().read(true).write(true).open(&path).await.unwrap();
        drop_a_read(&mut file).await;
        file.set_len(40).await.unwrap();
        file.set_len(50).await.unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes, [&pattern(40)[..], &[0; 10]].concat());
    });
}

#[test]
fn empty_write_does_not_wait_for_a_dropped_read() {
    let folder = Folder::new();
    let pipe = folder.fifo("pipe");
    run(|| async move {
        let options = fs::File::options().read(true).write(true).clone();
        let (file, mut writer) = (options.open(&pipe).unwrap(), options.open(&pipe).unwrap());
        let mut file = File::from_std(file);
        let cx = &mut Context::from_waker(Waker::noop());
        // The read blocks its thread until a byte arrives.
        assert!(Pin::new(&mut file).poll_read(cx, &mut [0; 10]).is_pending());
        assert!(matches!(Pin::new(&mut file).poll_write(cx, &[]), Poll::Ready(Ok(0))));
        assert!(Pin::new(&mut file).poll_flush(cx).is_pending());
        writer.write_all(b"x").unwrap();
        file.flush().await.unwrap();
    });
}

#[test]
fn operation_dropped_while_another_runs_still_completes() {
    let folder = Folder::new();
    let pipe = folder.fifo("pipe");
    run(|| async move {
        let options = fs::File::options().read(true).write(true).clone();
        let (file, writer) = (options.open(&pipe).unwrap(), options.open(&pipe).unwrap());
        let mut file = File::from_std(file);
        let cx = &mut Context::from_waker(Waker::noop());
        // The read blocks its thread until a byte arrives.
        assert!(Pin::new(&mut file).poll_read(cx, &mut [0; 10]).is_pending());
        let mode = || writer.metadata().unwrap().permissions();
        let (before, mut after) = (mode(), mode());
        after.set_readonly(true);
        assert!(
            poll(pin!(file.set_permissions(after.clone())).as_mut(), Waker::noop()).is_pending()
        );
        assert_eq!(mode(), before);
        (&writer).write_all(b"x").unwrap();
        file.flush().await.unwrap();
        assert_eq!(mode(), after);
    });
}

#[test]
fn clones_share_the_cursor_and_the_order() {
    let folder = Folder::new();
    run(|| async move {
        let path = folder.path("file");
        let mut file = OpenOptions::new().read(true).write(true).create(true).open(&path).await?;
        let mut clone = file.try_clone().await?;
        for n in 0..100 {
            let _ = poll(pin!(file.write(&[n])).as_mut(), Waker::noop());
            clone.write_all(&[n + 100]).await?;
        }
        let expected: Vec<u8> = (0..100).flat_map(|n| [n, n + 100]).collect();
        assert_eq!(fs::read(&path)?, expected);
        drop(file);
        clone.seek(SeekFrom::Start(4)).await?;
        let mut std = clone.into_std().await?;
        let mut bytes = [0; 4];
        std.read_exact(&mut bytes)?;
        assert_eq!(bytes, expected[4..8]);
        io::Result::Ok(())
    })
    .unwrap();
}

// As in tokio's tests of files.
#[test]
fn clone_has_the_max_buf_size_of_its_file() {
    let folder = Folder::new();
    run(|| async move {
        let mut file = File::create(folder.path("file")).await.unwrap();
        file.set_max_buf_size(100);
        let mut clone = file.try_clone().await.unwrap();
        assert_eq!(clone.max_buf_size(), 100);
        assert_eq!(clone.write(&pattern(1000)).await.unwrap(), 100);
    });
}

#[test]
fn positioned_reads_and_writes_do_not_move_the_cursor() {
    for folder in [Some(Folder::new()), Folder::with_nowait(), Folder::without_nowait()] {
        let Some(folder) = folder else { continue };
        run(|| async move {
            let path = folder.path("file");
            let mut options = OpenOptions::new();
            let mut file = options.read(true).write(true).create(true).open(&path).await?;
            assert_eq!(file.write_at(&pattern(1000), 10).await?, 1000);
            let mut bytes = [0; 1010];
            assert_eq!(file.read_at(&mut bytes, 0).await?, 1010);
            assert_eq!(bytes, [&[0; 10], &pattern(1000)[..]].concat()[..]);
            assert_eq!(file.read_at(&mut bytes, 1000).await?, 10);
            assert_eq!(file.read_at(&mut bytes, 1010).await?, 0, "at the end");
            assert!(file.read_at(&mut bytes, u64::MAX).await.is_err());
            assert_eq!(file.seek(SeekFrom::Current(0)).await?, 0);
            io::Result::Ok(())
        })
        .unwrap();
    }
}

#[test]
fn one_write_takes_at_most_max_buf_size() {
    let folder = Folder::new();
    run(|| async move {
        let mut file = File::create(folder.path("file")).await.unwrap();
        file.set_max_buf_size(100);
        assert_eq!(file.write(&pattern(1000)).await.unwrap(), 100);
        file.write_all(&pattern(1000)).await.unwrap();
        assert_eq!(file.metadata().await.unwrap().len(), 1100);
        file.set_max_buf_size(0);
        assert_eq!(file.write(&pattern(1000)).await.unwrap(), 1);
    });
}

#[test]
fn read_from_the_page_cache_obeys_max_buf_size() {
    let folder = Folder::new();
    let contents = pattern(1000);
    let path = folder.file("file", &contents);
    run(|| async move {
        let mut file = File::open(&path).await.unwrap();
        file.set_max_buf_size(100);
        let mut bytes = [0; 1000];
        assert_eq!(file.read(&mut bytes).await.unwrap(), 100);
        assert_eq!(file.read_at(&mut bytes, 500).await.unwrap(), 100);
        assert_eq!(bytes[..100], contents[500..600]);
        let mut rest = Vec::new();
        file.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, contents[100..]);
    });
}

#[test]
fn try_into_std_fails_while_a_read_is_pending() {
    let folder = Folder::new();
    run(|| async move {
        let pipe = folder.fifo("pipe");
        let mut writer = fs::File::options().read(true).write(true).open(&pipe).unwrap();
        let mut file = File::options().read(true).write(true).open(&pipe).await.unwrap();
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut file).poll_read(cx, &mut [0; 5]).is_pending());
        let mut file = file.try_into_std().unwrap_err();
        writer.write_all(b"hello").unwrap();
        let mut bytes = [0; 5];
        file.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"hello");
        assert!(file.try_into_std().is_ok(), "no operation is under way");
    });
}

#[test]
fn try_into_std_fails_while_an_error_is_unreported() {
    let folder = Folder::new();
    run(|| async move {
        let pipe = folder.fifo("pipe");
        let mut writer = fs::File::options().read(true).write(true).open(&pipe).unwrap();
        // The pipe is open for reading only, so a write to it fails.
        let mut file = File::open(&pipe).await.unwrap();
        let mut clone = file.try_clone().await.unwrap();
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut clone).poll_read(cx, &mut [0; 1]).is_pending());
        assert!(
            Pin::new(&mut file).poll_write(cx, b"x").is_pending(),
            "the write is queued behind the read"
        );
        writer.write_all(b"y").unwrap();
        assert_eq!(clone.read(&mut [0; 1]).await.unwrap(), 1);
        clone.metadata().await.unwrap(); // It completes after the write.
        drop(clone);
        let mut file = file.try_into_std().unwrap_err();
        let error = file.flush().await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::BADF.raw_os_error()));
        assert!(file.try_into_std().is_ok(), "the error has been reported");
    });
}

#[test]
fn file_is_usable_after_its_executor_is_dropped() {
    let folder = Folder::new();
    within_deadline(move || {
        let pipe = folder.fifo("pipe");
        let mut writer = fs::File::options().read(true).write(true).open(&pipe).unwrap();
        let first = Executor::new().unwrap();
        let mut file = first.block_on(async {
            let mut file = File::options().read(true).write(true).open(&pipe).await.unwrap();
            let cx = &mut Context::from_waker(Waker::noop());
            assert!(Pin::new(&mut file).poll_read(cx, &mut [0; 10]).is_pending());
            file
        });
        drop(first);
        writer.write_all(b"hello").unwrap();
        let mut bytes = [0; 5];
        block_on(file.read_exact(&mut bytes)).unwrap();
        assert_eq!(&bytes, b"hello");
    });
}

#[test]
fn reading_a_fifo_does_not_block_the_thread() {
    let folder = Folder::new();
    run(|| async move {
        let path = folder.fifo("pipe");
        let reader = spawn(ours::read(path.clone()));
        for _ in 0..100 {
            yield_now().await;
        }
        assert!(!reader.is_finished());
        unblock(move || {
            let mut writer = fs::File::options().write(true).open(path).unwrap();
            for _ in 0..10 {
                writer.write_all(b"hello").unwrap();
                thread::sleep(Duration::from_millis(1));
            }
        })
        .await;
        assert_eq!(reader.await.unwrap().unwrap(), b"hello".repeat(10));
    });
}

// The writer waits for a reader. It may then write and close before the pool reads.
#[test]
fn fifo_writer_that_waited_for_a_reader_is_not_missed() {
    let folder = Folder::new();
    run(|| async move {
        let path = folder.fifo("pipe");
        for _ in 0..200 {
            let writer = spawn(unblock({
                let path = path.clone();
                move || fs::write(path, "hello")
            }));
            assert_eq!(ours::read(&path).await.unwrap(), b"hello");
            writer.await.unwrap().unwrap();
            let writer = spawn(unblock({
                let path = path.clone();
                move || fs::write(path, "hello")
            }));
            let mut text = String::new();
            File::open(&path).await.unwrap().read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "hello");
            writer.await.unwrap().unwrap();
        }
    });
}

// A client that opens one FIFO and then waits for the other must find it opened here.
#[test]
fn fifo_open_completes_when_its_writer_opens_it() {
    let folder = Folder::new();
    run(|| async move {
        let (requests, answers) = (folder.fifo("requests"), folder.fifo("answers"));
        let client = {
            let (requests, answers) = (requests.clone(), answers.clone());
            spawn(unblock(move || {
                let mut requests = fs::File::options().write(true).open(requests)?;
                let mut answers = fs::File::open(answers)?;
                requests.write_all(b"?")?;
                let mut answer = [0];
                answers.read_exact(&mut answer)?;
                std::io::Result::Ok(answer)
            }))
        };
        let mut requests = File::open(&requests).await.unwrap();
        let mut answers = OpenOptions::new().write(true).open(&answers).await.unwrap();
        let mut byte = [0];
        requests.read_exact(&mut byte).await.unwrap();
        answers.write_all(b"!").await.unwrap();
        assert_eq!((byte, client.await.unwrap().unwrap()), (*b"?", *b"!"));
    });
}

#[test]
fn interrupted_read_of_a_file_is_repeated() {
    const NAME: &str = "interrupted_read_of_a_file_is_repeated";
    if is_child() {
        let path = PathBuf::from(std::env::var_os("TESTS_FILE").unwrap());
        return block_on(async {
            let mut text = String::new();
            File::open(path).await.unwrap().read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "hello");
        });
    }
    // On this file system, each read is a job.
    let Some(folder) = Folder::without_nowait() else { return };
    let path = folder.file("file", "hello");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(path.with_extension("strace"));
    strace.args(["-e", "inject=read:error=EINTR:when=1", "-P"]).arg(&path);
    strace.arg(std::env::current_exe().unwrap()).args([NAME, "--exact"]);
    strace.env("TESTS_CHILD", NAME).env("TESTS_FILE", &path).stdin(Stdio::null());
    let Ok(output) = strace.output() else { return println!("skipped: strace is not installed") };
    let text = fs::read_to_string(path.with_extension("strace")).unwrap_or_default();
    if !text.contains("INJECTED") {
        return println!("skipped: strace cannot inject errors here: {output:?}");
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn read_of_a_changing_file_completes() {
    let folder = Folder::new();
    run(|| async move {
        let path = folder.file("file", "");
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let writer = thread::spawn({
            let (stop, path) = (stop.clone(), path.clone());
            move || {
                for length in (0..).map(|n| n * 7919 % 300_000) {
                    fs::write(&path, vec![7; length]).unwrap();
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
            }
        });
        for _ in 0..300 {
            let bytes = ours::read(&path).await.unwrap();
            assert!(bytes.len() < 300_000 && bytes.iter().all(|&byte| byte == 7));
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
    });
}

#[test]
fn file_that_grows_after_end_of_file_is_read_further() {
    let folder = Folder::new();
    run(|| async move {
        let path = folder.file("file", "one");
        let mut file = File::open(&path).await.unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(file.read(&mut [0; 10]).await.unwrap(), 0);
        fs::File::options().append(true).open(&path).unwrap().write_all(b"two").unwrap();
        file.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes, b"onetwo");
        fs::write(&path, "").unwrap();
        assert_eq!(file.read(&mut [0; 10]).await.unwrap(), 0, "the file has shrunk");
    });
}

#[test]
fn file_opened_in_place_has_the_flags_of_std() {
    let folder = Folder::new();
    run(|| async move {
        let path = folder.file("file", "hello");
        let flags = |file: &fs::File| {
            let flags = rustix::fs::fcntl_getfl(file).unwrap();
            (flags, rustix::io::fcntl_getfd(file).unwrap())
        };
        let ours = File::open(&path).await.unwrap().into_std().await.unwrap();
        assert_eq!(flags(&ours), flags(&fs::File::open(&path).unwrap()));
    });
}

#[test]
fn directory_entries_are_read_once_in_few_jobs() {
    let folder = Folder::new();
    within_deadline(move || {
        let names: BTreeSet<String> = (0..1000).map(|n| n.to_string()).collect();
        names.iter().for_each(|name| _ = folder.file(name, ""));
        let (seen, jobs) = jobs(async {
            let entries = ours::read_dir(&folder.0).await.unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.collect::<Vec<_>>().await
        });
        assert_eq!(seen.len(), 1000);
        assert_eq!(BTreeSet::from_iter(seen), names);
        assert!(jobs <= 1000 / 64 + 2, "{jobs} jobs");
    });
}

#[test]
fn each_directory_entry_spends_one_unit() {
    let folder = Folder::new();
    within_deadline(move || {
        (0..100).for_each(|n| _ = folder.file(&n.to_string(), ""));
        let mut entries = futures_executor::block_on(ours::read_dir(&folder.0)).unwrap();
        let limit = enter();
        for _ in 0..100 {
            futures_executor::block_on(entries.next_entry()).unwrap().unwrap();
        }
        // One job has read the first 64 entries, and a second one the others.
        assert_eq!(limit.spent(), 100 + 1);
        assert!(futures_executor::block_on(entries.next_entry()).unwrap().is_none());
        assert_eq!(limit.spent(), 100 + 1 + 1);
    });
}

#[test]
fn directory_may_be_read_in_part() {
    let folder = Folder::new();
    run(|| async move {
        (0..200).for_each(|n| _ = folder.file(&n.to_string(), ""));
        for taken in [0, 1, 64, 65, 128] {
            let mut entries = ours::read_dir(&folder.0).await.unwrap();
            for _ in 0..taken {
                let entry = entries.next_entry().await.unwrap().unwrap();
                assert!(entry.file_type().await.unwrap().is_file());
                assert_eq!(entry.metadata().await.unwrap().len(), 0);
            }
            // Drop one pending call before the folder is dropped.
            let _ = poll(pin!(entries.next_entry()).as_mut(), Waker::noop());
        }
        let empty = folder.path("empty");
        ours::create_dir(&empty).await.unwrap();
        let mut entries = ours::read_dir(&empty).await.unwrap();
        assert!(entries.next().await.is_none() && entries.next().await.is_none());
        let error = ours::read_dir(folder.path("missing")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    });
}

// std checks what each function has done.
#[test]
fn functions_of_fs_change_what_those_of_std_change() {
    run(|| async {
        let folder = TempDir::new()?;
        let at = |name: &str| folder.path().join(name);
        ours::write(at("a"), "bytes").await?;
        assert_eq!(fs::read_to_string(at("a"))?, "bytes");
        assert_eq!(ours::read_to_string(at("a")).await?, "bytes");
        assert_eq!(ours::read(at("a")).await?, b"bytes");
        assert_eq!(ours::copy(at("a"), at("b")).await?, 5);
        assert_eq!(fs::read_to_string(at("b"))?, "bytes");

        ours::rename(at("b"), at("c")).await?;
        assert!(!at("b").exists() && at("c").exists());
        assert!(ours::try_exists(at("c")).await? && !ours::try_exists(at("b")).await?);
        ours::remove_file(at("c")).await?;
        assert!(!at("c").exists());

        ours::hard_link(at("a"), at("hard")).await?;
        assert_eq!(fs::metadata(at("hard"))?.nlink(), 2);
        ours::symlink(at("a"), at("soft")).await?;
        assert_eq!(fs::read_link(at("soft"))?, at("a"));
        assert_eq!(ours::read_link(at("soft")).await?, at("a"));
        assert_eq!(ours::canonicalize(at("soft")).await?, fs::canonicalize(at("a"))?);
        assert!(ours::symlink_metadata(at("soft")).await?.is_symlink());
        assert_eq!(ours::metadata(at("soft")).await?.len(), 5);

        ours::set_permissions(at("a"), fs::Permissions::from_mode(0o640)).await?;
        assert_eq!(fs::metadata(at("a"))?.permissions().mode() & 0o777, 0o640);

        ours::create_dir(at("one")).await?;
        ours::create_dir_all(at("two/three")).await?;
        assert!(at("one").is_dir() && at("two/three").is_dir());
        assert_eq!(ours::create_dir(at("one")).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
        ours::remove_dir(at("one")).await?;
        ours::remove_dir_all(at("two")).await?;
        assert!(!at("one").exists() && !at("two").exists());

        let mut builder = ours::DirBuilder::new();
        let error = builder.create(at("four/five")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        builder.recursive(true).mode(0o700).create(at("four/five")).await?;
        assert_eq!(fs::metadata(at("four/five"))?.permissions().mode() & 0o777, 0o700);
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn directory_entry_describes_its_file() {
    run(|| async {
        let folder = TempDir::new()?;
        fs::write(folder.path().join("file"), "bytes")?;
        let mut entries = ours::read_dir(folder.path()).await?;
        let entry = entries.next_entry().await?.unwrap();
        assert_eq!(entry.file_name(), "file");
        assert_eq!(entry.path(), folder.path().join("file"));
        assert!(entry.file_type().await?.is_file());
        assert_eq!(entry.metadata().await?.len(), 5);
        assert!(entries.next_entry().await?.is_none());
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn each_open_option_has_the_effect_that_it_has_in_std() {
    run(|| async {
        let folder = TempDir::new()?;
        let path = folder.path().join("file");
        let open = |set: fn(&mut OpenOptions) -> &mut OpenOptions| {
            let mut options = OpenOptions::new();
            set(&mut options);
            let path = path.clone();
            async move { options.open(path).await }
        };
        let missing = open(|options| options.write(true)).await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        let mut file = open(|options| options.create_new(true).write(true).mode(0o600)).await?;
        assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
        file.write_all(b"first").await?;
        drop(file);
        let taken = open(|options| options.create_new(true).write(true)).await.unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AlreadyExists);

        let mut file = open(|options| options.create(true).append(true)).await?;
        file.write_all(b", second").await?;
        drop(file);
        let mut text = String::new();
        open(|options| options.read(true)).await?.read_to_string(&mut text).await?;
        assert_eq!(text, "first, second");

        drop(open(|options| options.write(true).truncate(true)).await?);
        assert_eq!(fs::metadata(&path)?.len(), 0);
        let flags = OFlags::DIRECTORY.bits() as i32;
        let mut options = OpenOptions::new();
        let refused = options.read(true).custom_flags(flags).open(&path).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotADirectory);
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn max_buf_size_is_what_was_set_and_at_least_one() {
    run(|| async {
        let folder = TempDir::new()?;
        let mut file = File::create(folder.path().join("file")).await?;
        assert_eq!(file.max_buf_size(), 2 * 1024 * 1024);
        file.set_max_buf_size(77);
        assert_eq!(file.max_buf_size(), 77);
        file.set_max_buf_size(0);
        assert_eq!(file.max_buf_size(), 1);
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn cached_files_need_no_reactor() {
    let Some(folder) = Folder::with_nowait() else { return };
    let path = folder.file("file", "hello");
    let read = within_deadline(move || futures_lite::future::block_on(ours::read(path)).unwrap());
    assert_eq!(read, b"hello");
}

/// Runs the test under strace. Returns the system calls of the executor's thread between the two
/// marks, or `None` if strace does not work here.
#[track_caller]
fn calls(test: &str, path: &Path, options: &[&str]) -> Option<Vec<String>> {
    let log = path.with_extension("strace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-e", "signal=none", "-s", "64"]).args(options).arg("-o").arg(&log);
    strace.arg(std::env::current_exe().unwrap());
    strace.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    strace.env("TESTS_CHILD", test).env("TESTS_FILE", path).stdin(Stdio::null());
    let output = strace.output().ok()?;
    let text = fs::read_to_string(&log).unwrap_or_default();
    let marks: Vec<_> = text.match_indices("/marked").map(|(at, _)| at).collect();
    if marks.is_empty() {
        println!("skipped: strace does not work here: {}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let [begin, end] = marks[..] else { panic!("{} marks", marks.len()) };
    let thread = text[..begin].lines().next_back()?.split_whitespace().next()?;
    let marked = text[begin..end].lines().skip(1);
    Some(marked.filter(|line| line.starts_with(thread)).map(str::to_owned).collect())
}

/// Reads the file between two marks. Runs in the traced process.
fn read_between_marks() {
    let path = std::env::var_os("TESTS_FILE").unwrap();
    block_on(async {
        let _ = fs::metadata("/marked");
        assert_eq!(ours::read(path).await.unwrap(), pattern(4096));
        let _ = fs::metadata("/marked");
    });
}

// Three attempts, because the kernel may return `EAGAIN` for a cached file.
#[test]
fn cached_file_costs_four_system_calls() {
    if is_child() {
        return read_between_marks();
    }
    let Some(folder) = Folder::with_nowait() else { return };
    let path = folder.file("file", pattern(4096));
    let tries = (0..3).map_while(|_| calls("cached_file_costs_four_system_calls", &path, &[]));
    let tries: Vec<_> = tries.collect();
    let expected =
        [("openat2", "RESOLVE_CACHED"), ("fstat", ""), ("preadv2", "RWF_NOWAIT"), ("close", "")];
    let is_cheap = |calls: &Vec<String>| {
        let name = |call: &str| Some(call.split_whitespace().nth(1)?.split('(').next()?.to_owned());
        let calls = calls.iter().filter_map(|call| Some((name(call)?, call)));
        // Ignore `statx`, which makes the marks and which std probes for, and `fcntl`, which
        // unoptimized std calls before it closes a descriptor.
        let calls = calls.filter(|(name, _)| !["statx", "fcntl"].contains(&name.as_str()));
        let calls: Vec<_> = calls.collect();
        // Both attempts must have the flag that limits them to cached data.
        calls.len() == expected.len()
            && calls
                .iter()
                .zip(expected)
                .all(|((name, call), (expected, flag))| name == expected && call.contains(flag))
    };
    assert!(tries.is_empty() || tries.iter().any(is_cheap), "{tries:#?}");
}

#[test]
fn file_without_nowait_is_read_on_a_new_thread() {
    if is_child() {
        return read_between_marks();
    }
    let Some(folder) = Folder::without_nowait() else { return };
    let path = folder.file("file", pattern(4096));
    let test = "file_without_nowait_is_read_on_a_new_thread";
    let Some(calls) = calls(test, &path, &[]) else { return };
    assert!(calls.iter().any(|call| call.contains("clone")), "{calls:#?}");
    assert!(calls.iter().any(|call| call.contains("EOPNOTSUPP")), "{calls:#?}");
}

// strace injects the error of an uncached file. Evicting the file is not enough, because the kernel
// starts to read ahead, and a fast disk may be done before the kernel checks.
#[test]
fn uncached_file_is_read_by_the_pool() {
    if is_child() {
        return read_between_marks();
    }
    let Some(folder) = Folder::with_nowait() else { return };
    let path = folder.file("file", pattern(4096));
    let injected = ["-e", "inject=preadv2:error=EAGAIN"];
    let Some(calls) = calls("uncached_file_is_read_by_the_pool", &path, &injected) else {
        return;
    };
    assert!(calls.iter().any(|call| call.contains("clone")), "{calls:#?}");
    assert!(calls.iter().any(|call| call.contains("(INJECTED)")), "{calls:#?}");
}
