//! A UDP echo with its client: datagrams keep their boundaries, and an error reports that the
//! server has gone.

use executor::{block_on, spawn};
use reactor::{io, net::UdpSocket};

fn main() -> io::Result<()> {
    block_on(async {
        let server = UdpSocket::bind("127.0.0.1:0").await?;
        let address = server.local_addr()?;
        let server = spawn(echo(server));

        let client = UdpSocket::bind("127.0.0.1:0").await?;
        client.connect(address).await?;
        let mut answer = [0; 1500];
        for text in ["one", "", "another one"] {
            client.send(text.as_bytes()).await?;
            let length = client.recv(&mut answer).await?;
            println!("{} bytes sent, {length} bytes echoed", text.len());
        }

        server.abort();
        // The handle returns after the task has been dropped, and the socket closed with it.
        let _cancelled = server.await;
        client.send(b"still there?").await?;
        let refused = client.recv(&mut answer).await.expect_err("no server is there");
        println!("the server has gone: {refused}");
        Ok(())
    })
}

async fn echo(socket: UdpSocket) -> io::Result<()> {
    // No datagram is longer, so none is truncated.
    let mut buffer = vec![0; 65_535];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer).await?;
        socket.send_to(&buffer[..length], peer).await?;
    }
}
