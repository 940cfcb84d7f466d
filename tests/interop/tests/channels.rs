//! Channels between tasks and threads, by async-channel.

use std::thread;

use async_channel::{bounded, unbounded};
use executor::{spawn, yield_now};
use tests::run;

const MESSAGES: usize = 10_000;

#[test]
fn four_threads_send_to_two_tasks_over_a_small_channel_and_nothing_is_lost() {
    run(|| async {
        let (sender, receiver) = bounded(3);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let sender = sender.clone();
                thread::spawn(move || (0..MESSAGES).for_each(|n| sender.send_blocking(n).unwrap()))
            })
            .collect();
        drop(sender);
        let sum = |receiver: async_channel::Receiver<usize>| async move {
            let mut sum = 0;
            while let Ok(message) = receiver.recv().await {
                sum += message;
            }
            sum
        };
        let tasks = [spawn(sum(receiver.clone())), spawn(sum(receiver))];
        let mut total = 0;
        for task in tasks {
            total += task.await.unwrap();
        }
        assert_eq!(total, 4 * (MESSAGES * (MESSAGES - 1) / 2));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_task_that_sends_into_a_full_channel_waits_for_the_thread_that_receives() {
    run(|| async {
        let (sender, receiver) = bounded(1);
        let sending = spawn(async move {
            for message in 0..MESSAGES {
                sender.send(message).await.unwrap();
            }
        });
        while !receiver.is_full() {
            yield_now().await;
        }
        assert!(!sending.is_finished());
        let thread = thread::spawn(move || {
            let received: Vec<usize> =
                std::iter::from_fn(|| receiver.recv_blocking().ok()).collect();
            received
        });
        sending.await.unwrap();
        assert!(thread.join().unwrap().into_iter().eq(0..MESSAGES), "in their order");
    });
}

#[test]
fn a_thread_asks_a_task_and_gets_its_answer() {
    run(|| async {
        let (questions, asked) = unbounded::<(usize, async_channel::Sender<usize>)>();
        let task = spawn(async move {
            while let Ok((question, answer)) = asked.recv().await {
                answer.send(question * 2).await.unwrap();
            }
        });
        let thread = thread::spawn(move || {
            for question in 0..1_000 {
                let (answer, told) = bounded(1);
                questions.send_blocking((question, answer)).unwrap();
                assert_eq!(told.recv_blocking(), Ok(question * 2));
            }
        });
        task.await.unwrap();
        thread.join().unwrap();
    });
}
