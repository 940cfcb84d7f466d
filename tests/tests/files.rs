//! Files: read in place when they are in memory, and by the pool when not.
//!
//! Whether a job was made is told by the records. What is said of files in memory is tried on a
//! file system that can be asked for it, if there is one.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::future::Future;
use std::io::{self, ErrorKind, IoSliceMut, Read, SeekFrom, Write};
use std::os::fd::AsRawFd;
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
use reactor::fs::{self as ours, File, OpenOptions};
use reactor::io::{AsyncRead, AsyncReadExt, AsyncSeekExt, AsyncWrite, AsyncWriteExt};
use rustix::fs::{Advice, CWD, FileType, Mode, OFlags, ResolveFlags, fadvise, mknodat, openat2};
use rustix::io::{ReadWriteFlags, preadv2};
use tests::TempDir;
use tests::child::is_child;
use tests::records::capture;
use tests::wakers::poll;
use tests::{run, within_deadline};

/// Bytes that may be read in place before the neighbours get their turn.
const MOST: usize = 256 * 1024;

/// A folder of one test, removed at its end.
struct Folder(TempDir);

impl Folder {
    fn within(parent: impl AsRef<Path>) -> Folder {
        Folder(TempDir::new_in(parent).unwrap())
    }

    fn new() -> Folder {
        Folder::within(std::env::temp_dir())
    }

    /// On a file system that tells what it has in memory. Says so, if there is none.
    fn that_tells() -> Option<Folder> {
        let places = [std::env::temp_dir(), env!("CARGO_TARGET_TMPDIR").into(), ".".into()];
        let mut folders = places.into_iter().map(Folder::within);
        let folder = folders.find(|folder| folder.tells_names() && folder.tells_contents());
        if folder.is_none() {
            println!("skipped: no file system here tells what it has in memory");
        }
        folder
    }

    /// On a file system that tells it of names, and not of contents. Says so, if there is none.
    fn that_refuses() -> Option<Folder> {
        let place = Path::new("/dev/shm").is_dir().then_some("/dev/shm");
        let folder = place.map(Folder::within);
        let folder = folder.filter(|folder| folder.tells_names() && !folder.tells_contents());
        if folder.is_none() {
            println!("skipped: /dev/shm is not there, or does not refuse to be asked");
        }
        folder
    }

    /// Whether it opens what it has in memory, and says if it has not. An older kernel does not know
    /// the question, and a sandbox may forbid it.
    fn tells_names(&self) -> bool {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let probe = self.file("probe", "x");
        let open = || openat2(CWD, &probe, flags, Mode::empty(), ResolveFlags::CACHED);
        (0..5).any(|_| open().is_ok())
    }

    fn tells_contents(&self) -> bool {
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

    fn pipe(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        path
    }
}

/// Bytes of which each place has its own.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ at >> 8 ^ at >> 16) as u8).collect()
}

/// The result, and how many jobs the pool was given for it.
fn jobs<F: Future>(future: F) -> (F::Output, usize) {
    let (output, records) = capture(|| block_on(future));
    (output, records.iter().filter(|record| record.kind == "job submitted").count())
}

/// Once in ten thousand times the kernel says "not now" of what it has in memory. So a few tries,
/// of which one makes no job.
#[track_caller]
fn assert_in_place<F: Future>(mut of: impl FnMut() -> F) {
    assert!((0..5).any(|_| jobs(of()).1 == 0), "the pool was given a job each time");
}

/// Makes the kernel forget the contents from there on.
fn evict(path: &Path, from: u64) {
    let file = fs::File::open(path).unwrap();
    file.sync_all().unwrap();
    fadvise(&file, from, None, Advice::DontNeed).unwrap();
}

#[test]
fn epoll_refuses_a_file() {
    let folder = Folder::new();
    let path = folder.file("file", "hello");
    run(|| async move {
        let file = fs::File::open(path).unwrap();
        let fd = file.as_raw_fd();
        let error = Async::new(SourceFd(&fd)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "EPERM: so files need the pool");
    });
}

