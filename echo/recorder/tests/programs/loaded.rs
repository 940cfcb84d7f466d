//! A server with fifty clients, some of which may cause trouble.
//!
//! The OS may take the thread away from any poll, and then that poll looks slow. A test must not depend on
//! the load of the machine, so these delays are removed from the clock of the recording.

use std::future::pending;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream as StdStream};
use std::thread;
use std::time::Duration;

use executor::{block_on, spawn_named};
use reactor::io::{AsyncReadExt, AsyncWriteExt};
use reactor::net::{TcpListener, TcpStream};
use recorder::{Kind, Recorder, Recording};
use tests::DEADLINE;

const CLIENTS: usize = 50;
const MESSAGES: usize = 6;

/// The clients that cause trouble, and when.
const BLOCKING: usize = 17;
const LOST: usize = 29;
const FLOODING: usize = 41;
const MIDDLE: usize = MESSAGES / 2;

/// First bytes of a message.
const BLOCK: u8 = b'b';
const LOSE: u8 = b'l';

/// What is wrong with a run.
#[derive(Clone, Copy, Default)]
pub(crate) struct Trouble {
    /// How long one task blocks the thread.
    pub(crate) block: Duration,
    /// Whether one task returns `Pending` without a stored waker.
    pub(crate) lose: bool,
    /// The number of messages that one client sends. The others send six.
    pub(crate) flood: usize,
}

/// All three kinds of trouble.
pub(crate) const PLANTED: Trouble =
    Trouble { block: Duration::from_millis(40), lose: true, flood: 1650 };

/// The tasks of the three clients that may cause trouble: the one that blocks, the one that is lost, and
/// the one whose client floods it.
pub(crate) fn troubled(recording: &Recording) -> [u64; 3] {
    let spawned = |nth: usize| {
        let spawns =
            recording.events.iter().filter(|event| matches!(event.kind, Kind::Spawn { .. }));
        let mut tasks = spawns.filter_map(|event| event.task.as_ref());
        tasks.by_ref().filter(|task| task.name == "client").nth(nth).expect("it is recorded").id
    };
    [BLOCKING, LOST, FLOODING].map(spawned)
}

/// Records the server until all clients are served. Only the planted trouble takes time.
pub(crate) fn record(recorder: &'static Recorder, trouble: Trouble) -> Recording {
    block_on(async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        recorder.start();
        let clients = thread::spawn(move || run_clients(address, trouble));
        let accepting = spawn_named("accept", async move {
            let mut tasks = Vec::new();
            for _ in 0..CLIENTS {
                let (stream, _) = listener.accept().await.unwrap();
                tasks.push(spawn_named("client", serve(stream, trouble.block)));
            }
            tasks
        });
        for (nth, task) in accepting.await.unwrap().into_iter().enumerate() {
            if nth != LOST || !trouble.lose {
                task.await.unwrap();
            }
        }
        let mut recording = recorder.recording();
        clients.join().unwrap();
        remove_delays(&mut recording, trouble);
        recording
    })
}

/// The longest time between two steps, except for sleeps and the block.
const USUAL: Duration = Duration::from_micros(100);

/// Shortens the times between steps, except sleeps and what follows a read of the task that blocks.
fn remove_delays(recording: &mut Recording, trouble: Trouble) {
    let blocking = (!trouble.block.is_zero()).then(|| troubled(recording)[0]);
    let mut before = Duration::ZERO;
    let mut now = Duration::ZERO;
    let mut may_be_long = false;
    for event in &mut recording.events {
        let passed = event.at.saturating_sub(before);
        before = event.at;
        now += if may_be_long { passed } else { passed.min(USUAL) };
        event.at = now;
        may_be_long = match &event.kind {
            Kind::Sleep { .. } => true,
            Kind::Try { operation, .. } => &**operation == "read" && event.task_id() == blocking,
            _ => false,
        };
    }
}

async fn serve(mut stream: TcpStream, block: Duration) {
    let mut buffer = [0; 64];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        match buffer[0] {
            BLOCK => thread::sleep(block),
            LOSE => pending().await,
            _ => {}
        }
        if stream.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

fn run_clients(address: SocketAddr, trouble: Trouble) {
    // Each client gets an answer before the next one connects, so that the server's tasks have their order.
    let mut clients: Vec<StdStream> = (0..CLIENTS).map(|_| connect(address)).collect();
    let mut flooding = clients[FLOODING].try_clone().unwrap();
    let flood = thread::spawn(move || (0..trouble.flood).for_each(|_| send(&mut flooding, b'f')));
    for round in 0..MESSAGES {
        for (nth, client) in clients.iter_mut().enumerate() {
            match nth {
                FLOODING if trouble.flood > 0 => {}
                LOST if trouble.lose && round == MIDDLE => client.write_all(&[LOSE]).unwrap(),
                LOST if trouble.lose && round > MIDDLE => {}
                BLOCKING if !trouble.block.is_zero() && round == MIDDLE => send(client, BLOCK),
                _ => send(client, b'x'),
            }
        }
    }
    flood.join().unwrap();
}

fn connect(address: SocketAddr) -> StdStream {
    let mut client = StdStream::connect(address).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    send(&mut client, b'x');
    client
}

/// Sends a message and waits for the answer.
fn send(client: &mut StdStream, message: u8) {
    client.write_all(&[message; 16]).unwrap();
    client.read_exact(&mut [0; 16]).unwrap();
}
