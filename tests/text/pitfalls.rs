//! The index of pitfalls: bugs of async runtimes and servers, each with the tests that cover it.
//!
//! A test that covers a pitfall has the line `// Pitfall: ID` before it, or `// Pitfall: ID, ID`.
//! This file generates `tests/PITFALLS.md` from these marks and from [`PITFALLS`], and checks that
//! the page is up to date. With `UPDATE_GUIDE=1` in the environment it rewrites the page.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::guide::{read, root, rust_files};

const PAGE: &str = "tests/PITFALLS.md";

const INTRODUCTION: &str = "\
# Pitfalls

*A page of the [guide](../echo/learn/README.md): bugs of async runtimes and servers, and the tests that keep them out of this project.*

Each row is a bug that a runtime, a library or a server had. The third column names reports of the bug, or this project if the bug was found here. A dash means that we
know of no report. The tests cite the ID in a comment, `// Pitfall: W1`. This page is generated: `UPDATE_GUIDE=1 cargo test -p echo --test text` rewrites it.
";

/// The ID, the bug, and the projects that had it.
type Pitfall = (&'static str, &'static str, &'static str);

/// All pitfalls, by subject.
#[rustfmt::skip]
const PITFALLS: [(&str, &[Pitfall]); 9] = [
    ("Wakeups", &[
        ("W1", "An old snapshot of the readiness overwrites a newer one, and the socket hangs.", "tokio#6133, tokio#8331"),
        ("W2", "One flag serves both directions: a write event makes the reader spin or hang, or a read clears the writer's readiness.", "tokio#8054, tokio#2886, tokio#6302"),
        ("W3", "A source has one waker slot: a second task evicts the waker of the first, or the first waker is kept although the future has moved to another task.", "smol#151, tokio#2779"),
        ("W4", "A wakeup between computing the timeout and sleeping is missed.", "heph#437, tokio#3190"),
        ("W5", "The flag that coalesces notifications stays set after its notification was lost.", "corosio#259"),
        ("W6", "Waking a task that is already queued does not publish what was written before the wake.", "tokio#7622"),
        ("W7", "A hang-up or an error without readiness wakes no task.", "tokio-core#117, tokio#3879"),
        ("W8", "The main future is polled with a dummy waker, or is not polled again.", "blocking 1.0, glommio"),
        ("W9", "A wake during a poll queues the task twice, or not at all.", "smol 1.0"),
        ("W10", "Spawning from a thread, a task or a destructor does not wake an idle executor.", "tokio#3369, tokio#1905"),
        ("W11", "An idle source collects the wakers of dropped operations.", "this project"),
        ("W12", "A task that turns the reactor consumes the notification for the executor, which then sleeps with a message in its inbox.", "this project"),
    ]),
    ("Edge triggering and fairness", &[
        ("E1", "A short read is taken as proof that the socket is drained although the end of the stream or an error arrived with it.", "tokio#4840, tokio#5866, tokio#6668, haproxy#169"),
        ("E2", "A half-closed peer counts as writable forever, and the writer spins on `EAGAIN`.", "mio#933, tokio#449"),
        ("E3", "Accepting until `WouldBlock` starves all other tasks.", "libuv 1.45"),
        ("E4", "Tasks that wake themselves are polled again before events and timers are checked.", "tokio#5209"),
        ("E5", "A peer that is always ready keeps its task running forever.", "monoio#362"),
        ("E6", "Waker lists are unfair or quadratic.", "tokio#2779, tokio#5925"),
        ("E7", "A short read at an urgent mark or a packet boundary is taken as proof that the socket is drained.", "this project"),
        ("E8", "The budget stops all progress under an executor that does not refill it.", "this project"),
    ]),
    ("Descriptors and registrations", &[
        ("T1", "A slot is reused while an event for its previous owner is in the same batch.", "mio#172, calloop#156, RUSTSEC-2024-0019"),
        ("T2", "Closing a descriptor while a duplicate is open leaves a stale registration.", "h2o#1100, libuv 1.49"),
        ("T3", "`into_inner` keeps the registration.", "tokio#3103"),
        ("T4", "The entry of a source leaks if the OS refuses to register it.", "tokio#6329"),
        ("T5", "The memory of a burst is never freed.", "tokio#3014"),
    ]),
    ("System calls", &[
        ("S1", "If descriptors run out, the accept loop spins, or ends forever.", "libuv#690, bun#32705, axum#2400"),
        ("S2", "The error of one connection ends the accept loop.", "tiny-http#283"),
        ("S3", "A signal (`EINTR`) ends a loop, or restarts a whole timeout.", "mio#132, bun#34780"),
        ("S4", "*Writable* is taken for *connected*.", "mio#1942, mio#1526"),
        ("S5", "`connect` to a Unix listener with a full backlog returns `EAGAIN`, and no event follows.", "mio#1560, async-io#19"),
        ("S6", "A blocking socket of std blocks the thread.", "tokio#3539"),
        ("S7", "The report that one UDP peer is gone ends the socket for all peers.", "tokio#8001"),
        ("S8", "An empty datagram is taken for the end of the stream, or a truncated datagram passes silently.", "mio 1.1"),
        ("S9", "A closed or full stdout or stderr ends the server (`SIGPIPE`, a panic of `println!`).", "monoio#214, rust#119980"),
        ("S10", "Closing a socket with unread input sends a reset, which destroys bytes that the peer has not read.", "turmoil#269"),
        ("S11", "Shutting down twice, or after a reset, is an error.", "tokio#2597, tokio#7290"),
        ("S12", "The end of the stream overtakes bytes that the server still buffers.", "this project"),
        ("S13", "A read into an empty buffer counts as the end of the stream.", "tokio#8251"),
    ]),
    ("Tasks, panics, shutdown", &[
        ("X1", "A waker is called while or after the executor is dropped.", "async-executor#163, compio#489"),
        ("X2", "A value that is not `Send` is dropped on another thread.", "RUSTSEC-2021-0072"),
        ("X3", "User code (a waker, a destructor, a logger) runs while a `RefCell` is borrowed or a lock is held.", "tokio#4129, tokio#5471"),
        ("X4", "A task is dropped, or spawns, inside a poll, a wake or a destructor.", "tokio-core#190, tokio#1929"),
        ("X5", "A panic in a poll, a destructor, a waker or a job ends the event loop.", "async-executor#78, tokio#4430"),
        ("X6", "A task is aborted before its first poll, while it is queued, by itself, after completion, or twice.", "tokio#3662, tokio#3934"),
        ("X7", "The handle resolves before the future is dropped.", "tokio#7825"),
        ("X8", "Reference cycles keep tasks alive.", "tokio#4724, tokio#6505"),
        ("X9", "The executor is dropped while tasks hold sockets, timers, signals or jobs.", "tokio#1842, tokio#4213"),
        ("X10", "A nested `block_on` hangs.", "async-std#644"),
        ("X11", "A `block_on` that panicked leaves state behind.", "async-executor#55"),
        ("X12", "The thread pool loses a job, or stops working after a job panics or the OS refuses a thread.", "tokio#2309, tokio#4485"),
        ("X13", "A pending read of standard input keeps the process from exiting.", "tokio#589, tokio#2318"),
        ("X14", "A large future is copied several times on its way into the task.", "tokio#6692"),
        ("X15", "A destructor that spawns while the executor is dropped keeps it from completing.", "this project"),
        ("X16", "Keys or wakers of one executor reach the next one on the same thread.", "this project"),
        ("X17", "A task that was spawned outside the event loop misses the next tick.", "this project"),
        ("X18", "Dropping nested sets of tasks recurses until the stack overflows.", "this project"),
        ("X19", "A panic in the destructor of an output is contained or propagates, depending on timing.", "this project"),
        ("X20", "A message that arrives while the executor is dropped is itself dropped outside the code that catches panics.", "this project"),
        ("X21", "A wakeup by the logger, between the decision to sleep and the sleep, is missed.", "tokio#7835, tokio#5443"),
        ("X22", "Each wakeup from another thread costs a notification although the executor is awake.", "this project"),
    ]),
    ("Files and the thread pool", &[
        ("F1", "A write is acknowledged when it is queued, and is lost if the process ends.", "tokio#4296"),
        ("F2", "Of the tasks that share a file, the task whose operation completed starts the next one in the same poll, and the others starve.", "async-lock#23"),
        ("F3", "A vectored write takes only the first buffer.", "this project"),
        ("F4", "The error of a write is reported once and then forgotten although its bytes are lost.", "tokio#6325"),
        ("P1", "The only thread of the pool is blocked and the OS refuses another one, so queued jobs are stranded.", "tokio#8406"),
        ("P2", "A forked child inherits counters of threads that it does not have, and its first job hangs.", "futures-rs#649, tokio#4301"),
        ("P3", "Futures of the pool are `!Send` although they contain nothing that belongs to a thread.", "this project"),
    ]),
    ("Timers and signals", &[
        ("C1", "Far deadlines overflow.", "tokio#3551, tokio#7380, mio 1.2.1"),
        ("C2", "A remainder of less than a millisecond is rounded down to zero, and the loop spins.", "smol#109"),
        ("C3", "Dropping, resetting and firing a timer race with each other.", "tokio#3069, tokio#6683"),
        ("C4", "Cancelled timers stay in memory until they are due.", "tokio#8107"),
        ("C5", "Timers with equal deadlines fire in any order; intervals drift.", "–"),
        ("G1", "Dropping one receiver of a signal silences the others.", "tokio-signal#36"),
        ("G2", "A pipe that is full of one signal loses another signal.", "signal-hook#36"),
        ("G4", "Descriptors leak into child processes, or the flags of inherited descriptors change.", "–"),
    ]),
    ("Fairness between connections", &[
        ("B1", "A future that is always ready never yields.", "this project"),
        ("B2", "One limit for all connections lets a few stalled peers slow down the others.", "this project"),
        ("B3", "A shared buffer shows one connection's bytes to another if a reader claims more than it wrote.", "this project"),
    ]),
    ("The server and its output", &[
        ("O1", "`poll` reports a terminal or a shared pipe as writable, and the write blocks.", "this project"),
        ("O2", "An `accept` error that the code does not list is retried without a pause or a message.", "this project"),
        ("O3", "Writing a recording needs many times its size in memory, or a failed write destroys the previous recording.", "this project"),
        ("O4", "Two servers replace the same stale socket file.", "this project"),
        ("O5", "A file-size limit ends the process.", "this project"),
        ("V1", "Source paths are compared for equality, so the recorder finds no source in a program outside the workspace.", "this project"),
    ]),
];

/// Where the reports of a project are.
const REPOSITORIES: [(&str, &str); 24] = [
    ("async-executor", "smol-rs/async-executor"),
    ("async-io", "smol-rs/async-io"),
    ("async-lock", "smol-rs/async-lock"),
    ("async-std", "async-rs/async-std"),
    ("axum", "tokio-rs/axum"),
    ("bun", "oven-sh/bun"),
    ("calloop", "Smithay/calloop"),
    ("compio", "compio-rs/compio"),
    ("corosio", "cppalliance/corosio"),
    ("futures-rs", "rust-lang/futures-rs"),
    ("h2o", "h2o/h2o"),
    ("haproxy", "haproxy/haproxy"),
    ("heph", "Thomasdezeeuw/heph"),
    ("libuv", "libuv/libuv"),
    ("mio", "tokio-rs/mio"),
    ("monoio", "bytedance/monoio"),
    ("rust", "rust-lang/rust"),
    ("signal-hook", "vorner/signal-hook"),
    ("smol", "smol-rs/smol"),
    ("tiny-http", "tiny-http/tiny-http"),
    ("tokio", "tokio-rs/tokio"),
    ("tokio-core", "tokio-rs/tokio-core"),
    ("tokio-signal", "alexcrichton/tokio-signal"),
    ("turmoil", "tokio-rs/turmoil"),
];

/// The tests of each pitfall, as links from the page.
type Tests = BTreeMap<String, BTreeSet<String>>;

/// Adds the tests in a file that have a mark.
///
/// # Panics
///
/// Panics if a mark stands before anything but a test, or the documentation of a module.
fn add_tests(tests: &mut Tests, file: &Path, text: &str) {
    let link = match file.strip_prefix("tests") {
        Ok(inside) => inside.display().to_string(),
        Err(_) => format!("../{}", file.display()),
    };
    let mut ids: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(list) = line.strip_prefix("// Pitfall: ") {
            ids.extend(list.split(", "));
            continue;
        }
        if ids.is_empty() || line.starts_with("#[") || line.starts_with("// ") {
            continue;
        }
        // A doctest of a module has no name of its own.
        let name = match line.strip_prefix("fn ") {
            Some(rest) => rest.split(['(', '<']).next().unwrap_or_default(),
            None if line.starts_with("//!") => link.rsplit('/').next().unwrap_or_default(),
            None => panic!("{}: {ids:?} stands before `{line}`, not a test", file.display()),
        };
        for id in ids.drain(..) {
            tests.entry(id.to_owned()).or_default().insert(format!("[`{name}`]({link})"));
        }
    }
}