#[test]
fn a_file_in_memory_is_read_without_a_job() {
    let Some(folder) = Folder::that_tells() else { return };
    within_deadline(move || {
        for length in [0, 1, 4096, 100_000, MOST - 1] {
            let contents = pattern(length);
            let path = folder.file("file", &contents);
            assert_in_place(async || assert_eq!(ours::read(&path).await.unwrap(), contents));
        }
        let path = folder.file("text", "grüß");
        assert_in_place(async || assert_eq!(ours::read_to_string(&path).await.unwrap(), "grüß"));
    });
}

#[test]
fn a_file_in_memory_is_opened_and_read_piece_by_piece_without_a_job() {
    let Some(folder) = Folder::that_tells() else { return };
    within_deadline(move || {
        let contents = pattern(3 * MOST);
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
fn a_large_file_is_one_job() {
    let folder = Folder::new();
    within_deadline(move || {
        let contents = pattern(10 * MOST);
        let path = folder.file("file", &contents);
        let (bytes, jobs) = jobs(ours::read(&path));
        assert_eq!((bytes.unwrap() == contents, jobs), (true, 1));
    });
}

// The pages at its end are forgotten. Whatever the kernel has kept of them: no byte is missing and
// none is there twice.
#[test]
fn a_file_half_in_memory_is_read_on_where_the_memory_ends() {
    let Some(folder) = Folder::that_tells() else { return };
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
fn a_file_system_that_refuses_to_be_asked_is_read_by_the_pool() {
    let Some(folder) = Folder::that_refuses() else { return };
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
fn a_file_that_claims_to_be_empty_and_is_not_is_read_to_its_end() {
    run(|| async {
        let path = "/proc/self/status";
        assert_eq!(fs::metadata(path).unwrap().len(), 0);
        assert!(ours::read_to_string(path).await.unwrap().contains("Threads:"));
        let mut text = String::new();
        File::open(path).await.unwrap().read_to_string(&mut text).await.unwrap();
        assert!(text.contains("Threads:"));
    });
}

// The error of the attempt in place would be another one: `EAGAIN` for a name that is missing.
#[test]
fn errors_are_those_of_std() {
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

// Root may read everything; so the file is opened for writing alone, and to read it is refused.
#[test]
fn to_read_what_may_not_be_read_is_an_error() {
    let folder = Folder::new();
    run(|| async move {
        let mut file = File::create(folder.path("file")).await.unwrap();
        assert!(file.read(&mut [0]).await.is_err());
        let mut file = File::open(folder.path("file")).await.unwrap();
        assert!(file.write_all(b"x").await.is_err());
    });
}

#[test]
fn no_task_reads_more_in_place_than_its_share_before_its_neighbours_run() {
    let Some(folder) = Folder::that_tells() else { return };
    run(|| async move {
        let small = folder.file("small", pattern(4000));
        let large = folder.file("large", pattern(20 * MOST));
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
            let most = read.get() - before;
            assert!(most <= MOST, "{most} bytes in one poll");
            before = read.get();
            yield_now().await;
        }
        assert_eq!(read.get(), 300 * 4000 + 20 * MOST);
    });
}

// The second one finds a few operations left of the budget.
#[test]
fn a_file_that_is_longer_than_what_is_left_of_the_share_is_read_in_the_next_poll() {
    let Some(folder) = Folder::that_tells() else { return };
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
            let most = read.get() - before;
            assert!(most <= MOST, "{most} bytes in one poll");
            before = read.get();
            yield_now().await;
        }
        reader.await.unwrap();
    });
}

// Method: the one reads and yields without end, the other reads once. Each pays for itself: else the
// one that finds the common share spent would pay for its neighbour, again and again.
#[test]
fn a_task_that_reads_small_files_does_not_keep_another_from_a_larger_one() {
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
        // The busy one is before it in the queue.
        let once = spawn(async move { ours::read(&larger).await.unwrap().len() });
        assert_eq!(once.await.unwrap(), 200_000);
        busy.abort();
        assert!(rounds.get() < 100, "{} rounds", rounds.get());
    });
}

