//! Why is it stuck? What each task does and waits for, as the executor tells it to whoever asks.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::mem;
use std::pin::pin;
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::task::{Poll, Waker};
use std::time::Duration;

use executor::{Executor, State, TaskInfo, spawn, spawn_blocking, spawn_named, tasks, yield_now};
use futures_lite::future;
use reactor::io::{AsyncReadExt, AsyncWrite};
use reactor::net::{TcpListener, TcpStream, UdpSocket};
use reactor::time::sleep;
use reactor::{Awaited, Reactor};
use tests::wakers::{Counter, poll};
use tests::{run, tcp_pair, within_deadline};

const HOUR: Duration = Duration::from_secs(3600);

/// The only task of this name.
#[track_caller]
fn find(name: &str) -> TaskInfo {
    let all = tasks();
    let mut named = all.iter().filter(|task| task.name == name);
    let found = named.next().unwrap_or_else(|| panic!("no {name} in {all:#?}"));
    assert!(named.next().is_none(), "two are {name} in {all:#?}");
    found.clone()
}

/// The kinds and directions of the sources that a task waits for, in the order of their keys.
fn sources(task: &TaskInfo) -> Vec<(&'static str, &'static str)> {
    let source = |awaited: &Awaited| match awaited {
        Awaited::Source { kind, direction, .. } => Some((*kind, *direction)),
        _ => None,
    };
    task.awaits.iter().filter_map(source).collect()
}

/// Waits for room until there is none, and then for the peer to read.
async fn fill(mut stream: TcpStream) {
    let block = vec![0; 1 << 16];
    while poll_fn(|cx| pin!(&mut stream).poll_write(cx, &block)).await.is_ok() {}
}

#[test]
fn a_task_is_told_by_its_number_its_name_its_place_and_its_polls() {
    run(|| async {
        let line = line!() + 1;
        drop(spawn_named("counted", async {
            yield_now().await;
            yield_now().await;
            sleep(HOUR).await;
        }));
        for polls in 0..=3 {
            let task = find("counted");
            assert_eq!((task.id, task.polls), (1, polls));
            assert_eq!((task.location.file(), task.location.line()), (file!(), line));
            yield_now().await;
        }
        assert_eq!(find("counted").polls, 3, "nobody has woken it");
    });
}

#[test]
fn tasks_are_listed_in_the_order_of_their_numbers_until_they_are_done() {
    run(|| async {
        let first = spawn_named("first", pending::<()>());
        let second = spawn_named("second", pending::<()>());
        let names = || tasks().iter().map(|task| task.name).collect::<Vec<_>>();
        assert_eq!(names(), ["main", "first", "second"]);
        first.abort();
        yield_now().await;
        // It has the place of the first, and a number of its own.
        drop(spawn_named("third", pending::<()>()));
        assert_eq!(names(), ["main", "second", "third"]);
        assert_eq!(tasks().iter().map(|task| task.id).collect::<Vec<_>>(), [0, 2, 3]);
        spawn_named("fourth", pending::<()>()).abort();
        yield_now().await;
        assert_eq!(names(), ["main", "second", "third"]);
        drop(second);
    });
}

#[test]
fn who_asks_is_running_and_all_others_are_not() {
    run(|| async {
        let asked = spawn_named("asking", async {
            assert_eq!(find("asking").state, State::Running);
            assert_eq!(find("main").state, State::Waiting);
            assert_eq!(find("main").elsewhere, 1, "the handle that it awaits");
            assert_eq!(find("main").awaits, []);
        });
        assert_eq!(find("asking").state, State::Queued);
        assert_eq!(find("main").state, State::Running);
        asked.await.unwrap();
    });
}

#[test]
fn nobody_runs_when_the_executor_is_asked_from_outside() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let states = || executor.tasks().iter().map(|task| task.state).collect::<Vec<_>>();
        drop(executor.spawn(sleep(HOUR)));
        assert_eq!(states(), [State::Queued]);
        while executor.tick() {}
        assert_eq!(states(), [State::Waiting]);
        executor.block_on(async { drop(spawn(async { std::panic::resume_unwind(Box::new(())) })) });
        while executor.tick() {}
        assert_eq!(states(), [State::Waiting]);
    });
}

#[test]
fn the_future_of_block_on_is_queued_before_its_first_poll_and_after_each_wake() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        // Left in the queue, so before the next `block_on`.
        let mut early = None;
        executor.block_on(async { early = Some(spawn(async { find("main") })) });
        let waker: Rc<RefCell<Option<Waker>>> = Rc::default();
        let keep = waker.clone();
        let early = executor.block_on(async {
            let states = spawn(async move {
                let before = find("main").state;
                waker.take().expect("left by main").wake();
                (before, find("main").state)
            });
            let mut polls = 0;
            poll_fn(|cx| {
                polls += 1;
                keep.replace(Some(cx.waker().clone()));
                if polls == 1 { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
            assert_eq!(states.await.unwrap(), (State::Waiting, State::Queued));
            early.unwrap().await.unwrap()
        });
        assert_eq!((early.state, early.polls), (State::Queued, 0));
    });
}

