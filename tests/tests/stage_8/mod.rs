//! The runtime of stage 8 in `echo/learn/stages`, file by file.

#[path = "../../../echo/learn/stages/7/executor.rs"]
mod executor;
#[path = "../../../echo/learn/stages/8/join.rs"]
pub(crate) mod join;
#[path = "../../../echo/learn/stages/6/reactor.rs"]
mod reactor;
