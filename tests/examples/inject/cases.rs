//! What happens when a call fails: each pattern starts servers, lets the call fail in them, and judges
//! the outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Result;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::thread::{self, ScopedJoinHandle, sleep};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Signal;
use socket2::SockAddr;
use tests::echod::{ECHOD, Echod, Output};
use tests::process::{cpu_time_of_threads, descriptors, listening_port, threads};
use tests::{DEADLINE, TempDir, named_folder};

use crate::catalog::allocates;
use crate::load::{Failures, Load, PATIENCE};
use crate::strace::{self, Fault, List, Seen, Strace};

/// For how long a call fails under load.
const STRETCH: Duration = Duration::from_millis(250);

/// For how long the clients then exchange nothing while the call goes on failing.
const SILENCE: Duration = Duration::from_millis(200);

/// The CPU time that the server may use during that silence.
const SILENT_CPU: Duration = Duration::from_millis(40);

/// How many system calls the server may make during that silence. Most of them print two lines of
/// counters.
const SILENT_CALLS: usize = 200;

/// When the call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pattern {
    /// Once while the server starts: each of its calls in turn.
    Start,
    /// Once in each thread, under load.
    Once,
    /// Every third call, under load.
    Third,
    /// All calls for [`STRETCH`] under load, and then for [`SILENCE`] without.
    Stretch,
    /// Every second call from SIGTERM to the end.
    Shutdown,
    /// Once from SIGTERM to the end of a server that writes a recording: each of its calls in turn.
    Recording,
}

impl Pattern {
    pub(crate) const ALL: [Pattern; 6] = [
        Pattern::Start,
        Pattern::Once,
        Pattern::Third,
        Pattern::Stretch,
        Pattern::Shutdown,
        Pattern::Recording,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Pattern::Start => "start",
            Pattern::Once => "once",
            Pattern::Third => "every third",
            Pattern::Stretch => "stretch",
            Pattern::Shutdown => "shutdown",
            Pattern::Recording => "recording",
        }
    }
}

/// What the server did.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// It served all clients as if nothing had failed.
    Serves,
    /// Connections ended, at most one for each call that failed, and all others were served.
    Connections,
    /// It ended with exit code 1 and one line that says why.
    Exits,
    /// Memory was exhausted, which ends every Rust program.
    Aborts,
    /// It did something that it must not do.
    Fault(String),
}

/// The calls that the server makes in each phase when nothing fails.
pub(crate) struct Reference {
    starts: [Vec<Seen>; 2],
    steady: Vec<Seen>,
    /// After SIGUSR1.
    table: Vec<Seen>,
    shutdown: Vec<Seen>,
    recording: Vec<Seen>,
    positions: usize,
}

impl Reference {
    /// Runs servers in which nothing fails. `positions` is the maximum number of positions at which
    /// one call fails in turn, during the start and while a recording is written.
    pub(crate) fn record(positions: usize) -> Result<Reference> {
        thread::scope(|scope| {
            let plain = scope.spawn(|| record_start(Kind::Plain));
            let recorded = scope.spawn(|| record_start(Kind::Recording));
            let recording = scope.spawn(record_recording);
            let (steady, table, shutdown) = record_load()?;
            let joined = |thread: ScopedJoinHandle<'_, Result<Vec<Seen>>>| {
                thread.join().expect("recording does not panic")
            };
            let (starts, recording) = ([joined(plain)?, joined(recorded)?], joined(recording)?);
            Ok(Reference { starts, steady, table, shutdown, recording, positions })
        })
    }

    /// Returns the names of all calls after the start of `main`.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let starts = self.starts.iter().flat_map(|start| &start[main(start)..]);
        let rest =
            self.steady.iter().chain(&self.table).chain(&self.shutdown).chain(&self.recording);
        starts.chain(rest).map(|seen| seen.name().to_owned()).collect()
    }

    /// Whether the server makes the call in this phase.
    fn has(&self, call: &str, pattern: Pattern) -> bool {
        let calls = match pattern {
            Pattern::Start => return true,
            Pattern::Once | Pattern::Third | Pattern::Stretch => {
                return is_in(&self.steady, call) || is_in(&self.table, call);
            }
            Pattern::Shutdown => &self.shutdown,
            Pattern::Recording => &self.recording,
        };
        is_in(calls, call)
    }
}

