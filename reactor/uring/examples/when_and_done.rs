//! The same program in two ways: a task waits for five bytes from a pipe, which another task
//! writes. With readiness, the kernel reports *when* to read. With completion, it reports that the
//! read is *done*. Watch the system calls:
//!
//! `strace -e trace=read,write,epoll_wait,io_uring_enter target/debug/examples/when_and_done done`

#[cfg(target_os = "linux")]
fn main() -> std::io::Result<()> {
    executor::block_on(async {
        match std::env::args().nth(1).as_deref() {
            Some("when") => both::when().await,
            Some("done") => both::done().await,
            _ => Err(std::io::Error::other("usage: when_and_done when|done")),
        }
    })
}

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
mod both {
    use std::io::{self, PipeReader, Read, Write, stdout};
    use std::os::fd::OwnedFd;

    use mio::unix::pipe::Receiver;
    use reactor::Async;
    use reactor_uring::{File, Ring};

    /// Returns a pipe. Spawns a task that writes into it as soon as the calling task waits.
    fn pipe_with_writer() -> io::Result<PipeReader> {
        let (reader, mut writer) = io::pipe()?;
        drop(executor::spawn(async move { writer.write_all(b"hello") }));
        Ok(reader)
    }

    pub(super) async fn when() -> io::Result<()> {
        let reader = Receiver::from(OwnedFd::from(pipe_with_writer()?));
        reader.set_nonblocking(true)?;
        let reader = Async::new(reader)?;
        println!("when:");

        let mut buffer = [0; 64];
        // The first attempt fails with `WouldBlock`. The next one follows the kernel's event.
        let bytes = reader.read_with(|mut reader| reader.read(&mut buffer)).await?;

        stdout().write_all(&buffer[..bytes])
    }

    pub(super) async fn done() -> io::Result<()> {
        let ring = Ring::new(8)?;
        let reader = File::from_std(&ring, OwnedFd::from(pipe_with_writer()?).into());
        println!("done:");

        // There is only one request. The kernel reads into the buffer as soon as the pipe has
        // bytes.
        let (bytes, buffer) = reader.read_at(vec![0; 64], 0).await;

        stdout().write_all(&buffer[..bytes?])
    }
}
