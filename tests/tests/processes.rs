//! Child processes: starting them, their pipes, waiting, killing and reaping.

use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::pin::pin;
use std::process::Stdio;
use std::task::Waker;
use std::thread;
use std::time::Duration;

use executor::{Executor, block_on, spawn};
use futures_lite::future::poll_once;
use reactor::Reactor;
use reactor::io::{AsyncReadExt, AsyncWriteExt, ErrorKind};
use reactor::process::{Child, Command};
use reactor::time::{sleep, timeout};
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, WaitOptions, getrlimit, setrlimit, waitpid};
use tests::process::is_installed;
use tests::wakers::poll;
use tests::{child, place, run, within_deadline};

/// Returns a command that runs a shell script.
fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn sleeper() -> Command {
    let mut command = Command::new("sleep");
    command.arg("60");
    command
}

/// Starts a child that runs until the returned end of its standard input is dropped.
fn waiting_child() -> (Child, reactor::pipe::Sender) {
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let stdin = child.stdin.take().unwrap();
    (child, stdin)
}

/// Whether the process runs or is a zombie.
fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Waits until the process is neither running nor a zombie.
async fn gone(pid: u32) {
    while exists(pid) {
        sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until the process is a zombie: it has ended and has not been reaped.
async fn zombie(pid: u32) {
    let path = format!("/proc/{pid}/stat");
    while !fs::read_to_string(&path).unwrap().contains(") Z ") {
        sleep(Duration::from_millis(1)).await;
    }
}

/// The PIDs of this process's children, including zombies.
fn children() -> Vec<u32> {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let of = |path: &Path| fs::read_to_string(path.join("children")).unwrap_or_default();
    let texts = threads.map(|thread| of(&thread.unwrap().path()));
    texts
        .flat_map(|text| {
            text.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn status_of_a_child_is_returned() {
    run(|| async {
        assert!(Command::new("true").status().await.unwrap().success());
        assert_eq!(Command::new("false").status().await.unwrap().code(), Some(1));
        assert_eq!(shell("exit 42").status().await.unwrap().code(), Some(42));
        assert_eq!(shell("kill -TERM $$").status().await.unwrap().signal(), Some(15));
    });
}

#[test]
fn output_larger_than_the_pipes_arrives_whole() {
    run(|| async {
        let script = "head -c 1000000 /dev/zero >&2; head -c 1000000 /dev/zero; exit 3";
        let output = shell(script).output().await.unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!((output.stdout.len(), output.stderr.len()), (1_000_000, 1_000_000));
    });
}

#[test]
fn bytes_pass_through_a_child_unchanged() {
    run(|| async {
        let mut cat = Command::new("cat");
        let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut stdin, mut stdout) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
        let sent: Vec<u8> = (0..1 << 20).map(|byte: u32| (byte % 251) as u8).collect();
        let bytes = sent.clone();
        let writer = spawn(async move { stdin.write_all(&bytes).await });
        let mut received = Vec::new();
        stdout.read_to_end(&mut received).await.unwrap();
        writer.await.unwrap().unwrap();
        assert!(received == sent, "{} bytes, or other bytes", received.len());
        assert!(cat.wait().await.unwrap().success());
    });
}

#[test]
fn wait_closes_the_standard_input() {
    run(|| async {
        let mut cat = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        assert!(cat.wait().await.unwrap().success());
        assert!(cat.stdin.is_none());
        // `status` and `output` close a piped standard input too, so `cat` ends.
        let mut cat = Command::new("cat");
        assert!(cat.stdin(Stdio::piped()).status().await.unwrap().success());
        let output = cat.output().await.unwrap();
        assert!(output.status.success() && output.stdout.is_empty());
    });
}

#[test]
fn try_wait_leaves_the_standard_input_open() {
    run(|| async {
        let mut cat = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        assert!(cat.try_wait().unwrap().is_none());
        cat.stdin.take().unwrap().close().await.unwrap();
        while cat.try_wait().unwrap().is_none() {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(cat.wait().await.unwrap().success());
    });
}

/// Checks waits, kills and reaping. The result must be the same with and without pidfds.
async fn check_waits_kills_and_reaping() {
    // A dropped wait loses no status, and a completed wait can be repeated.
    let mut child = sleeper().spawn().unwrap();
    let pid = child.id().unwrap();
    assert!(timeout(Duration::from_millis(5), child.wait()).await.is_err());
    child.start_kill().unwrap();
    let status = child.wait().await.unwrap();
    assert_eq!((status.signal(), child.id(), exists(pid)), (Some(9), None, false));
    assert_eq!(child.wait().await.unwrap(), status);
    assert_eq!(child.try_wait().unwrap(), Some(status));
    child.kill().await.unwrap();

    // A child that ends before a task waits for it.
    let mut child = Command::new("true").spawn().unwrap();
    zombie(child.id().unwrap()).await;
    assert!(child.wait().await.unwrap().success());

    // Several children concurrently. They end in another order than they are awaited in.
    let children: Vec<Child> = (0..20)
        .map(|number| shell(&format!("sleep 0.0{}; exit {number}", 20 - number)).spawn().unwrap())
        .collect();
    let tasks = children.into_iter().map(|mut child| spawn(async move { child.wait().await }));
    for (number, task) in tasks.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(task.await.unwrap().unwrap().code(), Some(number as i32));
    }

    // A child that is dropped: before it ends, after it has ended, and after a wait began.
    let (dropped, stdin) = waiting_child();
    let pid = dropped.id().unwrap();
    drop(dropped);
    assert!(exists(pid));
    drop(stdin);
    gone(pid).await;
    let dropped = Command::new("true").spawn().unwrap();
    let pid = dropped.id().unwrap();
    zombie(pid).await;
    drop(dropped);
    assert!(!exists(pid));
    let (mut dropped, stdin) = waiting_child();
    let pid = dropped.id().unwrap();
    assert!(poll_once(dropped.wait()).await.is_none());
    drop(dropped);
    drop(stdin);
    gone(pid).await;

    // A child that is killed when it is dropped.
    let killed = sleeper().kill_on_drop(true).spawn().unwrap();
    let pid = killed.id().unwrap();
    drop(killed);
    gone(pid).await;
}

#[test]
fn child_is_waited_for_and_reaped() {
    run(check_waits_kills_and_reaping);
}

#[test]
fn child_is_waited_for_and_reaped_without_pidfds() {
    const NAME: &str = "child_is_waited_for_and_reaped_without_pidfds";
    if child::is_child() {
        return run(check_waits_kills_and_reaping);
    }
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        return println!("skipped: strace is not installed");
    }
    for error in ["ENOSYS", "EPERM"] {
        let inject = format!("inject=pidfd_open:error={error}");
        let strace =
            ["strace", "-f", "-qqq", "-o", "/dev/null", "-e", "trace=pidfd_open", "-e", &inject];
        child::expect_success(child::start_through(&strace, NAME));
    }
}

#[test]
fn wait_for_a_child_starts_no_thread() {
    child::in_child("wait_for_a_child_starts_no_thread", || {
        run(|| async {
            let threads = || fs::read_dir("/proc/self/task").unwrap().count();
            let before = threads();
            let mut children = [sleeper().spawn().unwrap(), sleeper().spawn().unwrap()];
            for child in &mut children {
                assert!(timeout(Duration::from_millis(2), child.wait()).await.is_err());
            }
            assert_eq!(threads(), before);
            for child in &mut children {
                child.kill().await.unwrap();
            }
        });
    });
}

#[test]
fn dropped_child_keeps_running() {
    run(|| async {
        let mut cat = Command::new("cat");
        let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut stdin, mut stdout) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
        drop(cat);
        stdin.write_all(b"hello").await.unwrap();
        let mut bytes = [0; 5];
        stdout.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"hello");
    });
}

#[test]
fn timed_out_wait_kills_with_kill_on_drop() {
    run(|| async {
        let mut command = shell("echo $$; exec sleep 60");
        let mut child = command.kill_on_drop(true).stdout(Stdio::piped()).spawn().unwrap();
        let pid = child.id().unwrap();
        let mut text = [0; 1];
        child.stdout.as_mut().unwrap().read_exact(&mut text).await.unwrap();
        assert!(timeout(Duration::from_millis(2), child.wait_with_output()).await.is_err());
        gone(pid).await;
    });
}

// The children are dropped in a poll that has used up its budget.
#[test]
fn many_children_dropped_together_leave_no_zombie() {
    run(|| async {
        let mut ended = Command::new("true").spawn().unwrap();
        ended.wait().await.unwrap();
        // The children end when the pipe is closed, so all of them still run when they are dropped.
        let (reader, writer) = std::io::pipe().unwrap();
        let cat = || Command::new("cat").stdin(reader.try_clone().unwrap()).spawn().unwrap();
        let children: Vec<Child> = (0..50).map(|_| cat()).collect();
        let pids: Vec<u32> = children.iter().filter_map(Child::id).collect();
        while poll_once(ended.wait()).await.is_some() {}
        drop(children);
        drop(writer);
        for pid in pids {
            gone(pid).await;
        }
    });
}

#[test]
fn next_spawn_reaps_children_of_a_dropped_runtime() {
    child::in_child("next_spawn_reaps_children_of_a_dropped_runtime", || {
        within_deadline(|| {
            // This child is dropped while its runtime exists.
            let (first, first_stdin) = block_on(async {
                let (child, stdin) = waiting_child();
                (child.id().unwrap(), stdin)
            });
            // This child is dropped after its runtime.
            let (kept, kept_stdin) = block_on(async { waiting_child() });
            let second = kept.id().unwrap();
            // This child is owned by a task that is dropped with the executor.
            let (third, third_stdin) = block_on(async {
                let (child, stdin) = waiting_child();
                let pid = child.id().unwrap();
                drop(spawn(async move { child.wait_with_output().await }));
                executor::yield_now().await;
                (pid, stdin)
            });
            drop(kept);
            // This child is dropped on a thread whose runtime is leaked, so the runtime still
            // exists when the thread ends.
            let thread = thread::spawn(|| {
                Box::leak(Box::new(Executor::new().unwrap())).block_on(async {
                    let (child, stdin) = waiting_child();
                    (child.id().unwrap(), stdin.into_blocking_fd().unwrap())
                })
            });
            let (fourth, fourth_stdin) = thread.join().unwrap();
            block_on(async {
                drop((first_stdin, kept_stdin, third_stdin, fourth_stdin));
                for pid in [first, second, third, fourth] {
                    zombie(pid).await;
                }
                Command::new("true").status().await.unwrap();
                assert!(children().is_empty());
            });
        });
    });
}

#[test]
fn wait_for_a_child_fails_after_its_reactor_is_gone() {
    within_deadline(|| {
        let mut child = block_on(async { sleeper().spawn().unwrap() });
        block_on(async {
            // The wait cannot complete, because the process still runs.
            assert_eq!(child.wait().await.unwrap_err().kind(), ErrorKind::Other);
            child.start_kill().unwrap();
            while child.try_wait().unwrap().is_none() {
                sleep(Duration::from_millis(1)).await;
            }
        });
    });
}

#[test]
fn child_reaped_by_other_code_is_echild() {
    run(|| async {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = Pid::from_raw(child.id().unwrap() as i32);
        waitpid(pid, WaitOptions::empty()).unwrap();
        for _ in 0..2 {
            let error = child.wait().await.unwrap_err();
            assert_eq!(Errno::from_io_error(&error), Some(Errno::CHILD));
        }
        assert_eq!(child.id(), None);
        // Another process may have this PID by now, so no process is killed.
        child.start_kill().unwrap();
    });
}

#[test]
fn ignored_sigchld_loses_the_status_without_zombies() {
    const NAME: &str = "ignored_sigchld_loses_the_status_without_zombies";
    if !child::is_child() {
        let ignore = ["env", "--ignore-signal=CHLD"];
        let works = std::process::Command::new("env").args([ignore[1], "true"]).status();
        if !works.is_ok_and(|status| status.success()) {
            return println!("skipped: this `env` cannot ignore signals");
        }
        return child::expect_success(child::start_through(&ignore, NAME));
    }
    run(|| async {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let error = child.wait().await.unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::CHILD));
        child.start_kill().unwrap();
        drop(child);
        drop(shell("sleep 0.02").spawn().unwrap());
        while !children().is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
    });
}

