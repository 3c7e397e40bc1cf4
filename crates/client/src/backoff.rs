//! When to try again after a connection ended, and whether to.

use std::time::Duration;

use rand::Rng;

/// The first wait is about this long: most drops are a lost network or one restarted gateway.
const FIRST: Duration = Duration::from_millis(250);

/// No wait doubles past this. A person looks at the screen behind it.
const LONGEST: Duration = Duration::from_secs(30);

/// Sessions of a gateway that shuts down come back spread over this long, so that the others are
/// not hit by all of them at once.
const SPREAD: Duration = Duration::from_secs(5);

/// An overloaded gateway is left alone at least this long.
const LATER: Duration = Duration::from_secs(5);

/// How a connection ended, as far as it matters for the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The network, a timeout, an unreadable frame or a code that says nothing about retrying.
    Lost,
    /// 1001: this gateway shuts down; another may be there at once.
    GoingAway,
    /// 1013, or HTTP 429 and 503 at the handshake: too much for it now.
    Overloaded,
    /// 1008, or HTTP 401 and 403: it would be refused again.
    Refused,
}

impl Ending {
    pub(crate) fn from_close_code(code: u16) -> Self {
        match code {
            1001 => Self::GoingAway,
            1008 => Self::Refused,
            1013 => Self::Overloaded,
            _ => Self::Lost,
        }
    }

    pub(crate) fn from_http_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::Refused,
            429 | 503 => Self::Overloaded,
            _ => Self::Lost,
        }
    }
}

/// How long to wait before try number `attempt`, counted from 0; `None` is never.
///
/// The wait doubles, and a random half of it is left out, so that clients which lost the same
/// gateway do not come back together.
pub(crate) fn wait(ending: Ending, attempt: u32, rng: &mut impl Rng) -> Option<Duration> {
    let doubled = FIRST.saturating_mul(2_u32.saturating_pow(attempt.min(16)));
    let jittered = doubled.min(LONGEST).mul_f64(rng.random_range(0.5..=1.0));
    match ending {
        Ending::Lost => Some(jittered),
        Ending::GoingAway => Some(jittered.max(SPREAD.mul_f64(rng.random_range(0.0..=1.0)))),
        Ending::Overloaded => Some(LATER.mul_f64(rng.random_range(1.0..=2.0)) + jittered),
        Ending::Refused => None,
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    /// Waits grow, are jittered, and stop growing; a refusal is final; an overload waits longest.
    #[test]
    fn waits_grow_within_bounds() {
        let mut rng = StdRng::seed_from_u64(1);
        for attempt in [0, 1, 5, 6, 7, 60, u32::MAX] {
            let full = FIRST.saturating_mul(1 << attempt.min(7)).min(LONGEST);
            for _ in 0..100 {
                let lost = wait(Ending::Lost, attempt, &mut rng).unwrap();
                assert!(lost >= full / 2 && lost <= full, "{attempt}: {lost:?}");
                let away = wait(Ending::GoingAway, attempt, &mut rng).unwrap();
                assert!(
                    away >= full / 2 && away <= full.max(SPREAD),
                    "{attempt}: {away:?}"
                );
                let later = wait(Ending::Overloaded, attempt, &mut rng).unwrap();
                assert!(later >= LATER, "{attempt}: {later:?}");
                assert_eq!(wait(Ending::Refused, attempt, &mut rng), None);
            }
        }
    }

    /// Two clients that lost one gateway do not come back at the same moment.
    #[test]
    fn seeds_differ() {
        let first = wait(Ending::GoingAway, 0, &mut StdRng::seed_from_u64(1));
        let second = wait(Ending::GoingAway, 0, &mut StdRng::seed_from_u64(2));
        assert_ne!(first, second);
    }

    /// Only what would be refused again is final.
    #[test]
    fn codes_have_meanings() {
        assert_eq!(Ending::from_close_code(1001), Ending::GoingAway);
        assert_eq!(Ending::from_close_code(1006), Ending::Lost);
        assert_eq!(Ending::from_close_code(1008), Ending::Refused);
        assert_eq!(Ending::from_close_code(1013), Ending::Overloaded);
        assert_eq!(Ending::from_http_status(403), Ending::Refused);
        assert_eq!(Ending::from_http_status(503), Ending::Overloaded);
        assert_eq!(Ending::from_http_status(502), Ending::Lost);
    }
}