#[test]
fn a_wait_for_a_source_is_told_by_its_kind_and_direction() {
    run(|| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (mut reader, writer) = tcp_pair().await.unwrap();
        let (stalled, _silent) = tcp_pair().await.unwrap();
        drop(spawn_named("accept", async move { drop(listener.accept().await) }));
        drop(spawn_named("read", async move { drop(reader.read(&mut [0]).await) }));
        drop(spawn_named("write", fill(stalled)));
        let (stop, job) = channel::<()>();
        drop(spawn_blocking(move || job.recv()));
        tests::until(|| sources(&find("write")) == [("TcpStream", "write")]).await;
        assert_eq!(sources(&find("accept")), [("TcpListener", "read")]);
        assert_eq!(sources(&find("read")), [("TcpStream", "read")]);
        tests::until(|| find("blocking").state == State::Waiting).await;
        let job = &find("blocking").awaits;
        assert!(matches!(job[..], [Awaited::Job { kind: "blocking job", .. }]), "{job:?}");
        for name in ["accept", "read", "write", "blocking"] {
            let task = find(name);
            assert_eq!((task.state, task.awaits.len(), task.elsewhere), (State::Waiting, 1, 0));
        }
        drop((writer, stop));
    });
}

/// The row of the only task of this name, and its place in the table.
#[track_caller]
fn row(table: &str, name: &str) -> (usize, String) {
    let named = |line: &&str| line.split("  ").any(|cell| cell.trim() == name);
    let row = table.lines().find(named).unwrap_or_else(|| panic!("no {name} in {table}"));
    (table.lines().position(|line| line == row).unwrap(), row.to_owned())
}

#[test]
fn table_names_the_peer_of_a_connected_socket() {
    run(|| async {
        let (mut reader, writer) = tcp_pair().await.unwrap();
        let datagrams = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        datagrams.connect("127.0.0.1:9").await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = reader.peer_addr().unwrap();
        drop(spawn_named("read", async move { drop(reader.read(&mut [0]).await) }));
        drop(spawn_named("receive", async move { drop(datagrams.recv(&mut [0]).await) }));
        drop(spawn_named("accept", async move { drop(listener.accept().await) }));
        yield_now().await;
        let table = tasks().to_string();
        let waits = |name| row(&table, name).1.replace(char::is_numeric, "");
        if cfg!(target_os = "linux") {
            assert!(row(&table, "read").1.contains(&format!("(TcpStream {peer})")), "{table}");
            assert!(row(&table, "receive").1.contains("(UdpSocket 127.0.0.1:9)"), "{table}");
        }
        assert!(waits("accept").contains("read on source  (TcpListener)"), "{table}");
        drop(writer);
    });
}

#[test]
fn table_names_the_peer_of_an_ipv6_socket() {
    run(|| async {
        // Some machines have no IPv6.
        let Ok(listener) = TcpListener::bind("[::1]:0").await else { return };
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        drop(spawn_named("read", async move { drop(client.read(&mut [0]).await) }));
        yield_now().await;
        let table = tasks().to_string();
        if cfg!(target_os = "linux") {
            assert!(row(&table, "read").1.contains(&format!("(TcpStream {address})")), "{table}");
        }
    });
}

#[test]
fn table_begins_with_the_task_that_waited_longest_to_write() {
    run(|| async {
        let (older, _silent) = tcp_pair().await.unwrap();
        let (newer, _silent) = tcp_pair().await.unwrap();
        drop(spawn_named("forgetful", pending::<()>()));
        drop(spawn_named("older", fill(older)));
        let writes = |name| sources(&find(name)) == [("TcpStream", "write")];
        tests::until(|| writes("older")).await;
        sleep(Duration::from_millis(2)).await;
        drop(spawn_named("newer", fill(newer)));
        tests::until(|| writes("newer")).await;
        sleep(Duration::from_millis(2)).await;
        let table = tasks().to_string();
        let places = ["older", "newer", "forgetful", "main"].map(|name| row(&table, name).0);
        assert_eq!(places, [1, 2, 3, 4], "{table}");
    });
}

#[test]
fn table_is_printed_after_the_executor_has_ended() {
    let list = within_deadline(|| {
        let list = executor::block_on(async {
            drop(spawn_named("sleep", sleep(HOUR)));
            tasks()
        });
        list.to_string()
    });
    assert_eq!(list.lines().count(), 3, "{list}");
}

