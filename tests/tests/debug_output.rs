//! What `{:?}` and `{}` print: the name of a type and the fields that a caller looks for in a log.

use std::error::Error;
use std::fs;
use std::future::pending;
use std::io;
use std::time::Duration;

use executor::{Executor, JoinSet, Remote, spawn, spawn_named, tasks, yield_now};
use reactor::Reactor;
use reactor::fs::{File, read_dir};
use reactor::net::{TcpListener, TcpStream, UnixDatagram};
use reactor::process::Command;
use reactor::stdio::{stderr, stdin, stdout};
use reactor::time::{sleep, timeout};
use tests::{TempDir, run, tcp_pair, within_deadline};

#[test]
fn debug_of_a_join_handle_shows_task_name_and_state() {
    run(|| async {
        let mut task = spawn_named("sums", async { 1 });
        let abort = task.abort_handle();
        let id = task.id();
        let shown = format!("{task:?}");
        assert_eq!(shown, format!("JoinHandle {{ task: {id}, name: \"sums\", finished: false }}"));
        assert_eq!(format!("{abort:?}"), format!("AbortHandle {{ task: {id}, finished: false }}"));
        (&mut task).await.expect("the task returns");
        assert_eq!(format!("{task:?}"), "JoinHandle(joined)");
        assert_eq!(format!("{abort:?}"), format!("AbortHandle {{ task: {id}, finished: true }}"));
    });
}

#[test]
fn debug_of_a_join_set_counts_its_tasks() {
    run(|| async {
        let mut set = JoinSet::new();
        set.spawn(async {});
        set.spawn(pending());
        yield_now().await;
        assert_eq!(format!("{set:?}"), "JoinSet { len: 2, finished: 1 }");
    });
}

#[test]
fn debug_of_an_executor_shows_its_metrics() {
    within_deadline(|| {
        let executor = Executor::new().expect("the OS gives an epoll instance");
        let shown = format!("{executor:?}");
        assert!(shown.starts_with("Executor { metrics: Metrics { "), "{shown}");
        let entered = executor.enter();
        let shown = format!("{entered:?}");
        assert!(shown.starts_with("Enter(Executor { metrics: Metrics { "), "{shown}");
    });
}

#[test]
fn debug_of_a_remote_handle_shows_the_task_once_it_runs() {
    run(|| async {
        let remote = Remote::current();
        let handle = remote.spawn(pending::<()>);
        assert_eq!(format!("{handle:?}"), "RemoteJoinHandle { finished: false }");
        while !format!("{handle:?}").starts_with("RemoteJoinHandle { task: ") {
            yield_now().await;
        }
        assert!(format!("{handle:?}").ends_with(", finished: false }"), "{handle:?}");
    });
}

#[test]
fn debug_of_a_task_list_shows_each_task() {
    run(|| async {
        let _waits = spawn_named("waits", pending::<()>());
        yield_now().await;
        let shown = format!("{:?}", tasks());
        assert!(shown.starts_with("[TaskInfo { "), "{shown}");
        assert!(shown.contains("\"waits\""), "{shown}");
    });
}

#[test]
fn debug_of_a_socket_shows_its_addresses_and_source() {
    run(|| async {
        let (client, server) = tcp_pair().await?;
        let shown = format!("{client:?}");
        assert!(shown.contains(&client.local_addr()?.port().to_string()), "{shown}");
        assert!(shown.contains("source: "), "{shown}");
        drop(server);
        let datagram = UnixDatagram::unbound()?;
        let shown = format!("{datagram:?}");
        assert!(shown.starts_with("UnixDatagram(Async { io: "), "{shown}");
        io::Result::Ok(())
    })
    .expect("the sockets can be opened");
}

#[test]
fn debug_of_a_reactor_counts_its_sources() {
    run(|| async {
        let before = format!("{:?}", Reactor::current());
        assert!(before.starts_with("Reactor { sources: "), "{before}");
        let _listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        assert_ne!(format!("{:?}", Reactor::current()), before);
        assert_eq!(format!("{:?}", Reactor::current().notifier()), "Notifier");
    });
}

#[test]
fn debug_of_a_file_shows_its_path() {
    run(|| async {
        let folder = TempDir::new()?;
        let path = folder.path().join("named.txt");
        fs::write(&path, "x")?;
        let file = File::open(&path).await?;
        let shown = format!("{file:?}");
        assert!(shown.starts_with("File(File { fd: ") && shown.contains("named.txt"), "{shown}");
        let mut folder = read_dir(folder.path()).await?;
        assert!(format!("{folder:?}").starts_with("ReadDir { batch: "), "{folder:?}");
        let entry = folder.next_entry().await?.expect("the folder has one file");
        let shown = format!("{entry:?}");
        assert!(shown.starts_with("DirEntry(") && shown.contains("named.txt"), "{shown}");
        io::Result::Ok(())
    })
    .expect("the file can be read");
}

#[test]
fn debug_of_a_child_shows_its_process_id() {
    run(|| async {
        let mut child = Command::new("true").spawn().expect("true is installed");
        let id = child.id();
        assert_eq!(format!("{child:?}"), format!("Child {{ id: {id:?}, .. }}"));
        child.wait().await.expect("the child can be awaited");
    });
}

#[test]
fn debug_of_the_standard_streams_names_them() {
    assert_eq!(format!("{:?} {:?} {:?}", stdin(), stdout(), stderr()), "Stdin Stdout Stderr");
}

#[test]
fn elapsed_is_shown_as_a_sentence() {
    run(|| async {
        let elapsed = timeout(Duration::ZERO, pending::<()>()).await.expect_err("nothing arrives");
        assert_eq!(elapsed.to_string(), "deadline has elapsed");
        let shown = format!("{:?}", sleep(Duration::from_secs(1)));
        assert!(shown.starts_with("Sleep { deadline: "), "{shown}");
    });
}

#[test]
fn halves_of_two_connections_explain_why_they_do_not_reunite() {
    run(|| async {
        let (one, other) = tcp_pair().await.expect("the loopback interface accepts");
        let (reader, _writer) = TcpStream::into_split(one);
        let (_reader, writer) = TcpStream::into_split(other);
        let error = reader.reunite(writer).expect_err("these are two connections");
        assert_eq!(format!("{error:?}"), "ReuniteError(..)");
        let error: Box<dyn Error> = Box::new(error);
        assert!(error.to_string().contains("not of the same connection"), "{error}");
    });
}

#[test]
fn join_error_names_the_task_and_its_panic() {
    run(|| async {
        let task = spawn_named("fails", async { panic!("no luck") });
        let id = task.id();
        let error = task.await.map(|(): ()| ()).expect_err("the task panics");
        let shown = error.to_string();
        assert!(shown.starts_with(&format!("task {id} \"fails\", spawned at ")), "{shown}");
        assert!(shown.ends_with(", panicked: no luck"), "{shown}");
        assert_eq!(format!("{error:?}"), format!("JoinError({shown})"));
        let task = spawn(pending::<()>());
        task.abort();
        let error = task.await.expect_err("the task is aborted");
        assert!(error.to_string().ends_with(", was cancelled"), "{error}");
    });
}
