//! What stays on its thread, as programs that must not compile.
//!
//! `Rc` behind each of these types is what makes one flag for each direction and a run queue without
//! locks enough. The compiler holds that, and these examples hold the compiler to it.
//!
//! What may go to another thread is this:
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
//! All else may not:
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
//! A copy may be sent if its reader and its writer may, because nothing of it belongs to a thread:
//!
//! ```
//! fn may_be_sent<T: Send>(_: T) {}
//! may_be_sent(reactor::io::copy(reactor::io::empty(), reactor::io::sink()));
//! ```
//!
//! Nor may a future that holds one of them, or what another thread spawns:
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
