//! What is known about a resolver: how fast it usually is, and whether it answers at all.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long to wait for one whose speed is not known before another is asked too: a cold look-up in most places.
const FIRST_PATIENCE: Duration = Duration::from_millis(400);
/// Bounds for that time where the speed is known. Below, each name that is not in the resolver's cache would be asked for twice; above,
/// a resolver that dies would be felt.
const MIN_PATIENCE: Duration = Duration::from_millis(100);
const MAX_PATIENCE: Duration = Duration::from_secs(1);
/// A resolver that does not answer is tried again after this time, then after twice as long each time,
const FIRST_PROBE: Duration = Duration::from_secs(1);
/// up to this.
const LAST_PROBE: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Smoothed time to an answer and its variation (as RFC 6298 section 2 does it).
    usual: Option<(Duration, Duration)>,
    down: Option<Down>,
}

#[derive(Debug)]
struct Down {
    probe_at: Instant,
    pause: Duration,
}

impl Health {
    /// Held for a few assignments, which leave nothing half done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it answered when it was last asked, as far as is known.
    pub(super) fn is_up(&self) -> bool {
        self.state().down.is_none()
    }

    /// It answered after this time. Whether it was down before.
    pub(super) fn answered(&self, took: Duration) -> bool {
        let mut state = self.state();
        state.usual = Some(match state.usual {
            None => (took, took / 2),
            Some((usual, variation)) => ((usual * 7 + took) / 8, (variation * 3 + usual.abs_diff(took)) / 4),
        });
        state.down.take().is_some()
    }

    /// It failed, or kept silent while another answered. Whether it was up before.
    pub(super) fn failed(&self) -> bool {
        let mut state = self.state();
        let was_up = state.down.is_none();
        if was_up {
            state.down = Some(Down { probe_at: Instant::now() + FIRST_PROBE, pause: FIRST_PROBE });
        }
        was_up
    }

    /// How long to wait for it before another one is asked too.
    pub(super) fn patience(&self) -> Duration {
        match self.state().usual {
            Some((usual, variation)) => (usual + variation * 4).clamp(MIN_PATIENCE, MAX_PATIENCE),
            None => FIRST_PATIENCE,
        }
    }

    /// Whether it is down and ought to be tried now. If so, the next try is later, unless this one is answered.
    pub(super) fn wants_probe(&self) -> bool {
        let mut state = self.state();
        let now = Instant::now();
        let Some(down) = state.down.as_mut().filter(|down| down.probe_at <= now) else { return false };
        down.pause = (down.pause * 2).min(LAST_PROBE);
        down.probe_at = now + down.pause;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // DNS-10
    #[tokio::test(start_paused = true)]
    async fn one_that_is_down_is_tried_ever_less_often_until_it_answers() {
        let health = Health::default();
        assert!(health.is_up() && !health.wants_probe());
        assert!(health.failed());
        assert!(!health.failed() && !health.is_up() && !health.wants_probe());
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            tokio::time::advance(Duration::from_secs(pause) - Duration::from_millis(1)).await;
            assert!(!health.wants_probe());
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(health.wants_probe());
        }
        assert!(health.answered(Duration::from_millis(1)));
        assert!(health.is_up() && !health.wants_probe());
        assert!(!health.answered(Duration::from_millis(1)));
        // Back to the shortest pause.
        assert!(health.failed());
        tokio::time::advance(FIRST_PROBE).await;
        assert!(health.wants_probe());
    }

    #[test]
    fn patience_follows_speed_within_bounds() {
        let health = Health::default();
        assert_eq!(health.patience(), FIRST_PATIENCE);
        for _ in 0..64 {
            health.answered(Duration::from_micros(300));
        }
        assert_eq!(health.patience(), MIN_PATIENCE);
        for _ in 0..64 {
            health.answered(Duration::from_millis(300));
        }
        assert!((300..310).contains(&health.patience().as_millis()), "{:?}", health.patience());
        for _ in 0..64 {
            health.answered(Duration::from_secs(5));
        }
        assert_eq!(health.patience(), MAX_PATIENCE);
    }
}
