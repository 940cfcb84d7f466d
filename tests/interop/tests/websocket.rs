//! WebSockets, by async-tungstenite.

use async_tungstenite::tungstenite::Message;
use async_tungstenite::{accept_async, client_async};
use executor::spawn;
use futures_lite::StreamExt;
use futures_util::future::ready;
use futures_util::{StreamExt as _, TryStreamExt};
use tests::{run, tcp_pair};

#[test]
fn messages_come_back_over_a_websocket_until_the_client_closes_it() {
    run(|| async {
        let (client, server) = tcp_pair().await.unwrap();
        // The echo: the stream of what arrives, forwarded into the sink.
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
            // More than sockets hold, and many frames' worth.
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
        // The peer has closed before the sink was: what remains to be said is refused.
        let _ = echo.await.unwrap();
    });
}

#[test]
fn who_speaks_no_http_is_no_websocket() {
    run(|| async {
        use reactor::io::AsyncWriteExt;
        let (mut client, server) = tcp_pair().await.unwrap();
        let accepted = spawn(accept_async(server));
        client.write_all(b"hello\r\n\r\n").await.unwrap();
        drop(client);
        assert!(accepted.await.unwrap().is_err());
    });
}
