//! Parts of tokio that do not need tokio's runtime, and async-process, which starts a thread of its
//! own.

use std::rc::Rc;
use std::thread;
use std::time::Duration;

use executor::{block_on, spawn, yield_now};
use reactor::net::{TcpListener, TcpStream};
use reactor::time::sleep;
use tests::within_deadline;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Mutex, broadcast, mpsc, oneshot, watch};
use tokio_util::compat::FuturesAsyncReadCompatExt;

#[test]
fn select_of_tokio_runs_here() {
    within_deadline(|| {
        let first = block_on(async {
            tokio::select! {
                () = sleep(Duration::from_secs(60)) => "late",
                () = sleep(Duration::from_millis(1)) => "early",
            }
        });
        assert_eq!(first, "early");
    });
}

#[test]
fn channels_of_tokio_work_between_threads_and_tasks() {
    within_deadline(|| {
        block_on(async {
            let (sender, mut receiver) = mpsc::channel(1);
            let (reply, answer) = oneshot::channel();
            let (state, mut seen) = watch::channel(0);
            let (publish, mut subscribed) = broadcast::channel(4);
            let other = thread::spawn(move || {
                (0..100).for_each(|number| sender.blocking_send(number).unwrap());
                reply.send("sent").unwrap();
                state.send(1).unwrap();
                publish.send("all").unwrap();
            });
            let mut sum = 0;
            while let Some(number) = receiver.recv().await {
                sum += number;
            }
            assert_eq!(sum, 4950);
            assert_eq!(answer.await, Ok("sent"));
            seen.wait_for(|state| *state == 1).await.unwrap();
            assert_eq!(subscribed.recv().await, Ok("all"));
            other.join().unwrap();
        });
    });
}

#[test]
fn mutex_of_tokio_is_held_across_an_await() {
    within_deadline(|| {
        block_on(async {
            let count = Rc::new(Mutex::new(0));
            let tasks: Vec<_> = (0..10)
                .map(|_| {
                    let count = count.clone();
                    spawn(async move {
                        let mut count = count.lock().await;
                        let before = *count;
                        yield_now().await;
                        *count = before + 1;
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(*count.lock().await, 10);
        });
    });
}

#[test]
fn socket_with_the_traits_of_tokio() {
    within_deadline(|| {
        block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            let (mut client, mut server) = (client.compat(), server.compat());
            client.write_all(b"four").await.unwrap();
            let mut bytes = [0; 4];
            server.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, b"four");
        });
    });
}

#[test]
fn async_process_runs_here() {
    within_deadline(|| {
        let output = block_on(async_process::Command::new("echo").arg("hello").output()).unwrap();
        assert_eq!(output.stdout, b"hello\n");
    });
}
