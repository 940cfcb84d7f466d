//! Streams: values that arrive one after another, with waits in between. Here they are connections,
//! ticks and signals.
//!
//! Our streams implement `futures_core::Stream`, so the combinators of futures-lite and
//! futures-util work with them. `tests/interop/tests/lines.rs` forwards a stream into a sink.

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

/// Connects three clients that send one word each.
fn send_one_word_each(to: SocketAddr) -> io::Result<()> {
    ["one", "two", "three"].iter().try_for_each(|word| write!(TcpStream::connect(to)?, "{word}"))
}

/// Accepts three connections, and returns what each of them sent.
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
        let clients = thread::spawn(move || send_one_word_each(address));
        println!("incoming: {}", words(&listener).await?.join(", "));
        clients.join().expect("the clients do not panic")?;

        let period = Duration::from_millis(5);
        let ticks: Vec<_> = interval(period).take(3).collect().await;
        // A late tick does not shift later ticks. A tick that is missed altogether is skipped.
        let since_first = ticks.iter().map(|tick| (*tick - ticks[0]).as_micros());
        let on_grid = since_first.filter(|since| since.is_multiple_of(period.as_micros())).count();
        println!("interval: {} ticks, {on_grid} of them on a grid of {period:?}", ticks.len());

        // Merge two streams. If a signal and a tick are both ready, the signal comes first.
        let signals = Signal::new(SIGUSR1)?.map(|signal| signal.map(|()| "signal"));
        let events = stream::or(signals, interval(period).map(|_tick| Ok("tick")));
        raise(SIGUSR1)?;
        let events: Vec<&str> = events.take(3).try_collect().await?;
        println!("both: {}", events.join(", "));
        Ok(())
    })
}
