//! The adapter for hyper, tested alone: its reads, writes and sleeps.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use executor::{Executor, spawn, spawn_blocking, yield_now};
use futures_lite::future::poll_once;
use http_body_util::Full;
use hyper::rt::{Read, ReadBuf, Sleep, Timer, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use reactor::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use reactor::net::{TcpStream, UnixStream};
use reactor_hyper::{HyperIo, LocalExec, LocalTimer};
use tests::{run, tcp_pair, within_deadline};

const KIB_64: usize = 64 * 1024;

/// A stream that calls a function for each read, and reports what the function returns.
struct Reader<F>(F);

impl<F: FnMut(&mut [u8]) -> io::Result<usize> + Unpin> AsyncRead for Reader<F> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready((self.0)(buf))
    }
}

/// Reads once into `buffer`, and returns the bytes that were read.
fn read<T>(stream: T, buffer: &mut [u8]) -> io::Result<&[u8]>
where
    HyperIo<T>: Read,
{
    let cx = &mut Context::from_waker(std::task::Waker::noop());
    let mut buf = ReadBuf::new(buffer);
    match pin!(HyperIo(stream)).as_mut().poll_read(cx, buf.unfilled()) {
        Poll::Ready(result) => result?,
        Poll::Pending => return Err(ErrorKind::WouldBlock.into()),
    }
    let length = buf.filled().len();
    Ok(&buffer[..length])
}

#[test]
fn read_takes_a_64_kib_body_with_its_head() {
    let mut buffer = vec![0; KIB_64 + 100];
    let all = read(Reader(|bytes: &mut [u8]| Ok(bytes.len())), &mut buffer).unwrap();
    assert_eq!(all.len(), KIB_64 + 100);
}

#[test]
fn read_takes_no_more_than_hyper_has_space_for() {
    let mut buffer = [0; 10];
    let asked = Cell::new(0);
    let stream = Reader(|bytes: &mut [u8]| {
        asked.set(bytes.len());
        bytes.copy_from_slice(b"0123456789");
        Ok(3)
    });
    assert_eq!(read(stream, &mut buffer).unwrap(), b"012");
    assert_eq!(asked.get(), 10);
}

