//! Pipes between tasks, pipes to child processes and FIFOs (named pipes), and their errors.

use std::fs::{self, File};
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::task::Waker;
use std::thread;

use executor::spawn;
use reactor::io::{self, AsyncReadExt, AsyncWriteExt, ErrorKind};
use reactor::pipe::{OpenOptions, Receiver, Sender, pipe};
use rustix::fs::{CWD, FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, mknodat};
use rustix::io::{Errno, FdFlags, fcntl_getfd};
use tests::child::in_child;
use tests::wakers::poll;
use tests::{run, terminal, until};

fn is_blocking(pipe: &impl AsFd) -> bool {
    !fcntl_getfl(pipe).unwrap().contains(OFlags::NONBLOCK)
}

/// Creates a FIFO of this name in the folder for temporary files of tests.
fn fifo(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_file(&path);
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, &path, FileType::Fifo, mode, 0).unwrap();
    path
}

#[test]
fn transfer_larger_than_the_pipe_reaches_eof() {
    run(|| async {
        let (mut sender, mut receiver) = pipe().unwrap();
        let sent: Vec<u8> = (0..1 << 20).map(|byte: u32| (byte % 251) as u8).collect();
        let bytes = sent.clone();
        let writer = spawn(async move { sender.write_all(&bytes).await });
        let mut received = Vec::new();
        receiver.read_to_end(&mut received).await.unwrap();
        assert!(received == sent, "{} bytes, or other bytes", received.len());
        writer.await.unwrap().unwrap();
    });
}

#[test]
fn closed_sender_gives_eof() {
    run(|| async {
        let (mut sender, mut receiver) = pipe().unwrap();
        sender.write_all(b"hello").await.unwrap();
        sender.close().await.unwrap();
        let mut text = String::new();
        receiver.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello");
    });
}

