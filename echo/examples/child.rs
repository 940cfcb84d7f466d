//! Writes to a child process and reads from it through pipes, and waits for its exit. No thread is
//! needed.

use std::process::Stdio;

use executor::{block_on, spawn};
use reactor::io::{self, AsyncWriteExt};
use reactor::process::Command;

fn main() -> io::Result<()> {
    block_on(async {
        let mut sort = Command::new("sort");
        let mut child = sort.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut stdin = child.stdin.take().expect("stdin is piped");
        // Write in another task, because the child may write before it has read everything.
        let writer = spawn(async move { stdin.write_all(b"pear\nfig\napple\n").await });
        let output = child.wait_with_output().await?;
        writer.await??;
        print!("{}", String::from_utf8_lossy(&output.stdout));
        println!("{}", output.status);
        Ok(())
    })
}
