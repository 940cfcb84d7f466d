//! Programs from the usual introductions to async I/O run here: tokio's tutorial and UDP examples,
//! async-net's Unix sockets, the chat of the async-std book, and the server of the async book.
//!
//! The programs make the same calls in the same order, with our imports. Comments name the
//! differences.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::net::{Shutdown, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::process;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender, bounded, unbounded};
use executor::{Executor, JoinHandle, JoinSet, block_on, spawn, spawn_blocking};
use futures_lite::{StreamExt, future, stream};
use reactor::fs::{self, File};
use reactor::io::{
    self, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter, ErrorKind,
};
use reactor::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket, UnixListener, UnixStream};
use reactor::pipe::pipe;
use reactor::stdio::stdout;
use reactor::time::{interval, sleep, timeout};
use tests::child::{self, is_child};
use tests::{run, tcp_pair, within_deadline};

/// Returns a listener on a free port, and its address.
async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Sends a message, shuts down writing and returns the answer.
async fn answer_to(message: &str, server: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(message.as_bytes()).await?;
    stream.close().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

// Connect, write, read: the first program of most introductions.

#[test]
fn client_connects_writes_and_reads() {
    run(|| async {
        let (listener, address) = listener().await;
        let server = spawn(async move {
            let (mut stream, _peer) = listener.accept().await?;
            let mut question = [0; 5];
            stream.read_exact(&mut question).await?;
            stream.write_all(b"goodbye").await?;
            Ok::<_, io::Error>(question)
        });
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"goodbye");
        assert_eq!(&server.await.unwrap().unwrap(), b"hello");
    });
}

#[test]
fn byte_slices_and_vectors_work_with_copy() {
    run(|| async {
        let (ours, mut peer) = tcp_pair().await.unwrap();
        let mut reader: &[u8] = b"hello";
        assert_eq!(io::copy(&mut reader, &ours).await.unwrap(), 5);
        drop(ours);
        let mut written = Vec::new();
        assert_eq!(io::copy(&mut peer, &mut written).await.unwrap(), 5);
        assert_eq!(written, b"hello");
    });
}

// The echo server, in three usual forms.

async fn echo_with_incoming_split_copy_and_spawn(listener: TcpListener) -> io::Result<()> {
    let mut incoming = listener.incoming();
    while let Some(stream) = incoming.next().await {
        let mut stream = stream?;
        drop(spawn(async move {
            let (mut reader, mut writer) = stream.split();
            io::copy(&mut reader, &mut writer).await
        }));
    }
    Ok(())
}

async fn echo_with_accept_and_owned_halves(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _peer) = listener.accept().await?;
        let (reader, writer) = stream.into_split();
        drop(spawn(io::copy(reader, writer)));
    }
}

async fn echo_by_hand(listener: TcpListener) -> io::Result<()> {
    loop {
        let (mut stream, _peer) = listener.accept().await?;
        drop(spawn(async move {
            let mut buffer = vec![0; 1024];
            loop {
                match stream.read(&mut buffer).await? {
                    0 => return Ok::<_, io::Error>(()),
                    read => stream.write_all(&buffer[..read]).await?,
                }
            }
        }));
    }
}

/// Checks an echo server with two concurrent clients and more bytes than a buffer holds.
async fn assert_echoes<F>(server: impl FnOnce(TcpListener) -> F)
where
    F: Future<Output = io::Result<()>> + 'static,
{
    let (listener, address) = listener().await;
    let server = spawn(server(listener));
    let text = "hello\r\nworld\r\n".repeat(1_000);
    let (first, second) = future::zip(answer_to(&text, address), answer_to("", address)).await;
    assert!(first.unwrap() == text);
    assert_eq!(second.unwrap(), "");
    server.abort();
}

#[test]
fn echo_server_with_incoming_and_split_works() {
    run(|| assert_echoes(echo_with_incoming_split_copy_and_spawn));
}

#[test]
fn echo_server_with_accept_and_owned_halves_works() {
    run(|| assert_echoes(echo_with_accept_and_owned_halves));
}

#[test]
fn echo_server_with_a_buffer_and_a_loop_works() {
    run(|| assert_echoes(echo_by_hand));
}

