//! Streams: what comes again and again, a connection, a tick or a signal, and waits in between.
//!
//! Ours are `futures_core::Stream`s, so combinators are those of futures-lite or futures-util. A
//! stream that is forwarded into a sink is in `tests/interop/tests/lines.rs`.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use executor::block_on;
use futures_lite::{StreamExt, stream};
use reactor::io::AsyncReadExt;
use reactor::net::TcpListener;
use reactor::signal::Signal;
use reactor::time::interval;
use signal_hook::consts::SIGUSR1;
use signal_hook::low_level::raise;

fn say_one_word_each(to: SocketAddr) -> io::Result<()> {
    ["one", "two", "three"].iter().try_for_each(|word| write!(TcpStream::connect(to)?, "{word}"))
}

/// Each connection becomes what it said, one after the other.
async fn words(listener: &TcpListener) -> io::Result<Vec<String>> {
    let words = listener.incoming().take(3).then(|stream| async {
        let mut word = String::new();
        stream?.read_to_string(&mut word).await?;
        Ok(word)
    });
    words.try_collect().await
}

fn main() -> io::Result<()> {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let clients = thread::spawn(move || say_one_word_each(address));
        println!("incoming: {}", words(&listener).await?.join(", "));
        clients.join().expect("they do not panic")?;

        let period = Duration::from_millis(5);
        let ticks: Vec<_> = interval(period).take(3).collect().await;
        // One that is late shifts no other; one that is missed altogether is skipped.
        let since_first = ticks.iter().map(|tick| (*tick - ticks[0]).as_micros());
        let on_grid = since_first.filter(|since| since.is_multiple_of(period.as_micros())).count();
        println!("interval: {} ticks, {on_grid} of them on a grid of {period:?}", ticks.len());

        // Two streams as one: a signal goes before a tick that comes at the same time.
        let signals = Signal::new(SIGUSR1)?.map(|signal| signal.map(|()| "signal"));
        let events = stream::or(signals, interval(period).map(|_tick| Ok("tick")));
        raise(SIGUSR1)?;
        let events: Vec<&str> = events.take(3).try_collect().await?;
        println!("both: {}", events.join(", "));
        Ok(())
    })
}
