//! User instructions and simulated cache misses, counted by callgrind, and limits for them.
//!
//! Unlike time, they are nearly the same in every run and on every machine. Each figure is the
//! difference between a run with many operations and a run with few, so that the start of the
//! process does not count.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{Error, Result};
use std::process::{Command, Stdio};
use std::{env, process};

use crate::executors::{ACTS, EXECUTORS};
use crate::load::Workload;
use crate::process::Server;
use crate::report::{Better, Table};
use crate::servers::SERVERS;

/// The environment variable that makes this program do one act and end: the runtime, the act, and
/// how often, with slashes between.
pub(crate) const ACT: &str = "PEERS_ACT";

/// What one operation costs. A miss is a read or a write that the first-level data cache does not
/// have.
#[derive(Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) instructions: f64,
    pub(crate) misses: f64,
}

/// What is counted.
#[derive(Clone, Copy)]
enum Work {
    Messages(Workload),
    /// One of [`ACTS`], and how often at least.
    Act(&'static str, usize),
}

const FIFTY: Work =
    Work::Messages(Workload { name: "50 × 1 KiB", connections: 50, bytes: 1024, in_flight: 1 });
const THOUSAND: Work = Work::Messages(Workload {
    name: "1,000 × 1 KiB",
    connections: 1000,
    bytes: 1024,
    in_flight: 1,
});
const ONE: Work =
    Work::Messages(Workload { name: "1 × 1 KiB", connections: 1, bytes: 1024, in_flight: 1 });
const SPAWN: Work = Work::Act("spawn + join", 20_000);
const YIELD: Work = Work::Act("yield, 1,000 tasks", 20_000);
const WAKE: Work = Work::Act("wake round trip", 5_000);

impl Work {
    fn name(self) -> &'static str {
        match self {
            Work::Messages(workload) => workload.name,
            Work::Act(name, ..) => name,
        }
    }

    fn runtimes(self) -> Vec<&'static str> {
        match self {
            Work::Messages(_) => SERVERS.iter().map(|(name, _)| *name).collect(),
            Work::Act(..) => EXECUTORS.iter().map(|executor| executor.name).collect(),
        }
    }

    fn count(self, runtime: &str) -> Result<Counts> {
        let (few, many, operations) = match self {
            Work::Messages(Workload { connections, .. }) => {
                let batches = (4000 / connections.max(20)).max(16);
                let (few, many) = (batches / 4, batches + batches / 4);
                let count = |batches| self.count_once(runtime, batches);
                (count(few)?, count(many)?, (many - few) * connections)
            }
            Work::Act(_, few) => {
                (self.count_once(runtime, few)?, self.count_once(runtime, 3 * few)?, 2 * few)
            }
        };
        let each = |few: u64, many: u64| many.saturating_sub(few) as f64 / operations as f64;
        Ok(Counts {
            instructions: each(few[0], many[0]),
            misses: each(few[4] + few[5], many[4] + many[5]),
        })
    }

    /// Returns what callgrind has counted: instructions, reads, writes, misses of instructions, of
    /// reads and of writes in the first level, and the same misses in the last level.
    fn count_once(self, runtime: &str, amount: usize) -> Result<Vec<u64>> {
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--cache-sim=yes"]);
        // The same caches on each machine: 32 KiB for data, as most have.
        valgrind.args(["--I1=32768,8,64", "--D1=32768,8,64", "--LL=8388608,16,64"]);
        valgrind.arg(env::current_exe()?).stderr(Stdio::piped());
        match self {
            Work::Messages(workload) => {
                let server = Server::start_with(valgrind, runtime)?;
                let load = workload.connect(server.address)?;
                load.exchange_in_batches(amount, |run| server.run(run))?;
                collected(&server.end()?)
            }
            Work::Act(act, _) => {
                valgrind.env(ACT, format!("{runtime}/{act}/{amount}"));
                collected(&String::from_utf8_lossy(&valgrind.output()?.stderr))
            }
        }
    }
}

/// Returns the counters that callgrind prints at the end.
pub(crate) fn collected(text: &str) -> Result<Vec<u64>> {
    let line = text.lines().find_map(|line| line.split("Collected : ").nth(1));
    let counters = line.map(|line| line.split(' ').map(str::parse).collect());
    match counters {
        Some(Ok(counters)) => Ok(counters),
        _ => Err(Error::other(format!("valgrind says: {text}"))),
    }
}

