//! Exercise 3: join by hand. The task is in section 3 of the README of this folder.
//!
//! ```text
//! cargo run --example exercise -- 3
//! ```

use std::future::Future;

/// Runs both futures concurrently, and returns both outputs.
pub(crate) async fn join<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let a = a.await;
    let b = b.await;
    (a, b)
}

#[path = "checks/03_join.rs"]
pub(crate) mod check;