#[test]
fn the_key_of_a_source_is_that_of_the_records() {
    within_deadline(|| {
        let (told, records) = tests::records::capture(|| {
            executor::block_on(async {
                let (mut ours, _theirs) = tcp_pair().await.unwrap();
                drop(spawn_named("read", async move { drop(ours.read(&mut [0]).await) }));
                yield_now().await;
                find("read").awaits
            })
        });
        let [Awaited::Source { key, .. }] = told[..] else { panic!("one source, not {told:?}") };
        let stored = records.iter().rfind(|record| record.kind == "store").unwrap();
        assert_eq!(stored.get("source"), key.to_string());
    });
}

#[test]
fn a_wait_for_a_timer_is_told_by_its_deadline() {
    run(|| async {
        let sleep = sleep(HOUR);
        let deadline = sleep.deadline().unwrap();
        drop(spawn_named("sleep", sleep));
        yield_now().await;
        let task = find("sleep");
        assert_eq!((task.state, task.elsewhere), (State::Waiting, 0));
        assert_eq!(task.awaits, [Awaited::Deadline(deadline)]);
    });
}

#[test]
fn a_task_that_waits_for_several_things_at_once_is_told_with_all_of_them() {
    run(|| async {
        let (mut ours, theirs) = tcp_pair().await.unwrap();
        let handle = spawn(sleep(2 * HOUR));
        drop(spawn_named("both", async move {
            let mut byte = [0];
            let read = async { drop(ours.read(&mut byte).await) };
            let joined = async { drop(handle.await) };
            future::or(read, future::or(sleep(HOUR), joined)).await;
        }));
        yield_now().await;
        let task = find("both");
        assert_eq!(sources(&task), [("TcpStream", "read")]);
        assert!(matches!(task.awaits[..], [Awaited::Source { .. }, Awaited::Deadline(_)]));
        assert_eq!((task.state, task.elsewhere), (State::Waiting, 1));
        drop(theirs);
    });
}

#[test]
fn the_future_of_block_on_is_told_with_what_it_waits_for() {
    run(|| async {
        let (mut ours, _theirs) = tcp_pair().await.unwrap();
        let asked = spawn(async { find("main") });
        let mut byte = [0];
        let silence = async {
            future::or(async { drop(ours.read(&mut byte).await) }, sleep(HOUR)).await;
            panic!("nothing comes in an hour")
        };
        let main = future::or(async { asked.await.unwrap() }, silence).await;
        assert_eq!((main.id, main.state), (0, State::Waiting));
        assert!(matches!(main.awaits[..], [Awaited::Source { .. }, Awaited::Deadline(_)]));
        assert_eq!(main.elsewhere, 1, "the handle that it awaits");
    });
}

#[test]
fn wakers_that_the_reactor_does_not_hold_are_counted() {
    run(|| async {
        let kept: Rc<RefCell<Vec<Waker>>> = Rc::default();
        let keep = kept.clone();
        drop(spawn_named(
            "kept",
            poll_fn(move |cx| {
                keep.borrow_mut().extend([cx.waker().clone(), cx.waker().clone()]);
                Poll::<()>::Pending
            }),
        ));
        yield_now().await;
        for elsewhere in [2, 1] {
            let task = find("kept");
            assert_eq!((task.state, task.elsewhere), (State::Waiting, elsewhere));
            assert_eq!(task.awaits, []);
            drop(kept.borrow_mut().pop());
        }
        assert_eq!(find("kept").state, State::Lost);
        assert_eq!(find("kept").elsewhere, 0);
    });
}

#[test]
fn a_task_is_lost_when_nothing_can_wake_it_and_queued_when_somebody_has() {
    run(|| async {
        drop(spawn_named("forgetful", pending::<()>()));
        let waker: Rc<RefCell<Option<Waker>>> = Rc::default();
        let keep = waker.clone();
        drop(spawn_named(
            "woken",
            poll_fn(move |cx| {
                keep.replace(Some(cx.waker().clone()));
                Poll::<()>::Pending
            }),
        ));
        yield_now().await;
        assert_eq!(find("forgetful").state, State::Lost);
        assert_eq!(find("woken").state, State::Waiting);
        // Used up: now nobody has one, but its key is in the queue.
        waker.take().unwrap().wake();
        assert_eq!(find("woken").state, State::Queued);
    });
}

// From another thread, so that the key is in the inbox.
#[test]
fn a_task_that_another_thread_has_woken_is_queued() {
    run(|| async {
        let (sender, receiver) = channel::<Waker>();
        drop(spawn_named(
            "woken",
            poll_fn(move |cx| {
                sender.send(cx.waker().clone()).unwrap();
                Poll::<()>::Pending
            }),
        ));
        yield_now().await;
        std::thread::spawn(move || receiver.recv().unwrap().wake()).join().unwrap();
        assert_eq!(find("woken").state, State::Queued);
    });
}