#[test]
fn a_task_that_only_opens_files_lets_its_neighbours_run() {
    let folder = Folder::new();
    run(|| async move {
        let path = folder.file("file", "");
        let opener = spawn(async move {
            for _ in 0..1000 {
                File::open(&path).await.unwrap();
            }
        });
        let mut turns = 0;
        while !opener.is_finished() {
            turns += 1;
            yield_now().await;
        }
        assert!(turns > 1000 / 128, "{turns}");
    });
}

#[test]
fn a_file_is_written_read_and_sought_as_one_of_std() {
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
        assert_eq!(file.metadata().await?.len(), 100_005, "it waits for the write");
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
fn the_cursor_is_the_one_of_the_kernel() {
    let folder = Folder::new();
    run(|| async move {
        let path = folder.file("file", pattern(1000));
        let mut std = fs::File::open(&path)?;
        let mut file = File::from(std.try_clone()?);
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

/// Polls a read once, in vain, and drops it.
async fn give_up_a_read(file: &mut File) {
    loop {
        let cx = &mut Context::from_waker(Waker::noop());
        match Pin::new(&mut *file).poll_read(cx, &mut [0; 100]) {
            Poll::Pending => return,
            // The job was that fast: back, and once more.
            Poll::Ready(read) => {
                let read = read.unwrap() as i64;
                file.seek(SeekFrom::Current(-read)).await.unwrap();
            }
        }
    }
}

// On a file system where each read is a job.
#[test]
fn a_read_that_was_dropped_loses_no_byte() {
    let Some(folder) = Folder::that_refuses() else { return };
    run(|| async move {
        let path = folder.file("file", pattern(1000));
        let mut file = File::options().read(true).write(true).open(&path).await.unwrap();
        give_up_a_read(&mut file).await;
        let mut bytes = [0; 30];
        file.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes, pattern(1000)[..30]);
        // Seventy are left of what the job has read; the next one to write begins before them.
        file.write_all(b"xyz").await.unwrap();
        file.flush().await.unwrap();
        assert_eq!(fs::read(&path).unwrap()[29..34], [29, b'x', b'y', b'z', 33]);

        give_up_a_read(&mut file).await;
        assert_eq!(file.seek(SeekFrom::Current(0)).await.unwrap(), 33);
        give_up_a_read(&mut file).await;
        let mut std = file.into_std().await.unwrap();
        std.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, pattern(1000)[33..63]);
    });
}

#[test]
fn what_was_written_is_written_even_if_the_file_is_dropped() {
    let folder = Folder::new();
    run(|| async move {
        let path = folder.path("file");
        let mut file = File::create(&path).await.unwrap();
        file.write_all(&pattern(MOST)).await.unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), pattern(MOST));
    });
}

