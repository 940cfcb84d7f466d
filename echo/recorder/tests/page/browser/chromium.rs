//! The process of the browser, and the messages to and from it.
//!
//! The DevTools protocol needs no socket here: with `--remote-debugging-pipe` Chromium reads
//! requests from descriptor 3, and writes replies and events to descriptor 4. Each message is JSON
//! and ends with a NUL byte. Two threads do the blocking calls, so that a browser that hangs cannot
//! make a test hang.

use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
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
const FLAGS: [&str; 11] = [
    "--remote-debugging-pipe",
    "--headless",
    "--disable-frame-rate-limit",
    "--no-sandbox",
    "--no-startup-window",
    "--no-first-run",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// A running Chromium.
pub(super) struct Chromium {
    child: Child,
    /// Holds all that it writes: the profile, its temporary files and its standard error.
    folder: PathBuf,
    requests: Sender<String>,
    messages: Receiver<Value>,
    /// What it told unasked, in order.
    events: RefCell<Vec<Value>>,
    /// The number of the last request.
    last: Cell<u64>,
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
        let messages = read_from(child.stdout.take().expect("piped"));
        let (events, last) = (RefCell::default(), Cell::new(0));
        Chromium { child, folder, requests, messages, events, last }
    }

    /// Sends a request, and waits for its reply. `session` is the page meant, or empty for the
    /// browser itself.
    #[track_caller]
    pub(super) fn call(&self, session: &str, method: &str, params: &Value) -> Value {
        let id = self.last.get() + 1;
        self.last.set(id);
        let mut request = json!({ "id": id, "method": method, "params": params });
        if !session.is_empty() {
            request["sessionId"] = session.into();
        }
        // If nobody takes it any more, the wait for the reply tells why.
        let _ = self.requests.send(request.to_string());
        let mut reply = self.receive(method, |message| message["id"] == id);
        assert!(reply.get("error").is_none(), "{method}: {}", reply["error"]["message"]);
        reply["result"].take()
    }

    /// Waits for an event, which may have come already.
    #[track_caller]
    pub(super) fn wait_for(&self, what: &str, is_it: impl Fn(&Value) -> bool) {
        if !self.events.borrow().iter().any(&is_it) {
            let event = self.receive(what, is_it);
            self.events.borrow_mut().push(event);
        }
    }

    /// What it has told of a page so far.
    pub(super) fn events(&self, session: &str) -> Vec<Value> {
        let events = self.events.borrow();
        events.iter().filter(|event| event["sessionId"] == session).cloned().collect()
    }

    /// The first new message that `is_it`; those before it are kept as events.
    #[track_caller]
    fn receive(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + DEADLINE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.messages.recv_timeout(left) {
                Ok(message) if is_it(&message) => return message,
                Ok(message) => self.events.borrow_mut().push(message),
                Err(RecvTimeoutError::Timeout) => panic!("{what}: the browser does not answer"),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("{what}: the browser has gone\n{}", self.errors());
                }
            }
        }
    }

    fn errors(&self) -> String {
        fs::read_to_string(self.folder.join("stderr")).unwrap_or_default()
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

fn read_from(pipe: impl Read + Send + 'static) -> Receiver<Value> {
    let (sender, messages) = channel();
    thread::spawn(move || {
        for message in BufReader::new(pipe).split(0) {
            let Ok(message) = message else { return };
            let message = serde_json::from_slice(&message).expect("the browser speaks JSON");
            let Ok(()) = sender.send(message) else { return };
        }
    });
    messages
}
