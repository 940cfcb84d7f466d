//! The classic echo server on our runtime: one task per connection, and one thread for all of them.

use executor::{block_on, spawn};
use futures_lite::StreamExt;
use reactor::{io, net::TcpListener};

pub(crate) fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7777".to_owned());
    block_on(async {
        let listener = TcpListener::bind(address.as_str()).await?;
        println!("listening on {}", listener.local_addr()?);
        let mut incoming = listener.incoming();
        while let Some(stream) = incoming.next().await {
            let mut stream = stream?;
            drop(spawn(async move {
                let (reader, writer) = stream.split();
                match io::copy(reader, writer).await {
                    Ok(bytes) => println!("{bytes} bytes echoed"),
                    Err(error) => println!("connection lost: {error}"),
                }
            }));
        }
        Ok(())
    })
}
