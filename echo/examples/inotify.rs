//! Waits for any descriptor that the kernel can poll, here an inotify descriptor, which reports
//! changes in a folder. rustix creates it and `Async` waits for it, without `unsafe`.

use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use executor::{block_on, spawn};
use mio::{Interest, unix::SourceFd};
use reactor::{Async, io, time};
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};

fn main() -> io::Result<()> {
    let folder = std::env::temp_dir().join(format!("inotify-{}", std::process::id()));
    fs::create_dir(&folder)?;
    block_on(async {
        // `Async` requires a non-blocking descriptor.
        let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        add_watch(&inotify, &folder, WatchFlags::CREATE)?;
        let path = folder.join("hello");
        let writer = spawn(async move {
            time::sleep(Duration::from_millis(50)).await;
            fs::write(path, "world")
        });
        println!("{} appears", created(&inotify).await?);
        writer.await?
    })?;
    fs::remove_dir_all(&folder)
}

/// Waits for the next file to be created in the folder, and returns its name.
async fn created(inotify: &OwnedFd) -> io::Result<String> {
    let descriptor = inotify.as_raw_fd();
    let source = Async::with_interest(SourceFd(&descriptor), Interest::READABLE)?;
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = Reader::new(inotify, &mut buffer);
    let name = source.read_with(|_| {
        let event = events.next()?;
        Ok(event.file_name().map(|name| name.to_string_lossy().into_owned()))
    });
    Ok(name.await?.unwrap_or_default())
}
