//! Polls that block the thread are reported, once for each spawn location.
//!
//! Method: a logger behind the recorder collects the reports. Each test finds its own tasks by their names,
//! which are unique.

use std::future::pending;
use std::sync::{Mutex, Once};
use std::thread::sleep;
use std::time::Duration;

use executor::{JoinHandle, block_on, spawn, spawn_named, yield_now};
use log::{Level, LevelFilter, Log, Metadata, Record};
use recorder::{Options, Recorder, SlowPolls};
use tests::{run, within_deadline};

const LIMIT: Duration = Duration::from_millis(10);
const TOO_LONG: Duration = Duration::from_millis(30);

static REPORTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Collects the reports.
struct Reports;

impl Log for Reports {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn && metadata.target().starts_with("recorder")
    }

    fn log(&self, record: &Record<'_>) {
        REPORTS.lock().unwrap().push(record.args().to_string());
    }

    fn flush(&self) {}
}

fn install() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let mut options = Options::default();
        options.slow_polls = Some(SlowPolls::new(LIMIT));
        let installed = Recorder::install(Box::new(Reports), LevelFilter::Warn, options);
        assert!(installed.is_ok(), "no other logger");
    });
}

/// Returns the reports that contain this word.
fn reports(word: &str) -> Vec<String> {
    let reports = REPORTS.lock().unwrap();
    reports.iter().filter(|report| report.contains(word)).cloned().collect()
}

/// Blocks in each of two polls.
async fn blocks_twice() {
    sleep(TOO_LONG);
    yield_now().await;
    sleep(TOO_LONG);
}

#[test]
fn task_that_blocks_twice_is_reported_once() {
    install();
    let place = run(|| async {
        let (task, line) = (spawn_named("twice", blocks_twice()), line!());
        task.await.unwrap();
        format!("{}:{line}", file!())
    });
    let reports = reports("\"twice\"");
    let [report] = &reports[..] else { panic!("{reports:#?}") };
    assert!(report.contains(&place), "{place}: {report}");
    assert!(report.starts_with("one poll of task 1 \"twice\" blocked the thread for "), "{report}");
    let (_, held) = report.split_once("for ").unwrap();
    let (millis, _) = held.split_once(" ms,").expect("some thirty milliseconds");
    assert!(millis.parse::<f64>().unwrap() >= TOO_LONG.as_secs_f64() * 1e3 - 1.0, "{report}");
}

#[test]
fn each_spawn_location_is_reported_once() {
    install();
    run(|| async {
        for _ in 0..3 {
            spawn_named("from here", blocks_twice()).await.unwrap();
        }
        spawn_named("from there", blocks_twice()).await.unwrap();
    });
    assert_eq!(reports("\"from here\"").len(), 1);
    assert_eq!(reports("\"from there\"").len(), 1);
}

// Only the time of a single poll counts.
#[test]
fn waiting_task_is_not_reported() {
    install();
    let spawns: [fn() -> JoinHandle<()>; 3] = [
        || spawn_named("waits", reactor::time::sleep(TOO_LONG)),
        || spawn_named("waits", reactor::time::sleep(TOO_LONG)),
        || spawn_named("waits", reactor::time::sleep(TOO_LONG)),
    ];
    assert_innocent("waits", spawns, |spawn| run(move || async move { spawn().await.unwrap() }));
}

/// Checks that no task with this name is reported. On a busy machine the kernel may preempt the thread in
/// a poll, which counts. So there are three attempts, each with another spawn location.
#[track_caller]
fn assert_innocent<T>(
    name: &str,
    spawns: [fn() -> JoinHandle<T>; 3],
    attempt: impl Fn(fn() -> JoinHandle<T>),
) {
    let name = format!("\"{name}\"");
    let innocent = spawns.into_iter().any(|spawn| {
        let before = reports(&name).len();
        attempt(spawn);
        reports(&name).len() == before
    });
    assert!(innocent, "{:#?}", reports(&name));
}

#[test]
fn main_future_that_blocks_is_reported() {
    install();
    let place = within_deadline(|| {
        let line = line!() + 1;
        block_on(async { sleep(TOO_LONG) });
        format!("{}:{line}", file!())
    });
    let reports = reports(&place);
    assert_eq!(reports.len(), 1, "{place}: {reports:#?}");
    assert!(
        reports[0].starts_with("one poll of the main future blocked the thread"),
        "{reports:?}"
    );
}

#[test]
fn task_that_blocks_in_its_last_poll_is_reported() {
    install();
    let blocks_and_panics = || async {
        sleep(TOO_LONG);
        panic!("as expected");
    };
    run(move || async move {
        assert!(spawn_named("panics", blocks_and_panics()).await.is_err());
        spawn_named("ends", async { sleep(TOO_LONG) }).await.unwrap();
    });
    assert_eq!((reports("\"panics\"").len(), reports("\"ends\"").len()), (1, 1));
}

// The task is aborted within the poll of another task. That poll continues, and is the slow one.
#[test]
fn task_that_blocks_after_an_abort_is_reported() {
    install();
    let spawns: [fn() -> JoinHandle<()>; 3] = [
        || spawn_named("victim", pending()),
        || spawn_named("victim", pending()),
        || spawn_named("victim", pending()),
    ];
    assert_innocent("victim", spawns, |spawn| {
        run(move || async move {
            let victim = spawn();
            let aborts = async move {
                victim.abort();
                sleep(TOO_LONG);
            };
            spawn_named("aborts", aborts).await.unwrap();
        });
    });
    assert_eq!(reports("\"aborts\"").len(), 1);
}

#[test]
fn unnamed_task_is_reported_by_its_spawn_location() {
    install();
    let place = run(|| async {
        let (task, line) = (spawn(async { sleep(TOO_LONG) }), line!());
        task.await.unwrap();
        format!("{}:{line}", file!())
    });
    let reports = reports(&place);
    assert_eq!(reports.len(), 1, "{place}: {reports:#?}");
    assert!(reports[0].starts_with("one poll of task 1 blocked the thread for "), "{reports:?}");
}
