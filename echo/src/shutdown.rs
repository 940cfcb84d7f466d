//! The forced exit: a second signal ends the process immediately, even if its thread is stuck.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::pipe;

use crate::output::{finish, print_error};
use crate::trace::Trace;

/// The signals that stop the server.
const STOPPING: [i32; 2] = [SIGINT, SIGTERM];

/// Flags of the signals that have arrived.
pub(crate) struct Arrived([Arc<AtomicBool>; STOPPING.len()]);

impl Arrived {
    /// Returns whether a signal has arrived.
    pub(crate) fn has_arrived(&self) -> bool {
        self.0.iter().any(|arrived| arrived.load(Ordering::SeqCst))
    }
}

/// Makes the handler of a second signal end the process.
pub(crate) fn exit_on_second_signal() -> io::Result<Arrived> {
    let arrived = STOPPING.map(|_| Arc::new(AtomicBool::new(false)));
    for (index, signal) in STOPPING.into_iter().enumerate() {
        let (this, other) = (arrived[index].clone(), arrived[1 - index].clone());
        // The handler runs these actions in order. It checks its own flag before it sets it, so the
        // first arrival does not exit. It checks the other flag after setting its own: if two
        // threads handle one signal each at the same time, at least one of them sees the other's
        // flag.
        flag::register_conditional_shutdown(signal, 128 + signal, this.clone())?;
        flag::register(signal, this)?;
        flag::register_conditional_shutdown(signal, 128 + signal, other)?;
    }
    Ok(Arrived(arrived))
}

/// Makes the second signal write the trace and end the process.
///
/// A separate thread waits for the second signal. A handler cannot write the trace, because it may
/// have interrupted the recorder. The thread holds only a weak reference. If the run ends with an
/// error, the trace is therefore dropped, and its destructor removes the temporary file.
pub(crate) fn save_on_second_signal(trace: Weak<Trace>) -> io::Result<()> {
    let (mut arrivals, arrival) = UnixStream::pair()?;
    let last = Arc::new(AtomicUsize::new(0));
    let writing = Arc::new(AtomicBool::new(false));
    for signal in STOPPING {
        // If the disk hangs too, a third signal ends the process.
        flag::register_conditional_shutdown(signal, 128 + signal, writing.clone())?;
        flag::register_usize(signal, last.clone(), signal as usize)?;
        pipe::register(signal, arrival.try_clone()?)?;
    }
    let wait = move || {
        if arrivals.read_exact(&mut [0; 2]).is_err() {
            return;
        }
        writing.store(true, Ordering::SeqCst);
        if let Some(Err(text)) = trace.upgrade().map(|trace| trace.save()) {
            print_error(&text);
        }
        finish();
        process::exit(128 + last.load(Ordering::SeqCst) as i32);
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
    Ok(())
}
