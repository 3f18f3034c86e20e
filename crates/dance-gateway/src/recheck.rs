//! Open connections: a client is known until the answer that its name rests on runs out; then it is asked for anew, and a connection
//! whose client is gone, or cannot be asked for, is closed (requirements 4.2 step 18; SRV-23, SEC-12).

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::pin::Pin;
use std::time::Duration;

use dance_core::UnixTime;
use dance_core::reason::{Reason, Softening};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// The look-ups for one connection are so far apart at least, whatever the TTL, with the handshake's among them if it made one.
const INTERVAL: Duration = Duration::from_secs(30);
/// So long after its answer has run out, a connection that could not be confirmed is told to end: a minute, less what requests under
/// way are given then, less the second that a clock of seconds may be late.
const PATIENCE: Duration = Duration::from_secs(49);
/// The connections of one answer are spread over so much time. One that asks first has brought the answer for the others by then.
const SPREAD: Duration = Duration::from_secs(5);
/// Where a limit kept a look-up from being made, none was: this is how soon it may be tried again.
const BUSY: Duration = Duration::from_secs(1);
/// The clock is looked at so often, for it may be set.
const GLANCE: Duration = Duration::from_secs(60);

/// Asks for one client anew.
pub(crate) trait Recheck: Send {
    /// Why not, with what the log wants to know about it.
    type Refusal: Refusal + Send;

    /// The time.
    fn now(&self) -> UnixTime;

    /// Asks. The time is that until which the answer is good.
    fn recheck(&mut self) -> impl Future<Output = Result<UnixTime, Self::Refusal>> + Send;

    /// What it comes to when the answer does not come at all.
    fn overdue(&self) -> Self::Refusal;
}

/// What a re-check that fails says.
pub(crate) trait Refusal {
    /// Why.
    fn reason(&self) -> Option<Reason>;
}