#[test]
fn client_writes_in_the_background_after_io_split() {
    run(|| async {
        let (listener, address) = listener().await;
        drop(spawn(echo_by_hand(listener)));
        let (mut reader, mut writer) = io::split(TcpStream::connect(address).await.unwrap());
        drop(spawn(async move {
            writer.write_all(b"hello\r\n").await?;
            writer.write_all(b"world\r\n").await?;
            writer.close().await
        }));
        let (mut got, mut buffer) = (Vec::<u8>::new(), vec![0; 128]);
        loop {
            let read = reader.read(&mut buffer).await.unwrap();
            if read == 0 {
                break;
            }
            got.extend(&buffer[..read]);
        }
        assert_eq!(got, b"hello\r\nworld\r\n");
    });
}

// Datagrams: the server and the client of tokio's examples.

struct UdpServer {
    socket: UdpSocket,
    buf: Vec<u8>,
    to_send: Option<(usize, SocketAddr)>,
}

impl UdpServer {
    async fn run(self) -> Result<(), io::Error> {
        let UdpServer { socket, mut buf, mut to_send } = self;
        loop {
            // Send back the previous datagram, then receive the next one.
            if let Some((size, peer)) = to_send {
                let sent = socket.send_to(&buf[..size], &peer).await?;
                assert_eq!(sent, size);
            }
            to_send = Some(socket.recv_from(&mut buf).await?);
        }
    }
}

async fn ask_over_udp(data: &[u8], remote_addr: SocketAddr) -> io::Result<Vec<u8>> {
    let local_addr: SocketAddr =
        if remote_addr.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().unwrap();
    let socket = UdpSocket::bind(local_addr).await?;
    const MAX_DATAGRAM_SIZE: usize = 65_507;
    socket.connect(&remote_addr).await?;
    socket.send(data).await?;
    let mut data = vec![0u8; MAX_DATAGRAM_SIZE];
    let len = socket.recv(&mut data).await?;
    data.truncate(len);
    Ok(data)
}

#[test]
fn udp_server_echoes_each_datagram_to_its_sender() {
    run(|| async {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let server = UdpServer { socket, buf: vec![0; 1024], to_send: None };
        drop(spawn(server.run()));
        let asking = future::zip(ask_over_udp(b"ping", address), ask_over_udp(b"", address));
        let (ping, empty) = asking.await;
        assert_eq!(ping.unwrap(), b"ping");
        assert_eq!(empty.unwrap(), b"");
    });
}

// Unix sockets: the listener and the stream as async-net shows them.

/// Sends back each line with its number.
async fn number_lines(stream: UnixStream) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines().enumerate();
    while let Some((number, line)) = lines.next().await {
        writer.write_all(format!("{number}: {}\n", line?).as_bytes()).await?;
    }
    Ok(())
}

#[test]
fn unix_server_numbers_the_lines_of_each_client() {
    run(|| async {
        // Not in Cargo's folder, because the path of a socket is limited to about 100 bytes.
        let path = tests::place();
        let listener = UnixListener::bind(&path).unwrap();
        drop(spawn(async move {
            let mut incoming = listener.incoming();
            while let Some(stream) = incoming.next().await {
                drop(spawn(number_lines(stream?)));
            }
            Ok::<_, io::Error>(())
        }));
        for (words, numbered) in [("a\nb\n", "0: a\n1: b\n"), ("c", "0: c\n")] {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            stream.write_all(words.as_bytes()).await.unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer, numbered);
        }
    });
}

// Shared state, between tasks and between threads.

#[test]
fn tasks_share_a_map_without_a_lock() {
    run(|| async {
        let (listener, address) = listener().await;
        let seen = Rc::new(RefCell::new(HashMap::new()));
        let map = seen.clone();
        let server = spawn(async move {
            let mut incoming = listener.incoming();
            while let Some(Ok(stream)) = incoming.next().await {
                let map = map.clone();
                drop(spawn(async move {
                    let mut lines = BufReader::new(stream).lines();
                    while let Some(line) = lines.try_next().await? {
                        *map.borrow_mut().entry(line).or_insert(0) += 1;
                    }
                    Ok::<_, io::Error>(())
                }));
            }
        });
        for words in ["one\ntwo\n", "two\n"] {
            answer_to(words, address).await.unwrap();
        }
        server.abort();
        let expected = HashMap::from([("one".to_owned(), 1), ("two".to_owned(), 2)]);
        assert_eq!(*seen.borrow(), expected);
    });
}

