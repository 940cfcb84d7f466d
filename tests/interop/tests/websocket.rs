//! WebSockets with async-tungstenite: on their own port, and on hyper's.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;

use async_tungstenite::tungstenite::Message;
use async_tungstenite::tungstenite::handshake::derive_accept_key;
use async_tungstenite::tungstenite::protocol::Role;
use async_tungstenite::{WebSocketStream, accept_async, client_async};
use axum::body::Bytes;
use executor::spawn;
use futures_lite::StreamExt;
use futures_util::future::ready;
use futures_util::{StreamExt as _, TryStreamExt};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use reactor::io::{AsyncReadExt, AsyncWriteExt};
use reactor::net::TcpStream;
use reactor_hyper::HyperIo;
use tests::{run, tcp_pair};

#[test]
fn websocket_messages_come_back_until_close() {
    run(|| async {
        let (client, server) = tcp_pair().await.unwrap();
        // The echo forwards the stream of messages into the sink.
        let echo = spawn(async move {
            let (sink, stream) = accept_async(server).await.unwrap().split();
            let messages =
                stream.try_filter(|message| ready(message.is_text() || message.is_binary()));
            messages.forward(sink).await
        });
        let (mut client, _answer) = client_async("ws://localhost/echo", client).await.unwrap();
        for message in [
            Message::text(""),
            Message::text("hello"),
            Message::binary([0, 255].as_slice()),
            // More than the socket buffers hold.
            Message::binary(vec![7; 3 << 20]),
        ] {
            client.send(message.clone()).await.unwrap();
            let back = StreamExt::next(&mut client).await.unwrap().unwrap();
            assert!(back == message, "{} bytes came back", back.len());
        }
        client.close(None).await.unwrap();
        while let Some(last) = StreamExt::next(&mut client).await {
            assert!(last.unwrap().is_close());
        }
        // The peer may close the connection before the sink is closed, which is an error here.
        let _ = echo.await.unwrap();
    });
}

#[test]
fn websocket_handshake_fails_without_http() {
    run(|| async {
        let (mut client, server) = tcp_pair().await.unwrap();
        let accepted = spawn(accept_async(server));
        client.write_all(b"hello\r\n\r\n").await.unwrap();
        drop(client);
        assert!(accepted.await.unwrap().is_err());
    });
}

/// Answers an upgrade with status 101 and sets `upgraded`. Answers any other request with a line.
async fn line_or_upgrade(
    upgraded: Rc<Cell<bool>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let Some(key) = request.headers().get("sec-websocket-key") else {
        return Ok(Response::new(Full::from("a line")));
    };
    upgraded.set(true);
    let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
    let response = response.header("connection", "upgrade").header("upgrade", "websocket");
    let response = response.header("sec-websocket-accept", derive_accept_key(key.as_bytes()));
    Ok(response.body(Full::default()).unwrap())
}

/// Serves HTTP until the client asks for an upgrade, and then echoes its messages.
async fn serve_with_upgrade(stream: TcpStream) {
    let upgraded = Rc::new(Cell::new(false));
    let set_upgraded = upgraded.clone();
    let service = service_fn(move |request| line_or_upgrade(set_upgraded.clone(), request));
    let connection = http1::Builder::new().serve_connection(HyperIo(stream), service);
    // `with_upgrades` would require a connection that is `Send`.
    let parts = connection.without_shutdown().await.unwrap();
    if !upgraded.get() {
        return;
    }
    let (stream, read_ahead) = (parts.io.0, parts.read_buf.to_vec());
    let mut socket =
        WebSocketStream::from_partially_read(stream, read_ahead, Role::Server, None).await;
    while let Some(Ok(message)) = StreamExt::next(&mut socket).await {
        if message.is_text() || message.is_binary() {
            socket.send(message).await.unwrap();
        }
    }
}

#[test]
fn http_connection_becomes_a_websocket_after_a_request() {
    run(|| async {
        let (mut client, server) = tcp_pair().await.unwrap();
        let served = spawn(serve_with_upgrade(server));
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"a line") {
            let mut byte = [0];
            client.read_exact(&mut byte).await.unwrap();
            answer.push(byte[0]);
        }
        let (mut client, _answer) = client_async("ws://localhost/", client).await.unwrap();
        for message in [Message::text("hello"), Message::binary(vec![7; 3 << 20])] {
            client.send(message.clone()).await.unwrap();
            assert!(StreamExt::next(&mut client).await.unwrap().unwrap() == message);
        }
        client.close(None).await.unwrap();
        served.await.unwrap();
    });
}

#[test]
fn message_sent_with_the_upgrade_request_is_not_lost() {
    run(|| async {
        let (mut client, server) = tcp_pair().await.unwrap();
        let served = spawn(serve_with_upgrade(server));
        let head = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
            Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        // A text frame of two bytes, masked with zeros.
        let message = b"\x81\x82\0\0\0\0hi";
        client.write_all(&[&head[..], message].concat()).await.unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        served.await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 101 "));
        assert!(answer.ends_with(b"\r\n\r\n\x81\x02hi"));
    });
}
