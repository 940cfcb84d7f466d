//! strace: makes system calls fail, and lists those that were made.

use std::ffi::OsStr;
use std::fs;
use std::io::{Error, Result};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tests::process::{is_stopped, threads};
use tests::{DEADLINE, Place, place};

/// Which calls of one name fail. strace counts the calls of each thread.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) call: &'static str,
    pub(crate) errno: i32,
    /// As in strace's option `inject`: `3`, `3+3`, or `1+`, which are all.
    pub(crate) when: String,
}

/// Which calls strace lists.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum List {
    All,
    /// Only those with the name of the call that fails, which costs less time.
    Failing,
}

impl Fault {
    fn options(&self, list: List) -> Vec<String> {
        let Fault { call, errno, when } = self;
        let mut options = vec!["-e".into(), format!("inject={call}:error={errno}:when={when}")];
        if list == List::Failing {
            options.extend(["-e".into(), format!("trace={call}")]);
        }
        options
    }
}

/// A call that strace has seen.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) thread: u32,
    /// Seconds since 1970.
    pub(crate) time: f64,
    /// The call, its arguments and its result.
    pub(crate) text: String,
}

impl Seen {
    pub(crate) fn name(&self) -> &str {
        self.text.split('(').next().unwrap_or_default()
    }

    pub(crate) fn is_injected(&self) -> bool {
        self.text.contains("(INJECTED)")
    }

    /// Returns whether the call failed, or may have failed: a call during which strace detaches has
    /// no result, and may return ENOSYS.
    pub(crate) fn may_have_failed(&self, call: &str) -> bool {
        self.is_injected() || (self.name() == call && !self.text.contains(" = "))
    }

    fn parse(line: &str) -> Option<Seen> {
        let (thread, rest) = line.split_once(' ')?;
        let (time, text) = rest.trim_start().split_once(' ')?;
        let (thread, time) = (thread.parse().ok()?, time.parse().ok()?);
        Some(Seen { thread, time, text: text.to_owned() })
    }
}

/// strace, attached to a server.
pub(crate) struct Strace {
    child: Child,
    file: Place,
}

impl Strace {
    /// Attaches strace to all threads of a process. Without a fault it only lists the calls.
    ///
    /// `paths`: if there are any, only calls that use one of these files are seen and fail.
    pub(crate) fn attach(
        pid: u32,
        fault: Option<&Fault>,
        list: List,
        paths: &[String],
    ) -> Result<Strace> {
        let file = place();
        let mut command = command(&file, fault, list);
        command.args(paths.iter().flat_map(|path| ["-P", path]));
        command.args(["-p", &pid.to_string()]);
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let begin = Instant::now();
        while !is_traced(pid) {
            let ended = child.try_wait()?.is_some();
            if ended || begin.elapsed() > DEADLINE {
                return Err(Error::other("strace cannot attach"));
            }
            sleep(Duration::from_millis(2));
        }
        Ok(Strace { child, file })
    }

    /// Waits until a call has failed, at most for `time`.
    pub(crate) fn wait_for_failure(&self, time: Duration) -> Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < time && !calls(&self.file)?.iter().any(Seen::is_injected) {
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Lets all calls through again, and returns those that were seen.
    pub(crate) fn detach(mut self) -> Result<Vec<Seen>> {
        // This fails if the server, and with it strace, has ended.
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        self.child.wait()?;
        calls(&self.file)
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a command that runs a program under strace, and the file of the calls. The process that
/// is started becomes the program; strace runs beside it.
///
/// `paths` has the same meaning as in [`Strace::attach`].
pub(crate) fn run(
    fault: Option<&Fault>,
    paths: &[String],
    program: impl AsRef<OsStr>,
) -> (Command, Place) {
    let file = place();
    let mut command = command(&file, fault, List::Failing);
    command.args(paths.iter().flat_map(|path| ["-P", path]));
    command.arg("-D").arg(program);
    (command, file)
}

fn command(file: &Place, fault: Option<&Fault>, list: List) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-ttt", "-s", "12", "-e", "signal=none", "-o"]).arg(&**file);
    command.args(fault.map(|fault| fault.options(list)).unwrap_or_default());
    command
}

/// Reads the calls that strace has listed. The lines of a call that another thread interrupted are
/// joined.
pub(crate) fn calls(file: &Place) -> Result<Vec<Seen>> {
    let text = fs::read(&**file)?;
    let mut calls: Vec<Seen> = Vec::new();
    for mut seen in String::from_utf8_lossy(&text).lines().filter_map(Seen::parse) {
        if seen.text.starts_with("<... ") {
            let begun = calls
                .iter_mut()
                .rev()
                .find(|call| call.thread == seen.thread && call.text.ends_with("<unfinished ...>"));
            let rest = seen.text.split_once("resumed>").map_or("", |(_, rest)| rest);
            match begun {
                Some(begun) => {
                    let length = begun.text.len() - "<unfinished ...>".len();
                    begun.text.truncate(length);
                    begun.text += rest;
                    continue;
                }
                // The call began before strace was attached.
                None => {
                    let name = seen.text[5..].split(' ').next().unwrap_or_default();
                    seen.text = format!("{name}(…{rest}");
                }
            }
        }
        if seen.text.starts_with(char::is_alphabetic) {
            calls.push(seen);
        }
    }
    Ok(calls)
}

/// Whether strace watches all threads of the process, and lets the first of them run. While that
/// one is stopped, the kernel delivers signals to another one.
fn is_traced(pid: u32) -> bool {
    // A thread may end after it has been listed.
    let is_traced = |thread| {
        let status = fs::read_to_string(format!("/proc/{thread}/status"));
        status.is_ok_and(|status| !status.contains("TracerPid:\t0\n"))
    };
    threads(pid).into_iter().all(|(thread, _)| is_traced(thread)) && !is_stopped(pid)
}
