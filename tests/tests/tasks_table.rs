//! `executor::tasks()`: the state of each task and what it waits for.

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
use reactor::net::{TcpListener, TcpStream, UdpSocket, UnixStream};
use reactor::time::sleep;
use reactor::{Awaited, Reactor};
use tests::wakers::{Counter, poll};
use tests::{run, tcp_pair, within_deadline};

const HOUR: Duration = Duration::from_secs(3600);

/// Returns the only task of this name.
#[track_caller]
fn find(name: &str) -> TaskInfo {
    let all = tasks();
    let mut named = all.iter().filter(|task| task.name == name);
    let found = named.next().unwrap_or_else(|| panic!("no task {name} in {all:#?}"));
    assert!(named.next().is_none(), "two tasks are named {name} in {all:#?}");
    found.clone()
}

/// Returns the kinds and directions of the sources that a task waits for, in the order of their
/// keys.
fn sources(task: &TaskInfo) -> Vec<(&'static str, &'static str)> {
    let source = |awaited: &Awaited| match awaited {
        Awaited::Source { kind, direction, .. } => Some((*kind, *direction)),
        _ => None,
    };
    task.awaits.iter().filter_map(source).collect()
}

/// Writes until the buffers are full, and then waits for the peer to read.
///
/// The stream is a Unix socket. TCP may enlarge its buffers later, which would wake the task.
async fn fill(mut stream: UnixStream) {
    let block = vec![0; 1 << 16];
    while poll_fn(|cx| pin!(&mut stream).poll_write(cx, &block)).await.is_ok() {}
}

#[test]
fn list_shows_id_name_location_and_polls_of_a_task() {
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
        assert_eq!(find("counted").polls, 3, "the task is not polled without a wakeup");
    });
}