#[test]
fn operations_of_one_file_are_done_in_their_order_also_when_dropped() {
    let folder = Folder::new();
    run(|| async move {
        let path = folder.path("file");
        let mut file = File::create(&path).await.unwrap();
        for _ in 0..200 {
            file.write_all(&pattern(1000)).await.unwrap();
            // Its first poll waits for the write, or begins to empty the file. Then it is dropped.
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
    /// So far before the end, or at the beginning.
    SeekFromEnd(usize),
    SetLength(usize),
    /// The job under way may end.
    Pause,
}

fn step() -> impl Strategy<Value = Step> {
    // Most are inside of the file, where there is something to read, to write over and to cut off.
    prop_oneof![
        3 => (0..1000_usize).prop_map(Step::Read),
        1 => (0..2000_usize).prop_map(Step::Write),
        1 => (0..500_usize).prop_map(Step::SeekTo),
        1 => (0..1000_usize).prop_map(Step::SeekFromEnd),
        2 => (0..1000_usize).prop_map(Step::SetLength),
        1 => Just(Step::Pause),
    ]
}

/// What a file should be: its bytes, and the place of the next one to read or write.
#[derive(Default)]
struct Model {
    bytes: Vec<u8>,
    cursor: usize,
    writes: u8,
}

impl Model {
    /// Takes a step with the file and compares results. An operation that is given up after its first
    /// poll is carried out all the same, except that a read takes no bytes.
    async fn take(&mut self, file: &mut File, step: &Step, give_up: bool) {
        match *step {
            Step::Read(length) => {
                let mut bytes = vec![0; length];
                let Some(read) = once(file.read(&mut bytes), give_up).await else { return };
                let rest = self.bytes.get(self.cursor..).unwrap_or_default();
                // It may be short: that is what a job had read for one that was given up.
                assert!(read.min(1) == rest.len().min(length).min(1), "{read} of {}", rest.len());
                assert_eq!(bytes[..read], rest[..read]);
                self.cursor += read;
            }
            Step::Write(length) => {
                // Each begins with another byte: the same bytes would take the place of a write that
                // was given up.
                self.writes = self.writes.wrapping_add(1);
                let bytes: Vec<_> = pattern(length).iter().map(|byte| byte ^ self.writes).collect();
                let written = once(file.write(&bytes), give_up).await;
                assert!(written.is_none_or(|written| written == length));
                let end = self.cursor + length;
                // To write nothing beyond the end makes the file no longer.
                if length > 0 {
                    self.bytes.resize(self.bytes.len().max(end), 0);
                    self.bytes[self.cursor..end].copy_from_slice(&bytes);
                }
                self.cursor = end;
            }
            Step::SeekTo(place) => {
                let told = once(file.seek(SeekFrom::Start(place as u64)), give_up).await;
                assert!(told.is_none_or(|told| told == place as u64));
                self.cursor = place;
            }
            Step::SeekFromEnd(back) => {
                let back = back.min(self.bytes.len());
                let place = self.bytes.len() - back;
                let told = once(file.seek(SeekFrom::End(-(back as i64))), give_up).await;
                assert!(told.is_none_or(|told| told == place as u64));
                self.cursor = place;
            }
            Step::SetLength(length) => {
                once(file.set_len(length as u64), give_up).await;
                self.bytes.resize(length, 0);
            }
            Step::Pause => for_a_job().await,
        }
    }
}

async fn once<T>(operation: impl Future<Output = io::Result<T>>, give_up: bool) -> Option<T> {
    let mut operation = pin!(operation);
    match poll(operation.as_mut(), Waker::noop()) {
        Poll::Ready(result) => Some(result.unwrap()),
        Poll::Pending if give_up => None,
        Poll::Pending => Some(operation.await.unwrap()),
    }
}

/// The pool may do what was begun before this.
async fn for_a_job() {
    unblock(|| thread::sleep(Duration::from_micros(100))).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_file_is_its_bytes_and_a_cursor_whatever_is_given_up(steps in vec((step(), any::<bool>()), 1..100)) {
        for folder in [Some(Folder::new()), Folder::that_refuses()].into_iter().flatten() {
            let (path, steps) = (folder.path("file"), steps.clone());
            run(|| async move {
                let mut file = File::create_new(&path).await.unwrap();
                let mut model = Model::default();
                for (step, give_up) in &steps {
                    model.take(&mut file, step, *give_up).await;
                }
                file.flush().await.unwrap();
                assert_eq!(fs::read(&path).unwrap(), model.bytes);
            });
        }
    }
}

// On a file system where each read is a job.
#[test]
fn what_a_dropped_read_has_read_is_not_told_once_it_is_cut_off() {
    let Some(folder) = Folder::that_refuses() else { return };
    run(|| async move {
        let path = folder.file("file", pattern(1000));
        let mut file = File::options().read(true).write(true).open(&path).await.unwrap();
        give_up_a_read(&mut file).await;
        file.set_len(40).await.unwrap();
        file.set_len(50).await.unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes, [&pattern(40)[..], &[0; 10]].concat());
    });
}

#[test]
fn operation_dropped_while_another_runs_is_carried_out_later() {
    let folder = Folder::new();
    let pipe = folder.pipe("pipe");
    run(|| async move {
        let options = fs::File::options().read(true).write(true).clone();
        let (file, writer) = (options.open(&pipe).unwrap(), options.open(&pipe).unwrap());
        let mut file = File::from_std(file);
        let cx = &mut Context::from_waker(Waker::noop());
        // It runs until there is a byte.
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

#[test]
fn positioned_reads_and_writes_leave_the_cursor() {
    for folder in [Some(Folder::new()), Folder::that_tells(), Folder::that_refuses()] {
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
fn a_job_moves_no_more_bytes_than_it_may() {
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
fn read_from_the_page_cache_obeys_the_buffer_limit() {
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
fn try_into_std_returns_the_file_back_while_a_read_is_pending() {
    let folder = Folder::new();
    run(|| async move {
        let pipe = folder.pipe("pipe");
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
fn try_into_std_returns_the_file_back_with_an_unreported_error() {
    let folder = Folder::new();
    run(|| async move {
        let pipe = folder.pipe("pipe");
        let mut writer = fs::File::options().read(true).write(true).open(&pipe).unwrap();
        // The pipe is open for reading only, so a write to it fails.
        let mut file = File::open(&pipe).await.unwrap();
        let mut clone = file.try_clone().await.unwrap();
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut clone).poll_read(cx, &mut [0; 1]).is_pending());
        assert!(Pin::new(&mut file).poll_write(cx, b"x").is_pending(), "behind the read");
        writer.write_all(b"y").unwrap();
        assert_eq!(clone.read(&mut [0; 1]).await.unwrap(), 1);
        clone.metadata().await.unwrap(); // It ends after the write.
        drop(clone);
        let mut file = file.try_into_std().unwrap_err();
        let error = file.flush().await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::BADF.raw_os_error()));
        assert!(file.try_into_std().is_ok(), "the error has been reported");
    });
}

#[test]
fn file_is_usable_after_the_executor_of_its_operation_ends() {
    let folder = Folder::new();
    within_deadline(move || {
        let pipe = folder.pipe("pipe");
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
fn a_named_pipe_is_read_when_its_writer_comes_and_the_thread_does_not_wait_for_it() {
    let folder = Folder::new();
    run(|| async move {
        let path = folder.pipe("pipe");
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

// The writer waits for a reader, is released, and may write and go before the pool gets to read.
#[test]
fn a_writer_of_a_named_pipe_who_waited_is_not_lost() {
    let folder = Folder::new();
    run(|| async move {
        let path = folder.pipe("pipe");
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

// Who opens the one and then waits for the other must find us at the other.
#[test]
fn a_named_pipe_is_open_when_its_writer_has_opened_it_and_not_when_it_writes() {
    let folder = Folder::new();
    run(|| async move {
        let (requests, answers) = (folder.pipe("requests"), folder.pipe("answers"));
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
fn a_file_that_changes_while_it_is_read_is_read_to_some_end() {
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
fn a_file_that_grows_after_its_end_was_read_is_read_on() {
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
        assert_eq!(file.read(&mut [0; 10]).await.unwrap(), 0, "it has shrunk");
    });
}

#[test]
fn a_file_opened_in_place_has_no_flag_that_one_of_std_has_not() {
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
fn the_entries_of_a_directory_come_each_once_and_in_few_jobs() {
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
fn a_directory_read_in_part_or_not_at_all_does_no_harm() {
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
            // And one wait that is given up: no entry is lost by it.
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

#[test]
fn files_in_the_page_cache_need_no_reactor() {
    let Some(folder) = Folder::that_tells() else { return };
    let path = folder.file("file", "hello");
    let read = within_deadline(move || futures_lite::future::block_on(ours::read(path)).unwrap());
    assert_eq!(read, b"hello");
}

/// The system calls that the thread of an executor makes between two that mark a part of its life,
/// and those that begin a thread; or `None`, without strace.
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
        println!("skipped: strace may not watch here: {}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let [begin, end] = marks[..] else { panic!("{} marks", marks.len()) };
    let thread = text[..begin].lines().next_back()?.split_whitespace().next()?;
    let marked = text[begin..end].lines().skip(1);
    Some(marked.filter(|line| line.starts_with(thread)).map(str::to_owned).collect())
}

/// In the traced process: reads the file, between the marks.
fn read_between_marks() {
    let path = std::env::var_os("TESTS_FILE").unwrap();
    block_on(async {
        let _ = fs::metadata("/marked");
        assert_eq!(ours::read(path).await.unwrap(), pattern(4096));
        let _ = fs::metadata("/marked");
    });
}

// A try more, for the kernel may say "not now" of what it has in memory.
#[test]
fn a_file_in_memory_costs_four_calls_and_no_thread() {
    if is_child() {
        return read_between_marks();
    }
    let Some(folder) = Folder::that_tells() else { return };
    let path = folder.file("file", pattern(4096));
    let tries =
        (0..3).map_while(|_| calls("a_file_in_memory_costs_four_calls_and_no_thread", &path, &[]));
    let tries: Vec<_> = tries.collect();
    let expected =
        [("openat2", "RESOLVE_CACHED"), ("fstat", ""), ("preadv2", "RWF_NOWAIT"), ("close", "")];
    let is_cheap = |calls: &Vec<String>| {
        let name = |call: &str| Some(call.split_whitespace().nth(1)?.split('(').next()?.to_owned());
        let calls = calls.iter().filter_map(|call| Some((name(call)?, call)));
        // The mark itself, and whether there is `statx` at all, which std asks for when it has to
        // know; and std without optimisation looks whether what it closes is open.
        let calls = calls.filter(|(name, _)| !["statx", "fcntl"].contains(&name.as_str()));
        let calls: Vec<_> = calls.collect();
        // Each asks for what is in memory, and for no more.
        calls.len() == expected.len()
            && calls
                .iter()
                .zip(expected)
                .all(|((name, call), (expected, flag))| name == expected && call.contains(flag))
    };
    assert!(tries.is_empty() || tries.iter().any(is_cheap), "{tries:#?}");
}

#[test]
fn a_file_that_the_file_system_refuses_to_be_asked_for_costs_a_thread() {
    if is_child() {
        return read_between_marks();
    }
    let Some(folder) = Folder::that_refuses() else { return };
    let path = folder.file("file", pattern(4096));
    let test = "a_file_that_the_file_system_refuses_to_be_asked_for_costs_a_thread";
    let Some(calls) = calls(test, &path, &[]) else { return };
    assert!(calls.iter().any(|call| call.contains("clone")), "{calls:#?}");
    assert!(calls.iter().any(|call| call.contains("EOPNOTSUPP")), "{calls:#?}");
}

// It is the kernel's answer that is forged, for a file that it was told to forget is not enough: it
// begins to read what is missing, and a fast disk may be done before it looks.
#[test]
fn what_is_not_in_memory_is_read_by_the_pool() {
    if is_child() {
        return read_between_marks();
    }
    let Some(folder) = Folder::that_tells() else { return };
    let path = folder.file("file", pattern(4096));
    let forged = ["-e", "inject=preadv2:error=EAGAIN"];
    let Some(calls) = calls("what_is_not_in_memory_is_read_by_the_pool", &path, &forged) else {
        return;
    };
    assert!(calls.iter().any(|call| call.contains("clone")), "{calls:#?}");
    assert!(calls.iter().any(|call| call.contains("(INJECTED)")), "{calls:#?}");
}