/// Returns a report, with a link to it.
fn report(name: &str) -> String {
    let (project, number) = name.split_once('#').unwrap_or((name, ""));
    if project.starts_with("RUSTSEC-") {
        return format!("[{project}](https://rustsec.org/advisories/{project}.html)");
    }
    if number.is_empty() {
        return name.to_owned();
    }
    let repository = REPOSITORIES.iter().find(|(known, _)| *known == project);
    let (_, repository) = repository.unwrap_or_else(|| panic!("no repository of {project}"));
    format!("[{name}](https://github.com/{repository}/issues/{number})")
}

/// Returns the page, or what is wrong with the marks.
fn page(tests: &Tests) -> Result<String, String> {
    let known: BTreeSet<&str> =
        PITFALLS.iter().flat_map(|(_, rows)| rows.iter().map(|(id, ..)| *id)).collect();
    let unknown: Vec<_> = tests.iter().filter(|(id, _)| !known.contains(id.as_str())).collect();
    if !unknown.is_empty() {
        return Err(format!("marks with IDs that are not in the table: {unknown:?}"));
    }
    let mut page = INTRODUCTION.to_owned();
    for (subject, rows) in PITFALLS {
        page +=
            &format!("\n## {subject}\n\n| ID | the bug | seen in | tests |\n|---|---|---|---|\n");
        for (id, bug, projects) in rows {
            let Some(tests) = tests.get(*id) else {
                return Err(format!("no test has the mark `// Pitfall: {id}`"));
            };
            let tests = tests.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            let reports = projects.split(", ").map(report).collect::<Vec<_>>().join(", ");
            page += &format!("| {id} | {bug} | {reports} | {tests} |\n");
        }
    }
    Ok(page)
}