/// Does what [`ACT`] asks for.
pub(crate) fn act(asked: &str) -> Result<()> {
    let wrong = || Error::other(format!("{ACT}: {asked}?"));
    let parts: Vec<_> = asked.split('/').collect();
    let [executor, act, operations] = parts[..] else { return Err(wrong()) };
    let executor = EXECUTORS.iter().find(|known| known.name == executor).ok_or_else(wrong)?;
    let (_, act, _) = ACTS.iter().find(|(name, ..)| *name == act).ok_or_else(wrong)?;
    (executor.time)(*act, operations.parse().map_err(Error::other)?).map(drop)
}

/// Whether valgrind can be run. If not, says so.
fn has_valgrind() -> bool {
    let found = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    found.inspect_err(|error| eprintln!("peers: nothing is counted: valgrind: {error}")).is_ok()
}

pub(crate) const PER_MESSAGE: &str = "User instructions per message";

/// Runtimes that are not counted: valgrind does not see what the kernel writes to the memory of
/// io_uring, and a message of 1 KiB needs no buffer of 64 KiB.
const NOT_COUNTED: [&str; 2] = ["monoio uring", "tokio 64 KiB"];

/// Counts for all runtimes: instructions and misses per message, and per operation of an executor.
pub(crate) fn measure() -> Result<Vec<Table>> {
    let mut tables = Vec::new();
    if !has_valgrind() {
        return Ok(tables);
    }
    for (instructions, misses, works) in [
        (PER_MESSAGE, "Data misses per message", [ONE, FIFTY, THOUSAND]),
        ("User instructions per operation", "Data misses per operation", [SPAWN, YIELD, WAKE]),
    ] {
        let runtimes = works[0].runtimes();
        // Compared with no miss at all, a single one would be infinitely many.
        let table = |title| Table::new(title, Better::Less, &runtimes).at_least(1.0);
        let mut pair = [instructions, misses].map(table);
        for work in works {
            let counts = runtimes.iter().map(|runtime| {
                (!NOT_COUNTED.contains(runtime)).then(|| work.count(runtime)).transpose()
            });
            let counts = counts.collect::<Result<Vec<_>>>()?;
            let of = |field: fn(Counts) -> f64| counts.iter().map(move |c| c.map(field));
            pair[0].push(work.name(), of(|counts| counts.instructions));
            pair[1].push(work.name(), of(|counts| counts.misses));
        }
        tables.extend(pair);
    }
    Ok(tables)
}

/// One of the counters.
struct Counter {
    name: &'static str,
    of: fn(Counts) -> f64,
}

const INSTRUCTIONS: Counter = Counter { name: "instructions", of: |counts| counts.instructions };
const MISSES: Counter = Counter { name: "data misses", of: |counts| counts.misses };

/// The largest multiple of another runtime's counts that ours may have: a little more than it was
/// when the limit was set. Raise one only with a reason.
const LIMITS: [(Work, Counter, &str, f64); 6] = [
    (FIFTY, INSTRUCTIONS, "tokio", 0.56),
    (FIFTY, INSTRUCTIONS, "mio loop", 4.0),
    (THOUSAND, MISSES, "tokio", 1.4),
    (SPAWN, INSTRUCTIONS, "tokio LocalSet", 0.52),
    (YIELD, INSTRUCTIONS, "tokio LocalSet", 0.56),
    (WAKE, INSTRUCTIONS, "tokio LocalSet", 0.84),
];

/// Compares our counts with [`LIMITS`], and exits with an error if one is exceeded.
pub(crate) fn guard() -> Result<()> {
    if !has_valgrind() {
        return Ok(());
    }
    let mut known = HashMap::new();
    let mut count = |work: Work, runtime| match known.entry((work.name(), runtime)) {
        Entry::Occupied(entry) => Ok::<Counts, Error>(*entry.get()),
        Entry::Vacant(entry) => Ok(*entry.insert(work.count(runtime)?)),
    };
    let mut exceeded = Vec::new();
    println!("{:>46}{:>31}{:>8}{:>8}", "ours", "theirs", "ratio", "limit");
    for (work, counter, runtime, limit) in LIMITS {
        let (work_name, counter_name) = (work.name(), counter.name);
        let [ours, theirs] = [count(work, "ours")?, count(work, runtime)?].map(counter.of);
        let ratio = ours / theirs;
        print!("{work_name:20}{counter_name:>14}{ours:>12.1}   {runtime:16}{theirs:>12.1}");
        println!("{ratio:>8.2}{limit:>8.2}");
        if ratio > limit {
            exceeded.push(format!(
                "{work_name}: {counter_name} are {ratio:.2} × those of {runtime}, over {limit:.2}"
            ));
        }
    }
    if !exceeded.is_empty() {
        eprintln!("peers: the limit is exceeded: {}", exceeded.join("; "));
        process::exit(1);
    }
    Ok(())
}