fn record_start(kind: Kind) -> Result<Vec<Seen>> {
    let (command, file) = strace::run(None, &[], &*ECHOD);
    let mut subject = Subject::spawn(kind, named_folder("echod-"), command)?;
    subject.wait_until_listening(DEADLINE)?;
    drop(subject);
    // strace writes its last lines after the server has ended.
    sleep(Duration::from_millis(200));
    strace::calls(&file)
}

/// Returns the calls under load, after SIGUSR1 and after SIGTERM.
fn record_load() -> Result<(Vec<Seen>, Vec<Seen>, Vec<Seen>)> {
    let subject = Subject::start(Kind::Plain)?;
    let load = subject.load()?;
    let strace = Strace::attach(subject.pid(), None, List::All, &[])?;
    load.wait_for_progress();
    sleep(STRETCH);
    let steady = strace.detach()?;
    load.pause();
    let strace = Strace::attach(subject.pid(), None, List::All, &[])?;
    subject.server.signal(Signal::USR1)?;
    sleep(4 * STRETCH);
    let table = strace.detach()?;
    let shutdown = Strace::attach(subject.pid(), None, List::All, &[])?;
    subject.server.stop()?;
    let shutdown = shutdown.detach()?;
    load.stop();
    Ok((steady, table, shutdown))
}

fn record_recording() -> Result<Vec<Seen>> {
    let mut subject = Subject::start(Kind::Recording)?;
    let load = subject.load()?;
    load.wait_for_progress();
    load.stop();
    let recording = Strace::attach(subject.pid(), None, List::All, &[])?;
    subject.server.signal(Signal::TERM)?;
    subject.server.wait_until(3 * DEADLINE, |_| false)?;
    recording.detach()
}

fn is_interruption(errno: i32) -> bool {
    errno == Errno::INTR.raw_os_error()
}

fn is_in(calls: &[Seen], call: &str) -> bool {
    calls.iter().any(|seen| seen.name() == call)
}

/// Returns the index of the first call in `main`. Before it, the loader and the standard library
/// run.
fn main(start: &[Seen]) -> usize {
    start.iter().position(|seen| seen.text.contains("SIGXFSZ")).unwrap_or(start.len())
}

/// Returns the numbers of the calls after the first `begin` calls, counted in each thread.
fn positions(calls: &[Seen], call: &str, begin: usize) -> Vec<usize> {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    let mut positions = BTreeSet::new();
    let mut before = 0;
    for (index, seen) in calls.iter().enumerate().filter(|(_, seen)| seen.name() == call) {
        let count = counts.entry(seen.thread).or_default();
        *count += 1;
        if index >= begin {
            positions.insert(*count);
        } else {
            before = *count;
        }
    }
    positions.into_iter().filter(|position| *position > before).collect()
}