// Nothing can end that `block_on`: its thread sleeps until the process ends.
#[test]
fn a_lost_future_of_block_on_is_told_as_lost() {
    let (sender, states) = channel();
    std::thread::spawn(move || {
        executor::block_on(async {
            drop(spawn(async move { sender.send(find("main").state).unwrap() }));
            pending::<()>().await;
        });
    });
    assert_eq!(states.recv_timeout(tests::DEADLINE), Ok(State::Lost));
}

/// Lets the others run, but no turn come: that would wake a crowd, to see who is still there.
async fn let_others_run() {
    let mut waited = false;
    poll_fn(|cx| {
        if mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

// Method: between the two polls of one task so many others wait for the same, that the source does
// not look far enough back to find its waker.
#[test]
fn what_a_task_waits_for_twice_is_told_once() {
    run(|| async {
        let listener = Rc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let wait = |name| {
            let listener = listener.clone();
            drop(spawn_named(name, async move { drop(listener.accept().await) }));
        };
        wait("first");
        let waker: Rc<RefCell<Option<Waker>>> = Rc::default();
        let (keep, twice) = (waker.clone(), listener.clone());
        drop(spawn_named("twice", async move {
            let mut accept = pin!(twice.accept());
            poll_fn(|cx| {
                keep.replace(Some(cx.waker().clone()));
                accept.as_mut().poll(cx).map(drop)
            })
            .await;
        }));
        (0..33).for_each(|_| wait("crowd"));
        let_others_run().await;
        waker.take().unwrap().wake();
        let_others_run().await;
        drop(waker.take());
        assert_eq!(Reactor::current().waits().len(), 36, "one of the 35 is there twice");
        let task = find("twice");
        assert_eq!(sources(&task), [("TcpListener", "read")]);
        assert_eq!((task.state, task.elsewhere), (State::Waiting, 0));
    });
}

#[test]
fn since_is_the_turn_of_the_last_poll() {
    run(|| async {
        let reactor = Reactor::current();
        drop(spawn_named("sleep", sleep(HOUR)));
        let spawned = reactor.now();
        assert_eq!(find("sleep").since, spawned);
        sleep(Duration::from_millis(2)).await;
        let polled = find("sleep").since;
        assert_eq!(polled, spawned, "polled in the round of its spawn");
        drop(spawn_named("later", async {
            sleep(Duration::from_millis(2)).await;
            sleep(HOUR).await;
        }));
        let before = reactor.now();
        tests::until(|| find("later").polls == 2).await;
        assert!(find("later").since >= before + Duration::from_millis(2));
        assert_eq!(find("sleep").since, spawned);
    });
}

#[test]
fn the_reactor_alone_tells_of_foreign_wakers() {
    within_deadline(|| {
        let reactor = Reactor::new().unwrap();
        let _entered = reactor.enter();
        assert_eq!(reactor.waits(), []);
        let (_counter, waker) = Counter::with_waker();
        let (ours, _theirs) = tests::std_pair().unwrap();
        let mut stream = TcpStream::from_std(ours).unwrap();
        let mut byte = [0];
        let mut read = Box::pin(stream.read(&mut byte));
        let mut sleep = Box::pin(sleep(HOUR));
        assert!(
            poll(read.as_mut(), &waker).is_pending() && poll(sleep.as_mut(), &waker).is_pending()
        );
        let waits = reactor.waits();
        assert_eq!(waits.len(), 2);
        assert!(waits.iter().all(|wait| wait.waker == waker.data()));
        assert!(matches!(
            waits[0].awaited,
            Awaited::Source { direction: "read", kind: "TcpStream", .. }
        ));
        drop(sleep);
        assert_eq!(reactor.waits().len(), 1, "a timer goes with its sleep");
        drop(read);
        assert_eq!(reactor.waits().len(), 1, "a waker stays until its source has something to say");
        drop(stream);
        assert_eq!(reactor.waits(), [], "or is gone");
    });
}

/// Stores its task's state when it is dropped.
struct Asks(Rc<Cell<Option<State>>>);

impl Drop for Asks {
    fn drop(&mut self) {
        self.0.set(tasks().iter().find(|task| task.name == "asks").map(|task| task.state));
    }
}

#[test]
fn task_whose_future_is_being_dropped_is_running() {
    run(|| async {
        let state = Rc::new(Cell::new(None));
        let asks = Asks(state.clone());
        let task = spawn_named("asks", async move {
            let _asks = asks;
            pending::<()>().await;
        });
        yield_now().await;
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(state.get(), Some(State::Running));
    });
}
