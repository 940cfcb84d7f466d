//! The pages that the tests open. They show real runs, and each is made once.

use std::cell::Cell;
use std::fs;
use std::future::pending;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::rc::Rc;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use executor::{block_on, spawn_named};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use log::{LevelFilter, Log, Metadata, Record};
use reactor::time::sleep;
use recorder::{Options, Page, Program, Recorder, Recording, Run};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::{DEADLINE, page_data, tcp_pair, until};

#[path = "../programs/loaded.rs"]
mod server;

/// The program that is recorded.
const ECHOD: &str = env!("CARGO_BIN_EXE_echod");

/// A page, and the data in it.
pub(super) struct Recorded {
    pub(super) file: PathBuf,
    pub(super) data: Value,
}

impl Recorded {
    fn read(file: PathBuf) -> Recorded {
        let html = fs::read_to_string(&file).expect("the page was written");
        Recorded { file, data: page_data(&html) }
    }

    /// The first run on it, and mostly the only one.
    pub(super) fn run(&self) -> &Value {
        &self.data["runs"][0]
    }
}

/// A file of this process's own: others may test at the same time. Those of the ones that have
/// ended are removed.
fn file(name: &str) -> PathBuf {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("viewer");
    let folder = all.join(process::id().to_string());
    fs::create_dir_all(&folder).unwrap();
    for other in fs::read_dir(all).unwrap().flatten() {
        if !Path::new("/proc").join(other.file_name()).exists() {
            let _ = fs::remove_dir_all(other.path());
        }
    }
    folder.join(name)
}

/// One connection, one byte.
pub(super) fn demo() -> &'static Recorded {
    static DEMO: LazyLock<Recorded> = LazyLock::new(|| {
        let file = file("demo.html");
        let mut echod = Command::new(ECHOD);
        echod.args(["--demo", "--trace"]).arg(&file).stdout(Stdio::null());
        assert!(echod.status().unwrap().success());
        Recorded::read(file)
    });
    &DEMO
}

/// More than 5,000 steps of thirty connections, and none was dropped.
pub(super) fn long() -> &'static Recorded {
    static LONG: LazyLock<Recorded> = LazyLock::new(|| serve("long.html", 30, 20, "20000"));
    &LONG
}

/// The last steps of some more: nobody there accepts anybody.
pub(super) fn cut() -> &'static Recorded {
    static CUT: LazyLock<Recorded> = LazyLock::new(|| serve("cut.html", 4, 160, "4500"));
    &CUT
}

/// A server for some clients, each of which sends some messages and waits for each answer.
fn serve(name: &str, clients: usize, messages: usize, events: &str) -> Recorded {
    let file = file(name);
    let mut echod = Command::new(ECHOD);
    echod.arg("--trace").arg(&file).args(["--trace-events", events, "127.0.0.1:0"]);
    let mut server = echod.stdout(Stdio::piped()).spawn().unwrap();
    let mut listening = String::new();
    let stdout = server.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut listening).unwrap();
    let address = listening.trim().strip_prefix("listening tcp ").expect("it listens");
    let connect = |_| {
        let client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client
    };
    let mut clients: Vec<TcpStream> = (0..clients).map(connect).collect();
    for _ in 0..messages {
        for client in &mut clients {
            client.write_all(b"hello").unwrap();
            client.read_exact(&mut [0; 5]).unwrap();
        }
    }
    drop(clients);
    kill_process(Pid::from_child(&server), Signal::TERM).unwrap();
    assert!(server.wait().unwrap().success());
    Recorded::read(file)
}

/// A server with fifty clients and three faults: a blocking poll, a lost task and a flood.
pub(super) fn loaded() -> &'static Recorded {
    static LOADED: LazyLock<Recorded> = LazyLock::new(|| {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let recording = server::record(*RECORDER, server::PLANTED);
        let file = file("loaded.html");
        let run = Run::new("A server with fifty clients.", recording);
        fs::write(&file, Page::new("loaded", run).html()).unwrap();
        Recorded::read(file)
    });
    &LOADED
}

pub(super) const VERDICTS: [&str; 2] = [
    "**Both bytes are read.** The source holds the waker of the task after each read.",
    "**One byte is left.** Nothing holds the waker of the task, so no event can wake it.",
];

/// The program of the two runs. Its last line is the wrong one.
const READS: &str = "while server.read(byte) {
    // Right: read the next byte.
    continue;
    // Wrong: wait forever.
    pending().await;
}
";

/// Two runs of one task: it reads until the end; or, in the second one, once.
pub(super) fn compared() -> &'static Recorded {
    static COMPARED: LazyLock<Recorded> = LazyLock::new(|| {
        let runs = [("right", false), ("with the fault", true)].map(|(label, once)| {
            let mut run = Run::new("Two runs, which part.", read_bytes(once));
            run.label = label.to_owned();
            run.verdict = VERDICTS[usize::from(once)].to_owned();
            run.program = Some(Program::new("reads.rs", READS));
            run.line = Some(if once { 5 } else { 3 });
            run
        });
        let file = file("compared.html");
        fs::write(&file, Page::compare("read once", runs).html()).unwrap();
        Recorded::read(file)
    });
    &COMPARED
}

/// Two runs of a task that holds the thread, for 60 ms and for 20 ms, while the timer of another task
/// expires.
pub(super) fn blocked() -> &'static Recorded {
    static BLOCKED: LazyLock<Recorded> = LazyLock::new(|| {
        let runs = [60, 20].map(|millis| {
            let recording = hold_thread(Duration::from_millis(millis));
            let mut run = Run::new("One task holds the thread.", recording);
            run.label = format!("{millis} ms");
            run
        });
        let file = file("blocked.html");
        fs::write(&file, Page::compare("blocked", runs).html()).unwrap();
        Recorded::read(file)
    });
    &BLOCKED
}

fn hold_thread(length: Duration) -> Recording {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let recorder = *RECORDER;
    block_on(async {
        recorder.start();
        let sleeps = spawn_named("sleeps", sleep(Duration::from_millis(10)));
        let holds = spawn_named("holds", async move { thread::sleep(length) });
        holds.await.unwrap();
        sleeps.await.unwrap();
        recorder.recording().following(&[1, 2])
    })
}

/// A logger that logs nothing: the recorder around it hears all.
struct Silent;

impl Log for Silent {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    fn log(&self, _: &Record<'_>) {}

    fn flush(&self) {}
}

static RECORDER: LazyLock<&Recorder> = LazyLock::new(|| {
    let options = Options::recording(100_000);
    let installed = Recorder::install(Box::new(Silent), LevelFilter::Off, options);
    installed.expect("no other test of this process has a logger")
});

/// Makes the recordings of this process take turns.
static ALONE: Mutex<()> = Mutex::new(());

fn read_bytes(once: bool) -> Recording {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // Before the main future begins: what it does is known, and then left out.
    let recorder = *RECORDER;
    block_on(async {
        let (mut client, mut server) = tcp_pair().await.unwrap();
        recorder.start();
        let count = Rc::new(Cell::new(0));
        let counted = count.clone();
        let reads = spawn_named("reads", async move {
            while server.read(&mut [0]).await.unwrap() > 0 {
                counted.set(counted.get() + 1);
                if once {
                    pending::<()>().await;
                }
            }
        });
        for nth in 1..=2 {
            client.write_all(b"x").await.unwrap();
            until(|| once && nth > 1 || count.get() == nth).await;
        }
        drop(client);
        if !once {
            reads.await.unwrap();
        }
        recorder.recording().following(&[1])
    })
}
