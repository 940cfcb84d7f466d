//! Tasks that use the pool: jobs, and files that several tasks read or write.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{ErrorKind, PipeReader, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_lite::{AsyncRead, AsyncWrite};

use crate::blocking::JobHandle;
use crate::fs::File;
use crate::job::{Job, Wanted, for_a_while};
use crate::kernel::Kernel;

/// The result of a job. `alive` counts the values that have not been dropped.
struct Value {
    number: usize,
    alive: Arc<AtomicUsize>,
}

impl Value {
    fn new(number: usize, alive: &Arc<AtomicUsize>) -> Value {
        alive.fetch_add(1, Ordering::Relaxed);
        Value { number, alive: alive.clone() }
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Submits jobs to the pool and awaits each, or gives up after a random time. Checks that each
/// result arrives at the task that awaits it.
pub(crate) async fn await_jobs(kernel: Rc<Kernel>) {
    for number in 0..kernel.random.below(12) {
        let value = Value::new(number, &kernel.values);
        let panics = kernel.random.one_in(8);
        let job = JobHandle::begin(move || {
            if panics {
                resume_unwind(Box::new(Wanted));
            }
            value
        });
        let result = poll_fn(|cx| job.poll(cx));
        let result = match kernel.random.one_in(2) {
            true => for_a_while(&kernel, result).await,
            false => Some(result.await),
        };
        match result {
            Some(Ok(value)) => assert_eq!((value.number, panics), (number, false)),
            Some(Err(panic)) => assert!(panics && panic.is::<Wanted>(), "another panic"),
            // The pool or the handle drops the result.
            None => {}
        }
    }
}

/// Starts tasks that read one file through handles that share the cursor. The tasks check that each
/// byte arrives once and in order, even if reads are dropped.
pub(crate) fn start_readers(kernel: &Rc<Kernel>) {
    let length = kernel.random.below(400);
    let bytes: Vec<u8> = (0..length).map(|n| n as u8).collect();
    let mut file = tempfile::tempfile().expect("a file can be created");
    file.write_all(&bytes).and_then(|()| file.rewind()).expect("the file can be written");
    let file = File::from_std(file);
    let received = Rc::new(Cell::new(0));
    for _ in 0..1 + kernel.random.below(4) {
        let clone = immediate(file.try_clone());
        let reader = read_file(kernel.clone(), clone, received.clone(), length);
        Job::spawn(kernel, "file reader", &[], reader);
    }
}

async fn read_file(kernel: Rc<Kernel>, mut file: File, received: Rc<Cell<usize>>, length: usize) {
    loop {
        let mut bytes = vec![0; 1 + kernel.random.below(40)];
        let read = poll_fn(|cx| {
            let polled = Pin::new(&mut file).poll_read(cx, &mut bytes);
            // Compare in the same poll, because another task may read next.
            polled.map(|read| {
                let read = read.expect("the file can be read");
                let expected = (received.get()..).map(|n| n as u8);
                let is_next = expected.zip(&bytes[..read]).all(|(a, b)| a == *b);
                assert!(is_next, "a reader of a file got wrong bytes");
                received.set(received.get() + read);
                read
            })
        });
        let read = match kernel.random.one_in(3) {
            true => for_a_while(&kernel, read).await,
            false => Some(read.await),
        };
        if read == Some(0) {
            assert_eq!(received.get(), length, "a file has ended early");
            return;
        }
    }
}

/// What the writers of a file have requested, and the pipe through which it arrives.
struct Written {
    reader: RefCell<Option<PipeReader>>,
    /// For each writer, the numbers of the writes that were requested and have not arrived.
    expected: RefCell<Vec<VecDeque<u8>>>,
}

/// Starts tasks that write to one file, which is a pipe. The tasks check that each write arrives
/// once and as a whole, and that the writes of one task arrive in order, even if writes are
/// dropped. The pipe may break at a random time. Each task whose write fails must then get an
/// error.
pub(crate) fn start_writers(kernel: &Rc<Kernel>) {
    let (reader, writer) = std::io::pipe().expect("a pipe can be created");
    let file = File::from_std(OwnedFd::from(writer).into());
    let writers = 1 + kernel.random.below(4);
    let written = Rc::new(Written {
        reader: RefCell::new(Some(reader)),
        expected: RefCell::new(vec![VecDeque::new(); writers]),
    });
    for writer in 0..writers {
        let clone = immediate(file.try_clone());
        let write = write_file(kernel.clone(), clone, writer, written.clone());
        Job::spawn(kernel, "file writer", &[], write);
    }
}

async fn write_file(kernel: Rc<Kernel>, mut file: File, writer: usize, written: Rc<Written>) {
    let mut errors = 0;
    for number in 0..kernel.random.below(15) as u8 {
        if kernel.random.one_in(40) {
            written.close();
        }
        // Each write is different, because a write of the same bytes continues a dropped one.
        let message = [writer as u8, number, 3, 4, 5];
        written.expected.borrow_mut()[writer].push_back(number);
        let write = poll_fn(|cx| Pin::new(&mut file).poll_write(cx, &message));
        let result = match kernel.random.one_in(3) {
            true => for_a_while(&kernel, write).await,
            false => Some(write.await),
        };
        match result {
            Some(Ok(count)) => assert_eq!(count, message.len(), "a write is short"),
            Some(Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::BrokenPipe);
                errors += 1;
            }
            // A write runs even if its future is dropped.
            None => {}
        }
    }
    let flush = poll_fn(|cx| Pin::new(&mut file).poll_flush(cx)).await;
    errors += usize::from(flush.is_err());
    written.check(writer, errors);
}

impl Written {
    /// Breaks the pipe.
    fn close(&self) {
        self.receive();
        self.reader.take();
    }

    /// Receives what is in the pipe.
    fn receive(&self) {
        let Some(reader) = &mut *self.reader.borrow_mut() else { return };
        let queued = rustix::io::ioctl_fionread(&*reader).expect("the size can be read");
        let mut bytes = vec![0; queued as usize];
        reader.read_exact(&mut bytes).expect("these bytes are in the pipe");
        for message in bytes.chunks(5) {
            let [writer, number, 3, 4, 5] = *message else { panic!("a write is not whole") };
            let first = self.expected.borrow_mut()[usize::from(writer)].pop_front();
            assert_eq!(first, Some(number), "a write is lost, doubled or not in order");
        }
    }

    /// Checks after the flush of a writer that all its writes have arrived or an error was
    /// returned.
    fn check(&self, writer: usize, errors: usize) {
        self.receive();
        let missing = self.expected.borrow()[writer].len();
        assert_eq!(missing > 0, errors > 0, "{missing} writes are missing, {errors} errors");
        assert!(errors <= missing, "an error was returned twice");
    }
}

/// Returns the output of a future that never waits.
fn immediate<T, E: std::fmt::Debug>(future: impl Future<Output = Result<T, E>>) -> T {
    let polled = futures_lite::future::block_on(futures_lite::future::poll_once(future));
    polled.expect("the future does not wait").expect("the future does not fail")
}
