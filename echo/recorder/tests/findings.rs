//! What stands out in a recording is found, and nothing else.
//!
//! Method: a server with fifty clients, with and without trouble.

#[path = "programs/loaded.rs"]
mod loaded;

use std::sync::{LazyLock, Mutex, PoisonError};

use loaded::{PLANTED, Trouble, troubled};
use log::LevelFilter;
use recorder::{Anomaly, Kind, Options, Recorder, Recording};

static RECORDER: LazyLock<&Recorder> = LazyLock::new(|| {
    let options = Options::recording(100_000);
    Recorder::install(Box::new(log::logger()), LevelFilter::Off, options).expect("no other logger")
});

/// Makes the tests of this process take turns, because they share one recorder.
static ALONE: Mutex<()> = Mutex::new(());

fn record(trouble: Trouble) -> Recording {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    loaded::record(*RECORDER, trouble)
}

#[test]
fn block_lost_task_and_flood_are_the_only_findings() {
    let recording = record(PLANTED);
    let [blocks, is_lost, floods] = troubled(&recording);
    let mut findings = recording.findings();
    findings.sort_by_key(|finding| finding.task);
    let texts: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let [held, lost, share] = &findings[..] else { panic!("{texts:#?}") };
    assert_eq!([held.task, lost.task, share.task], [blocks, is_lost, floods], "{texts:#?}");
    let Anomaly::Held(length) = held.anomaly else { panic!("{texts:#?}") };
    assert!(length >= PLANTED.block && held.to - held.from == length, "{texts:#?}");
    assert_eq!(lost.anomaly, Anomaly::Lost);
    let Anomaly::Share(percent) = share.anomaly else { panic!("{texts:#?}") };
    assert!((50..100).contains(&percent), "{texts:#?}");
    let step = |number: u64| recording.events.iter().find(|event| event.number == number).unwrap();
    for finding in &findings {
        assert_eq!(step(finding.step).task_id(), Some(finding.task), "{finding}");
    }
    assert_eq!(step(lost.step).kind, Kind::Lost);
}

#[test]
fn nothing_stands_out_among_equal_clients() {
    let findings = record(Trouble::default()).findings();
    assert!(findings.is_empty(), "{findings:#?}");
}
