//! What is measured during a run, and the table.

use std::fmt::Write;
use std::io::{Error, Result};
use std::mem;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tests::process::{cpu_time_of_threads, descriptors, resident};

use crate::clients::Load;

/// The number of rows of a table.
const ROWS: usize = 10;

/// How many latencies lie in each class of the width of 1/32 octave, so that a percentile is
/// accurate to about two percent.
#[derive(Clone, Default)]
pub(crate) struct Histogram(Vec<u64>);

/// The classes per octave.
const CLASSES: f64 = 32.0;

impl Histogram {
    pub(crate) fn add(&mut self, latency: Duration) {
        let microseconds = (latency.as_secs_f64() * 1e6).max(1.0);
        let class = (microseconds.log2() * CLASSES) as usize;
        if self.0.len() <= class {
            self.0.resize(class + 1, 0);
        }
        self.0[class] += 1;
    }

    fn merge(&mut self, other: &Histogram) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        self.0.iter_mut().zip(&other.0).for_each(|(count, other)| *count += other);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Returns the latency in microseconds that this share of the messages does not exceed.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let rank = (self.count() as f64 * share).ceil().max(1.0) as u64;
        let mut below = 0;
        let class = self.0.iter().position(|count| {
            below += count;
            below >= rank
        });
        class.map_or(f64::NAN, |class| ((class as f64 + 0.5) / CLASSES).exp2())
    }
}

/// What happened between two points in time, and the state at the second one.
#[derive(Clone, Default)]
pub(crate) struct Sample {
    /// The time since the begin of the run.
    pub(crate) end: Duration,
    pub(crate) time: Duration,
    pub(crate) connections: u64,
    pub(crate) bytes: u64,
    pub(crate) latencies: Histogram,
    pub(crate) cpu: Duration,
    pub(crate) descriptors: usize,
    /// Resident bytes.
    pub(crate) memory: u64,
}

impl Sample {
    pub(crate) fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.time.as_secs_f64() / 1e6
    }

    /// CPU time as a share of one core, in percent.
    pub(crate) fn cpu_percent(&self) -> f64 {
        self.cpu.as_secs_f64() / self.time.as_secs_f64() * 100.0
    }

    /// Adds the next sample. Of the state, the largest values count.
    fn merge(&mut self, next: &Sample) {
        self.end = next.end;
        self.time += next.time;
        self.connections += next.connections;
        self.bytes += next.bytes;
        self.latencies.merge(&next.latencies);
        self.cpu += next.cpu;
        self.descriptors = self.descriptors.max(next.descriptors);
        self.memory = self.memory.max(next.memory);
    }

    fn row(&self, name: &str) -> String {
        let per_second = |count: u64| count as f64 / self.time.as_secs_f64();
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| self.latencies.percentile(share));
        format!(
            "| {name} | {:.1} | {:.0} | {:.0} | {p50:.0} | {p99:.0} | {p999:.0} | {} | {:.1} | {:.0} |",
            self.megabytes_per_second(),
            per_second(self.latencies.count()),
            per_second(self.connections),
            self.descriptors,
            self.memory as f64 / f64::from(1 << 20),
            self.cpu_percent(),
        )
    }
}

/// Takes the samples of one run.
pub(crate) struct Observer<'a> {
    pid: u32,
    load: &'a Load,
    begin: Instant,
    samples: Vec<Sample>,
    /// The totals at the last sample.
    connections: u64,
    bytes: u64,
    cpu: Duration,
}

impl<'a> Observer<'a> {
    pub(crate) fn new(pid: u32, load: &'a Load) -> Observer<'a> {
        let (begin, cpu) = (Instant::now(), cpu_time_of_threads(pid));
        Observer { pid, load, begin, samples: Vec::new(), connections: 0, bytes: 0, cpu }
    }

    pub(crate) fn sample(&mut self) {
        let end = self.begin.elapsed();
        let before = self.samples.last().map_or(Duration::ZERO, |sample| sample.end);
        let connections = self.load.connections.load(Relaxed);
        let bytes = self.load.bytes.load(Relaxed);
        let cpu = cpu_time_of_threads(self.pid);
        let mut latencies = self.load.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        self.samples.push(Sample {
            end,
            time: end - before,
            connections: connections - mem::replace(&mut self.connections, connections),
            bytes: bytes - mem::replace(&mut self.bytes, bytes),
            latencies: mem::take(&mut latencies),
            cpu: cpu - mem::replace(&mut self.cpu, cpu),
            descriptors: descriptors(self.pid).len(),
            memory: resident(self.pid),
        });
    }

    pub(crate) fn finish(self, threads: usize) -> Run {
        Run { threads, samples: self.samples }
    }
}

/// The samples of one run.
pub(crate) struct Run {
    pub(crate) threads: usize,
    pub(crate) samples: Vec<Sample>,
}

impl Run {
    /// Returns the run as one sample.
    fn total(&self) -> Sample {
        let mut total = Sample::default();
        self.samples.iter().for_each(|sample| total.merge(sample));
        total
    }

    /// Returns an error if the memory in the last quarter exceeds that in the second quarter by more
    /// than a quarter and 4 MiB.
    pub(crate) fn check_memory(&self) -> Result<()> {
        let quarter = self.samples.len().div_ceil(4).max(1);
        let most = |samples: &[Sample]| samples.iter().map(|sample| sample.memory).max();
        let Some(early) = self.samples.get(quarter..2 * quarter).and_then(most) else {
            return Ok(());
        };
        let late = most(&self.samples[self.samples.len() - quarter..]).unwrap_or(0);
        if late <= early / 4 * 5 + (4 << 20) {
            return Ok(());
        }
        Err(Error::other(format!("the memory grew from {} to {} KiB", early >> 10, late >> 10)))
    }

    /// The table, with a row for each tenth of the run and one for all of it.
    pub(crate) fn markdown(&self) -> String {
        let total = self.total();
        let threads =
            if self.threads == 1 { "1 thread".into() } else { format!("{} threads", self.threads) };
        let gigabytes = total.bytes as f64 / 1e9;
        let mut text = format!(
            "{threads}, {}: {gigabytes:.1} GB in {} connections, and every byte was right.\n\n\
             | until | MB/s | messages/s | connections/s | p50 µs | p99 µs | p99.9 µs | descriptors | \
             RSS MiB | CPU % |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
            duration(total.end),
            total.connections,
        );
        for rows in self.samples.chunks(self.samples.len().div_ceil(ROWS).max(1)) {
            let mut row = Sample::default();
            rows.iter().for_each(|sample| row.merge(sample));
            writeln!(text, "{}", row.row(&duration(row.end))).expect("a string");
        }
        writeln!(text, "{}", total.row("all")).expect("a string");
        text
    }
}

fn duration(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min", (seconds + 30) / 60),
    }
}
