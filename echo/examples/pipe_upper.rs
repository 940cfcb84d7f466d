//! `printf 'hello\n' | cargo run --example pipe_upper`: passes standard input through a pipe, and
//! prints it in capitals. The pipe waits for readiness; standard input and output use the thread
//! pool.

use executor::{block_on, spawn};
use reactor::io::{self, AsyncReadExt, AsyncWriteExt};
use reactor::pipe::{Receiver, pipe};
use reactor::stdio::{stdin, stdout};

fn main() -> io::Result<()> {
    block_on(async {
        let (sender, receiver) = pipe()?;
        // The sender is dropped with this task. The receiver then reads the end of file.
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