#[test]
fn read_length_beyond_the_buffer_is_an_error() {
    for space in [10, KIB_64, 16 * KIB_64] {
        let wrong = Reader(|bytes: &mut [u8]| Ok(bytes.len() + 1));
        let error = read(wrong, &mut vec![0; space]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}

#[test]
fn read_within_a_read_has_a_buffer_of_its_own() {
    let outer = Reader(|bytes: &mut [u8]| {
        bytes.fill(b'o');
        let inner = Reader(|bytes: &mut [u8]| {
            bytes.fill(b'i');
            Ok(bytes.len())
        });
        assert!(read(inner, &mut [0; 100])?.iter().all(|&byte| byte == b'i'));
        Ok(bytes.len())
    });
    assert!(read(outer, &mut [0; 100]).unwrap().iter().all(|&byte| byte == b'o'));
}

#[test]
fn reads_of_one_thread_share_one_buffer() {
    let address = Rc::new(Cell::new(std::ptr::null()));
    for _ in 0..3 {
        let address = address.clone();
        let stream = Reader(move |bytes: &mut [u8]| {
            let before = address.replace(bytes.as_ptr());
            assert!(before.is_null() || before == bytes.as_ptr());
            Ok(1)
        });
        read(stream, &mut [0; 100]).unwrap();
    }
}

/// Writes two buffers with one call, and returns how many bytes were written.
async fn write_two(stream: impl AsyncWrite + Unpin) -> usize {
    let mut stream = HyperIo(stream);
    assert!(stream.is_write_vectored());
    let two = [IoSlice::new(b"head"), IoSlice::new(b"body")];
    poll_fn(|cx| Pin::new(&mut stream).poll_write_vectored(cx, &two)).await.unwrap()
}

// Pitfall: F3
#[test]
fn vectored_write_to_a_socket_takes_all_buffers() {
    run(|| async {
        let (mut tcp, _peer) = tcp_pair().await.unwrap();
        assert_eq!(write_two(tcp.split().1).await, 8);
        assert_eq!(write_two(tcp.into_split().1).await, 8);
        let (tcp, _peer) = tcp_pair().await.unwrap();
        assert_eq!(write_two(&tcp).await, 8);
        assert_eq!(write_two(tcp).await, 8);
        let (mut unix, _peer) = UnixStream::pair().unwrap();
        assert_eq!(write_two(unix.split().1).await, 8);
        assert_eq!(write_two(&unix).await, 8);
        assert_eq!(write_two(unix.into_split().1).await, 8);
    });
}

/// A connection that records the length of each write.
struct Recorded {
    stream: TcpStream,
    writes: Rc<RefCell<Vec<usize>>>,
}

impl AsyncRead for Recorded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Recorded {
    fn record(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.writes.borrow_mut().push(bytes);
        }
        written
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.record(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.record(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

async fn hello(_request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from(vec![b'x'; KIB_64])))
}

#[test]
fn http_1_head_and_body_leave_in_one_write() {
    run(|| async {
        let (mut client, stream) = tcp_pair().await.unwrap();
        let writes = Rc::default();
        let recorded = Recorded { stream, writes: Rc::clone(&writes) };
        let service = service_fn(hello);
        let serve = http1::Builder::new().serve_connection(HyperIo(recorded), service);
        let served = spawn(serve);
        client.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        served.await.unwrap().unwrap();
        assert_eq!(writes.borrow()[..], [answer.len()]);
    });
}

// A frame is a head of nine bytes and a payload of up to 16 KiB. If they were written separately,
// Nagle's algorithm would hold back the head of the next frame until the client acknowledges the
// payload, and clients delay acknowledgements.
#[test]
fn http_2_frame_leaves_with_its_head() {
    run(|| async {
        let (client, stream) = tcp_pair().await.unwrap();
        let writes = Rc::default();
        let recorded = Recorded { stream, writes: Rc::clone(&writes) };
        let service = service_fn(hello);
        let serve = http2::Builder::new(LocalExec).serve_connection(HyperIo(recorded), service);
        drop(spawn(serve));
        let handshake = hyper::client::conn::http2::handshake(LocalExec, HyperIo(client));
        let (mut client, connection) = handshake.await.unwrap();
        drop(spawn(connection));
        let request = Request::get("http://localhost/").body(Full::<Bytes>::default()).unwrap();
        let answer = client.send_request(request).await.unwrap();
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap();
        assert_eq!(body.to_bytes().len(), KIB_64);
        let writes = writes.borrow();
        let whole = writes.iter().filter(|&&bytes| bytes >= 16 * 1024 + 9);
        assert_eq!(whole.count(), 4, "a head was written alone: {writes:?}");
    });
}

#[test]
fn hyper_sleep_spawns_no_task() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        executor.block_on(async {
            let mut sleep = LocalTimer.sleep(Duration::from_secs(3600));
            assert_eq!(poll_once(&mut sleep).await, None);
            yield_now().await;
            assert_eq!(executor.metrics().tasks, 1, "only the main future");
            LocalTimer.sleep(Duration::from_millis(1)).await;
        });
    });
}

#[test]
fn dropped_hyper_sleep_leaves_no_timer() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        executor.block_on(async {
            let mut sleep = LocalTimer.sleep(Duration::from_secs(3600));
            assert_eq!(poll_once(&mut sleep).await, None);
            assert!(executor.reactor().next_deadline().is_some());
            drop(sleep);
            assert!(executor.reactor().next_deadline().is_none());
        });
    });
}

#[test]
fn reset_hyper_sleep_fires_at_the_new_deadline() {
    run(|| async {
        let start = Instant::now();
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        // Reset to an earlier and to a later deadline, before the first poll, while waiting and
        // after.
        let mut sleep = LocalTimer.sleep(Duration::from_secs(3600));
        LocalTimer.reset(&mut sleep, after(1800 * 1000));
        assert_eq!(poll_once(&mut sleep).await, None);
        LocalTimer.reset(&mut sleep, after(10));
        sleep.as_mut().await;
        assert!(start.elapsed() >= Duration::from_millis(10));
        LocalTimer.reset(&mut sleep, after(20));
        assert_eq!(poll_once(&mut sleep).await, None);
        LocalTimer.reset(&mut sleep, after(40));
        sleep.await;
        assert!(start.elapsed() >= Duration::from_millis(40));
    });
}

// Pitfall: C1
#[test]
fn hyper_sleep_beyond_the_end_of_the_clock_never_fires() {
    run(|| async {
        let mut sleep = LocalTimer.sleep(Duration::MAX);
        assert_eq!(poll_once(&mut sleep).await, None);
        LocalTimer.reset(&mut sleep, Instant::now());
        sleep.await;
    });
}

#[test]
fn hyper_sleep_continues_on_another_thread() {
    fn assert_send_and_sync(_: &(impl Sleep + ?Sized)) {}
    run(|| async {
        let start = Instant::now();
        let mut sleep = LocalTimer.sleep(Duration::from_millis(5));
        assert_send_and_sync(&*sleep);
        assert_eq!(poll_once(&mut sleep).await, None);
        spawn_blocking(|| executor::block_on(sleep)).await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(5));
    });
}
