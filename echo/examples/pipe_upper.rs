//! `printf 'hello\n' | cargo run --example pipe_upper`: what comes in goes through a pipe, and
//! comes out in capitals. Standard input and output go by way of the pool, the pipe by readiness.

use executor::{block_on, spawn};
use reactor::io::{self, AsyncReadExt, AsyncWriteExt};
use reactor::pipe::{Receiver, pipe};
use reactor::stdio::{stdin, stdout};

fn main() -> io::Result<()> {
    block_on(async {
        let (sender, receiver) = pipe()?;
        // The sender is dropped with this task: that is the end of file for the other one.
        let source = spawn(io::copy(stdin(), sender));
        upper(receiver).await?;
        source.await?.map(drop)
    })
}

async fn upper(mut receiver: Receiver) -> io::Result<()> {
    let (mut stdout, mut buffer) = (stdout(), vec![0; 4096]);
    loop {
        let count = receiver.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        buffer[..count].make_ascii_uppercase();
        stdout.write_all(&buffer[..count]).await?;
    }
}
