//! The servers of the HTTP cells: hyper and WebSockets, on our runtime and on tokio.
//!
//! Both runtimes use the same hyper, rustls and tungstenite. What differs is what the runtime
//! brings: sockets, tasks, timers, and the adapter between them and these crates.

use std::convert::Infallible;
use std::io::{self, Error};
use std::sync::Arc;
use std::time::Duration;

use futures_lite::StreamExt;
use futures_rustls::pki_types::pem::PemObject;
use futures_rustls::pki_types::{CertificateDer, PrivateKeyDer};
use futures_rustls::rustls::ServerConfig;
use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use reactor_hyper::{HyperIo, LocalExec, LocalTimer};

use super::{BODY, Cell, Protocol};
use crate::servers::{ADDRESS, announce};

/// The certificate and the key of the servers, as PEM, from the program that starts them.
pub(crate) const CERTIFICATE: &str = "PEERS_CERTIFICATE";

/// The time limit of a request, in the cells with timeouts.
const LIMIT: Duration = Duration::from_secs(10);

type Answer = Result<Response<Either<Full<Bytes>, Incoming>>, Infallible>;

/// Answers `POST` with the body of the request, and `GET` with 64 KiB or a line.
async fn answer(request: Request<Incoming>) -> Answer {
    static LARGE: [u8; BODY] = [b'x'; BODY];
    Ok(Response::new(match (request.method(), request.uri().path()) {
        (&Method::POST, _) => Either::Right(request.into_body()),
        (_, "/") => Either::Left(Full::from(&LARGE[..])),
        _ => Either::Left(Full::from("Hello, world!\n")),
    }))
}

fn too_late() -> Answer {
    let mut response = Response::new(Either::Left(Full::default()));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    Ok(response)
}

fn tls() -> io::Result<Arc<ServerConfig>> {
    let pem = std::env::var(CERTIFICATE).map_err(Error::other)?;
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(Error::other)?;
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(Error::other)?;
    let config = ServerConfig::builder().with_no_client_auth();
    config.with_single_cert(vec![certificate], key).map(Arc::new).map_err(Error::other)
}

/// Serves the connections of a cell on our runtime.
pub(crate) fn ours(cell: &Cell) -> io::Result<()> {
    let (protocol, timeouts) = (cell.protocol, cell.timeouts);
    let acceptor = cell.tls.then(tls).transpose()?.map(futures_rustls::TlsAcceptor::from);
    executor::block_on(async move {
        let listener = reactor::net::TcpListener::bind(ADDRESS).await?;
        announce(listener.local_addr()?)?;
        let mut incoming = listener.incoming();
        while let Some(stream) = incoming.next().await {
            let (stream, acceptor) = (stream?, acceptor.clone());
            stream.set_nodelay(true)?;
            drop(executor::spawn(async move {
                match (protocol, acceptor) {
                    (Protocol::WebSocket, _) => echo_messages_on_ours(stream).await,
                    (_, None) => serve_on_ours(HyperIo(stream), protocol, timeouts).await,
                    (_, Some(acceptor)) => {
                        let stream = HyperIo(acceptor.accept(stream).await?);
                        serve_on_ours(stream, protocol, timeouts).await
                    }
                }
            }));
        }
        Ok(())
    })
}

async fn serve_on_ours<I>(stream: I, protocol: Protocol, timeouts: bool) -> io::Result<()>
where
    I: Read + Write + Unpin + 'static,
{
    let service = service_fn(move |request| async move {
        match timeouts {
            false => answer(request).await,
            true => match reactor::time::timeout(LIMIT, answer(request)).await {
                Ok(answer) => answer,
                Err(_elapsed) => too_late(),
            },
        }
    });
    if protocol == Protocol::Http1 {
        let mut http = http1::Builder::new();
        if timeouts {
            http.timer(LocalTimer);
        }
        return http.serve_connection(stream, service).await.map_err(Error::other);
    }
    let mut http = http2::Builder::new(LocalExec);
    if timeouts {
        http.timer(LocalTimer).keep_alive_interval(LIMIT);
    }
    http.serve_connection(stream, service).await.map_err(Error::other)
}

async fn echo_messages_on_ours(stream: reactor::net::TcpStream) -> io::Result<()> {
    let mut socket = async_tungstenite::accept_async(stream).await.map_err(Error::other)?;
    while let Some(message) = socket.next().await {
        socket.send(message.map_err(Error::other)?).await.map_err(Error::other)?;
    }
    Ok(())
}

/// Serves the connections of a cell on tokio's runtime with one thread.
pub(crate) fn tokio(cell: &Cell) -> io::Result<()> {
    let (protocol, timeouts) = (cell.protocol, cell.timeouts);
    let acceptor = cell.tls.then(tls).transpose()?.map(tokio_rustls::TlsAcceptor::from);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::bind(ADDRESS).await?;
        announce(listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            let acceptor = acceptor.clone();
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                match (protocol, acceptor) {
                    (Protocol::WebSocket, _) => echo_messages_on_tokio(stream).await,
                    (_, None) => serve_on_tokio(TokioIo::new(stream), protocol, timeouts).await,
                    (_, Some(acceptor)) => {
                        let stream = TokioIo::new(acceptor.accept(stream).await?);
                        serve_on_tokio(stream, protocol, timeouts).await
                    }
                }
            });
        }
    })
}

async fn serve_on_tokio<I>(stream: I, protocol: Protocol, timeouts: bool) -> io::Result<()>
where
    I: Read + Write + Unpin + Send + 'static,
{
    let service = service_fn(move |request| async move {
        match timeouts {
            false => answer(request).await,
            true => match tokio::time::timeout(LIMIT, answer(request)).await {
                Ok(answer) => answer,
                Err(_elapsed) => too_late(),
            },
        }
    });
    if protocol == Protocol::Http1 {
        let mut http = http1::Builder::new();
        if timeouts {
            http.timer(TokioTimer::new());
        }
        return http.serve_connection(stream, service).await.map_err(Error::other);
    }
    let mut http = http2::Builder::new(TokioExecutor::new());
    if timeouts {
        http.timer(TokioTimer::new()).keep_alive_interval(LIMIT);
    }
    http.serve_connection(stream, service).await.map_err(Error::other)
}

async fn echo_messages_on_tokio(stream: tokio::net::TcpStream) -> io::Result<()> {
    let accepted = async_tungstenite::tokio::accept_async(stream).await;
    let mut socket = accepted.map_err(Error::other)?;
    while let Some(message) = socket.next().await {
        socket.send(message.map_err(Error::other)?).await.map_err(Error::other)?;
    }
    Ok(())
}
