//! Our reactor under another executor: tasks of async-executor use our sockets and timers.
//!
//! This works with any executor that offers a future to poll. `Reactor::enter` makes the reactor
//! the one that new sockets register with. `Reactor::turn` is where the thread sleeps. The waker
//! calls the reactor's notifier, so that a wakeup from another thread ends the sleep.

use std::task::{Context, Poll, Wake, Waker};
use std::{future::Future, io, pin::pin, sync::Arc, time::Duration};

use async_executor::LocalExecutor;
use reactor::io::{AsyncReadExt, AsyncWriteExt};
use reactor::net::{TcpListener, TcpStream};
use reactor::time::sleep;
use reactor::{Notifier, Reactor};

struct Notify(Notifier);

impl Wake for Notify {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

fn block_on<F: Future>(future: F) -> io::Result<F::Output> {
    let reactor = Reactor::new()?;
    let _entered = reactor.enter();
    let waker = Waker::from(Arc::new(Notify(reactor.notifier())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Ok(output);
        }
        reactor.turn(None)?;
    }
}

async fn echo(listener: TcpListener) -> io::Result<u64> {
    let (mut stream, _peer) = listener.accept().await?;
    let (reader, writer) = stream.split();
    reactor::io::copy(reader, writer).await
}

fn main() -> io::Result<()> {
    let executor = LocalExecutor::new();
    block_on(executor.run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut client = TcpStream::connect(listener.local_addr()?).await?;
        let echoed = executor.spawn(echo(listener));
        sleep(Duration::from_millis(1)).await;
        client.write_all(b"hello").await?;
        let mut answer = [0; 5];
        client.read_exact(&mut answer).await?;
        println!("{} comes back", String::from_utf8_lossy(&answer));
        drop(client);
        println!("{} bytes echoed", echoed.await?);
        Ok(())
    }))?
}
