//! Programs that use the standard streams. The argument selects one; `tests/tests/stdio.rs` runs
//! them.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use executor::{block_on, spawn, tasks, yield_now};
use futures_lite::{AsyncRead, AsyncWrite, StreamExt, future};
use reactor::Awaited;
use reactor::io::{self, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use reactor::stdio::{Stdin, stderr, stdin, stdout};
use reactor::time::{sleep, timeout};
use rustix::process::{Signal, set_parent_process_death_signal};
use tests::wakers::{self, Counter};

/// Long enough for a job to start.
const MOMENT: Duration = Duration::from_millis(20);

fn main() -> io::Result<()> {
    // If the test is killed, this process is killed too.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let program = std::env::args().nth(1).unwrap_or_default();
    block_on(async {
        match program.as_str() {
            "copy" => copy().await,
            "lines" => lines().await,
            "prompt" => prompt().await,
            "pending" => pending().await,
            "drop" => drop_reads().await,
            "two" => two_readers().await,
            "many" => many_writers().await,
            "std" => with_std().await,
            "retry" => retry().await,
            "stalled" => stalled().await,
            "refused" => refused().await,
            "close" => drop_write(stdout(), stderr(), async |output| output.close().await).await,
            "flush" => drop_write(stderr(), stdout(), async |output| output.flush().await).await,
            "wakers" => wakers().await,
            _ => Err(io::Error::other("no such program")),
        }
    })
}

/// Copies standard input to standard output, and writes the result to standard error.
async fn copy() -> io::Result<()> {
    let result = match io::copy(stdin(), stdout()).await {
        Ok(bytes) => format!("{bytes} bytes\n"),
        Err(error) => format!("{:?}\n", error.kind()),
    };
    stderr().write_all(result.as_bytes()).await
}

/// Writes 4 KiB, and then twice 64 KiB. Writes the result of each call to standard error.
///
/// The pipe holds 64 KiB and is not read, so the second call can write only 60 KiB.
async fn refused() -> io::Result<()> {
    let (bytes, mut output) = (vec![0; 64 * 1024], stdout());
    for length in [4096, bytes.len(), bytes.len()] {
        let result = match output.write(&bytes[..length]).await {
            Ok(count) => format!("{count}\n"),
            Err(error) => format!("{:?}\n", error.kind()),
        };
        stderr().write_all(result.as_bytes()).await?;
    }
    Ok(())
}

/// Fills the pipe of `output`, drops a further write, and polls `end` once. Then writes to `report`
/// whether `end` waits.
async fn drop_write<O: AsyncWrite + Unpin>(
    mut output: O,
    mut report: impl AsyncWrite + Unpin,
    end: impl AsyncFn(&mut O) -> io::Result<()>,
) -> io::Result<()> {
    output.write_all(&vec![0; 64 * 1024]).await?;
    let _ = future::poll_once(output.write(b"x")).await;
    let ended = future::poll_once(pin!(end(&mut output))).await;
    report.write_all(if ended.is_none() { b"waits\n" } else { b"done\n" }).await?;
    end(&mut output).await
}

/// Drops a handle whose read waits, and completes a write. No handle may keep the waker.
async fn wakers() -> io::Result<()> {
    let (counter, waker) = Counter::with_waker();
    let (mut input, mut output) = (stdin(), stdout());
    assert!(wakers::poll(pin!(input.read(&mut [0; 100])), &waker).is_pending());
    assert_eq!(Arc::strong_count(&counter), 3, "the read has stored its waker");
    drop(input);
    let mut write = pin!(output.write(b"done\n"));
    while wakers::poll(write.as_mut(), &waker).is_pending() {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(Arc::strong_count(&counter), 2, "no handle keeps the waker");
    Ok(())
}

/// Prints each line as soon as it arrives.
async fn lines() -> io::Result<()> {
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next().await {
        stdout().write_all(format!("[{}]\n", line?).as_bytes()).await?;
    }
    stdout().write_all(b"end\n").await
}

/// Prints a prompt without a newline, and then an answer.
async fn prompt() -> io::Result<()> {
    stdout().write_all(b"name? ").await?;
    let mut name = String::new();
    BufReader::new(stdin()).read_line(&mut name).await?;
    stdout().write_all(format!("hello, {name}").as_bytes()).await
}

/// Returns from `main` while a read is pending. No written byte may be lost.
async fn pending() -> io::Result<()> {
    let reader = spawn(async { stdin().read(&mut [0; 100]).await });
    yield_now().await;
    let waiting =
        tasks().into_iter().find(|task| task.id == reader.id()).expect("it has not ended");
    assert!(matches!(waiting.awaits[..], [Awaited::Job { kind: "stdin", .. }]), "{waiting:?}");
    stdout().write_all(b"the last words\n").await
}

/// Drops a thousand pending reads, half of them with their handles.
async fn drop_reads() -> io::Result<()> {
    let mut input = stdin();
    for _ in 0..500 {
        poll_once(&mut input).await;
        poll_once(&mut stdin()).await;
    }
    // The writer at the other end starts when it reads this.
    stdout().write_all(b"dropped\n").await?;
    // Drop some reads while bytes arrive, too.
    let mut bytes = Vec::new();
    let mut buffer = [0; 7];
    loop {
        match timeout(Duration::ZERO, input.read(&mut buffer)).await {
            Ok(Ok(0)) => break,
            Ok(count) => bytes.extend_from_slice(&buffer[..count?]),
            Err(_) => input = stdin(),
        }
    }
    stdout().write_all(&bytes).await
}

/// Polls a read once, and drops it. The next read must still get all bytes.
async fn poll_once(input: &mut Stdin) {
    let mut input = pin!(input);
    let polled = poll_fn(|cx| Poll::Ready(input.as_mut().poll_read(cx, &mut [0; 100]))).await;
    assert!(polled.is_pending(), "nothing has been sent");
}

/// Two tasks read to the end of standard input, each through its own handle.
async fn two_readers() -> io::Result<()> {
    let readers = [(); 2].map(|()| {
        spawn(async {
            let mut bytes = Vec::new();
            stdin().read_to_end(&mut bytes).await.map(|_| bytes)
        })
    });
    for reader in readers {
        stdout().write_all(&reader.await??).await?;
    }
    Ok(())
}

/// A hundred tasks write lines, each through its own handle.
async fn many_writers() -> io::Result<()> {
    let writers: Vec<_> = (0..100)
        .map(|number| {
            spawn(async move {
                for line in 0..10 {
                    stdout().write_all(format!("{number} {line}\n").as_bytes()).await?;
                }
                io::Result::Ok(())
            })
        })
        .collect();
    for writer in writers {
        writer.await??;
    }
    Ok(())
}

/// Uses the streams of std and ours alternately.
async fn with_std() -> io::Result<()> {
    let mut first = String::new();
    std::io::stdin().read_line(&mut first)?;
    print!("1 {first}");
    let mut letters = [0; 2];
    stdin().read_exact(&mut letters).await?;
    stdout().write_all(b"2 ").await?;
    stdout().write_all(&letters).await?;
    let mut third = String::new();
    std::io::stdin().read_line(&mut third)?;
    print!("3 {third}");
    print!("4 ");
    stdout().write_all(b"end").await
}

/// Drops and repeats each write until it completes, although the reader is slow.
async fn retry() -> io::Result<()> {
    let mut output = stdout();
    for number in 0..1000 {
        let line = format!("{number:>99}\n");
        while timeout(Duration::ZERO, output.write_all(line.as_bytes())).await.is_err() {}
    }
    output.write_all(b"end\n").await
}

/// A thousand tasks write to a pipe that is not read, and then a job uses the thread pool.
async fn stalled() -> io::Result<()> {
    let blocks: &[u8] = &[b'x'; 1 << 20];
    drop(spawn(async move { stdout().write_all(blocks).await }));
    for _ in 0..1000 {
        drop(spawn(async { stdout().write_all(b"x").await }));
    }
    while timeout(MOMENT, stdout().write_all(b"x")).await.is_ok() {}
    let result = reactor::blocking::unblock(|| "the pool works\n").await;
    stderr().write_all(result.as_bytes()).await
}
