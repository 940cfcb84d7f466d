//! `cargo run --example signals`: reports each SIGUSR1, and exits on Ctrl-C.
//!
//! Two tasks wait for Ctrl-C, each with its own receiver, and both get it.

use executor::{block_on, spawn};
use futures_lite::StreamExt;
use reactor::io;
use reactor::signal::{Signal, ctrl_c};
use signal_hook::consts::{SIGINT, SIGUSR1};

fn main() -> io::Result<()> {
    block_on(async {
        // Watch the signals before the process ID is printed. SIGUSR1 would kill the process
        // otherwise.
        let mut user = Signal::new(SIGUSR1)?;
        let mut interrupt = Signal::new(SIGINT)?;
        let farewell = spawn(async move {
            interrupt.recv().await?;
            println!("farewell");
            io::Result::Ok(())
        });
        let end = spawn(ctrl_c());
        println!("kill -USR1 {}", std::process::id());
        drop(spawn(async move {
            let mut count = 0;
            while let Some(Ok(())) = user.next().await {
                count += 1;
                println!("SIGUSR1, {count}");
            }
        }));
        farewell.await??;
        end.await?
    })
}
