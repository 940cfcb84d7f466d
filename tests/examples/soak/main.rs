//! Runs `echod` under a mixed load for a given time, and checks that nothing is lost and nothing
//! grows.
//!
//! ```text
//! cargo run --release -p tests --example soak -- --minutes 60 --threads 2
//! cargo run --release -p tests --example soak -- --seconds 10           a short run
//! cargo run --release -p tests --example soak -- --minutes 60 --threads 1,2 --slower 3 --readme
//! ```
//!
//! Six kinds of clients run concurrently: see `clients.rs`. They compare every byte. The load is
//! paced, so that it is the same all the time and latencies are not those of a saturated server.
//! `--slower 3` makes all pauses three times as long. `--threads 1,2` runs two servers at the same
//! time, each with clients of its own. The output is one table for each run, and a plot (SVG) of all
//! runs. `--readme` writes both into `tests/README.md`.
//!
//! The program fails if a client fails, if a byte is wrong, if descriptors are left over at the end,
//! if the memory grows, if the idle server uses CPU time, or if the server does not end cleanly.

mod clients;
mod plot;
mod samples;

use std::env;
use std::fs;
use std::io::{Error, Result};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use tests::DEADLINE;
use tests::echod::Echod;
use tests::process::{cpu_time_of_threads, descriptors};

use clients::{KINDS, Load};
use samples::{Observer, Run};

/// The number of samples of a run, unless that would be more than one per second.
const SAMPLES: u32 = 120;

/// The CPU time that the server may use in a second without a client.
const IDLE_CPU: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    let arguments = match Arguments::parse() {
        Ok(arguments) => arguments,
        Err(text) => {
            eprintln!(
                "soak: {text}; the options are --minutes N, --seconds N, --threads N[,N], --slower N, \
                 --readme"
            );
            return ExitCode::from(2);
        }
    };
    match run_all(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    time: Duration,
    threads: Vec<usize>,
    slower: u32,
    readme: bool,
}

impl Arguments {
    fn parse() -> std::result::Result<Arguments, String> {
        let mut parsed =
            Arguments { time: Duration::from_secs(60), threads: vec![1], slower: 1, readme: false };
        let mut arguments = env::args().skip(1);
        while let Some(option) = arguments.next() {
            if option == "--readme" {
                parsed.readme = true;
                continue;
            }
            let value = arguments.next().ok_or(format!("{option} needs a value"))?;
            let wrong = |_| format!("{option} {value} is not a number");
            match option.as_str() {
                "--minutes" => {
                    parsed.time = Duration::from_secs(60 * value.parse::<u64>().map_err(wrong)?);
                }
                "--seconds" => parsed.time = Duration::from_secs(value.parse().map_err(wrong)?),
                "--threads" => {
                    let numbers = value.split(',').map(str::parse);
                    parsed.threads =
                        numbers.collect::<std::result::Result<_, _>>().map_err(wrong)?;
                }
                "--slower" => parsed.slower = value.parse().map_err(wrong)?,
                _ => return Err(format!("{option} is not an option")),
            }
        }
        if parsed.time.is_zero() || parsed.threads.contains(&0) || parsed.slower == 0 {
            return Err("a time, a number of threads and a factor must be more than 0".to_owned());
        }
        Ok(parsed)
    }
}

fn run_all(arguments: &Arguments) -> Result<()> {
    let date = today()?;
    let runs = thread::scope(|scope| {
        let start = |&threads: &usize| scope.spawn(move || soak(threads, arguments));
        let running: Vec<_> = arguments.threads.iter().map(start).collect();
        let ended = running.into_iter().map(|run| run.join().expect("a run does not panic"));
        ended.collect::<Result<Vec<Run>>>()
    })?;
    runs.iter().for_each(|run| println!("{}", run.markdown()));
    let plot = plot::svg(&runs);
    if arguments.readme {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        fs::write(folder.join("soak.svg"), plot)?;
        replace(&folder.join("README.md"), &readme(&runs, &date))
    } else {
        let path = env::current_exe()?.with_file_name("soak.svg");
        fs::write(&path, plot)?;
        println!("The plot is in {}.", path.display());
        Ok(())
    }
}

/// Runs one server under load, and checks it.
fn soak(threads: usize, arguments: &Arguments) -> Result<Run> {
    let time = arguments.time;
    let server = Echod::start(&["--threads", &threads.to_string(), "127.0.0.1:0"])?;
    let pid = server.pid();
    let before = descriptors(pid).len();
    let load = Load::new(server.tcp()?, arguments.slower);
    let mut observer = Observer::new(pid, &load);
    thread::scope(|scope| {
        for (name, client) in KINDS {
            let load = &load;
            let run = move || client(load).unwrap_or_else(|error| load.fail(name, &error));
            thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, run)?;
        }
        let interval = (time / SAMPLES).max(Duration::from_secs(1));
        let begin = Instant::now();
        while begin.elapsed() < time && !load.has_failed() {
            sleep(interval.min(time - begin.elapsed().min(time)));
            observer.sample();
        }
        load.stop();
        Result::Ok(())
    })?;
    let run = observer.finish(threads);
    load.result()?;
    run.check_memory()?;
    eventually(|| descriptors(pid).len() <= before, "descriptors are left over")?;
    let cpu = cpu_time_of_threads(pid);
    sleep(Duration::from_secs(1));
    let cpu = cpu_time_of_threads(pid) - cpu;
    if cpu > IDLE_CPU {
        return Err(Error::other(format!("the idle server uses {cpu:?} of CPU time in a second")));
    }
    let (status, output) = server.stop()?;
    let complaint = output.stderr.lines().find(|line| !line.starts_with("[INFO "));
    if !status.success() || complaint.is_some() {
        return Err(Error::other(format!("the server ended with {status}: {complaint:?}")));
    }
    Ok(run)
}

fn eventually(condition: impl Fn() -> bool, otherwise: &str) -> Result<()> {
    let begin = Instant::now();
    while !condition() {
        if begin.elapsed() > DEADLINE {
            return Err(Error::other(otherwise));
        }
        sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// The section of the README.
fn readme(runs: &[Run], date: &str) -> String {
    let options: Vec<String> = env::args().skip(1).filter(|option| option != "--readme").collect();
    let tables: Vec<String> = runs.iter().map(Run::markdown).collect();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').nth(2).unwrap_or("?");
    let cores = thread::available_parallelism().map_or(1, usize::from);
    format!(
        "Measured on {date} with `{}`, all servers at the same time, on a machine with {cores} cores \
         that other programs used too (average load in the last 15 minutes: \
         {load}).\n\n{}\n![Throughput, latency, descriptors, memory and CPU time over \
         time](soak.svg)\n",
        options.join(" "),
        tables.join("\n")
    )
}

/// Replaces what is between the two marks of a page.
fn replace(path: &Path, text: &str) -> Result<()> {
    const BEGIN: &str = "<!-- soak -->\n";
    const END: &str = "<!-- /soak -->";
    let page = fs::read_to_string(path)?;
    let parts =
        page.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?)));
    let Some((before, (_, after))) = parts else {
        return Err(Error::other(format!("{} has no marks", path.display())));
    };
    fs::write(path, format!("{before}{BEGIN}{text}{END}{after}"))
}

fn today() -> Result<String> {
    let output = Command::new("date").args(["-u", "+%F"]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
