//! The echo server with std alone: one thread per connection, and each blocks in `read`.

use std::net::TcpListener;
use std::{io, thread};

pub(crate) fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7777".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || match io::copy(&mut &stream, &mut &stream) {
            Ok(bytes) => println!("{bytes} bytes echoed"),
            Err(error) => println!("connection lost: {error}"),
        });
    }
    Ok(())
}
