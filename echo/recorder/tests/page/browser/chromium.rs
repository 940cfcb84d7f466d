//! The process of the browser, and the messages to and from it.
//!
//! The DevTools protocol needs no socket here: with `--remote-debugging-pipe` Chromium reads
//! requests from descriptor 3, and writes replies and events to descriptor 4. Each message is JSON
//! and ends with a NUL byte. Two threads do the blocking calls, so that a browser that hangs cannot
//! make a test hang.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use tests::{DEADLINE, named_folder};

/// Moves the two pipes, which std can only give as descriptors 0 and 1, to where Chromium wants
/// them. With `exec`, so that the process is the browser and not a shell that waits for it.
const MOVE_PIPES: &str = r#"exec "$0" "$@" 3<&0 4>&1 0</dev/null 1>/dev/null"#;

/// Without the sandbox, which root and many containers cannot have: the pages are our own. The
/// others keep the browser from talking to anybody but the test.
const FLAGS: [&str; 10] = [
    "--remote-debugging-pipe",
    "--headless",
    "--no-sandbox",
    "--no-startup-window",
    "--no-first-run",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// A running Chromium, which any number of threads may use.
pub(super) struct Chromium {
    child: Child,
    /// Holds all that it writes: the profile, its temporary files and its standard error.
    folder: PathBuf,
    requests: Sender<String>,
    inbox: Arc<Inbox>,
    /// The number of the last request.
    last: AtomicU64,
}

/// What the browser has sent.
#[derive(Default)]
struct Inbox {
    received: Mutex<Received>,
    changed: Condvar,
}

#[derive(Default)]
struct Received {
    /// The replies that their callers have not taken yet, by the number of the request.
    replies: HashMap<u64, Value>,
    /// The events of each page, in order, by the page's session.
    events: HashMap<String, Vec<Value>>,
    /// Whether the browser has closed its pipe.
    gone: bool,
}

impl Chromium {
    pub(super) fn start(program: &Path) -> Chromium {
        let folder = named_folder(&format!("browser-{}-", process::id())).keep();
        let errors = File::create(folder.join("stderr")).expect("a file in our own folder");
        let mut child = Command::new("sh")
            .args(["-c", MOVE_PIPES])
            .arg(program)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", folder.display()))
            .env("TMPDIR", &folder)
            .env("XDG_CONFIG_HOME", &folder)
            .env("XDG_CACHE_HOME", &folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            // One of its own: all that it starts can be killed with it.
            .process_group(0)
            .spawn()
            .expect("a process for the browser");
        let requests = write_to(child.stdin.take().expect("piped"));
        let inbox = read_from(child.stdout.take().expect("piped"));
        Chromium { child, folder, requests, inbox, last: AtomicU64::new(0) }
    }

    /// Sends a request, and waits for its reply. `session` is the page meant, or empty for the
    /// browser itself.
    #[track_caller]
    pub(super) fn call(&self, session: &str, method: &str, params: &Value) -> Value {
        let id = self.send(session, method, params);
        let mut reply = self.receive(method, |received| received.replies.remove(&id));
        assert!(reply.get("error").is_none(), "{method}: {}", reply["error"]["message"]);
        reply["result"].take()
    }

    /// Sends a request and returns its number, without waiting for the reply.
    pub(super) fn send(&self, session: &str, method: &str, params: &Value) -> u64 {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let mut request = json!({ "id": id, "method": method, "params": params });
        if !session.is_empty() {
            request["sessionId"] = session.into();
        }
        // If the browser has ended, the wait for the reply reports it.
        let _ = self.requests.send(request.to_string());
        id
    }

    /// Waits for an event of a page, which may have arrived already.
    #[track_caller]
    pub(super) fn wait_for(&self, session: &str, what: &str, is_it: impl Fn(&Value) -> bool) {
        self.receive(what, |received| {
            received.events.get(session)?.iter().find(|e| is_it(e)).map(drop)
        });
    }

    /// The events of a page so far.
    pub(super) fn events(&self, session: &str) -> Vec<Value> {
        self.inbox.lock().events.get(session).cloned().unwrap_or_default()
    }

    /// Forgets the events of a page.
    pub(super) fn forget(&self, session: &str) {
        self.inbox.lock().events.remove(session);
    }

    /// Waits until the browser has sent what `find` looks for.
    #[track_caller]
    fn receive<T>(&self, what: &str, find: impl Fn(&mut Received) -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        let mut received = self.inbox.lock();
        loop {
            if let Some(found) = find(&mut received) {
                return found;
            }
            assert!(!received.gone, "{what}: the browser has gone\n{}", self.errors());
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what}: the browser does not answer");
            let waited = self.inbox.changed.wait_timeout(received, left);
            received = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn errors(&self) -> String {
        fs::read_to_string(self.folder.join("stderr")).unwrap_or_default()
    }
}

impl Inbox {
    /// Locks the inbox. Ignores poisoning, so that the panic of one test does not fail the others.
    fn lock(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
        // Those that it had started end a little later, and may still write.
        let start = Instant::now();
        while let Err(error) = fs::remove_dir_all(&self.folder) {
            if error.kind() == ErrorKind::NotFound || start.elapsed() > DEADLINE {
                break;
            }
            thread::park_timeout(Duration::from_millis(5));
        }
    }
}

fn write_to(mut pipe: impl Write + Send + 'static) -> Sender<String> {
    let (sender, requests) = channel::<String>();
    thread::spawn(move || {
        for request in requests {
            let Ok(()) = pipe.write_all(format!("{request}\0").as_bytes()) else { return };
        }
    });
    sender
}

fn read_from(pipe: impl Read + Send + 'static) -> Arc<Inbox> {
    let inbox = Arc::new(Inbox::default());
    let receiving = inbox.clone();
    thread::spawn(move || {
        for message in BufReader::new(pipe).split(0).map_while(Result::ok) {
            let message: Value = serde_json::from_slice(&message).expect("the browser sends JSON");
            let mut received = receiving.lock();
            match message["id"].as_u64() {
                Some(id) => drop(received.replies.insert(id, message)),
                None => {
                    let session = message["sessionId"].as_str().unwrap_or_default().to_owned();
                    received.events.entry(session).or_default().push(message);
                }
            }
            drop(received);
            receiving.changed.notify_all();
        }
        receiving.lock().gone = true;
        receiving.changed.notify_all();
    });
    inbox
}
