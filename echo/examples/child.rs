//! A child process of std, without a thread: talked to through pipes, and waited for.
//!
//! Linux has a descriptor for a process, which becomes readable when the process has ended: a
//! *pidfd*. So `try_wait` is one more operation that waits instead of blocking.

use std::os::fd::AsRawFd;
use std::process::{Child, Command, ExitStatus, Stdio};

use executor::{block_on, spawn};
use mio::{Interest, unix::SourceFd};
use reactor::io::{AsyncReadExt, AsyncWriteExt};
use reactor::pipe::{Receiver, Sender};
use reactor::{Async, io};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

fn main() -> io::Result<()> {
    block_on(async {
        let mut sort = Command::new("sort");
        let mut child = sort.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut stdin = Sender::try_from(child.stdin.take().expect("it is piped"))?;
        let mut stdout = Receiver::try_from(child.stdout.take().expect("it is piped"))?;
        // In a task of its own, as the child may speak before it has heard all.
        let writer = spawn(async move { stdin.write_all(b"pear\nfig\napple\n").await });
        let mut sorted = String::new();
        stdout.read_to_string(&mut sorted).await?;
        writer.await??;
        print!("{sorted}");
        println!("{}", wait(&mut child).await?);
        Ok(())
    })
}

/// Waits for the child's end.
async fn wait(child: &mut Child) -> io::Result<ExitStatus> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::NONBLOCK)?;
    let descriptor = pidfd.as_raw_fd();
    let process = Async::with_interest(SourceFd(&descriptor), Interest::READABLE)?;
    // Not `waitid` on the descriptor: std would not learn that the child is gone, and its number
    // may belong to a stranger when std asks for it.
    let ended = process.read_with(|_| match child.try_wait()? {
        Some(status) => Ok(status),
        None => Err(io::ErrorKind::WouldBlock.into()),
    });
    ended.await
}