// Pitfall: B1
#[test]
fn repeated_wait_does_not_starve_a_timer() {
    run(|| async {
        let mut child = Command::new("true").spawn().unwrap();
        let again = async {
            loop {
                child.wait().await.unwrap();
            }
        };
        assert!(timeout(Duration::from_millis(10), again).await.is_err());
    });
}

#[test]
fn missing_program_is_not_found() {
    run(|| async {
        let error = Command::new("/nowhere/to/be/found").spawn().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let error = Command::new("/nowhere/to/be/found").status().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    });
}

#[test]
fn arguments_environment_and_directory_reach_the_child() {
    run(|| async {
        let folder = tests::folder();
        let mut command = shell("echo $0 $1 $ONE $TWO $THREE; pwd -P; cat");
        command.arg("name").args(["argument"]).env_clear().env("ONE", "1");
        command.envs([("TWO", "2"), ("THREE", "3")]).env_remove("THREE");
        command.current_dir(folder.path()).stdin(Stdio::null());
        // `env_clear` also removes `PATH`, which is needed to find the programs.
        command.env("PATH", std::env::var_os("PATH").unwrap());
        let output = command.output().await.unwrap();
        let path = folder.path().canonicalize().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text, format!("name argument 1 2\n{}\n", path.display()));

        let mut command = Command::from(std::process::Command::new("sh"));
        command.args(["-c", "echo $0 >&2"]).as_std_mut().arg0("other");
        assert_eq!(command.as_std().get_program(), "sh");
        let output = command.output().await.unwrap();
        assert_eq!((output.stdout, output.stderr), (b"".to_vec(), b"other\n".to_vec()));
    });
}