/// Watches over a client whose answer is good until `valid_until`, and was looked up at `asked`; `None` if it was known before. Ends
/// when the client's connection must.
pub(crate) async fn watch<R: Recheck>(
    mut recheck: R,
    mut valid_until: UnixTime,
    mut asked: Option<Instant>,
) -> R::Refusal {
    loop {
        let left = |now: UnixTime| Duration::from_secs(valid_until.as_secs().saturating_sub(now.as_secs()));
        // A clock that is set back makes no answer last longer.
        let latest = Instant::now() + left(recheck.now());
        loop {
            let left = left(recheck.now()).min(latest.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            sleep(left.min(GLANCE)).await;
        }
        let ran_out = Instant::now();
        let patience = ran_out + PATIENCE;
        let mut next = asked.map_or(ran_out, |asked| ran_out.max(asked + INTERVAL)) + up_to(SPREAD);
        valid_until = loop {
            sleep_until(next).await;
            let now = Instant::now();
            asked = Some(now);
            // Boxed, so that a connection that rests keeps no look-up's memory.
            let refusal = match timeout_at(patience, Box::pin(recheck.recheck())).await {
                Ok(Ok(until)) => break until,
                Ok(Err(refusal)) => refusal,
                Err(_) => return recheck.overdue(),
            };
            next = match refusal.reason() {
                Some(reason) if is_limit(reason) => now + BUSY + up_to(SPREAD),
                Some(reason) if reason.softening() == Softening::ByLookupSetting => now + INTERVAL,
                _ => return refusal,
            };
            if next >= patience {
                return refusal;
            }
        };
    }
}

/// Watches over the client of one connection, for as long as there is one to watch over.
pub(crate) struct Vigil(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Vigil {
    /// Over a client: ends when `watch` does.
    pub(crate) fn over(watch: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Some(Box::pin(watch)))
    }

    /// Over nobody: never ends.
    pub(crate) const fn over_nobody() -> Self {
        Self(None)
    }

    /// Resolves, once, when the connection must end.
    pub(crate) async fn ended(&mut self) {
        match &mut self.0 {
            Some(watch) => watch.await,
            None => std::future::pending().await,
        }
        self.0 = None;
    }
}

/// Nothing was asked, because too much was being asked.
const fn is_limit(reason: Reason) -> bool {
    matches!(reason, Reason::LookupLimitTotal | Reason::LookupLimitAddress | Reason::LookupLimitEntry)
}

/// Some time below `limit`. It need not be a secret: the randomness of std's hash tables will do.
fn up_to(limit: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    let millis = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1);
    Duration::from_millis(random % millis)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What is answered, in turn: good for so many seconds, or a reason after so many seconds. In the end nothing ever is.
    type Script = VecDeque<Result<u64, (Reason, u64)>>;

    struct Scripted {
        start: Instant,
        /// At so many seconds the clock is set back by an hour.
        set_back_at: u64,
        script: Script,
        asked: Arc<Mutex<Vec<u64>>>,
    }

    impl Refusal for Option<Reason> {
        fn reason(&self) -> Option<Reason> {
            *self
        }
    }

    impl Recheck for Scripted {
        type Refusal = Option<Reason>;

        fn now(&self) -> UnixTime {
            let passed = self.start.elapsed();
            let back = if passed.as_secs() < self.set_back_at { 0 } else { 3600 };
            UnixTime::since_unix_epoch(Duration::from_secs(1_000_000 - back) + passed)
        }

        async fn recheck(&mut self) -> Result<UnixTime, Option<Reason>> {
            if let Ok(mut asked) = self.asked.lock() {
                asked.push(self.start.elapsed().as_secs());
            }
            match self.script.pop_front() {
                Some(Ok(ttl)) => Ok(UnixTime::since_unix_epoch(Duration::from_secs(self.now().as_secs() + ttl))),
                Some(Err((reason, after))) => {
                    sleep(Duration::from_secs(after)).await;
                    Err(Some(reason))
                }
                None => std::future::pending().await,
            }
        }

        fn overdue(&self) -> Option<Reason> {
            Some(Reason::CheckTimeout)
        }
    }

    /// When was asked, in seconds, why the connection had to end, and when.
    async fn run(ttl: u64, script: &[Result<u64, (Reason, u64)>]) -> (Vec<u64>, Option<Reason>, u64) {
        run_after(true, u64::MAX, ttl, script).await
    }

    async fn run_after(
        looked_up: bool,
        set_back_at: u64,
        ttl: u64,
        script: &[Result<u64, (Reason, u64)>],
    ) -> (Vec<u64>, Option<Reason>, u64) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let start = Instant::now();
        let scripted =
            Scripted { start, set_back_at, script: script.iter().copied().collect(), asked: Arc::clone(&asked) };
        let until = UnixTime::since_unix_epoch(Duration::from_secs(scripted.now().as_secs() + ttl));
        let reason = watch(scripted, until, looked_up.then(Instant::now)).await;
        let asked = asked.lock().map(|asked| asked.clone()).unwrap_or_default();
        (asked, reason, start.elapsed().as_secs())
    }

    const SPREAD_SECS: u64 = SPREAD.as_secs();

    // SRV-23, SEC-12
    #[tokio::test(start_paused = true)]
    async fn a_client_is_asked_for_when_its_answer_runs_out_and_goes_when_it_is_gone() {
        for gone in [Reason::TlsaAbsent, Reason::NoMatch, Reason::DnssecInsecure, Reason::SanMismatch] {
            let (asked, reason, end) = run(300, &[Ok(3600), Ok(60), Err((gone, 0))]).await;
            assert_eq!((asked.len(), reason), (3, Some(gone)));
            let mut due = 300;
            for (when, ttl) in asked.iter().zip([3600, 60, 0]) {
                assert!((due..=due + SPREAD_SECS).contains(when), "{asked:?}");
                due = when + ttl;
            }
            assert_eq!(Some(&end), asked.last());
        }
    }

    // SRV-23: whatever the TTL.
    #[tokio::test(start_paused = true)]
    async fn it_is_asked_for_once_in_30_seconds_and_no_more() {
        for ttl in [0, 1, 7, 29] {
            let mut script = vec![Ok(ttl); 20];
            script.push(Err((Reason::TlsaAbsent, 0)));
            let (asked, ..) = run(ttl, &script).await;
            assert_eq!(asked.len(), 21);
            let mut last = 0;
            for when in asked {
                assert!((last + 30..=last + 31 + SPREAD_SECS).contains(&when), "{last} {when}");
                last = when;
            }
        }
    }

    // SEC-12: an answer that another connection has looked up, and that runs out soon, is no reason to wait for longer.
    #[tokio::test(start_paused = true)]
    async fn nor_is_one_waited_for_that_was_not_made() {
        let gone = Err((Reason::TlsaAbsent, 0));
        let (asked, ..) = run_after(false, u64::MAX, 3, &[Ok(3), gone]).await;
        assert!((3..=3 + SPREAD_SECS).contains(&asked[0]) && asked[1] - asked[0] >= 30, "{asked:?}");
        let (asked, ..) = run_after(true, u64::MAX, 3, &[gone]).await;
        assert!(asked[0] >= 30, "{asked:?}");
    }

    // SEC-12
    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_back_gives_nobody_more_time() {
        let script = [Ok(100), Err((Reason::TlsaAbsent, 0))];
        let (asked, reason, end) = run_after(true, 50, 100, &script).await;
        assert_eq!((asked.len(), reason), (2, Some(Reason::TlsaAbsent)));
        assert!((100..=100 + SPREAD_SECS).contains(&asked[0]) && end <= 200 + 2 * SPREAD_SECS, "{asked:?}");
    }

    // SRV-23
    #[tokio::test(start_paused = true)]
    async fn one_look_up_may_fail_and_two_may_not() {
        for trouble in [Reason::LookupTimeout, Reason::LookupServfail, Reason::DnssecBogus] {
            let (asked, reason, _) = run(40, &[Err((trouble, 3)), Ok(60), Err((Reason::TlsaAbsent, 0))]).await;
            assert_eq!((asked.len(), reason), (3, Some(Reason::TlsaAbsent)));
            assert!(asked[1] - asked[0] >= 30);

            let (asked, reason, end) = run(40, &[Err((trouble, 5)), Err((trouble, 5))]).await;
            assert_eq!((asked.len(), reason), (2, Some(trouble)));
            assert!((30..=31).contains(&(asked[1] - asked[0])));
            assert!(end <= 40 + 50, "{end}");
        }
    }

    // SRV-23: no later than a minute after the answer ran out, ten seconds of which are for requests under way.
    #[tokio::test(start_paused = true)]
    async fn nothing_keeps_a_connection_for_longer_than_a_minute() {
        for ttl in [0, 1, 20, 40, 3600] {
            let busy = [Err((Reason::LookupLimitTotal, 0)); 100];
            let slow = [Err((Reason::LookupTimeout, 45))];
            for script in [&busy[..], &slow[..], &[][..], &[Err((Reason::LookupServfail, 0)); 9]] {
                let (_, reason, end) = run(ttl, script).await;
                assert!(reason.is_some() && (ttl..=ttl + 50).contains(&end), "{ttl} {reason:?} {end}");
            }
        }
    }

    // SEC-01: where nothing was asked, it is tried again soon, and no two do so at the same time.
    #[tokio::test(start_paused = true)]
    async fn limits_are_waited_out() {
        let busy = Err((Reason::LookupLimitAddress, 0));
        let (asked, reason, _) = run(60, &[busy, busy, busy, Ok(60), Err((Reason::TlsaAbsent, 0))]).await;
        assert_eq!((asked.len(), reason), (5, Some(Reason::TlsaAbsent)));
        assert!(asked[3] <= 60 + 4 * (1 + SPREAD_SECS), "{asked:?}");
        let spread: std::collections::HashSet<_> = (0..50).map(|_| up_to(SPREAD)).collect();
        assert!(spread.len() > 10 && spread.iter().all(|time| *time < SPREAD));
    }

    #[tokio::test(start_paused = true)]
    async fn a_vigil_ends_once() {
        let mut vigil = Vigil::over(sleep(Duration::from_secs(1)));
        vigil.ended().await;
        assert!(tokio::time::timeout(GLANCE, vigil.ended()).await.is_err());
        assert!(tokio::time::timeout(GLANCE, Vigil::over_nobody().ended()).await.is_err());
    }
}
