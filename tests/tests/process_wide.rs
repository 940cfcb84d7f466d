//! What belongs to the whole process: a signal that nothing watches, and SIGPIPE.

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
fn signal_between_two_instances_is_lost() {
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
fn write_that_cannot_be_read_is_broken_pipe() {
    run(|| async {
        let (mut sender, receiver) = pipe::pipe().unwrap();
        drop(receiver);
        assert_eq!(sender.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        let (mut stream, peer) = net::UnixStream::pair().unwrap();
        drop(peer);
        assert_eq!(stream.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

/// Ends this process as SIGPIPE does by default.
fn kill_on_sigpipe() {
    signal_hook::flag::register_conditional_default(SIGPIPE, Arc::new(AtomicBool::new(true)))
        .unwrap();
}

#[test]
fn sigpipe_at_its_default_kills_at_a_pipe() {
    const NAME: &str = "sigpipe_at_its_default_kills_at_a_pipe";
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
fn sigpipe_at_its_default_spares_a_write_to_a_socket() {
    child::in_child("sigpipe_at_its_default_spares_a_write_to_a_socket", || {
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
fn child_process_has_sigpipe_at_its_default() {
    run(|| async {
        let status = Command::new("sh").args(["-c", "kill -PIPE $$; exit 1"]).status().await;
        assert_eq!(status.unwrap().signal(), Some(SIGPIPE));
    });
}
