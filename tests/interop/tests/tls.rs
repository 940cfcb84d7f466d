//! TLS with futures-rustls: alone, and below hyper.

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use executor::{spawn, spawn_blocking};
use futures_rustls::pki_types::pem::PemObject;
use futures_rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use futures_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use futures_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use reactor::io::{self, AsyncReadExt, AsyncWriteExt};
use reactor::net::{TcpListener, TcpStream};
use reactor::time::timeout;
use reactor_hyper::{HyperIo, LocalExec};
use tests::{run, tcp_pair};

use crate::tools::{curl, curl_speaks_http_2};

/// A self-signed certificate for `localhost`, with the configuration of a server and a client.
struct Certificate {
    pem: String,
    server: ServerConfig,
    client: ClientConfig,
}

impl Certificate {
    fn new() -> Certificate {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = CertificateDer::from_pem_slice(made.cert.pem().as_bytes()).unwrap();
        let key = made.signing_key.serialize_pem();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let server = ServerConfig::builder().with_no_client_auth();
        Certificate {
            pem: made.cert.pem(),
            server: server.with_single_cert(vec![certificate], key).unwrap(),
            client: ClientConfig::builder().with_root_certificates(roots).with_no_client_auth(),
        }
    }

    /// Makes the server offer HTTP/2, and then HTTP/1.1.
    fn with_http(mut self) -> Certificate {
        self.server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        self
    }

    /// Writes the certificate to a file for a program. `name` must differ from those of other
    /// tests.
    fn file(&self, name: &str) -> PathBuf {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&file, &self.pem).unwrap();
        file
    }
}

/// The classic echo, with a handshake before it and a close_notify alert after it.
async fn echo(server: TcpStream, acceptor: TlsAcceptor) -> io::Result<u64> {
    let stream = acceptor.accept(server).await?;
    let (reader, mut writer) = io::split(stream);
    let bytes = io::copy(reader, &mut writer).await?;
    writer.close().await?;
    Ok(bytes)
}

// Method: the client sends and receives more than the socket buffers hold, so both directions wait.
// `read_to_end` fails without the close_notify alert.
#[test]
fn tls_echo_returns_all_bytes_and_close_notify() {
    const LENGTH: usize = 5 << 20;
    run(|| async {
        let certificate = Certificate::new();
        let (client, server) = tcp_pair().await.unwrap();
        let echoed = spawn(echo(server, TlsAcceptor::from(Arc::new(certificate.server))));
        let connector = TlsConnector::from(Arc::new(certificate.client));
        let localhost = ServerName::try_from("localhost").unwrap();
        let client = TlsStream::from(connector.connect(localhost, client).await.unwrap());
        let (mut reader, mut writer) = io::split(client);
        let bytes: Vec<u8> = (0..LENGTH).map(|at| (at % 251) as u8).collect();
        let sent = bytes.clone();
        let sending = spawn(async move {
            writer.write_all(&sent).await.unwrap();
            writer.close().await.unwrap();
        });
        let mut back = Vec::new();
        reader.read_to_end(&mut back).await.unwrap();
        sending.await.unwrap();
        assert!(back == bytes, "{} of {LENGTH} bytes came back", back.len());
        assert_eq!(echoed.await.unwrap().unwrap(), LENGTH as u64);
    });
}

#[test]
fn certificate_for_another_name_is_rejected() {
    run(|| async {
        let certificate = Certificate::new();
        let (client, server) = tcp_pair().await.unwrap();
        let echoed = spawn(echo(server, TlsAcceptor::from(Arc::new(certificate.server))));
        let connector = TlsConnector::from(Arc::new(certificate.client));
        let other = ServerName::try_from("example.org").unwrap();
        let error = connector.connect(other, client).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(echoed.await.unwrap().is_err());
    });
}

async fn body_back(request: Request<Incoming>) -> Result<Response<Incoming>, Infallible> {
    Ok(Response::new(request.into_body()))
}

/// How long a client may take for its handshake.
const LIMIT: Duration = Duration::from_secs(10);

/// Serves one connection: the handshake, then the version of HTTP that it agreed on.
async fn serve_one(stream: TcpStream, acceptor: TlsAcceptor) {
    let handshake = timeout(LIMIT, acceptor.accept(stream));
    let Ok(Ok(stream)) = handshake.await else { return };
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let (stream, service) = (HyperIo(stream), service_fn(body_back));
    let served = match is_h2 {
        true => http2::Builder::new(LocalExec).serve_connection(stream, service).await,
        false => http1::Builder::new().serve_connection(stream, service).await,
    };
    // The client may close the connection at any time.
    let _ = served;
}

/// Serves every client. The handshake runs in the connection's task. If this loop awaited it, a
/// client that sends nothing would make all others wait.
async fn serve(listener: TcpListener, acceptor: TlsAcceptor) {
    loop {
        let (stream, _peer) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        drop(spawn(serve_one(stream, acceptor.clone())));
    }
}

#[test]
fn client_that_never_starts_tls_does_not_stop_the_others() {
    run(|| async {
        let certificate = Certificate::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(spawn(serve(listener, TlsAcceptor::from(Arc::new(certificate.server)))));
        let _idle = TcpStream::connect(address).await.unwrap();
        let connector = TlsConnector::from(Arc::new(certificate.client));
        let localhost = ServerName::try_from("localhost").unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        // Time out before the server's handshake with the idle client times out.
        let handshake = timeout(LIMIT / 2, connector.connect(localhost, stream));
        handshake.await.unwrap().unwrap();
    });
}

// Method: without a close_notify alert, the read fails, because the stream may be truncated.
#[test]
fn hyper_sends_close_notify_over_tls() {
    run(|| async {
        let certificate = Certificate::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(spawn(serve(listener, TlsAcceptor::from(Arc::new(certificate.server)))));
        let connector = TlsConnector::from(Arc::new(certificate.client));
        let localhost = ServerName::try_from("localhost").unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let mut stream = connector.connect(localhost, stream).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    });
}

// Method: curl checks the certificate, and prints the version of HTTP after the body.
#[test]
fn curl_gets_its_bytes_back_over_https() {
    if !curl_speaks_http_2() {
        return;
    }
    run(|| async {
        let certificate = Certificate::new().with_http();
        let file = certificate.file("curl.pem");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(spawn(serve(listener, TlsAcceptor::from(Arc::new(certificate.server)))));
        for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
            let file = file.clone();
            let got = spawn_blocking(move || {
                let url = format!("https://localhost:{port}/");
                let resolve = format!("localhost:{port}:127.0.0.1");
                let file = file.to_str().unwrap();
                let trust = ["--cacert", file, "--resolve", &resolve];
                let body = ["--data-binary", "@-", "--write-out", "%{http_version}"];
                curl(&[&trust[..], &body, &[flag, &url]].concat(), vec![b'x'; 1 << 20])
            });
            let got = got.await.unwrap();
            let (body, used) = got.split_at(1 << 20);
            assert!(body.iter().all(|&byte| byte == b'x'));
            assert_eq!(String::from_utf8_lossy(used), version);
        }
    });
}
