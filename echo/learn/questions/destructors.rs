//! `drop` is an ordinary function: it cannot await, and it cannot stop another thread. So it cannot
//! flush a buffered writer, and it cannot stop a blocking call. What has to happen at the end of a
//! conversation has to be awaited before the drop. A blocking job has to look itself whether it should
//! stop.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use executor::block_on;
use reactor::blocking::unblock;
use reactor::io::{AsyncWriteExt, BufWriter};
use reactor::time::timeout;

use crate::connection::{DEADLINE, connection};
use crate::{Question, print_line};

pub(crate) const QUESTION: Question =
    Question { text: "What can drop not do: stop a blocking job, flush a writer?", run };

/// When the waiting for a job is given up.
const TIMEOUT: Duration = Duration::from_millis(20);

fn run() -> io::Result<()> {
    block_on(async {
        print_line("a BufWriter gets 5 bytes (write_all is awaited), and then")?;
        buffered("is dropped", false).await?;
        buffered("is flushed and dropped", true).await?;
        print_line("a write_all of 64 MiB to a peer that does not read, and a timeout")?;
        half_written().await?;
        print_line("a job of the thread pool, and a timeout")?;
        job().await?;
        job_with_flag().await
    })
}

async fn buffered(what: &str, flushes: bool) -> io::Result<()> {
    let (ours, mut peer) = connection()?;
    let mut writer = BufWriter::new(ours);
    writer.write_all(b"hello").await?;
    if flushes {
        writer.flush().await?;
    }
    drop(writer);
    let bytes = peer.read_to_end(&mut Vec::new())?;
    print_line(format_args!("    {what:31} the peer gets {bytes} bytes"))
}

async fn half_written() -> io::Result<()> {
    let (mut ours, mut peer) = connection()?;
    let bytes = vec![b'x'; 64 << 20];
    let written = timeout(TIMEOUT, ours.write_all(&bytes)).await;
    drop(ours);
    let received = peer.read_to_end(&mut Vec::new())?;
    let how_many = match received {
        0 => "none of the bytes",
        _ if received < bytes.len() => "a part of the bytes",
        _ => "all bytes",
    };
    print_line(format_args!(
        "    {:31} the peer gets {how_many}",
        format!("{:?};", written.map(drop))
    ))
}

async fn job() -> io::Result<()> {
    let (finish, finish_requested) = channel::<()>();
    let (done, ended) = channel();
    let job = move || {
        let _ = finish_requested.recv_timeout(DEADLINE);
        let _ = done.send(());
    };
    let waited = timeout(TIMEOUT, unblock(job)).await;
    let running = ended.try_recv().is_err();
    finish.send(()).map_err(io::Error::other)?;
    let completed = unblock(move || ended.recv_timeout(DEADLINE)).await.is_ok();
    let after = format!("{waited:?};");
    print_line(format_args!("    {after:31} it still runs: {running}, and completes: {completed}"))
}

/// Sets its flag when it is dropped.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn job_with_flag() -> io::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let (done, ended) = channel();
    let should_stop = stop.clone();
    let job = move || {
        while !should_stop.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(1));
        }
        let _ = done.send(());
    };
    let waits = async {
        let _stop = StopOnDrop(stop);
        unblock(job).await;
    };
    let waited = timeout(TIMEOUT, waits).await;
    let stopped = unblock(move || ended.recv_timeout(DEADLINE)).await.is_ok();
    let after = format!("{waited:?}, sets a flag;");
    print_line(format_args!("    {after:31} the job sees it and stops: {stopped}"))
}
