//! Tasks that await other tasks, one by one or in a `JoinSet`.

use std::collections::HashMap;
use std::future::poll_fn;
use std::panic::resume_unwind;
use std::rc::Rc;

use executor::{AbortHandle, JoinError, JoinSet, spawn, yield_now};

use crate::job::{Ends, Job, Wanted, for_a_while, for_task};
use crate::kernel::{Kernel, Socket};

/// A task of a set.
struct Member {
    number: u64,
    panics: bool,
    abort: AbortHandle,
    is_aborted: bool,
}

/// Reports the end of a task when its future is dropped.
struct OnEnd {
    ends: Ends,
    number: u64,
}

impl Drop for OnEnd {
    fn drop(&mut self) {
        self.ends.borrow_mut().push_back(self.number);
    }
}

/// Spawns, aborts and awaits tasks at random. Checks that the set returns each result once, in the
/// order in which the tasks have ended.
pub(crate) async fn join_tasks(kernel: Rc<Kernel>, socket: Rc<Socket>) {
    let (mut set, ends) = (JoinSet::new(), Ends::default());
    let mut members: HashMap<u64, Member> = HashMap::new();
    let mut spawned = 0;
    for _ in 0..kernel.random.below(25) {
        match kernel.random.below(8) {
            0..4 => {
                let panics = kernel.random.one_in(6);
                let work = member(&kernel, &socket, ends.clone(), spawned, panics);
                let abort = set.spawn(work);
                let member = Member { number: spawned, panics, abort, is_aborted: false };
                members.insert(member.abort.id(), member);
                spawned += 1;
            }
            4 => abort_one(&kernel, &mut members),
            5 => yield_now().await,
            6 => await_one_task(&kernel, &socket).await,
            _ => drop(join_next(&kernel, &mut set, &ends, &mut members).await),
        }
        assert_eq!(set.len(), members.len(), "the set has lost a task");
    }
    match kernel.random.below(4) {
        // Dropping the set aborts its tasks; detaching them lets them continue.
        0 => {}
        1 => set.detach_all(),
        _ => while join_next(&kernel, &mut set, &ends, &mut members).await.is_some() {},
    }
}

/// Awaits the next task of the set, and compares its result with what the task did.
async fn join_next(
    kernel: &Rc<Kernel>,
    set: &mut JoinSet<u64>,
    ends: &Ends,
    members: &mut HashMap<u64, Member>,
) -> Option<()> {
    let joined = for_task(kernel, ends, set.join_next_with_id());
    let joined = match kernel.random.one_in(8) {
        true => for_a_while(kernel, joined).await,
        false => Some(joined.await),
    };
    let Some(joined) = joined else {
        kernel.job().awaited.take();
        return Some(());
    };
    let (id, result) = joined?;
    let member = members.remove(&id).expect("each task is returned once");
    let first = ends.borrow_mut().pop_front();
    assert_eq!(first, Some(member.number), "the tasks are not in the order of their ends");
    check_result(&member, result);
    Some(())
}

/// Spawns and awaits one task outside of a set.
async fn await_one_task(kernel: &Rc<Kernel>, socket: &Rc<Socket>) {
    let ends = Ends::default();
    let panics = kernel.random.one_in(6);
    let handle = spawn(member(kernel, socket, ends.clone(), 0, panics));
    let is_aborted = kernel.random.one_in(4);
    if is_aborted {
        handle.abort();
    }
    let member = Member { number: 0, panics, abort: handle.abort_handle(), is_aborted };
    let result = for_task(kernel, &ends, handle).await;
    assert_eq!(ends.borrow_mut().pop_front(), Some(0), "a handle resolves before its task ends");
    check_result(&member, result);
}

fn check_result(member: &Member, result: Result<u64, JoinError>) {
    match result {
        Ok(number) => assert_eq!((number, member.panics), (member.number, false)),
        Err(error) if error.is_cancelled() => assert!(member.is_aborted, "no abort was asked for"),
        Err(_) => assert!(member.panics, "the panic of another task"),
    }
}

fn abort_one(kernel: &Kernel, members: &mut HashMap<u64, Member>) {
    // Sort the IDs, because the order of a `HashMap` differs in each run.
    let mut ids: Vec<u64> = members.keys().copied().collect();
    ids.sort_unstable();
    if !ids.is_empty()
        && let Some(member) = members.get_mut(&ids[kernel.random.below(ids.len())])
    {
        member.abort.abort();
        member.is_aborted = true;
    }
}

/// The future of a task that reads, yields or sleeps, and then returns its number or panics.
fn member(
    kernel: &Rc<Kernel>,
    socket: &Rc<Socket>,
    ends: Ends,
    number: u64,
    panics: bool,
) -> impl Future<Output = u64> + 'static + use<> {
    let end = OnEnd { ends, number };
    let (own, from) = (kernel.clone(), socket.clone());
    let work = async move {
        let _end = end;
        match own.random.below(3) {
            0 => {
                let mut bytes = [0; 5];
                let read = poll_fn(|cx| from.poll_read(cx, &mut bytes));
                drop(for_a_while(&own, read).await);
            }
            1 => drop(for_a_while(&own, std::future::pending::<()>()).await),
            _ => {
                for _ in 0..own.random.below(4) {
                    yield_now().await;
                }
            }
        }
        if panics {
            resume_unwind(Box::new(Wanted));
        }
        number
    };
    Job::of(kernel, "member", &[socket], work).1
}
