//! Captures the log records that the runtime emits on one thread, for assertions on their order.

use std::cell::RefCell;
use std::sync::Once;

use log::kv::{self, Key, Value, VisitSource};
use log::{LevelFilter, Log, Metadata};

/// A log record, with its key-values as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The message, which is the kind of the record: `poll`, `store`, `wake` and so on.
    pub kind: String,
    /// The module that emitted the record.
    pub target: String,
    /// The source file and the line that emitted the record.
    pub at: (String, u32),
    /// The keys and values, in the order of the record.
    pub keys: Vec<(String, String)>,
}

impl Record {
    /// Returns the value of a key, or an empty string if the record has no such key.
    pub fn get(&self, key: &str) -> &str {
        let pair = self.keys.iter().find(|(name, _)| name == key);
        pair.map_or("", |(_, value)| value)
    }
}

thread_local! {
    static CAPTURED: RefCell<Option<Vec<Record>>> = const { RefCell::new(None) };
}

struct Capture;

static CAPTURE: Capture = Capture;

/// Runs `f`, and returns the records that the reactor and the executor emitted on this thread.
///
/// # Panics
///
/// Panics if another logger is installed in this process.
pub fn capture<T>(f: impl FnOnce() -> T) -> (T, Vec<Record>) {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        log::set_logger(&CAPTURE).expect("no other logger");
        log::set_max_level(LevelFilter::Trace);
    });
    CAPTURED.set(Some(Vec::new()));
    let result = f();
    (result, CAPTURED.take().unwrap_or_default())
}

impl Log for Capture {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("reactor") || metadata.target().starts_with("executor")
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let _ = CAPTURED.try_with(|captured| {
            let Some(captured) = &mut *captured.borrow_mut() else { return };
            let mut keys = Keys::default();
            let _ = record.key_values().visit(&mut keys);
            captured.push(Record {
                kind: record.args().to_string(),
                target: record.target().to_owned(),
                at: (record.file().unwrap_or_default().to_owned(), record.line().unwrap_or(0)),
                keys: keys.0,
            });
        });
    }

    fn flush(&self) {}
}

#[derive(Default)]
struct Keys(Vec<(String, String)>);

impl<'kvs> VisitSource<'kvs> for Keys {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        self.0.push((key.to_string(), value.to_string()));
        Ok(())
    }
}
