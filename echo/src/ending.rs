//! The end at once, by a second signal: what an operator wants when the loop is stuck.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::pipe;

use crate::output::{complain, finish};
use crate::telling::Trace;

const ENDING: [i32; 2] = [SIGINT, SIGTERM];

/// Which of the signals that end the process have arrived.
pub(crate) struct Arrived([Arc<AtomicBool>; ENDING.len()]);

impl Arrived {
    /// Whether at least one has. The second ends the process.
    pub(crate) fn first_arrived(&self) -> bool {
        self.0.iter().any(|arrived| arrived.load(Ordering::SeqCst))
    }
}

/// Makes the second signal end the process from within its handler.
pub(crate) fn end_at_second() -> io::Result<Arrived> {
    let arrived = ENDING.map(|_| Arc::new(AtomicBool::new(false)));
    for (index, signal) in ENDING.into_iter().enumerate() {
        let (this, other) = (arrived[index].clone(), arrived[1 - index].clone());
        // In this order: the first arrival must not see the flag that it sets. And two threads may
        // handle one signal each at the same time. Because each sets its own flag before it reads
        // the other's, at least one of them sees that it is not alone.
        flag::register_conditional_shutdown(signal, 128 + signal, this.clone())?;
        flag::register(signal, this)?;
        flag::register_conditional_shutdown(signal, 128 + signal, other)?;
    }
    Ok(Arrived(arrived))
}

/// Has the second signal write the trace, by a thread that only waits for that, and then end the
/// process. No handler could do it: the signal may have come while the recorder was at work.
pub(crate) fn save_at_second(trace: Arc<Trace>) -> io::Result<()> {
    let (mut arrivals, arrival) = UnixStream::pair()?;
    let last = Arc::new(AtomicUsize::new(0));
    let writing = Arc::new(AtomicBool::new(false));
    for signal in ENDING {
        // If the disk is stuck too, one more signal ends that.
        flag::register_conditional_shutdown(signal, 128 + signal, writing.clone())?;
        flag::register_usize(signal, last.clone(), signal as usize)?;
        pipe::register(signal, arrival.try_clone()?)?;
    }
    let wait = move || {
        if arrivals.read_exact(&mut [0; 2]).is_err() {
            return;
        }
        writing.store(true, Ordering::SeqCst);
        if let Err(text) = trace.save() {
            complain(&text);
        }
        finish();
        process::exit(128 + last.load(Ordering::SeqCst) as i32);
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
    Ok(())
}