#[test]
fn page_of_pitfalls_lists_the_marked_tests() {
    let mut tests = Tests::new();
    rust_files().for_each(|file: PathBuf| add_tests(&mut tests, &file, &read(&file)));
    let generated = page(&tests).unwrap_or_else(|error| panic!("{error}"));
    let path = root().join(PAGE);
    if env::var_os("UPDATE_GUIDE").is_some() {
        fs::write(path, generated).expect("the page can be written");
        return;
    }
    let current = fs::read_to_string(path).unwrap_or_default();
    let differs = current.lines().zip(generated.lines()).find(|(old, new)| old != new);
    assert!(
        current == generated,
        "{PAGE} is out of date; UPDATE_GUIDE=1 rewrites it; the first difference: {differs:#?}"
    );
}

#[test]
fn marks_are_read_before_tests_and_in_module_docs() {
    let text = "// Pitfall: W1, W2\n// Why.\n#[test]\nfn one() {\n// Pitfall: X2\n//! ```\n";
    let mut tests = Tests::new();
    add_tests(&mut tests, Path::new("tests/tests/udp.rs"), text);
    add_tests(&mut tests, Path::new("reactor/src/source.rs"), "// Pitfall: W1\nfn two() {\n");
    let links = |id: &str| tests[id].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(links("W1"), ["[`one`](tests/udp.rs)", "[`two`](../reactor/src/source.rs)"]);
    assert_eq!(links("W2"), ["[`one`](tests/udp.rs)"]);
    assert_eq!(links("X2"), ["[`udp.rs`](tests/udp.rs)"]);
}

#[test]
fn unknown_ids_are_reported() {
    let tests = Tests::from([("W99".to_owned(), BTreeSet::new())]);
    assert!(page(&tests).is_err_and(|error| error.contains("W99")));
}

#[test]
fn pitfall_without_a_test_is_reported() {
    let ids = PITFALLS.iter().flat_map(|(_, rows)| rows.iter().map(|(id, ..)| id.to_string()));
    let mut tests: Tests = ids.map(|id| (id, BTreeSet::from(["a".to_owned()]))).collect();
    assert!(page(&tests).is_ok());
    tests.remove("E7");
    assert!(page(&tests).is_err_and(|error| error.contains("E7")));
}
