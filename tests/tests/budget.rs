//! The budget of futures that never wait: a loop over such a future must not keep a timer of
//! another task from firing.

use std::future::{Future, poll_fn, ready};
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::process::Stdio;
use std::task::Poll;
use std::time::{Duration, Instant};

use executor::{JoinSet, block_on, spawn, yield_now};
use futures_lite::StreamExt;
use reactor::budget::{
    OPERATIONS, consume_budget, cooperative, enter, has_budget_remaining, poll_proceed,
};
use reactor::io::{
    AsyncReadExt, AsyncSeekExt, AsyncWriteExt, Cursor, SeekFrom, copy, copy_bidirectional, empty,
    repeat, sink,
};
use reactor::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};
use reactor::process::Command;
use reactor::signal::Signal;
use reactor::time::{MissedTickBehavior, interval, interval_at, sleep, sleep_until, timeout};
use reactor::{Async, blocking, fs, net, pipe, stdio};
use socket2::{Domain, Socket, Type};
use tests::wakers::{Counter, poll};
use tests::{place, run, tcp_pair};

/// How long a loop runs unless its task is aborted.
const LOOP_TIME: Duration = Duration::from_secs(1);

/// A task that repeats an operation for [`LOOP_TIME`].
type Repeating = fn() -> Pin<Box<dyn Future<Output = ()>>>;

/// Repeats an operation for [`LOOP_TIME`], or until the task is dropped.
async fn forever<T>(mut operation: impl AsyncFnMut() -> T) {
    let start = Instant::now();
    while start.elapsed() < LOOP_TIME {
        operation().await;
    }
}

macro_rules! rows {
    ($($name:literal => $body:block)*) => {
        [$(($name, (|| Box::pin(async move $body)) as Repeating)),*]
    };
}

