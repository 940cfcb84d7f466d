//! HTTP: hyper 1 as server and client in both versions, axum's `Router`, and curl.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use executor::{JoinHandle, spawn, spawn_blocking};
use futures_lite::StreamExt;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, Service, service_fn};
use hyper::{Request, Response, StatusCode, client};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use reactor::io::{AsyncReadExt, AsyncWriteExt};
use reactor::net::{TcpListener, TcpStream};
use reactor::time::{sleep, timeout};
use reactor_hyper::{HyperIo, LocalExec, LocalTimer};
use tests::child::example;
use tests::{run, tcp_pair, within_deadline};
use tower_http::timeout::TimeoutLayer;

use crate::tools::{Running, curl, curl_speaks_http_2, is_installed};

/// The two versions of HTTP.
#[derive(Clone, Copy, PartialEq)]
enum Version {
    One,
    Two,
}

/// Serves one connection.
async fn serve<S, B>(version: Version, stream: TcpStream, service: S) -> hyper::Result<()>
where
    S: HttpService<Incoming, ResBody = B, Error = Infallible, Future: 'static>,
    B: Body<Data = Bytes, Error: Into<axum::BoxError>> + 'static,
{
    match version {
        Version::One => http1::Builder::new().serve_connection(HyperIo(stream), service).await,
        Version::Two => {
            http2::Builder::new(LocalExec).serve_connection(HyperIo(stream), service).await
        }
    }
}

/// Serves every connection in a task of its own, and returns the address of the listener.
async fn listen<F>(serve: impl Fn(TcpStream) -> F + 'static) -> SocketAddr
where
    F: Future<Output: 'static> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(spawn(async move {
        let mut incoming = listener.incoming();
        while let Some(stream) = incoming.next().await {
            let stream = stream.unwrap();
            stream.set_nodelay(true).unwrap();
            drop(spawn(serve(stream)));
        }
    }));
    address
}

type Answer = Result<Response<Incoming>, Infallible>;

/// Sends the body back as it arrives, with the number of requests in a header. The counter is an
/// `Rc`, so the service is not `Send`.
async fn echo(requests: Rc<Cell<usize>>, request: Request<Incoming>) -> Answer {
    requests.set(requests.get() + 1);
    let mut answer = Response::new(request.into_body());
    answer.headers_mut().insert("requests", requests.get().into());
    Ok(answer)
}

async fn listen_to_echo(version: Version) -> SocketAddr {
    let requests = Rc::new(Cell::new(0));
    listen(move |stream| {
        let requests = requests.clone();
        serve(version, stream, service_fn(move |request| echo(requests.clone(), request)))
    })
    .await
}

fn request(method: &str, path: &str, body: Vec<u8>) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(format!("http://localhost{path}"));
    request.header("host", "localhost").body(Full::from(body)).unwrap()
}

/// A hyper client, whose connection runs in a task.
enum Client {
    One(client::conn::http1::SendRequest<Full<Bytes>>),
    Two(client::conn::http2::SendRequest<Full<Bytes>>),
}

impl Client {
    async fn connect(version: Version, to: SocketAddr) -> Client {
        let stream = TcpStream::connect(to).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let stream = HyperIo(stream);
        match version {
            Version::One => {
                let (client, connection) = client::conn::http1::handshake(stream).await.unwrap();
                drop(spawn(connection));
                Client::One(client)
            }
            Version::Two => {
                let handshake = client::conn::http2::handshake(LocalExec, stream);
                let (client, connection) = handshake.await.unwrap();
                drop(spawn(connection));
                Client::Two(client)
            }
        }
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        match self {
            Client::One(client) => {
                client.ready().await.unwrap();
                client.send_request(request).await.unwrap()
            }
            Client::Two(client) => client.send_request(request).await.unwrap(),
        }
    }
}

async fn bytes(answer: Response<Incoming>) -> Vec<u8> {
    answer.into_body().collect().await.unwrap().to_bytes().to_vec()
}

/// Returns bytes in which adjacent blocks of 256 bytes differ.
fn body(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ (at >> 8)) as u8).collect()
}

/// An empty body, one byte, lengths around 64 KiB, and more than the socket buffers hold.
const SIZES: [usize; 6] = [0, 1, 65535, 65536, 65537, 5 << 20];