// Channels: one task owns a connection, and other tasks send it their questions.

/// A line to send, and the channel for its answer.
type Question = (String, Sender<String>);

async fn manage(stream: TcpStream, questions: Receiver<Question>) -> io::Result<()> {
    let mut lines = BufReader::new(&stream).lines();
    while let Ok((question, answer)) = questions.recv().await {
        (&stream).write_all(format!("{question}\n").as_bytes()).await?;
        let line = lines.next().await.ok_or(ErrorKind::UnexpectedEof)??;
        // The task that asked may be gone.
        let _ = answer.send(line).await;
    }
    Ok(())
}

#[test]
fn tasks_share_a_connection_through_its_owner() {
    run(|| async {
        let (listener, address) = listener().await;
        drop(spawn(echo_by_hand(listener)));
        let (questions, asked) = bounded(32);
        let manager = spawn(manage(TcpStream::connect(address).await.unwrap(), asked));
        let mut tasks = JoinSet::new();
        for number in 0..50 {
            let questions = questions.clone();
            tasks.spawn(async move {
                let (answer, answered) = bounded(1);
                questions.send((format!("question {number}"), answer)).await.unwrap();
                assert_eq!(answered.recv().await.unwrap(), format!("question {number}"));
            });
        }
        drop(questions);
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
        }
        manager.await.unwrap().unwrap();
    });
}

// Frames: a connection that reads until it has a whole frame.

/// Reads frames. Tokio's tutorial reads into a `BytesMut` with `read_buf`, which futures-io does
/// not have. A buffered reader does the same.
struct Frames(BufReader<TcpStream>);

impl Frames {
    /// Returns the next frame, or `None` if the stream ends between two frames.
    async fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.0.fill_buf().await?.is_empty() {
            return Ok(None);
        }
        let mut length = [0; 4];
        self.0.read_exact(&mut length).await?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut frame).await?;
        Ok(Some(frame))
    }
}

async fn write_frame(writer: &mut BufWriter<TcpStream>, frame: &[u8]) -> io::Result<()> {
    writer.write_all(&(frame.len() as u32).to_be_bytes()).await?;
    writer.write_all(frame).await?;
    writer.flush().await
}

#[test]
fn frames_are_read_whole_and_half_a_frame_is_an_error() {
    run(|| async {
        let (ours, theirs) = tcp_pair().await.unwrap();
        let writing = spawn(async move {
            let mut writer = BufWriter::new(theirs);
            for frame in [&b"one"[..], b"", &[7; 100_000]] {
                write_frame(&mut writer, frame).await?;
            }
            writer.write_all(&[0, 0, 0, 9, b'x']).await?;
            writer.close().await
        });
        let mut frames = Frames(BufReader::new(ours));
        for expected in [3, 0, 100_000] {
            assert_eq!(frames.read().await.unwrap().unwrap().len(), expected);
        }
        assert_eq!(frames.read().await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
        writing.await.unwrap().unwrap();
    });
}

// Select: whatever completes first. Here `or`, for futures or streams, replaces the macro.

#[test]
fn accept_loop_runs_until_it_is_stopped() {
    run(|| async {
        let (listener, address) = listener().await;
        let (stop, stopped) = bounded::<()>(1);
        let server = spawn(async move {
            let accepting = async { echo_by_hand(listener).await.map(|()| "accepting ended") };
            future::or(accepting, async {
                Ok(stopped.recv().await.map_or("channel closed", |()| "stopped"))
            })
            .await
        });
        assert_eq!(answer_to("hello", address).await.unwrap(), "hello");
        stop.send(()).await.unwrap();
        assert_eq!(server.await.unwrap().unwrap(), "stopped");
        // The listener was dropped with the loop.
        let refused = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    });
}

// Timeouts and ticks.

#[test]
fn connection_is_usable_after_a_read_times_out() {
    run(|| async {
        let (mut ours, mut theirs) = tcp_pair().await.unwrap();
        let mut bytes = [0; 5];
        let late = timeout(Duration::from_millis(5), ours.read_exact(&mut bytes)).await;
        assert!(late.is_err());
        theirs.write_all(b"hello").await.unwrap();
        timeout(Duration::from_secs(10), ours.read_exact(&mut bytes)).await.unwrap().unwrap();
        assert_eq!(&bytes, b"hello");
    });
}

#[test]
fn server_sends_a_heartbeat_at_every_tick() {
    run(|| async {
        let (mut ours, theirs) = tcp_pair().await.unwrap();
        drop(spawn(async move {
            let mut ticks = interval(Duration::from_millis(2)).take(3);
            let mut stream = theirs;
            while ticks.next().await.is_some() {
                stream.write_all(b"tick\n").await?;
            }
            Ok::<_, io::Error>(())
        }));
        let mut text = String::new();
        ours.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "tick\n".repeat(3));
    });
}