/// Runs each loop beside a timer of 10 ms. Returns the names of the loops that made the timer late.
fn starving(rows: &[(&'static str, Repeating)]) -> Vec<&'static str> {
    let starves = |repeating: Repeating| {
        block_on(async {
            let task = spawn(repeating());
            let start = Instant::now();
            sleep(Duration::from_millis(10)).await;
            let late = start.elapsed() > LOOP_TIME / 2;
            task.abort();
            late
        })
    };
    rows.iter().filter(|(_, repeating)| starves(*repeating)).map(|(name, _)| *name).collect()
}

/// Returns a socket that does not listen, so that every accept fails immediately.
fn not_listening() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

// Pitfall: B1
#[test]
fn ready_timers_do_not_starve_a_timer() {
    let rows = rows! {
        "a sleep until a deadline in the past" => {
            let past = Instant::now();
            forever(async || sleep_until(past).await).await;
        }
        "a completed sleep" => {
            let mut sleep = sleep(Duration::from_millis(1));
            forever(async || (&mut sleep).await).await;
        }
        "a sleep of zero" => { forever(async || sleep(Duration::ZERO).await).await; }
        "a timeout around a ready future" => {
            forever(async || timeout(Duration::from_secs(1), ready(())).await).await;
        }
        "a tick of the shortest interval" => {
            let mut ticks = interval(Duration::from_nanos(1));
            forever(async || ticks.tick().await).await;
        }
        "poll_tick of an overdue interval" => {
            let past = Instant::now() - Duration::from_secs(1);
            let mut ticks = interval_at(past, Duration::from_nanos(1));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            forever(async || poll_fn(|cx| ticks.poll_tick(cx)).await).await;
        }
        "the ticks of the shortest interval as a stream" => {
            let mut ticks = interval(Duration::from_nanos(1));
            forever(async || ticks.next().await).await;
        }
    };
    assert_eq!(starving(&rows), [""; 0]);
}

// Pitfall: B1
#[test]
fn ready_tcp_operations_do_not_starve_a_timer() {
    let rows = rows! {
        "bind" => { forever(async || TcpListener::bind("127.0.0.1:0").await).await; }
        "bind to a bad address" => { forever(async || TcpListener::bind("nowhere").await).await; }
        "connect to a bad address" => {
            forever(async || TcpStream::connect("nowhere").await).await;
        }
        "connect to a closed port" => {
            let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
            forever(async || TcpStream::connect(address).await).await;
        }
        "lookup of a literal" => { forever(async || net::lookup_host("[::1]:80").await).await; }
        "lookup of a bad address" => {
            forever(async || net::lookup_host("nowhere").await.err()).await;
        }
        "accept on a socket that does not listen" => {
            let listener = TcpListener::from_std(not_listening().into()).unwrap();
            forever(async || listener.accept().await).await;
        }
        "poll_accept on a socket that does not listen" => {
            let listener = TcpListener::from_std(not_listening().into()).unwrap();
            forever(async || poll_fn(|cx| listener.poll_accept(cx)).await.err()).await;
        }
        "incoming after its last item" => {
            let listener = TcpListener::from_std(not_listening().into()).unwrap();
            let mut incoming = listener.incoming();
            forever(async || incoming.next().await).await;
        }
        "read at end-of-file" => {
            let (mut stream, _) = tcp_pair().await.unwrap();
            forever(async || stream.read(&mut [0; 8]).await).await;
        }
        "read of nothing" => {
            let (mut stream, _peer) = tcp_pair().await.unwrap();
            forever(async || stream.read(&mut []).await).await;
        }
        "peek" => {
            let (stream, mut peer) = tcp_pair().await.unwrap();
            peer.write_all(b"x").await.unwrap();
            forever(async || stream.peek(&mut [0; 8]).await).await;
        }
        "write of nothing" => {
            let (mut stream, _peer) = tcp_pair().await.unwrap();
            forever(async || stream.write(&[]).await).await;
        }
        "flush" => {
            let (mut stream, _peer) = tcp_pair().await.unwrap();
            forever(async || stream.flush().await).await;
        }
        "close" => {
            let (mut stream, _peer) = tcp_pair().await.unwrap();
            forever(async || stream.close().await).await;
        }
        "close of an owned half" => {
            let (stream, _peer) = tcp_pair().await.unwrap();
            let (_reader, mut writer) = stream.into_split();
            forever(async || writer.close().await).await;
        }
        "flush of a half" => {
            let (mut stream, _peer) = tcp_pair().await.unwrap();
            let (_reader, mut writer) = stream.split();
            forever(async || writer.flush().await).await;
        }
        "flush of an owned half" => {
            let (stream, _peer) = tcp_pair().await.unwrap();
            let (_reader, mut writer) = stream.into_split();
            forever(async || writer.flush().await).await;
        }
    };
    assert_eq!(starving(&rows), [""; 0]);
}

// Pitfall: B1
#[test]
fn ready_datagrams_do_not_starve_a_timer() {
    let rows = rows! {
        "bind" => { forever(async || UdpSocket::bind("127.0.0.1:0").await).await; }
        "connect" => {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            forever(async || socket.connect("127.0.0.1:9").await).await;
        }
        "send to a closed port" => {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            forever(async || socket.send_to(b"x", "127.0.0.1:9").await).await;
        }
        "send to a bad address" => {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            forever(async || socket.send_to(b"x", "nowhere").await).await;
        }
        "send on an unconnected socket" => {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            forever(async || socket.send(b"x").await).await;
        }
        "peek" => {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            socket.send_to(b"x", socket.local_addr().unwrap()).await.unwrap();
            forever(async || socket.peek_from(&mut [0; 8]).await).await;
        }
        "poll_send_to the socket itself and poll_recv_from" => {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let own = socket.local_addr().unwrap();
            forever(async || {
                poll_fn(|cx| socket.poll_send_to(cx, b"x", own)).await.unwrap();
                poll_fn(|cx| socket.poll_recv_from(cx, &mut [0; 8])).await.unwrap();
            })
            .await;
        }
        "poll_send_to a path without a socket" => {
            let (socket, path) = (UnixDatagram::unbound().unwrap(), place());
            forever(async || poll_fn(|cx| socket.poll_send_to(cx, b"x", &path)).await).await;
        }
        "send to a path without a socket" => {
            let (socket, path) = (UnixDatagram::unbound().unwrap(), place());
            forever(async || socket.send_to(b"x", &path).await).await;
        }
        "send to a path that is too long" => {
            let socket = UnixDatagram::unbound().unwrap();
            forever(async || socket.send_to(b"x", "long".repeat(100)).await).await;
        }
        "send to an unnamed address" => {
            let socket = UnixDatagram::unbound().unwrap();
            let unnamed = socket.local_addr().unwrap();
            forever(async || socket.send_to_addr(b"x", &unnamed).await).await;
        }
    };
    assert_eq!(starving(&rows), [""; 0]);
}

// Pitfall: B1
#[test]
fn ready_unix_streams_and_pipes_do_not_starve_a_timer() {
    let rows = rows! {
        "connect to a missing path" => {
            let path = place();
            forever(async || UnixStream::connect(&path).await).await;
        }
        "connect to a path that is too long" => {
            forever(async || UnixStream::connect("long".repeat(100)).await).await;
        }
        "connect to an unnamed address" => {
            let unnamed = UnixDatagram::unbound().unwrap().local_addr().unwrap();
            forever(async || UnixStream::connect_addr(&unnamed).await).await;
        }
        "connect to a listener" => {
            let path = place();
            let _listener = UnixListener::bind(&path).unwrap();
            forever(async || UnixStream::connect(&path).await).await;
        }
        "flush of a stream" => {
            let (mut stream, _peer) = UnixStream::pair().unwrap();
            forever(async || stream.flush().await).await;
        }
        "close of a stream" => {
            let (mut stream, _peer) = UnixStream::pair().unwrap();
            forever(async || stream.close().await).await;
        }
        "read of a stream at end-of-file" => {
            let (mut stream, _) = UnixStream::pair().unwrap();
            forever(async || stream.read(&mut [0; 8]).await).await;
        }
        "read of a pipe at end-of-file" => {
            let (_, mut reader) = pipe::pipe().unwrap();
            forever(async || reader.read(&mut [0; 8]).await).await;
        }
        "flush of a pipe" => {
            let (mut writer, _reader) = pipe::pipe().unwrap();
            forever(async || writer.flush().await).await;
        }
        "close of a pipe" => {
            let (mut writer, _reader) = pipe::pipe().unwrap();
            forever(async || writer.close().await).await;
        }
        "write to a closed pipe" => {
            let (mut writer, _reader) = pipe::pipe().unwrap();
            writer.close().await.unwrap();
            forever(async || writer.write(b"x").await).await;
        }
        "an operation of `Async` that succeeds" => {
            let (socket, _peer) = mio::net::UnixStream::pair().unwrap();
            let socket = Async::new(socket).unwrap();
            forever(async || socket.read_with(|_| Ok(())).await).await;
        }
        "a raised signal" => {
            let mut signal = Signal::new(signal_hook::consts::SIGUSR2).unwrap();
            forever(async || {
                signal_hook::low_level::raise(signal_hook::consts::SIGUSR2).unwrap();
                signal.recv().await
            })
            .await;
        }
    };
    assert_eq!(starving(&rows), [""; 0]);
}

// Pitfall: B1
#[test]
fn copies_in_memory_do_not_starve_a_timer() {
    let rows = rows! {
        "copy of nothing" => { forever(async || copy(empty(), sink()).await).await; }
        "copy of five bytes" => { forever(async || copy(&b"hello"[..], sink()).await).await; }
        "copy of 100 KiB" => {
            let bytes = vec![7; 100 * 1024];
            forever(async || copy(&bytes[..], sink()).await).await;
        }
        "copy that fails" => {
            forever(async || copy(&b"hello"[..], Cursor::new(&mut [0_u8; 3][..])).await).await;
        }
        "a completed copy" => {
            let mut copy = copy(empty(), sink());
            forever(async || (&mut copy).await).await;
        }
        "an endless copy" => { forever(async || copy(repeat(7), sink()).await).await; }
        "copy in both directions" => {
            forever(async || {
                let (mut a, mut b) = (Cursor::new(vec![0; 8]), Cursor::new(vec![0; 8]));
                copy_bidirectional(&mut a, &mut b).await
            })
            .await;
        }
    };
    assert_eq!(starving(&rows), [""; 0]);
}

// Pitfall: B1
#[test]
fn ready_files_and_jobs_do_not_starve_a_timer() {
    let rows = rows! {
        "read of a file" => { forever(async || fs::read("Cargo.toml").await).await; }
        "read of a missing file" => { forever(async || fs::read("missing").await).await; }
        "open" => { forever(async || fs::File::open("Cargo.toml").await).await; }
        "metadata" => { forever(async || fs::metadata("Cargo.toml").await).await; }
        "read at end-of-file" => {
            let mut file = fs::File::open("Cargo.toml").await.unwrap();
            file.read_to_end(&mut Vec::new()).await.unwrap();
            forever(async || file.read(&mut [0; 8]).await).await;
        }
        "read of nothing" => {
            let mut file = fs::File::open("Cargo.toml").await.unwrap();
            forever(async || file.read(&mut []).await).await;
        }
        "read of nothing at an offset" => {
            let file = fs::File::open("Cargo.toml").await.unwrap();
            forever(async || file.read_at(&mut [], 0).await).await;
        }
        "flush" => {
            let mut file = fs::File::open("Cargo.toml").await.unwrap();
            forever(async || file.flush().await).await;
        }
        "close" => {
            let mut file = fs::File::open("Cargo.toml").await.unwrap();
            forever(async || file.close().await).await;
        }
        "seek" => {
            let mut file = fs::File::open("Cargo.toml").await.unwrap();
            forever(async || file.seek(SeekFrom::Start(1)).await).await;
        }
        "write" => {
            let path = place();
            let mut file = fs::File::create(&path).await.unwrap();
            forever(async || file.write(b"x").await).await;
        }
        "write of nothing" => {
            let path = place();
            let mut file = fs::File::create(&path).await.unwrap();
            forever(async || file.write(&[]).await).await;
        }
        "conversion to a `std` file and back" => {
            let mut file = Some(fs::File::open("Cargo.toml").await.unwrap());
            forever(async || {
                let inner = file.take().unwrap().into_std().await.unwrap();
                file = Some(fs::File::from_std(inner));
            })
            .await;
        }
        "next entry after the last one" => {
            let mut entries = fs::read_dir(".").await.unwrap();
            forever(async || entries.next_entry().await).await;
        }
        "file type of an entry" => {
            let entry = fs::read_dir(".").await.unwrap().next_entry().await.unwrap().unwrap();
            forever(async || entry.file_type().await).await;
        }
        "a job" => { forever(async || blocking::unblock(|| ()).await).await; }
        "flush of standard output" => {
            let mut stdout = stdio::stdout();
            forever(async || stdout.flush().await).await;
        }
        "write of nothing to standard error" => {
            let mut stderr = stdio::stderr();
            forever(async || stderr.write_vectored(&[IoSlice::new(&[])]).await).await;
        }
        "close of standard error" => {
            let mut stderr = stdio::stderr();
            forever(async || stderr.close().await).await;
        }
        "write of nothing to standard output" => {
            let mut stdout = stdio::stdout();
            forever(async || stdout.write(&[]).await).await;
        }
        "read of nothing from standard input" => {
            let mut stdin = stdio::stdin();
            forever(async || stdin.read(&mut []).await).await;
        }
    };
    assert_eq!(starving(&rows), [""; 0]);
}

// Pitfall: B1
#[test]
fn ready_processes_do_not_starve_a_timer() {
    let rows = rows! {
        "wait for an exited process" => {
            let mut child = Command::new("true").spawn().unwrap();
            forever(async || child.wait().await).await;
        }
        "kill of an exited process" => {
            let mut child = Command::new("true").spawn().unwrap();
            child.wait().await.unwrap();
            forever(async || child.kill().await).await;
        }
        "status of a missing program" => {
            forever(async || Command::new("./missing").status().await).await;
        }
        "output of a missing program" => {
            forever(async || Command::new("./missing").output().await).await;
        }
        "read of a child's output at end-of-file" => {
            let mut child = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
            let mut stdout = child.stdout.take().unwrap();
            forever(async || stdout.read(&mut [0; 8]).await).await;
        }
        "flush of a child's input" => {
            let mut child = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            forever(async || stdin.flush().await).await;
        }
    };
    assert_eq!(starving(&rows), [""; 0]);
}

// Pitfall: B1
#[test]
fn finished_tasks_do_not_starve_a_timer() {
    let rows = rows! {
        "an aborted task" => {
            forever(async || {
                let task = spawn(std::future::pending::<()>());
                task.abort();
                task.await
            })
            .await;
        }
        "a set of aborted tasks" => {
            forever(async || {
                let mut tasks = JoinSet::new();
                tasks.spawn(std::future::pending::<()>());
                tasks.abort_all();
                tasks.join_next().await
            })
            .await;
        }
        "an empty set of tasks" => {
            let mut tasks = JoinSet::<()>::new();
            forever(async || tasks.join_next().await).await;
        }
        "yield_now" => { forever(async || yield_now().await).await; }
        "consume_budget" => { forever(async || consume_budget().await).await; }
        "a cooperative future" => { forever(async || cooperative(ready(())).await).await; }
        "a poll function that calls poll_proceed" => {
            let step = async || {
                poll_fn(|cx| poll_proceed(cx).map(|proceed| proceed.made_progress())).await
            };
            forever(step).await;
        }
    };
    assert_eq!(starving(&rows), [""; 0]);
}

/// Returns how often `operation` completes in one poll that begins with a full budget.
fn completed_in_one_poll(mut operation: impl AsyncFnMut()) -> usize {
    let (counter, waker) = Counter::with_waker();
    let mut done = 0;
    let repeating = async {
        while done < 1000 {
            operation().await;
            done += 1;
        }
    };
    let mut repeating = Box::pin(repeating);
    let limit = enter();
    let polled = poll(repeating.as_mut(), &waker);
    drop((limit, repeating));
    assert_eq!(
        counter.wakes(),
        usize::from(polled.is_pending()),
        "only a poll that yields wakes its task"
    );
    done
}

#[test]
fn each_completed_operation_spends_one_unit() {
    run(|| async {
        let most = OPERATIONS as usize;
        assert_eq!(completed_in_one_poll(consume_budget), most);
        assert_eq!(completed_in_one_poll(async || cooperative(ready(())).await), most);
        assert_eq!(
            completed_in_one_poll(async || timeout(LOOP_TIME, ready(())).await.unwrap()),
            most
        );
        assert_eq!(completed_in_one_poll(async || _ = copy(empty(), sink()).await), most);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        assert_eq!(completed_in_one_poll(async || stream.flush().await.unwrap()), most);
        // If the inner operation spends a unit, the outer one spends none.
        let reader = async || _ = timeout(LOOP_TIME, (&stream).write(&[])).await;
        assert_eq!(completed_in_one_poll(reader), most);
        let writer = async || cooperative((&stream).flush()).await.unwrap();
        assert_eq!(completed_in_one_poll(writer), most);
    });
}

#[test]
fn waiting_operation_gets_its_unit_back() {
    let _limit = enter();
    let (_counter, waker) = Counter::with_waker();
    for _ in 0..10 * OPERATIONS {
        let mut waiting = pin!(poll_fn(|cx| {
            let _proceed = std::task::ready!(poll_proceed(cx));
            Poll::<()>::Pending
        }));
        assert!(poll(waiting.as_mut(), &waker).is_pending());
    }
    assert!(has_budget_remaining());
    assert_eq!(completed_in_one_poll(consume_budget), OPERATIONS as usize);
}

/// A future that uses up the budget of its task in each poll and never completes.
async fn flood() {
    loop {
        poll_fn(|cx| poll_proceed(cx).map(|proceed| proceed.made_progress())).await;
    }
}

// `or` polls the flood first, so the ready future is polled without budget.
#[test]
fn ready_future_completes_after_the_budget_is_spent() {
    run(|| async {
        use futures_lite::future::or;
        let past = Instant::now();
        yield_now().await;
        or(flood(), sleep_until(past)).await;
        or(flood(), sleep(Duration::from_millis(1))).await;
        or(flood(), async { timeout(LOOP_TIME, ready(())).await.unwrap() }).await;
        or(flood(), consume_budget()).await;
        or(flood(), cooperative(ready(()))).await;
        or(flood(), async { _ = copy(&b"hello"[..], sink()).await }).await;
        let task = spawn(async {});
        or(flood(), async { task.await.unwrap() }).await;
        let mut tasks = JoinSet::new();
        tasks.spawn(async {});
        or(flood(), async { tasks.join_next().await.unwrap().unwrap() }).await;
        or(flood(), async { assert!(tasks.join_next().await.is_none()) }).await;
    });
}

#[test]
fn timeout_ends_a_future_that_spends_its_budget() {
    run(|| async {
        let result = timeout(Duration::from_millis(5), flood()).await;
        assert!(result.is_err());
    });
}