async fn assert_bodies_come_back_on_one_connection(version: Version) {
    let mut client = Client::connect(version, listen_to_echo(version).await).await;
    for (before, size) in SIZES.into_iter().enumerate() {
        let answer = client.send(request("POST", "/", body(size))).await;
        assert_eq!(answer.headers()["requests"], (before + 1).to_string());
        let back = bytes(answer).await;
        assert!(back == body(size), "{} of {size} bytes came back", back.len());
    }
}

#[test]
fn http_1_bodies_come_back_on_one_connection() {
    run(|| assert_bodies_come_back_on_one_connection(Version::One));
}

#[test]
fn http_2_bodies_come_back_on_one_connection() {
    run(|| assert_bodies_come_back_on_one_connection(Version::Two));
}

// Method: each handler waits until all requests have arrived, so none can complete alone.
#[test]
fn http_2_serves_requests_concurrently() {
    const REQUESTS: usize = 100;
    async fn answer_with_all_others(
        requests: Rc<Cell<usize>>,
    ) -> Result<Response<Empty<Bytes>>, Infallible> {
        requests.set(requests.get() + 1);
        while requests.get() < REQUESTS {
            sleep(Duration::from_millis(1)).await;
        }
        Ok(Response::new(Empty::new()))
    }
    run(|| async {
        let requests = Rc::new(Cell::new(0));
        let address = listen(move |stream| {
            let requests = requests.clone();
            let service = service_fn(move |_| answer_with_all_others(requests.clone()));
            serve(Version::Two, stream, service)
        });
        let Client::Two(client) = Client::connect(Version::Two, address.await).await else {
            unreachable!("the client speaks HTTP/2");
        };
        let answers: Vec<JoinHandle<_>> = (0..REQUESTS)
            .map(|_| {
                let mut client = client.clone();
                spawn(async move { client.send_request(request("GET", "/", Vec::new())).await })
            })
            .collect();
        for answer in answers {
            assert_eq!(answer.await.unwrap().unwrap().status(), StatusCode::OK);
        }
    });
}

fn router() -> Router {
    Router::new()
        .route("/hello/{name}", get(async |Path(name): Path<String>| format!("Hello, {name}!")))
        .route("/echo", post(async |body: Bytes| body))
}

async fn assert_routes(version: Version) {
    let service = TowerToHyperService::new(router());
    let address = listen(move |stream| serve(version, stream, service.clone())).await;
    let mut client = Client::connect(version, address).await;
    let answer = client.send(request("GET", "/hello/world", Vec::new())).await;
    assert_eq!(bytes(answer).await, b"Hello, world!");
    let answer = client.send(request("POST", "/echo", body(100_000))).await;
    assert!(bytes(answer).await == body(100_000));
    let answer = client.send(request("GET", "/elsewhere", Vec::new())).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
}

#[test]
fn axum_router_answers_over_http_1() {
    run(|| assert_routes(Version::One));
}

#[test]
fn axum_router_answers_over_http_2() {
    run(|| assert_routes(Version::Two));
}

/// Checks that curl gets back what it posts, `times` times on one connection.
fn assert_echoes_to_curl(version: Version, flag: &'static str, times: usize) {
    run(move || async move {
        let url = format!("http://{}/", listen_to_echo(version).await);
        for size in SIZES {
            let url = url.clone();
            let got = spawn_blocking(move || {
                let urls = vec![url.as_str(); times];
                curl(&[&[flag, "--data-binary", "@-"], &urls[..]].concat(), body(size))
            });
            let got = got.await.unwrap();
            assert!(got == body(size).repeat(times), "{} bytes of {size}", got.len());
        }
    });
}

#[test]
fn curl_gets_its_bytes_back_over_http_1() {
    if is_installed("curl") {
        assert_echoes_to_curl(Version::One, "--http1.1", 2);
    }
}

// One request only: curl 7.88 (Debian 12) fails when it reuses such a connection, without sending
// another byte.
#[test]
fn curl_gets_its_bytes_back_over_http_2() {
    if curl_speaks_http_2() {
        assert_echoes_to_curl(Version::Two, "--http2-prior-knowledge", 1);
    }
}

