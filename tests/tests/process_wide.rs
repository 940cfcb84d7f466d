//! State of the whole process: a signal without a watcher, and the disposition of SIGPIPE.

use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::Waker;

use reactor::io::{AsyncWriteExt, ErrorKind};
use reactor::process::Command;
use reactor::signal::Signal;
use reactor::{net, pipe};
use signal_hook::consts::{SIGPIPE, SIGWINCH};
use signal_hook::low_level::raise;
use tests::wakers::poll;
use tests::{child, run};

#[test]
fn signal_between_two_watchers_is_lost() {
    run(|| async {
        drop(Signal::new(SIGWINCH).unwrap());
        raise(SIGWINCH).unwrap();
        let mut signal = Signal::new(SIGWINCH).unwrap();
        assert!(poll(pin!(signal.recv()), Waker::noop()).is_pending());
        raise(SIGWINCH).unwrap();
        signal.recv().await.unwrap();
    });
}

#[test]
fn write_without_a_reader_is_broken_pipe() {
    run(|| async {
        let (mut sender, receiver) = pipe::pipe().unwrap();
        drop(receiver);
        assert_eq!(sender.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        let (mut stream, peer) = net::UnixStream::pair().unwrap();
        drop(peer);
        assert_eq!(stream.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

/// Makes SIGPIPE end this process, as the signal does by default.
fn kill_on_sigpipe() {
    signal_hook::flag::register_conditional_default(SIGPIPE, Arc::new(AtomicBool::new(true)))
        .unwrap();
}

#[test]
fn default_sigpipe_kills_on_a_pipe_write() {
    const NAME: &str = "default_sigpipe_kills_on_a_pipe_write";
    if child::is_child() {
        kill_on_sigpipe();
        return run(|| async {
            let (mut sender, receiver) = pipe::pipe().unwrap();
            drop(receiver);
            let _ = sender.write(b"x").await;
        });
    }
    assert_eq!(child::start(NAME).wait().unwrap().signal(), Some(SIGPIPE));
}

#[test]
fn default_sigpipe_spares_a_socket_write() {
    child::in_child("default_sigpipe_spares_a_socket_write", || {
        kill_on_sigpipe();
        run(|| async {
            let (mut stream, peer) = net::UnixStream::pair().unwrap();
            drop(peer);
            assert_eq!(stream.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
            let (mut stream, peer) = tests::tcp_pair().await.unwrap();
            drop(peer);
            while let Ok(1..) = stream.write(b"x").await {}
        });
    });
}

#[test]
fn child_starts_with_default_sigpipe() {
    run(|| async {
        let status = Command::new("sh").args(["-c", "kill -PIPE $$; exit 1"]).status().await;
        assert_eq!(status.unwrap().signal(), Some(SIGPIPE));
    });
}