// A handwritten future that a thread wakes, the usual introduction to wakers.

struct Delay {
    until: Instant,
    waker: Option<Arc<Mutex<Waker>>>,
}

impl Future for Delay {
    type Output = &'static str;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<&'static str> {
        if Instant::now() >= self.until {
            return Poll::Ready("done");
        }
        if let Some(waker) = &self.waker {
            waker.lock().unwrap().clone_from(cx.waker());
            return Poll::Pending;
        }
        let waker = Arc::new(Mutex::new(cx.waker().clone()));
        self.waker = Some(waker.clone());
        let until = self.until;
        thread::spawn(move || {
            thread::sleep(until.saturating_duration_since(Instant::now()));
            waker.lock().unwrap().wake_by_ref();
        });
        Poll::Pending
    }
}

#[test]
fn future_woken_by_a_thread_may_move_to_another_task() {
    run(|| async {
        let mut delay = Delay { until: Instant::now() + Duration::from_millis(100), waker: None };
        assert!(future::poll_once(&mut delay).await.is_none());
        assert_eq!(spawn(delay).await.unwrap(), "done");
    });
}

// Bridging: a runtime inside a program that is not async.

/// A client whose methods block.
struct BlockingClient {
    executor: Executor,
    stream: TcpStream,
}

impl BlockingClient {
    fn connect(to: SocketAddr) -> io::Result<BlockingClient> {
        let executor = Executor::new()?;
        let stream = executor.block_on(TcpStream::connect(to))?;
        Ok(BlockingClient { executor, stream })
    }

    fn ask(&mut self, question: &[u8; 5]) -> io::Result<[u8; 5]> {
        self.executor.block_on(async {
            let mut answer = [0; 5];
            self.stream.write_all(question).await?;
            self.stream.read_exact(&mut answer).await?;
            Ok(answer)
        })
    }
}

#[test]
fn blocking_client_keeps_its_connection_across_block_on() {
    within_deadline(|| {
        let (sender, address) = std::sync::mpsc::channel();
        let server = thread::spawn(move || {
            block_on(async {
                let (listener, address) = listener().await;
                sender.send(address).unwrap();
                let (mut stream, _peer) = listener.accept().await?;
                let (reader, writer) = stream.split();
                io::copy(reader, writer).await
            })
        });
        let mut client = BlockingClient::connect(address.recv().unwrap()).unwrap();
        for question in [b"hello", b"again"] {
            assert_eq!(&client.ask(question).unwrap(), question);
        }
        drop(client);
        assert_eq!(server.join().unwrap().unwrap(), 10);
    });
}

#[test]
fn thread_without_a_runtime_sends_work_to_one_with_it() {
    within_deadline(|| {
        let (sender, receiver) = unbounded::<u64>();
        let runtime = thread::spawn(|| {
            block_on(async move {
                let jobs = receiver.map(|millis| spawn(sleep(Duration::from_millis(millis))));
                let jobs: Vec<JoinHandle<()>> = jobs.collect().await;
                let count = jobs.len();
                for job in jobs {
                    job.await.unwrap();
                }
                count
            })
        });
        (0..5).for_each(|millis| sender.send_blocking(millis).unwrap());
        drop(sender);
        assert_eq!(runtime.join().unwrap(), 5);
    });
}

// The server of the async book: a slow request does not delay a fast one.