#[test]
fn unfinished_request_head_times_out() {
    run(|| async {
        let (mut client, stream) = tcp_pair().await.unwrap();
        let mut http = http1::Builder::new();
        http.timer(LocalTimer).header_read_timeout(Duration::from_millis(20));
        let service = service_fn(|request| echo(Rc::default(), request));
        let served = spawn(http.serve_connection(HyperIo(stream), service));
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n").await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert!(served.await.unwrap().unwrap_err().is_timeout());
    });
}

#[test]
fn one_port_serves_both_versions_of_http() {
    run(|| async {
        let address = listen(|stream| async move {
            let service = service_fn(|request| echo(Rc::default(), request));
            let mut http = auto::Builder::new(LocalExec);
            http.http1().timer(LocalTimer);
            http.http2().timer(LocalTimer).keep_alive_interval(Duration::from_secs(10));
            http.serve_connection(HyperIo(stream), service).await
        });
        let address = address.await;
        for version in [Version::One, Version::Two] {
            let mut client = Client::connect(version, address).await;
            let answer = client.send(request("POST", "/", body(100_000))).await;
            assert!(bytes(answer).await == body(100_000));
        }
    });
}

/// Serves one connection with a `Router`, and sends a request to it.
async fn ask<S>(service: S, path: &str) -> (StatusCode, Vec<u8>)
where
    S: HttpService<Incoming, ResBody = axum::body::Body, Error = Infallible, Future: 'static>
        + Clone
        + 'static,
{
    let serve = move |stream| serve(Version::One, stream, service.clone());
    let mut client = Client::connect(Version::One, listen(serve).await).await;
    let answer = client.send(request("GET", path, Vec::new())).await;
    (answer.status(), bytes(answer).await)
}

// axum requires handlers that are `Send`.
// Pitfall: P3
#[test]
fn axum_handler_awaits_a_file_and_the_pool() {
    async fn text() -> String {
        assert_eq!(reactor::blocking::unblock(|| 7).await, 7);
        let mut file = reactor::fs::File::open("Cargo.toml").await.unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, reactor::fs::read_to_string("Cargo.toml").await.unwrap());
        text
    }
    run(|| async {
        let router = Router::new().route("/", get(text));
        let (_status, text) = ask(TowerToHyperService::new(router), "/").await;
        assert!(text == std::fs::read("Cargo.toml").unwrap());
    });
}

#[test]
fn slow_axum_handler_gets_status_503() {
    run(|| async {
        let router = Router::new().route("/", get(async || pending::<&str>().await));
        let router = TowerToHyperService::new(router);
        let service = service_fn(move |request: Request<Incoming>| {
            let response = timeout(Duration::from_millis(10), router.call(request));
            async move {
                match response.await {
                    Ok(response) => response,
                    Err(_elapsed) => Ok(StatusCode::SERVICE_UNAVAILABLE.into_response()),
                }
            }
        });
        let (status, _body) = ask(service, "/").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    });
}

// `slow_axum_handler_gets_status_503` shows what works instead.
#[test]
fn tower_http_timeout_layer_panics_without_tokio() {
    run(|| async {
        let limit = Duration::from_secs(10);
        let layer = TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, limit);
        let router = TowerToHyperService::new(router().layer(layer));
        let (mut client, server) = tcp_pair().await.unwrap();
        let served = spawn(serve(Version::One, server, router));
        client.write_all(b"GET /hello/you HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let panic = served.await.unwrap_err().to_string();
        assert!(panic.contains("no reactor running"), "{panic}");
    });
}

#[test]
fn example_web_answers_curl() {
    if !is_installed("curl") {
        return;
    }
    let web = example("interop", "web");
    within_deadline(|| {
        let web = Running::start(web);
        let url = web.address.as_str();
        let hello = curl(&[&format!("{url}/hello/world")], Vec::new());
        assert_eq!(String::from_utf8_lossy(&hello), "Hello, world, from request 1!\n");
        let hello = curl(&[&format!("{url}/hello/world")], Vec::new());
        assert_eq!(String::from_utf8_lossy(&hello), "Hello, world, from request 2!\n");
    });
}
