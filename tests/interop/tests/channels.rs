//! Channels between tasks and threads, with async-channel.

use std::thread;

use async_channel::{bounded, unbounded};
use executor::{spawn, yield_now};
use tests::run;

const MESSAGES: usize = 10_000;

#[test]
fn channel_from_threads_to_tasks_loses_nothing() {
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
fn send_into_a_full_channel_waits_for_the_receiver() {
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
        assert!(
            thread.join().unwrap().into_iter().eq(0..MESSAGES),
            "in the order in which they were sent"
        );
    });
}

#[test]
fn thread_gets_an_answer_from_a_task() {
    run(|| async {
        let (questions, receiver) = unbounded::<(usize, async_channel::Sender<usize>)>();
        let task = spawn(async move {
            while let Ok((question, answer)) = receiver.recv().await {
                answer.send(question * 2).await.unwrap();
            }
        });
        let thread = thread::spawn(move || {
            for question in 0..1_000 {
                let (answer, receiver) = bounded(1);
                questions.send_blocking((question, answer)).unwrap();
                assert_eq!(receiver.recv_blocking(), Ok(question * 2));
            }
        });
        task.await.unwrap();
        thread.join().unwrap();
    });
}
