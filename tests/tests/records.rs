//! The runtime's log records: their order and contents for one message, a wake and a socket.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream as StdStream;

use executor::Executor;
use reactor::io::{AsyncReadExt, AsyncWriteExt, copy};
use reactor::net::{TcpListener, TcpStream};
use tests::records::{Record, capture};
use tests::within_deadline;

/// The number of messages whose records are checked. As many messages go before them, so that the
/// connection reaches its steady state.
const MESSAGES: usize = 20;

/// Serves one connection. A client sends messages one at a time and waits for each echo. Returns
/// the records of the steady state, one list for each message.
fn steady_state<F: Future<Output = ()>>(serve: fn(TcpStream) -> F) -> Vec<Vec<Record>> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = StdStream::connect(listener.local_addr().unwrap()).unwrap();
    let (_, records) = capture(|| {
        let executor = Executor::new().unwrap();
        let client = executor.block_on(async {
            let listener = TcpListener::from_std(listener).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let client = std::thread::spawn(move || {
                for _ in 0..2 * MESSAGES {
                    peer.write_all(b"ping").unwrap();
                    peer.read_exact(&mut [0; 4]).unwrap();
                }
            });
            serve(stream).await;
            client
        });
        client.join().unwrap();
    });
    // Split the records where the thread goes to sleep: before each message.
    let mut messages: Vec<_> =
        records.split(|record| record.kind == "sleep").map(<[Record]>::to_vec).collect();
    messages.retain(|message| message.iter().any(|record| is(record, "tried", "write")));
    assert!(messages.len() >= 2 * MESSAGES - 1, "{} messages", messages.len());
    // The first messages also have failed attempts, because readiness is not known yet. The last
    // ones have the records of the shutdown.
    messages[MESSAGES..2 * MESSAGES - 2].to_vec()
}

fn is(record: &Record, kind: &str, operation: &str) -> bool {
    record.kind == kind && record.get("operation") == operation
}

async fn echo_by_copy(stream: TcpStream) {
    let (reader, writer) = stream.into_split();
    copy(reader, writer).await.unwrap();
}

async fn echo_by_hand(mut stream: TcpStream) {
    let mut bytes = [0; 64];
    loop {
        match stream.read(&mut bytes).await.unwrap() {
            0 => return,
            n => stream.write_all(&bytes[..n]).await.unwrap(),
        }
    }
}

#[test]
fn one_message_causes_one_event_wake_poll_read_and_write() {
    within_deadline(|| {
        for messages in [steady_state(echo_by_copy), steady_state(echo_by_hand)] {
            for message in messages {
                let kinds: Vec<_> = message
                    .iter()
                    .map(|record| (record.kind.as_str(), record.get("operation")))
                    .collect();
                let expected = [
                    ("event", ""),
                    ("wake", ""),
                    ("queue", ""),
                    ("poll", ""),
                    ("tried", "read"),
                    ("tried", "write"),
                    ("store", ""),
                    ("pending", ""),
                ];
                assert_eq!(kinds, expected);
            }
        }
    });
}

#[test]
fn one_message_reaches_at_most_eight_record_sites() {
    within_deadline(|| {
        for message in steady_state(echo_by_copy) {
            let sites: BTreeSet<_> = message.iter().map(|record| &record.at).collect();
            // The eighth site is the record of the sleep, at which the list was split.
            assert!(sites.len() < 8, "{sites:?}");
        }
    });
}

#[test]
fn records_of_a_message_name_one_source_waker_and_task() {
    within_deadline(|| {
        for message in steady_state(echo_by_copy) {
            let of = |key: &str| -> BTreeSet<String> {
                message
                    .iter()
                    .map(|record| record.get(key))
                    .filter(|value| !value.is_empty())
                    .map(str::to_owned)
                    .collect()
            };
            assert_eq!((of("source").len(), of("waker").len(), of("task").len()), (1, 1, 1));
            let tried: Vec<_> = message.iter().filter(|record| record.kind == "tried").collect();
            assert!(tried.iter().all(|record| record.get("bytes") == "4"));
            assert_eq!((tried[0].get("direction"), tried[1].get("direction")), ("read", "write"));
            assert_eq!((tried[0].get("short"), tried[1].get("short")), ("true", "false"));
        }
    });
}

#[test]
fn wake_record_precedes_the_queue_record() {
    within_deadline(|| {
        let (_, records) = capture(|| {
            executor::block_on(async {
                reactor::time::sleep(std::time::Duration::from_millis(1)).await;
            });
        });
        let kinds: Vec<_> = records.iter().map(|record| record.kind.as_str()).collect();
        let index = |kind: &str, after: usize| {
            let found = kinds[after..].iter().position(|&one| one == kind);
            after + found.unwrap_or_else(|| panic!("no {kind:?} in {kinds:?}"))
        };
        let mut at = 0;
        let before_wake =
            ["spawn", "queue", "poll", "timer set", "pending", "sleep", "timer fired"];
        for kind in before_wake.into_iter().chain(["wake", "queue", "poll", "done"]) {
            at = index(kind, at);
        }
        let target = |kind: &str| records[index(kind, 0)].target.clone();
        assert!(target("wake").starts_with("reactor") && target("queue").starts_with("executor"));
    });
}

#[test]
fn socket_logs_its_registration_and_deregistration() {
    within_deadline(|| {
        let (_, records) = capture(|| {
            executor::block_on(async {
                let (mut ours, mut peer) = tests::tcp_pair().await.unwrap();
                peer.close().await.unwrap();
                assert_eq!(ours.read(&mut [0; 8]).await.unwrap(), 0);
            });
        });
        let count = |kind: &str| records.iter().filter(|record| record.kind == kind).count();
        assert_eq!((count("register"), count("deregister")), (3, 3));
        assert_eq!(count("accepted"), 1);
    });
}
