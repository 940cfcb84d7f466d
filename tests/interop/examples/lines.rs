//! An echo of lines: each connection is a stream of lines that is forwarded into a sink of lines.
//!
//! ```text
//! cargo run -p interop --example lines
//! nc 127.0.0.1 7000
//! ```

use asynchronous_codec::{Framed, LinesCodec};
use executor::{block_on, spawn};
use futures_util::StreamExt;
use reactor::{io, net::TcpListener};

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7000".to_owned());
    block_on(async {
        let listener = TcpListener::bind(address.as_str()).await?;
        println!("listening on {}", listener.local_addr()?);
        let mut incoming = listener.incoming();
        while let Some(stream) = incoming.next().await {
            let (sink, lines) = Framed::new(stream?, LinesCodec).split();
            drop(spawn(async move {
                // If the client does not read, the sink is full, and `forward` reads no more lines.
                if let Err(error) = lines.forward(sink).await {
                    println!("connection lost: {error}");
                }
            }));
        }
        Ok(())
    })
}