#[test]
fn spawn_outside_of_block_on_starts_no_process() {
    child::in_child("spawn_outside_of_block_on_starts_no_process", || {
        let mut command = sleeper();
        assert!(catch_unwind(AssertUnwindSafe(|| command.spawn())).is_err());
        // These start the process before their first poll, so they need the reactor.
        assert!(catch_unwind(AssertUnwindSafe(|| drop(command.status()))).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| drop(command.output()))).is_err());
        assert!(children().is_empty());
    });
}

#[test]
fn status_starts_the_process_before_its_first_poll() {
    run(|| async {
        let started = place();
        let mut command = Command::new("touch");
        let status = command.arg(&*started).status();
        while !started.exists() {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(status.await.unwrap().success());
    });
}

// Pitfall: G4
#[test]
fn child_inherits_only_its_standard_streams() {
    child::in_child("child_inherits_only_its_standard_streams", || {
        // The descriptors that the test itself inherited.
        let list = std::process::Command::new("ls").arg("/proc/self/fd").output().unwrap();
        let inherited = String::from_utf8(list.stdout).unwrap();
        run(|| async move {
            let _other = Command::new("cat")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            let mut list = Command::new("ls");
            let ours = list.arg("/proc/self/fd").stdin(Stdio::piped()).output().await.unwrap();
            assert_eq!(String::from_utf8(ours.stdout).unwrap(), inherited);
            // The child's ends are blocking, because most programs do not expect `WouldBlock`.
            let script = "for fd in 0 1 2; do grep flags /proc/$$/fdinfo/$fd; done";
            let output = shell(script).stdin(Stdio::piped()).output().await.unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let flags = text.lines().filter_map(|line| line.split_whitespace().nth(1));
            let flags: Vec<u32> =
                flags.map(|flags| u32::from_str_radix(flags, 8).unwrap()).collect();
            assert!(flags.len() == 3 && flags.iter().all(|flags| flags & 0o4000 == 0), "{text}");
        });
    });
}

#[test]
fn spawn_without_free_descriptors_leaves_no_child() {
    child::in_child("spawn_without_free_descriptors_leaves_no_child", || {
        run(|| async {
            let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
            setrlimit(Resource::Nofile, Rlimit { current: Some(300), maximum }).unwrap();
            let mut failed = 0;
            for spare in 0..12 {
                let taken = std::iter::from_fn(|| fs::File::open("/dev/null").ok());
                let mut taken: Vec<fs::File> = taken.collect();
                taken.truncate(taken.len() - spare);
                // With pipes, std itself fails. Without them, only our pidfd needs a descriptor.
                let (mut piped, mut bare) = (sleeper(), sleeper());
                piped.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
                for command in [&mut piped, &mut bare] {
                    match command.spawn() {
                        Ok(mut child) => child.start_kill().unwrap(),
                        Err(_) => failed += 1,
                    }
                }
            }
            setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
            assert!((4..24).contains(&failed), "{failed} spawns failed");
            while !children().is_empty() {
                Command::new("true").status().await.unwrap();
            }
        });
    });
}

// A burst of signals ends system calls with EINTR.
// Pitfall: S3
#[test]
fn wait_for_a_child_survives_a_burst_of_signals() {
    run(|| async {
        let mut signal = reactor::signal::Signal::new(signal_hook::consts::SIGUSR1).unwrap();
        let mut child =
            shell("for i in 1 2 3 4 5 6 7 8 9; do kill -USR1 $PPID; done; exit 7").spawn().unwrap();
        assert_eq!(child.wait().await.unwrap().code(), Some(7));
        signal.recv().await.unwrap();
    });
}

#[test]
fn dropped_child_is_reaped_by_a_bare_reactor() {
    within_deadline(|| {
        let reactor = Reactor::new().unwrap();
        let entered = reactor.enter();
        let (mut child, stdin) = waiting_child();
        drop(entered);
        let pid = child.id().unwrap();
        assert!(poll(pin!(child.wait()), Waker::noop()).is_pending());
        drop(child);
        drop(stdin);
        tests::turn_until(&reactor, || !exists(pid));
    });
}

// As in tokio's tests of processes: the pipe is full, and nothing will empty it.
#[test]
fn blocked_write_to_a_killed_child_is_broken_pipe() {
    run(|| async {
        let mut child = sleeper().stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let waits = Reactor::current().metrics().waits;
        let writer = spawn(async move { stdin.write_all(&[7; 1 << 20]).await });
        tests::until(|| Reactor::current().metrics().waits > waits).await;
        child.kill().await.unwrap();
        assert_eq!(writer.await.unwrap().unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

// As in tokio's tests of processes: the pidfd of a process that is traced becomes readable when the
// process has ended, but its parent can reap it only after the tracer has.
#[test]
fn child_that_another_process_traces_is_waited_for() {
    if !is_installed("strace") {
        return;
    }
    run(|| async {
        let children = (0..10).map(|_| {
            spawn(async {
                let mut strace = Command::new("strace");
                // With `-D`, the program is the child, and strace is a process of its own.
                let strace = strace.args(["-D", "-o", "/dev/null", "cat"]).stdin(Stdio::piped());
                let mut child = strace.stdout(Stdio::piped()).spawn().unwrap();
                // The program runs under strace once it answers.
                child.stdin.as_mut().unwrap().write_all(b"x").await.unwrap();
                child.stdout.as_mut().unwrap().read_exact(&mut [0]).await.unwrap();
                child.wait().await.unwrap()
            })
        });
        for child in children.collect::<Vec<_>>() {
            assert!(child.await.unwrap().success());
        }
    });
}
