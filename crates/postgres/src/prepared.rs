//! Statements that connections have ready.
//!
//! Many pages differ in values only, and of what the server does to read a page of few rows, three
//! quarters are parsing and planning. So a text that comes again is prepared, on each connection
//! that meets it. One that comes once is not: that would cost a further round trip.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use deadpool_postgres::{Object, Pool};
use tidegate_core::Value;
use tokio_postgres::error::SqlState;

use crate::error::Failure;
use crate::session::{Texts, run, run_prepared};

/// Texts that are remembered. Past this all are forgotten, and connections let go of what they have
/// prepared: each costs the server some ten kilobytes there.
const TEXTS_MAX: usize = 256;

/// Which texts came before.
pub(crate) struct Prepared {
    pool: Pool,
    /// Of their hashes: one that is taken for another is prepared early, and no more.
    texts: Mutex<Remembered>,
}

#[derive(Default)]
struct Remembered {
    hasher: RandomState,
    known: HashSet<u64>,
}

/// Whether a text came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Yes,
    /// Not that we remember.
    No,
    /// Nor, and there was no more room to remember it in.
    Full,
}

impl Remembered {
    fn meet(&mut self, text: &str) -> Known {
        let hash = self.hasher.hash_one(text);
        if self.known.contains(&hash) {
            return Known::Yes;
        }
        let is_full = self.known.len() >= TEXTS_MAX;
        if is_full {
            self.known.clear();
        }
        self.known.insert(hash);
        match is_full {
            true => Known::Full,
            false => Known::No,
        }
    }
}

impl Prepared {
    pub(crate) fn new(pool: Pool) -> Self {
        let texts = Mutex::default();
        Self { pool, texts }
    }

    /// Runs a statement as [`run`] does.
    pub(crate) async fn run(
        &self,
        client: &Object,
        text: &str,
        values: &[Value],
    ) -> Result<Vec<Texts>, Failure> {
        let known = {
            // Nothing in it can be half done.
            let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
            texts.meet(text)
        };
        match known {
            Known::Yes => {}
            Known::No => return run(client, text, values).await,
            Known::Full => {
                self.pool.manager().statement_caches.clear();
                return run(client, text, values).await;
            }
        }
        match run_prepared(client, text, values).await {
            Err(Failure::Postgres(error)) if is_outdated(&error) => {
                let caches = &self.pool.manager().statement_caches;
                caches.remove(text, &[]);
                run(client, text, values).await
            }
            other => other,
        }
    }
}

/// Whether a statement does not hold any more what it was when it was prepared: its table was made
/// anew, or something between us and the server lost it.
fn is_outdated(error: &tokio_postgres::Error) -> bool {
    let outdated = [
        SqlState::FEATURE_NOT_SUPPORTED,
        SqlState::INVALID_SQL_STATEMENT_NAME,
    ];
    error.code().is_some_and(|code| outdated.contains(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text is known from its second time on, and what is remembered stays bounded.
    #[test]
    fn texts_are_known_the_second_time() {
        let mut texts = Remembered::default();
        assert_eq!(texts.meet("a"), Known::No);
        assert_eq!(texts.meet("a"), Known::Yes);
        for number in 1..TEXTS_MAX {
            assert_eq!(texts.meet(&number.to_string()), Known::No);
        }
        assert_eq!(texts.meet("one more"), Known::Full);
        assert_eq!(texts.meet("one more"), Known::Yes);
        assert_eq!(texts.meet("a"), Known::No);
        assert!(texts.known.len() <= TEXTS_MAX);
    }
}
