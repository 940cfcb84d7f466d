//! The blocking pool in the child of a `fork`.
//!
//! This is a test of `reactor`. It is in this crate because `fork` needs `unsafe`, which only this
//! crate may contain.
#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use reactor::blocking::unblock;
use reactor::io::AsyncWriteExt;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// Runs `body` in a forked child, and returns the exit code of the child, or `None` if it hangs.
fn in_fork(body: impl FnOnce() -> i32) -> Option<i32> {
    // SAFETY: the child has only the calling thread. It takes no lock that another thread of this
    // process can have held during the fork: glibc keeps the locks of the allocator usable, and
    // this test is the only one in its process.
    let child = match unsafe { libc::fork() } {
        0 => {
            let code = body();
            // SAFETY: `_exit` ends the child without running exit handlers, which belong to the
            // parent.
            unsafe { libc::_exit(code) }
        }
        child => Pid::from_raw(child).expect("`fork` succeeds"),
    };
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        if let Some((_, status)) = waitpid(Some(child), WaitOptions::NOHANG).expect("our child") {
            return status.exit_status();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    kill_process(child, Signal::KILL).expect("our child");
    let _ = waitpid(Some(child), WaitOptions::empty());
    None
}

async fn use_the_pool() -> i32 {
    reactor::stdio::stdout().write_all(b"").await.expect("an empty write cannot fail");
    unblock(|| 7).await
}

// The parent's pool has an idle thread, and one that is busy for as long as the child runs.
// Pitfall: P2
#[test]
fn first_job_of_a_forked_child_runs() {
    let (release, busy) = std::sync::mpsc::channel::<()>();
    executor::block_on(async {
        assert_eq!(use_the_pool().await, 7);
        let job = executor::spawn_blocking(move || busy.recv().is_ok());
        executor::yield_now().await;
        // Whether the other thread is idle during the fork is a matter of chance, so fork
        // repeatedly.
        for _ in 0..20 {
            assert_eq!(use_the_pool().await, 7);
            assert_eq!(in_fork(child), Some(7));
        }
        // A child of the child also gets its own pool.
        assert_eq!(in_fork(|| in_fork(child).unwrap_or(1)), Some(7));
        assert_eq!(use_the_pool().await, 7);
        drop(release);
        assert_eq!(job.await.ok(), Some(false));
    });
}

/// The body of the forked child. Its thread is inside the parent's `block_on`, so it uses another
/// executor.
fn child() -> i32 {
    futures_lite::future::block_on(use_the_pool())
}
