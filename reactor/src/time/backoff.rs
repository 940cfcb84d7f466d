//! [`Backoff`]: how long to pause before retrying an operation that keeps failing.

use std::time::{Duration, Instant};

use super::now;

/// The first pause. It is so short that a momentary failure goes unnoticed.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The longest pause, and the minimum time between two log records of failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A failure that occurs this long after the previous one begins a new series. The time is longer
/// than the longest pause, so that the pauses themselves do not end a series.
const END_OF_SERIES: Duration = Duration::from_secs(3);

/// Decides how long to pause before retrying an operation that failed, and when to log the error.
///
/// An operation that fails immediately and is retried immediately makes a busy loop. If each
/// failure is logged, the loop also fills the disk. With this type, the first failure of a series
/// causes no pause. If the retry fails too, the pauses start at 10 ms and double up to 1 s. A
/// success, or three seconds without a failure, ends the series.
///
/// [`TcpListener::incoming`](crate::net::TcpListener::incoming) uses it for errors of `accept`.
///
/// # Examples
///
/// ```
/// use reactor::net::UdpSocket;
/// use reactor::time::{Backoff, sleep};
///
/// # fn main() -> std::io::Result<()> {
/// # executor::block_on(async {
/// # let socket = UdpSocket::bind("127.0.0.1:0").await?;
/// # std::net::UdpSocket::bind("127.0.0.1:0")?.send_to(b"x", socket.local_addr()?)?;
/// let mut backoff = Backoff::new();
/// let mut buffer = [0; 1500];
/// loop {
///     match socket.recv_from(&mut buffer).await {
///         Ok((bytes, peer)) => {
///             backoff.succeeded();
///             println!("{bytes} bytes from {peer}");
/// #           return Ok(());
///         }
///         Err(error) => {
///             let pause = backoff.failed();
///             if backoff.should_log() {
///                 eprintln!("cannot receive: {error}");
///             }
///             sleep(pause).await;
///         }
///     }
/// }
/// # })
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    /// The pause after the last failure.
    pause: Duration,
    /// When the last failure occurred. `None` if no attempt has failed since the last success.
    failed: Option<Instant>,
    /// When `should_log` last returned true. A success does not clear it, so an operation that
    /// alternately fails and succeeds cannot flood the log.
    logged: Option<Instant>,
}

impl Backoff {
    /// Returns a backoff that has recorded no failure.
    pub const fn new() -> Backoff {
        Backoff { pause: Duration::ZERO, failed: None, logged: None }
    }

    /// Records a failure, and returns how long to pause before the next attempt.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::time::Backoff;
    ///
    /// let mut backoff = Backoff::new();
    /// let pauses: Vec<u128> = (0..10).map(|_| backoff.failed().as_millis()).collect();
    /// assert_eq!(pauses, [0, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    /// ```
    pub fn failed(&mut self) -> Duration {
        self.failed_at(now())
    }

    fn failed_at(&mut self, now: Instant) -> Duration {
        let previous = self.failed.replace(now);
        self.pause = match previous {
            Some(previous) if now.saturating_duration_since(previous) < END_OF_SERIES => {
                (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE)
            }
            _ => Duration::ZERO,
        };
        self.pause
    }

    /// Like [`failed`](Backoff::failed), but the first failure causes a pause too. For an operation
    /// whose immediate retry would certainly fail.
    pub(crate) fn failed_for_longer(&mut self) -> Duration {
        self.pause = self.failed().max(FIRST_PAUSE);
        self.pause
    }

    /// Records a success, which ends the series of failures.
    pub fn succeeded(&mut self) {
        self.failed = None;
    }

    /// Returns whether to log the current failure. Returns true at most once a second.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::time::Backoff;
    ///
    /// let mut backoff = Backoff::new();
    /// backoff.failed();
    /// assert!(backoff.should_log());
    /// backoff.failed();
    /// assert!(!backoff.should_log());
    /// ```
    pub fn should_log(&mut self) -> bool {
        self.should_log_at(now())
    }

    fn should_log_at(&mut self, now: Instant) -> bool {
        let recently = |logged| now.saturating_duration_since(logged) < LONGEST_PAUSE;
        let should_log = !self.logged.is_some_and(recently);
        if should_log {
            self.logged = Some(now);
        }
        should_log
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_starts_a_new_series() {
        let mut backoff = Backoff::new();
        assert_eq!(backoff.failed(), Duration::ZERO);
        assert_eq!(backoff.failed(), FIRST_PAUSE);
        backoff.succeeded();
        assert_eq!(backoff.failed(), Duration::ZERO);
        assert_eq!(backoff.failed(), FIRST_PAUSE);
    }

    #[test]
    fn late_failure_starts_a_new_series() {
        let mut backoff = Backoff::new();
        let now = Instant::now();
        backoff.failed_at(now);
        assert_eq!(backoff.failed_at(now + END_OF_SERIES), Duration::ZERO);
        assert_eq!(backoff.failed_at(now + END_OF_SERIES + LONGEST_PAUSE), FIRST_PAUSE);
    }

    #[test]
    fn success_does_not_permit_another_log_record() {
        let mut backoff = Backoff::new();
        let now = Instant::now();
        assert!(backoff.should_log_at(now));
        backoff.succeeded();
        assert!(!backoff.should_log_at(now + LONGEST_PAUSE / 2));
        assert!(backoff.should_log_at(now + LONGEST_PAUSE));
    }
}