#[test]
fn write_to_a_closed_sender_is_broken_pipe() {
    run(|| async {
        let (mut sender, _receiver) = pipe().unwrap();
        sender.close().await.unwrap();
        assert_eq!(sender.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        sender.close().await.unwrap();
        assert_eq!(sender.into_blocking_fd().unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn waiting_writer_gets_broken_pipe_when_the_reader_drops() {
    run(|| async {
        let (mut sender, receiver) = pipe().unwrap();
        let writer = spawn(async move { sender.write_all(&vec![0; 4 << 20]).await });
        until(|| reactor::Reactor::current().stored_wakers().iter().any(is_write)).await;
        drop(receiver);
        assert_eq!(writer.await.unwrap().unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

fn is_write(stored: &reactor::StoredWaker) -> bool {
    matches!(stored.awaited, reactor::Awaited::Source { direction: "write", .. })
}

// In packet mode (`O_DIRECT`) each write is one packet, and a read stops at a packet boundary
// although its buffer has more space. So a short read does not mean that the pipe is empty.
// Pitfall: E7
#[test]
fn packet_mode_pipe_delivers_every_packet() {
    run(|| async {
        let (mut sender, mut receiver) = pipe().unwrap();
        fcntl_setfl(&sender, fcntl_getfl(&sender).unwrap() | OFlags::DIRECT).unwrap();
        // The writer is a task because it may have to wait: a user with very many pipes gets pipes
        // that hold only two packets.
        let writer = spawn(async move {
            for packet in ["one", "two", "three"] {
                sender.write_all(packet.as_bytes()).await.unwrap();
            }
            sender
        });
        executor::yield_now().await;
        let mut bytes = [0; 100];
        for packet in ["one", "two", "three"] {
            let count = receiver.read(&mut bytes).await.unwrap();
            assert_eq!(&bytes[..count], packet.as_bytes());
        }
        writer.await.unwrap();
    });
}

#[test]
fn vectored_transfer_uses_all_buffers() {
    run(|| async {
        let (mut sender, mut receiver) = pipe().unwrap();
        let parts = [IoSlice::new(b"hel"), IoSlice::new(b"lo")];
        assert_eq!(sender.write_vectored(&parts).await.unwrap(), 5);
        let (mut first, mut second) = ([0; 2], [0; 10]);
        let parts = &mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        assert_eq!(receiver.read_vectored(parts).await.unwrap(), 5);
        assert_eq!((&first, &second[..3]), (b"he", &b"llo"[..]));
    });
}

#[test]
fn dropped_read_of_a_pipe_takes_no_bytes() {
    run(|| async {
        let (mut sender, mut receiver) = pipe().unwrap();
        for _ in 0..100 {
            assert!(poll(pin!(receiver.read(&mut [0; 9])), Waker::noop()).is_pending());
        }
        sender.write_all(b"x").await.unwrap();
        assert_eq!(receiver.read(&mut [0; 9]).await.unwrap(), 1);
    });
}

#[test]
fn into_blocking_fd_makes_the_descriptor_blocking() {
    run(|| async {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut sender = Sender::try_from(OwnedFd::from(writer)).unwrap();
        let mut receiver = Receiver::try_from(OwnedFd::from(reader)).unwrap();
        for end in [sender.as_fd(), receiver.as_fd()] {
            assert!(!is_blocking(&end));
            assert!(fcntl_getfd(end).unwrap().contains(FdFlags::CLOEXEC));
        }
        assert!(poll(pin!(receiver.read(&mut [0])), Waker::noop()).is_pending());
        sender.write_all(b"x").await.unwrap();
        let (reader, writer) =
            (receiver.into_blocking_fd().unwrap(), sender.into_blocking_fd().unwrap());
        assert!(is_blocking(&reader) && is_blocking(&writer));
        let mut byte = [0];
        File::from(reader).read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    });
}

#[test]
fn descriptor_that_is_not_a_pipe_is_rejected() {
    run(|| async {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pipes-no-pipe");
        fs::write(&path, "a file").unwrap();
        let kind = |error: io::Error| error.kind();
        let file = || OwnedFd::from(File::open(&path).unwrap());
        let socket = || OwnedFd::from(UnixStream::pair().unwrap().0);
        for other in [file(), socket(), File::open("/dev/null").unwrap().into()] {
            let receiver = Receiver::try_from(other.try_clone().unwrap()).unwrap_err();
            let sender = Sender::try_from(other).unwrap_err();
            assert_eq!([receiver, sender].map(kind), [ErrorKind::InvalidInput; 2]);
        }
        let options = OpenOptions::new();
        let errors = [options.open_receiver(&path).err(), options.open_sender(&path).err()];
        assert_eq!(errors.map(|error| kind(error.unwrap())), [ErrorKind::InvalidInput; 2]);
    });
}

#[test]
fn raw_descriptors_of_a_pipe_are_those_it_owns() {
    run(|| async {
        let (sender, receiver) = pipe().unwrap();
        assert_eq!(sender.as_raw_fd(), sender.as_fd().as_raw_fd());
        assert_eq!(receiver.as_raw_fd(), receiver.as_fd().as_raw_fd());
        assert_ne!(sender.as_raw_fd(), receiver.as_raw_fd());
    });
}

#[test]
fn wrong_end_of_a_pipe_is_rejected_and_stays_blocking() {
    run(|| async {
        let (reader, writer) = std::io::pipe().unwrap();
        assert!(is_blocking(&reader) && is_blocking(&writer));
        let (keep_reader, keep_writer) = (reader.try_clone().unwrap(), writer.try_clone().unwrap());
        let errors = [
            Sender::try_from(OwnedFd::from(reader)).unwrap_err(),
            Receiver::try_from(OwnedFd::from(writer)).unwrap_err(),
        ];
        assert_eq!(errors.each_ref().map(io::Error::kind), [ErrorKind::InvalidInput; 2]);
        let expected = ["writing", "reading"].map(|way| format!("the pipe is not open for {way}"));
        assert_eq!(errors.map(|error| error.to_string()), expected);
        // The failed conversions have not changed the flags that the duplicates share.
        assert!(is_blocking(&keep_reader) && is_blocking(&keep_writer));
    });
}

#[test]
fn pipes_connect_to_all_streams_of_a_child() {
    run(|| async {
        let script = "while read -r line; do echo \"[$line]\"; done; echo the end >&2";
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", script]);
        let shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = shell.spawn().unwrap();
        let mut stdin = Sender::try_from(child.stdin.take().unwrap()).unwrap();
        let mut stdout = Receiver::try_from(child.stdout.take().unwrap()).unwrap();
        let mut stderr = Receiver::try_from(child.stderr.take().unwrap()).unwrap();
        for line in ["one", "two"] {
            stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
            let mut answer = [0; 6];
            stdout.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer, format!("[{line}]\n").as_bytes());
        }
        drop(stdin);
        let mut text = String::new();
        stderr.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "the end\n");
        assert_eq!(stdout.read(&mut [0]).await.unwrap(), 0);
        assert!(child.wait().unwrap().success());
    });
}

// The two ends are separate open files, so our end can be non-blocking while the child's end
// blocks.
#[test]
fn pipe_end_for_a_child_is_blocking() {
    run(|| async {
        let (sender, receiver) = pipe().unwrap();
        let theirs = File::from(receiver.into_blocking_fd().unwrap());
        assert!(is_blocking(&theirs) && !is_blocking(&sender));
        let (sender, receiver) = pipe().unwrap();
        let theirs = File::from(sender.into_blocking_fd().unwrap());
        assert!(is_blocking(&theirs) && !is_blocking(&receiver));
    });
}

#[test]
fn fifo_sender_without_a_receiver_is_enxio() {
    run(|| async {
        let path = fifo("pipes-needs-a-receiver");
        let error = OpenOptions::new().open_sender(&path).unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::NXIO));
        let mut receiver = OpenOptions::new().open_receiver(&path).unwrap();
        let mut sender = OpenOptions::new().open_sender(&path).unwrap();
        for end in [receiver.as_fd(), sender.as_fd()] {
            assert!(fcntl_getfd(end).unwrap().contains(FdFlags::CLOEXEC));
        }
        sender.write_all(b"hello").await.unwrap();
        drop(sender);
        let mut text = String::new();
        receiver.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello");
    });
}

// While a FIFO has no writer, a read returns 0 bytes. Once the next writer has opened it, a read
// must wait again instead of repeating the end of file.
#[test]
fn fifo_receiver_continues_with_the_next_writer() {
    run(|| async {
        let path = fifo("pipes-goes-on");
        let mut receiver = OpenOptions::new().open_receiver(&path).unwrap();
        let mut bytes = [0; 9];
        assert_eq!(
            receiver.read(&mut bytes).await.unwrap(),
            0,
            "no writer has opened the FIFO yet"
        );
        for round in [b"one", b"two"] {
            let mut sender = OpenOptions::new().open_sender(&path).unwrap();
            assert!(poll(pin!(receiver.read(&mut bytes)), Waker::noop()).is_pending());
            let reader = async { receiver.read(&mut bytes).await.unwrap() };
            let mut reader = pin!(reader);
            assert!(poll(reader.as_mut(), Waker::noop()).is_pending());
            sender.write_all(round).await.unwrap();
            assert_eq!(reader.await, 3);
            assert_eq!(&bytes[..3], round);
            drop(sender);
            assert_eq!(receiver.read(&mut bytes).await.unwrap(), 0);
        }
    });
}

#[test]
fn read_write_fifo_never_reaches_eof() {
    run(|| async {
        let path = fifo("pipes-never-ends");
        let mut sender = OpenOptions::new().read_write(true).open_sender(&path).unwrap();
        sender.write_all(b"without a receiver.").await.unwrap();
        let mut receiver = OpenOptions::new().read_write(true).open_receiver(&path).unwrap();
        drop(sender);
        let mut bytes = [0; 100];
        assert_eq!(receiver.read(&mut bytes).await.unwrap(), 19);
        assert!(poll(pin!(receiver.read(&mut bytes)), Waker::noop()).is_pending());
        let path = path.clone();
        let writer = thread::spawn(move || {
            File::options().write(true).open(path).unwrap().write_all(b"x").unwrap();
        });
        assert_eq!(receiver.read(&mut bytes).await.unwrap(), 1);
        writer.join().unwrap();
    });
}

// A session leader without a controlling terminal acquires one when it opens a terminal without
// `O_NOCTTY`.
#[test]
fn terminal_opened_as_a_pipe_does_not_become_controlling() {
    in_child("terminal_opened_as_a_pipe_does_not_become_controlling", || {
        let Some((_user, programs)) = terminal() else { return };
        let path = fs::read_link(format!("/proc/self/fd/{}", programs.as_raw_fd())).unwrap();
        rustix::process::setsid().unwrap();
        executor::block_on(async {
            let error = OpenOptions::new().open_receiver(&path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        });
        let error = File::open("/dev/tty").unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::NXIO));
    });
}

#[test]
fn wait_on_a_pipe_fails_after_its_reactor_is_gone() {
    let (mut sender, mut receiver) = executor::block_on(async { pipe().unwrap() });
    executor::block_on(async move {
        assert_eq!(sender.write(b"x").await.unwrap(), 1);
        assert_eq!(receiver.read(&mut [0; 9]).await.unwrap(), 1);
        assert_eq!(receiver.read(&mut [0; 9]).await.unwrap_err().kind(), ErrorKind::Other);
    });
}