/// Lets a call fail in one pattern. Returns all outcomes, or none if the server does not make the
/// call then.
pub(crate) fn run(
    reference: &Reference,
    call: &'static str,
    errno: i32,
    pattern: Pattern,
) -> BTreeSet<Outcome> {
    let fault = |when: String| Fault { call, errno, when };
    let once = |position: usize| fault(position.to_string());
    let outcome = |result: Result<Option<Outcome>>| {
        result.unwrap_or_else(|error| Some(Outcome::Fault(error.to_string())))
    };
    // At the start, reads of files cannot be distinguished from reads of pipes; see
    // `Subject::paths`.
    let is_of_pipe = call == "read" && pattern == Pattern::Start && !is_interruption(errno);
    if is_of_pipe || !reference.has(call, pattern) {
        return BTreeSet::new();
    }
    // The table of tasks reads the list of all connections of the system, which may take long.
    let prints_table = !is_in(&reference.steady, call);
    let load = Then { prints_table, is_silent: false };
    let silence = Then { prints_table, is_silent: true };
    // After EINTR the server must repeat the call without a pause. Let it fail only so often, because
    // a call during which strace detaches returns ENOSYS.
    let stretch = if is_interruption(errno) { "1..50" } else { "1+" };
    let outcomes: Vec<Option<Outcome>> = match pattern {
        // Only writes to files fail, so these positions count only writes to files.
        Pattern::Start if call == "write" => {
            let positions = (1..=reference.positions).flat_map(|at| {
                [Kind::Plain, Kind::Recording].map(|kind| outcome(at_start(kind, &once(at))))
            });
            positions.collect()
        }
        Pattern::Start => {
            let kinds = [Kind::Plain, Kind::Recording].into_iter().zip(&reference.starts);
            let positions = kinds.flat_map(|(kind, start)| {
                let positions = positions(start, call, main(start)).into_iter();
                positions.take(reference.positions).map(move |at| (kind, at))
            });
            positions.map(|(kind, at)| outcome(at_start(kind, &once(at)))).collect()
        }
        Pattern::Once => vec![outcome(under_load(&once(1), load))],
        Pattern::Third => vec![outcome(under_load(&fault("3+3".to_owned()), load))],
        Pattern::Stretch => vec![outcome(under_load(&fault(stretch.to_owned()), silence))],
        Pattern::Shutdown => vec![outcome(at_shutdown(&fault("1+2".to_owned())))],
        Pattern::Recording => {
            let positions = positions(&reference.recording, call, 0).into_iter();
            positions
                .take(reference.positions)
                .map(|at| outcome(while_recording(&once(at))))
                .collect()
        }
    };
    outcomes.into_iter().flatten().collect()
}

/// A kind of server.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Two threads, and a TCP, a UDP and a Unix socket.
    Plain,
    /// One thread and a TCP socket, with `--trace`.
    Recording,
}

/// A server in which calls fail.
struct Subject {
    server: Echod,
    kind: Kind,
    folder: TempDir,
}

/// The content of the recording's file before the run.
const PREVIOUS: &str = "the previous recording";

impl Subject {
    fn start(kind: Kind) -> Result<Subject> {
        let mut subject = Subject::spawn(kind, named_folder("echod-"), Command::new(&*ECHOD))?;
        match subject.wait_until_listening(DEADLINE)? {
            None => Ok(subject),
            Some(status) => Err(std::io::Error::other(format!("without a fault: {status}"))),
        }
    }

    /// Adds the arguments of the server to a command, and runs it.
    fn spawn(kind: Kind, output: TempDir, mut command: Command) -> Result<Subject> {
        let folder = named_folder("inject-");
        let (trace, socket) = (folder.path().join("run.html"), folder.path().join("socket"));
        command.args(["--grace", "1s"]);
        match kind {
            Kind::Plain => {
                // A stale socket file, which the server replaces.
                drop(UnixListener::bind(&socket)?);
                let unix = format!("unix:{}", socket.display());
                command.args(["-v", "--threads", "2", "--stats", "100ms"]);
                command.args(["127.0.0.1:0", "udp:127.0.0.1:0", &unix]);
            }
            Kind::Recording => {
                fs::write(&trace, PREVIOUS)?;
                command.arg("--trace").arg(trace).arg("127.0.0.1:0");
            }
        }
        Ok(Subject { server: Echod::spawn_in(output, command)?, kind, folder })
    }

    fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Waits until all listeners are announced. Returns the exit status if the server ends instead.
    fn wait_until_listening(&mut self, deadline: Duration) -> Result<Option<ExitStatus>> {
        let kind = self.kind;
        self.server.wait_until(deadline, |server| {
            server.output().is_ok_and(|output| output.stdout.lines().count() >= kind.listeners())
        })
    }

    fn load(&self) -> Result<Load> {
        // If the line could not be written, the system still knows the port.
        let tcp = self.server.tcp().or_else(|error| {
            let port = listening_port(self.pid()).ok_or(error)?;
            Result::Ok(SockAddr::from(std::net::SocketAddr::from(([127, 0, 0, 1], port))))
        })?;
        let unix = match self.kind {
            Kind::Plain => Some(SockAddr::unix(self.folder.path().join("socket"))?),
            Kind::Recording => None,
        };
        Ok(Load::start(tcp, unix, self.server.address("udp").ok()))
    }

    /// Returns the files to which injected errors of `read` and `write` are restricted. The kernel
    /// returns no such error for the pipes and eventfds that wake threads.
    fn paths(&self, fault: &Fault) -> Vec<String> {
        let pid = self.pid();
        match fault.call {
            // Any read may be interrupted.
            "read" if !is_interruption(fault.errno) => {
                ["tcp", "tcp6", "unix"].map(|table| format!("/proc/{pid}/net/{table}")).into()
            }
            "write" => {
                let ours = [self.folder.path(), self.server.folder()];
                let targets = descriptors(pid).into_iter().map(|(_, target)| target);
                let is_ours =
                    |target: &String| ours.iter().any(|it| Path::new(target).starts_with(it));
                targets.filter(is_ours).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Kind {
    fn listeners(self) -> usize {
        match self {
            Kind::Plain => 3,
            Kind::Recording => 1,
        }
    }
}

fn at_start(kind: Kind, fault: &Fault) -> Result<Option<Outcome>> {
    let output = named_folder("echod-");
    let files = ["stdout", "stderr"].map(|name| output.path().join(name).display().to_string());
    let paths = if fault.call == "write" { &files[..] } else { &[] };
    let (command, file) = strace::run(Some(fault), paths, &*ECHOD);
    let mut subject = Subject::spawn(kind, output, command)?;
    let patience = if fault.call == "write" { PATIENCE / 2 } else { DEADLINE };
    let ended = match subject.wait_until_listening(patience) {
        // The lines of the listeners may be lost.
        Err(_) if fault.call == "write" => None,
        ended => ended?,
    };
    if let Some(status) = ended {
        return Ok(Some(judge_end(status, &subject.server.output()?, fault)));
    }
    let load = subject.load()?;
    let has_progressed = load.wait_for_progress();
    let failures = load.stop();
    let (status, output) = subject.server.stop()?;
    let injected = strace::calls(&file)?.iter().filter(|seen| seen.is_injected()).count();
    if injected == 0 {
        return Ok(None);
    }
    if !has_progressed {
        return Ok(Some(Outcome::Fault(format!("clients hang: {:?}", failures.errors))));
    }
    Ok(Some(judge_end(status, &output, fault).max(judge(&failures, injected, fault))))
}

/// What happens beside the load.
#[derive(Clone, Copy)]
struct Then {
    /// The server prints the table of its tasks.
    prints_table: bool,
    /// Afterwards the clients are silent while the call goes on failing.
    is_silent: bool,
}

fn under_load(fault: &Fault, then: Then) -> Result<Option<Outcome>> {
    let mut subject = Subject::start(Kind::Plain)?;
    let pid = subject.pid();
    let load = subject.load()?;
    load.wait_for_progress();
    load.stop();
    let base = open(pid);
    let load = subject.load()?;
    load.wait_for_progress();
    let list = if then.is_silent { List::All } else { List::Failing };
    let strace = Strace::attach(pid, Some(fault), list, &subject.paths(fault))?;
    if then.prints_table {
        subject.server.signal(Signal::USR1)?;
    }
    strace.wait_for_failure(8 * STRETCH)?;
    sleep(STRETCH);
    let mut spun = None;
    let mut silence = (0.0, 0.0);
    if then.is_silent {
        load.pause();
        // The server may still have to close connections.
        sleep(SILENCE / 4);
        let (begin, before) = (now(), cpu_time_of_threads(pid));
        sleep(SILENCE);
        silence = (begin, now());
        let used = cpu_time_of_threads(pid).saturating_sub(before);
        spun = (used > SILENT_CPU).then(|| format!("used {used:?} of CPU time in {SILENCE:?}"));
    }
    let calls = strace.detach()?;
    let injected = calls.iter().filter(|seen| seen.is_injected()).count();
    let is_silent = |seen: &&Seen| (silence.0..silence.1).contains(&seen.time);
    let silent: Vec<&Seen> = calls.iter().filter(is_silent).collect();
    if (silent.len() > SILENT_CALLS || spun.is_some()) && !then.prints_table {
        let last: Vec<&str> = silent.iter().rev().take(10).map(|seen| &*seen.text).collect();
        spun = Some(format!("{spun:?} {} calls in {SILENCE:?}, e.g. {last:?}", silent.len()));
    }
    load.resume();
    let ended = subject.server.wait_until(DEADLINE, |_| load.wait_for_progress());
    let failures = load.stop();
    let failed = calls.iter().filter(|seen| seen.may_have_failed(fault.call)).count();
    let judged = judge(&failures, failed, fault);
    match ended {
        Ok(Some(status)) => return Ok(Some(goes_on(status, &subject.server.output()?, fault))),
        Ok(None) => {}
        Err(_) => return Ok(Some(Outcome::Fault(format!("clients hang: {:?}", failures.errors)))),
    }
    // An injected error of `close` means that the descriptor stays open.
    let leaked = if fault.call == "close" { injected } else { 0 };
    let is_at_base = |_: &Echod| open(pid) <= base + leaked;
    if subject.server.wait_until(PATIENCE, is_at_base).is_err() {
        return Ok(Some(Outcome::Fault(format!("descriptors: {base} and then {}", open(pid)))));
    }
    let (status, output) = subject.server.stop()?;
    if injected == 0 {
        return Ok(None);
    }
    if let Some(spun) = spun.filter(|_| !then.prints_table) {
        return Ok(Some(Outcome::Fault(spun)));
    }
    Ok(Some(goes_on(status, &output, fault).max(judged)))
}

fn at_shutdown(fault: &Fault) -> Result<Option<Outcome>> {
    let mut subject = Subject::start(Kind::Plain)?;
    let load = subject.load()?;
    load.wait_for_progress();
    load.pause();
    let before = load.take_failures();
    let strace = Strace::attach(subject.pid(), Some(fault), List::Failing, &subject.paths(fault))?;
    subject.server.signal(Signal::TERM)?;
    let ended = subject.server.wait_until(3 * DEADLINE, |_| false);
    let calls = strace.detach()?;
    let Ok(Some(status)) = ended else { return Ok(Some(runs_on(&subject, &calls))) };
    let failures = load.stop();
    let injected = calls.iter().filter(|seen| seen.is_injected()).count();
    if injected == 0 {
        return Ok(None);
    }
    if before.ended + before.hung + before.wrong > 0 {
        return Ok(Some(Outcome::Fault(format!("before the fault: {:?}", before.errors))));
    }
    let end = goes_on(status, &subject.server.output()?, fault);
    Ok(Some(end.max(judge(&failures, injected, fault))))
}

fn while_recording(fault: &Fault) -> Result<Option<Outcome>> {
    let mut subject = Subject::start(Kind::Recording)?;
    let load = subject.load()?;
    load.wait_for_progress();
    load.stop();
    let strace = Strace::attach(subject.pid(), Some(fault), List::Failing, &subject.paths(fault))?;
    subject.server.signal(Signal::TERM)?;
    let ended = subject.server.wait_until(3 * DEADLINE, |_| false);
    let calls = strace.detach()?;
    let Ok(Some(status)) = ended else { return Ok(Some(runs_on(&subject, &calls))) };
    let injected = calls.iter().filter(|seen| seen.is_injected()).count();
    if injected == 0 {
        return Ok(None);
    }
    let output = subject.server.output()?;
    let end = judge_end(status, &output, fault);
    let page = fs::read_to_string(subject.folder.path().join("run.html"))?;
    let is_complete = page.trim_end().ends_with("</html>");
    let is_right = match end {
        Outcome::Serves => is_complete,
        Outcome::Exits | Outcome::Aborts => is_complete || page == PREVIOUS,
        _ => true,
    };
    if !is_right {
        let stderr = output.stderr;
        return Ok(Some(Outcome::Fault(format!("a page of {} bytes: {stderr}", page.len()))));
    }
    Ok(Some(end))
}

/// Describes a server that does not end after SIGTERM.
fn runs_on(subject: &Subject, calls: &[Seen]) -> Outcome {
    let failed = calls.iter().filter(|seen| seen.is_injected()).take(4);
    let failed: Vec<String> = failed.map(|seen| format!("{} {}", seen.thread, seen.text)).collect();
    let threads = threads(subject.pid());
    Outcome::Fault(format!("does not end: {failed:?}; threads: {threads:?}"))
}

/// Judges what clients saw.
fn judge(failures: &Failures, failed: usize, fault: &Fault) -> Outcome {
    // With `close`, the injected error means that the connection is not closed.
    let may_hang = fault.call == "close";
    if failures.wrong > 0 || (failures.hung > 0 && !may_hang) {
        return Outcome::Fault(format!("wrong bytes or hanging clients: {:?}", failures.errors));
    }
    match failures.ended + failures.hung {
        0 => Outcome::Serves,
        ended if ended <= failed => Outcome::Connections,
        ended => Outcome::Fault(format!(
            "{ended} connections ended after {failed} failed calls: {:?}",
            failures.errors
        )),
    }
}

/// Judges the exit of a server that must not exit because of the failed call, unless memory is
/// exhausted.
fn goes_on(status: ExitStatus, output: &Output, fault: &Fault) -> Outcome {
    match judge_end(status, output, fault) {
        Outcome::Exits => Outcome::Fault(format!("ends: {}", last_lines(&output.stderr))),
        outcome => outcome,
    }
}

/// Judges how the server ended. `Serves` means that it ended as it should.
fn judge_end(status: ExitStatus, output: &Output, fault: &Fault) -> Outcome {
    let lines = output.stderr.lines().filter(|line| line.starts_with("echod: "));
    let lines = lines.filter(|line| !line.starts_with("echod: wrote ")).count();
    // In a debug build, the crate backtrace panics if `munmap` fails, and aborts.
    if allocates(fault.call) && status.signal() == Some(Signal::ABORT.as_raw()) {
        return Outcome::Aborts;
    }
    if output.stderr.contains("panicked") {
        return Outcome::Fault(format!("panicked: {}", output.stderr));
    }
    match (status.code(), lines) {
        (Some(0), 0) => Outcome::Serves,
        (Some(1), 1) => Outcome::Exits,
        // The write of this line may itself have failed.
        (Some(1), 0) if fault.call == "write" => Outcome::Exits,
        _ => Outcome::Fault(format!("ended with {status}: {}", last_lines(&output.stderr))),
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join(" / ")
}

/// Returns the number of open descriptors. std keeps one of `/dev/urandom` if `getrandom` fails.
fn open(pid: u32) -> usize {
    descriptors(pid).iter().filter(|(_, target)| target != "/dev/urandom").count()
}

/// Seconds since 1970, as strace prints them.
fn now() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0.0, |now| now.as_secs_f64())
}