async fn answer_page(stream: TcpStream) -> io::Result<()> {
    let mut request = String::new();
    BufReader::new(&stream).read_line(&mut request).await?;
    let status = match request.trim_end() {
        "GET / HTTP/1.1" => "200 OK",
        "GET /sleep HTTP/1.1" => {
            sleep(Duration::from_secs(3600)).await;
            "200 OK"
        }
        _ => "404 NOT FOUND",
    };
    (&stream).write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await
}

#[test]
fn slow_page_does_not_delay_the_others() {
    run(|| async {
        let (listener, address) = listener().await;
        // One task for each connection replaces `for_each_concurrent` of futures-util.
        drop(spawn(async move {
            let mut incoming = listener.incoming();
            while let Some(stream) = incoming.next().await {
                drop(spawn(answer_page(stream?)));
            }
            Ok::<_, io::Error>(())
        }));
        let slow = spawn(answer_to("GET /sleep HTTP/1.1\r\n", address));
        let page = answer_to("GET / HTTP/1.1\r\n", address).await.unwrap();
        let none = answer_to("GET /none HTTP/1.1\r\n", address).await.unwrap();
        assert!(!slow.is_finished());
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
        assert!(none.starts_with("HTTP/1.1 404 NOT FOUND\r\n"), "{none}");
    });
}

// The chat of the async-std book: a broker, a reading and a writing task for each client, and a
// shutdown that loses no message. Here an `Rc` replaces the `Arc`, and a merged stream replaces
// `select!`.

enum Event {
    Arrived { name: String, stream: Rc<TcpStream> },
    Said { from: String, to: Vec<String>, message: String },
    Left { name: String },
}

async fn chat(
    addr: impl ToSocketAddrs,
    bound: Sender<SocketAddr>,
    stop: Receiver<()>,
) -> io::Result<()> {
    let listener = TcpListener::bind(addr).await?;
    bound.try_send(listener.local_addr()?).map_err(io::Error::other)?;
    let (events, receiver) = unbounded();
    let broker = spawn(broker(receiver));
    // A receiver of async-channel must be pinned.
    let mut incoming = pin!(stream::or(listener.incoming().map(Some), stop.map(|()| None)));
    while let Some(Some(stream)) = incoming.next().await {
        drop(spawn(read_from_client(events.clone(), stream?)));
    }
    drop(events);
    broker.await.map_err(io::Error::other)
}

const OUTLIVES: &str = "the broker outlives its clients";

async fn read_from_client(events: Sender<Event>, stream: TcpStream) -> io::Result<()> {
    let stream = Rc::new(stream);
    let mut lines = BufReader::new(&*stream).lines();
    let Some(name) = lines.try_next().await? else { return Ok(()) };
    let arrived = Event::Arrived { name: name.clone(), stream: stream.clone() };
    events.send(arrived).await.expect(OUTLIVES);
    while let Some(line) = lines.try_next().await? {
        let Some((to, message)) = line.split_once(':') else { continue };
        let to = to.split(',').map(|name| name.trim().to_owned()).collect();
        let said = Event::Said { from: name.clone(), to, message: message.trim().to_owned() };
        events.send(said).await.expect(OUTLIVES);
    }
    events.send(Event::Left { name }).await.expect(OUTLIVES);
    Ok(())
}

async fn write_to_client(messages: Receiver<String>, stream: Rc<TcpStream>) -> io::Result<()> {
    let mut stream = &*stream;
    while let Ok(message) = messages.recv().await {
        stream.write_all(message.as_bytes()).await?;
    }
    stream.close().await
}

async fn broker(events: Receiver<Event>) {
    let mut peers: HashMap<String, Sender<String>> = HashMap::new();
    let mut writers = JoinSet::new();
    while let Ok(event) = events.recv().await {
        match event {
            Event::Arrived { name, stream } => {
                let (sender, receiver) = unbounded();
                peers.insert(name, sender);
                writers.spawn(write_to_client(receiver, stream));
            }
            Event::Said { from, to, message } => {
                for peer in to.iter().filter_map(|name| peers.get(name)) {
                    let _ = peer.send(format!("from {from}: {message}\n")).await;
                }
            }
            Event::Left { name } => drop(peers.remove(&name)),
        }
    }
    drop(peers);
    while writers.join_next().await.is_some() {}
}

