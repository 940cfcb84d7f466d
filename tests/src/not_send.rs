//! Types that must stay on their thread, as programs that must not compile.
//!
//! Because these types contain an `Rc`, a plain flag per direction is enough, and the run queue
//! needs no lock. The compiler enforces this, and these examples check that it does.
//!
//! These types may move to another thread:
//!
//! ```
//! fn may_be_sent<T: Send>() {}
//! fn may_be_shared<T: Send + Sync>() {}
//!
//! may_be_shared::<executor::Remote>();
//! may_be_shared::<executor::RemoteJoinHandle<std::cell::Cell<u8>>>();
//! may_be_shared::<executor::JoinError>();
//! may_be_shared::<reactor::Notifier>();
//! may_be_shared::<std::task::Waker>();
//! may_be_sent::<executor::Metrics>();
//! ```
//!
//! These types may not:
//!
// Pitfall: X2
//! ```compile_fail,E0277
//! fn may_be_sent<T: Send>() {}
//! may_be_sent::<executor::Executor>();
//! ```
//!
//! ```compile_fail,E0277
//! fn may_be_sent<T: Send>() {}
//! may_be_sent::<executor::JoinHandle<()>>();
//! ```
//!
//! ```compile_fail,E0277
//! fn may_be_sent<T: Send>() {}
//! may_be_sent::<executor::JoinSet<()>>();
//! ```
//!
//! ```compile_fail,E0277
//! fn may_be_sent<T: Send>() {}
//! may_be_sent::<std::rc::Rc<reactor::Reactor>>();
//! ```
//!
//! ```compile_fail,E0277
//! fn may_be_sent<T: Send>() {}
//! may_be_sent::<reactor::Enter>();
//! ```
//!
//! ```compile_fail,E0277
//! fn may_be_sent<T: Send>() {}
//! may_be_sent::<executor::Enter<'static>>();
//! ```
//!
//! ```compile_fail,E0277
//! fn may_be_sent<T: Send>() {}
//! may_be_sent::<reactor::Async<mio::net::TcpStream>>();
//! ```
//!
//! ```compile_fail,E0277
//! fn may_be_sent<T: Send>() {}
//! may_be_sent::<reactor::net::TcpStream>();
//! ```
//!
//! ```compile_fail,E0277
//! fn may_be_sent<T: Send>() {}
//! may_be_sent::<reactor::net::TcpListener>();
//! ```
//!
//! ```compile_fail,E0277
//! fn may_be_sent<T: Send>() {}
//! may_be_sent::<reactor::net::UdpSocket>();
//! ```
//!
//! ```compile_fail,E0277
//! fn may_be_sent<T: Send>() {}
//! may_be_sent::<reactor::net::UnixListener>();
//! ```
//!
//! ```compile_fail,E0277
//! fn may_be_sent<T: Send>() {}
//! may_be_sent::<reactor::net::UnixStream>();
//! ```
//!
//! ```compile_fail,E0277
//! fn may_be_sent<T: Send>() {}
//! may_be_sent::<reactor::net::UnixDatagram>();
//! ```
//!
//! ```compile_fail,E0277
//! fn may_be_sent<T: Send>() {}
//! may_be_sent::<reactor::time::Sleep>();
//! ```
//!
//! A copy is `Send` if its reader and its writer are, because it holds nothing that belongs to a
//! thread:
//!
//! ```
//! fn may_be_sent<T: Send>(_: T) {}
//! may_be_sent(reactor::io::copy(reactor::io::empty(), reactor::io::sink()));
//! ```
//!
//! A future that holds one of these types may not move either, and `Remote::spawn` accepts no
//! closure that holds a value that is not `Send`:
//!
//! ```compile_fail,E0277
//! fn may_be_sent<T: Send>(_: T) {}
//! may_be_sent(reactor::time::timeout(std::time::Duration::ZERO, async {}));
//! ```
//!
//! ```compile_fail,E0277
//! let not_send = std::rc::Rc::new(());
//! let remote = executor::Executor::new().unwrap().remote();
//! let _ = remote.spawn(move || async move { drop(not_send) });
//! ```
//!
//! The guard of an entered executor may not outlive it, because a task spawned afterwards would
//! never run:
//!
//! ```compile_fail,E0505
//! let executor = executor::Executor::new().unwrap();
//! let entered = executor.enter();
//! drop(executor);
//! drop(entered);
//! ```