#[test]
fn tasks_are_listed_by_id_until_they_complete() {
    run(|| async {
        let first = spawn_named("first", pending::<()>());
        let second = spawn_named("second", pending::<()>());
        let names = || tasks().iter().map(|task| task.name).collect::<Vec<_>>();
        assert_eq!(names(), ["main", "first", "second"]);
        first.abort();
        yield_now().await;
        // The third task reuses the slot of the first, but has an ID of its own.
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
fn only_the_calling_task_is_running() {
    run(|| async {
        let asked = spawn_named("asking", async {
            assert_eq!(find("asking").state, State::Running);
            assert_eq!(find("main").state, State::Waiting);
            assert_eq!(find("main").elsewhere, 1, "held by the handle that it awaits");
            assert_eq!(find("main").awaits, []);
        });
        assert_eq!(find("asking").state, State::Queued);
        assert_eq!(find("main").state, State::Running);
        asked.await.unwrap();
    });
}

#[test]
fn no_task_is_running_outside_of_block_on() {
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
fn main_future_is_queued_until_its_poll_after_each_wake() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        // This task stays queued, so it runs before the main future of the next `block_on`.
        let mut early = None;
        executor.block_on(async { early = Some(spawn(async { find("main") })) });
        let waker: Rc<RefCell<Option<Waker>>> = Rc::default();
        let keep = waker.clone();
        let early = executor.block_on(async {
            let states = spawn(async move {
                let before = find("main").state;
                waker.take().expect("the main future stored it").wake();
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
fn wait_for_a_source_shows_its_kind_and_direction() {
    run(|| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (mut reader, writer) = tcp_pair().await.unwrap();
        let (stalled, _idle_peer) = UnixStream::pair().unwrap();
        drop(spawn_named("accept", async move { drop(listener.accept().await) }));
        drop(spawn_named("read", async move { drop(reader.read(&mut [0]).await) }));
        drop(spawn_named("write", fill(stalled)));
        let (stop, job) = channel::<()>();
        drop(spawn_blocking(move || job.recv()));
        tests::until(|| sources(&find("write")) == [("UnixStream", "write")]).await;
        assert_eq!(sources(&find("accept")), [("TcpListener", "read")]);
        assert_eq!(sources(&find("read")), [("TcpStream", "read")]);
        tests::until(|| find("blocking").state == State::Waiting).await;
        let job = &find("blocking").awaits;
        assert!(matches!(job[..], [Awaited::Job { kind: "blocking job", .. }]), "{job:?}");
        let table = executor::tasks().to_string();
        assert!(table.lines().any(|row| row.contains("waiting  job ")), "{table}");
        assert!(table.contains(" (blocking job)"), "{table}");
        for name in ["accept", "read", "write", "blocking"] {
            let task = find(name);
            assert_eq!((task.state, task.awaits.len(), task.elsewhere), (State::Waiting, 1, 0));
        }
        drop((writer, stop));
    });
}

/// Returns the row of the only task of this name, and its position in the table.
#[track_caller]
fn row(table: &str, name: &str) -> (usize, String) {
    let named = |line: &&str| line.split("  ").any(|cell| cell.trim() == name);
    let row = table.lines().find(named).unwrap_or_else(|| panic!("no task {name} in {table}"));
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
        let (older, _idle_peer) = UnixStream::pair().unwrap();
        let (newer, _idle_peer) = UnixStream::pair().unwrap();
        drop(spawn_named("forgetful", pending::<()>()));
        drop(spawn_named("older", fill(older)));
        let writes = |name| sources(&find(name)) == [("UnixStream", "write")];
        tests::until(|| writes("older")).await;
        sleep(Duration::from_millis(2)).await;
        drop(spawn_named("newer", fill(newer)));
        tests::until(|| writes("newer")).await;
        sleep(Duration::from_millis(2)).await;
        let table = tasks().to_string();
        let positions = ["older", "newer", "forgetful", "main"].map(|name| row(&table, name).0);
        assert_eq!(positions, [1, 2, 3, 4], "{table}");
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
fn listed_source_key_is_the_key_in_the_records() {
    within_deadline(|| {
        let (awaits, records) = tests::records::capture(|| {
            executor::block_on(async {
                let (mut ours, _theirs) = tcp_pair().await.unwrap();
                drop(spawn_named("read", async move { drop(ours.read(&mut [0]).await) }));
                yield_now().await;
                find("read").awaits
            })
        });
        let [Awaited::Source { key, .. }] = awaits[..] else {
            panic!("not one source: {awaits:?}")
        };
        let stored = records.iter().rfind(|record| record.kind == "store").unwrap();
        assert_eq!(stored.get("source"), key.to_string());
    });
}

#[test]
fn wait_for_a_timer_shows_its_deadline() {
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
fn task_shows_everything_that_it_waits_for() {
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
fn main_future_shows_everything_that_it_waits_for() {
    run(|| async {
        let (mut ours, _theirs) = tcp_pair().await.unwrap();
        let finder = spawn(async { find("main") });
        let mut byte = [0];
        let timeout = async {
            future::or(async { drop(ours.read(&mut byte).await) }, sleep(HOUR)).await;
            panic!("no byte in an hour")
        };
        let main = future::or(async { finder.await.unwrap() }, timeout).await;
        assert_eq!((main.id, main.state), (0, State::Waiting));
        assert!(matches!(main.awaits[..], [Awaited::Source { .. }, Awaited::Deadline(_)]));
        assert_eq!(main.elsewhere, 1, "held by the handle that it awaits");
    });
}

#[test]
fn wakers_outside_of_the_reactor_are_counted() {
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
fn task_is_lost_when_no_waker_is_left() {
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
        // `wake` consumed the only waker, but the key of the task is in the queue.
        waker.take().unwrap().wake();
        assert_eq!(find("woken").state, State::Queued);
    });
}

// The wakeup comes from another thread, so it is a message in the inbox.
#[test]
fn task_woken_by_another_thread_is_queued() {
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

// That `block_on` never returns. Its thread sleeps until the process exits.
#[test]
fn main_future_without_a_waker_is_lost() {
    let (sender, states) = channel();
    std::thread::spawn(move || {
        executor::block_on(async {
            drop(spawn(async move { sender.send(find("main").state).unwrap() }));
            pending::<()>().await;
        });
    });
    assert_eq!(states.recv_timeout(tests::DEADLINE), Ok(State::Lost));
}

/// Lets the other tasks run, but not the reactor: a turn would sweep the stale wakers of a source
/// with many waiters.
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

// Method: between two polls of one task, many other tasks wait for the same source. The source
// searches only its latest wakers for the waker of the task, so it stores that waker twice.
#[test]
fn source_that_a_task_waits_for_twice_is_listed_once() {
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
        (0..33).for_each(|_| wait("other"));
        let_others_run().await;
        waker.take().unwrap().wake();
        let_others_run().await;
        drop(waker.take());
        assert_eq!(
            Reactor::current().stored_wakers().len(),
            36,
            "one of the 35 tasks is listed twice"
        );
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
        assert_eq!(polled, spawned, "the task was polled only in the round of its spawn");
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
fn bare_reactor_lists_the_waits_of_any_waker() {
    within_deadline(|| {
        let reactor = Reactor::new().unwrap();
        let _entered = reactor.enter();
        assert_eq!(reactor.stored_wakers(), []);
        let (_counter, waker) = Counter::with_waker();
        let (ours, _theirs) = tests::std_pair().unwrap();
        let mut stream = TcpStream::from_std(ours).unwrap();
        let mut byte = [0];
        let mut read = Box::pin(stream.read(&mut byte));
        let mut sleep = Box::pin(sleep(HOUR));
        assert!(
            poll(read.as_mut(), &waker).is_pending() && poll(sleep.as_mut(), &waker).is_pending()
        );
        let wakers = reactor.stored_wakers();
        assert_eq!(wakers.len(), 2);
        assert!(wakers.iter().all(|stored| stored.waker == waker.data()));
        assert!(matches!(
            wakers[0].awaited,
            Awaited::Source { direction: "read", kind: "TcpStream", .. }
        ));
        drop(sleep);
        assert_eq!(reactor.stored_wakers().len(), 1, "dropping a sleep removes its timer");
        drop(read);
        assert_eq!(
            reactor.stored_wakers().len(),
            1,
            "the waker stays stored until the next event of its source"
        );
        drop(stream);
        assert_eq!(reactor.stored_wakers(), [], "the waker is dropped with its source");
    });
}

/// Records the state of its task when it is dropped.
struct RecordsState(Rc<Cell<Option<State>>>);

impl Drop for RecordsState {
    fn drop(&mut self) {
        self.0.set(tasks().iter().find(|task| task.name == "dropped").map(|task| task.state));
    }
}

#[test]
fn task_whose_future_is_being_dropped_is_running() {
    run(|| async {
        let state = Rc::new(Cell::new(None));
        let guard = RecordsState(state.clone());
        let task = spawn_named("dropped", async move {
            let _guard = guard;
            pending::<()>().await;
        });
        yield_now().await;
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(state.get(), Some(State::Running));
    });
}

#[test]
fn task_list_gives_its_tasks_by_reference_or_by_value() {
    run(|| async {
        let task = spawn_named("waits", pending::<()>());
        let ids = [0, task.id()];
        let list = tasks();
        assert_eq!((&list).into_iter().map(|task| task.id).collect::<Vec<_>>(), ids);
        assert_eq!(list.clone().into_iter().map(|task| task.id).collect::<Vec<_>>(), ids);
        assert_eq!(list.into_vec().iter().map(|task| task.id).collect::<Vec<_>>(), ids);
    });
}
