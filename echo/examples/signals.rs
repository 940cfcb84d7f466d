//! `cargo run --example signals`: tells of each SIGUSR1, and says farewell at Ctrl-C.
//!
//! Two tasks hear Ctrl-C, each by a receiver of its own, and both do.

use executor::{block_on, spawn};
use futures_lite::StreamExt;
use reactor::io;
use reactor::signal::{Signal, ctrl_c};
use signal_hook::consts::{SIGINT, SIGUSR1};

fn main() -> io::Result<()> {
    block_on(async {
        // Watched before anybody is told whom to signal: until then SIGUSR1 would kill.
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
