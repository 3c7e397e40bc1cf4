//! Pages against a naive engine: after every step of a random run each client has exactly the
//! rows that filtering, sorting and cutting the whole table gives.

mod database;
mod generate;
mod harness;
mod model;
mod replay;

use tidegate_view::Limits;

use crate::database::{Kind, Load};
use crate::harness::{Defect, Scenario, Seen, run};

fn run_all(scenario: Scenario, seeds: std::ops::Range<u64>) -> Seen {
    let mut sum = Seen::default();
    for seed in seeds {
        let seen = run(scenario, seed).unwrap_or_else(|why| panic!("{why}"));
        sum.opened += seen.opened;
        sum.published += seen.published;
        sum.moved += seen.moved;
        sum.refills += seen.refills;
        sum.asked_again += seen.asked_again;
        sum.held += seen.held;
    }
    sum
}

/// Where commits become visible in order, every page is exact after every step.
#[test]
fn exact_where_visibility_is_a_prefix() {
    let seen = run_all(Scenario::new(Kind::Prefix), 0..60);
    assert!(seen.opened > 100 && seen.published > 500, "{seen:?}");
    assert!(seen.refills > 50 && seen.moved > 50, "{seen:?}");
}

/// Where commits become visible after they were streamed, and in another order, likewise.
#[test]
fn exact_where_visibility_comes_later() {
    let seen = run_all(Scenario::new(Kind::Visible), 0..100);
    assert!(seen.opened > 100 && seen.published > 500, "{seen:?}");
    assert!(seen.refills > 50 && seen.moved > 50, "{seen:?}");
}

/// Transactions that touch most of a window at once take the other way through it.
#[test]
fn exact_under_large_transactions() {
    for kind in [Kind::Prefix, Kind::Visible] {
        let scenario = Scenario {
            row_max: 60,
            steps: 200,
            ..Scenario::new(kind)
        };
        run_all(scenario, 0..25);
    }
}

/// A queue that is worked off uses up every slack: pages stay as they were while they are refilled,
/// and are never wrong.
#[test]
fn exact_while_rows_only_leave() {
    for kind in [Kind::Prefix, Kind::Visible] {
        let scenario = Scenario {
            load: Load::Drain,
            row_max: 24,
            steps: 200,
            ..Scenario::new(kind)
        };
        let seen = run_all(scenario, 0..30);
        assert!(seen.refills > 50 && seen.held > 10, "{seen:?}");
    }
}

/// What is dropped at a bound is made good: tight bounds cost reads, never exactness.
#[test]
fn exact_at_the_bounds() {
    for kind in [Kind::Prefix, Kind::Visible] {
        let limits = Limits {
            recent_rows_max: 12,
            pending_rows_max: 20,
            ..Limits::default()
        };
        let scenario = Scenario {
            limits,
            ..Scenario::new(kind)
        };
        let seen = run_all(scenario, 0..40);
        assert!(seen.asked_again > 20, "{seen:?}");
    }
}

/// The oracle has teeth: each defect of the feeding side, or of the diffs, makes it cry out.
#[test]
fn every_defect_is_noticed() {
    let cases = [
        (Kind::Prefix, Defect::FenceOneTooFar),
        (Kind::Visible, Defect::FenceByLsn),
        (Kind::Visible, Defect::EmptyInProgress),
        (Kind::Visible, Defect::NothingRecent),
        (Kind::Visible, Defect::NoHorizon),
        (Kind::Prefix, Defect::BoundNotLowered),
        (Kind::Prefix, Defect::AtForAfter),
        (Kind::Prefix, Defect::DiffLost),
        (Kind::Prefix, Defect::DiffDoubled),
        (Kind::Visible, Defect::ChangeLost),
        (Kind::Prefix, Defect::RefillLost),
    ];
    for (kind, defect) in cases {
        // So that windows run out of rows.
        let load = match defect {
            Defect::BoundNotLowered => Load::Drain,
            _ => Load::Balanced,
        };
        let scenario = Scenario {
            row_max: 12,
            load,
            defect,
            ..Scenario::new(kind)
        };
        let noticed = (0..40).any(|seed| run(scenario, seed).is_err());
        assert!(noticed, "{defect:?} went unnoticed");
    }
}