#[test]
fn chat_delivers_messages_until_its_last_client_leaves() {
    run(|| async {
        let ((sender, bound), (stop, stopped)) = (bounded(1), bounded(1));
        let server = spawn(chat("127.0.0.1:0", sender, stopped));
        let address = bound.recv().await.unwrap();
        let (mut ada, mut bob) = (join("ada", address).await, join("bob", address).await);
        stop.send(()).await.unwrap();
        ada.get_mut().write_all(b"no colon\nbob, eve: hello\nada: bye\n").await.unwrap();
        assert_eq!(line(&mut bob).await, "from ada: hello\n");
        drop(bob);
        assert!(!server.is_finished());
        ada.get_mut().close().await.unwrap();
        assert_eq!(line(&mut ada).await, "from ada: bye\n", "the message was lost");
        assert_eq!(line(&mut ada).await, "", "the stream must end");
        server.await.unwrap().unwrap();
    });
}

async fn line(reader: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).await.unwrap();
    line
}

/// Connects a client. Returns when the broker knows the client, because its message to itself has
/// arrived.
async fn join(name: &str, chat: SocketAddr) -> BufReader<TcpStream> {
    let mut client = BufReader::new(TcpStream::connect(chat).await.unwrap());
    client.get_mut().write_all(format!("{name}\n{name}: here\n").as_bytes()).await.unwrap();
    assert_eq!(line(&mut client).await, format!("from {name}: here\n"));
    client
}

// Blocking work on the thread pool.

#[test]
fn blocking_work_does_not_delay_connections() {
    run(|| async {
        let (listener, address) = listener().await;
        drop(spawn(echo_by_hand(listener)));
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let blocked = spawn_blocking(move || receiver.recv());
        assert_eq!(answer_to("hello", address).await.unwrap(), "hello");
        assert!(!blocked.is_finished());
        sender.send(()).unwrap();
        blocked.await.unwrap().unwrap();
    });
}

// Files, pipes and standard output, with the same traits.

/// Returns the path of a file that no other test uses, in Cargo's folder for test files.
fn file_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("introductions-{name}-{}", process::id()))
}

#[test]
fn file_is_written_and_read_in_parts() {
    run(|| async {
        let path = file_path("parts");
        let mut file = File::create(&path).await.unwrap();
        file.write_all(b"some bytes").await.unwrap();
        file.flush().await.unwrap();

        let mut file = File::open(&path).await.unwrap();
        let mut buffer = [0; 4];
        let bytes = file.read(&mut buffer[..]).await.unwrap();
        assert_eq!(&buffer[..bytes], b"some");
        let mut rest = Vec::new();
        file.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b" bytes");
        fs::remove_file(&path).await.unwrap();
    });
}

#[test]
fn slice_is_copied_into_a_file() {
    run(|| async {
        let path = file_path("slice");
        let mut reader: &[u8] = b"hello";
        let mut file = File::create(&path).await.unwrap();
        assert_eq!(io::copy(&mut reader, &mut file).await.unwrap(), 5);
        assert_eq!(fs::read_to_string(&path).await.unwrap(), "hello");
        fs::remove_file(&path).await.unwrap();
    });
}

#[test]
fn whole_file_is_read_and_written() {
    run(|| async {
        let (from, to) = (file_path("from"), file_path("to"));
        fs::write(&from, b"all of it").await.unwrap();
        let contents = fs::read(&from).await.unwrap();
        fs::write(&to, &contents).await.unwrap();
        assert_eq!(fs::read(&to).await.unwrap(), b"all of it");
        fs::remove_file(&from).await.unwrap();
        fs::remove_file(&to).await.unwrap();
    });
}

#[test]
fn pipe_connects_two_tasks() {
    run(|| async {
        let (mut sender, mut receiver) = pipe().unwrap();
        let writer = spawn(async move { sender.write_all(b"through the pipe").await });
        let mut text = String::new();
        receiver.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "through the pipe");
        writer.await.unwrap().unwrap();
    });
}

// Runs in a process of its own, whose standard output the test reads.
#[test]
fn standard_output_is_a_writer() {
    const TEST: &str = "standard_output_is_a_writer";
    const TEXT: &str = "hello, standard output";
    if is_child() {
        return block_on(async { stdout().write_all(TEXT.as_bytes()).await.unwrap() });
    }
    let output = child::start(TEST).wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().contains(TEXT));
}
