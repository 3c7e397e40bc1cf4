//! Steps replayed literally lead from any page to any other.

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use tidegate_core::Numeric;

use super::*;

fn row(id: u32, version: u32) -> Row {
    Row::new(vec![
        Value::Int(i64::from(id)),
        Value::Int(i64::from(version)),
    ])
}

fn replay(page: &mut Vec<Row>, changes: &[PageChange]) {
    for change in changes {
        match change {
            PageChange::Removed { from, key } => {
                let row = page.remove(*from as usize);
                assert_eq!(row[..1], key[..]);
            }
            PageChange::Added { row, pos } => page.insert(*pos as usize, row.clone()),
            PageChange::Modified { row, from, pos } => {
                page.remove(*from as usize);
                page.insert(*pos as usize, row.clone());
            }
        }
    }
}

/// From a random page, rows go, come, change and move at random; the steps lead to just that, one
/// for each row that is different and none for another.
#[test]
fn steps_lead_from_any_page_to_any_other() {
    let mut rng = SmallRng::seed_from_u64(11);
    for _ in 0..4_000 {
        let length = rng.random_range(0..9);
        let old: Vec<Row> = (0..length).map(|id| row(id, 0)).collect();
        let mut kept: Vec<u32> = Vec::new();
        let mut placed: Vec<Origin> = (0..rng.random_range(0..4)).map(|_| Origin::New).collect();
        let mut gone = Vec::new();
        for id in 0..length {
            match rng.random_range(0..4) {
                0 => gone.push(Gone {
                    from: id,
                    key: old[id as usize][..1].into(),
                }),
                1 => placed.push(Origin::Changed(id)),
                _ => kept.push(id),
            }
        }
        placed.shuffle(&mut rng);
        let mut origins: Vec<Origin> = kept.into_iter().map(Origin::Kept).collect();
        let step_count = placed.len() + gone.len();
        for origin in placed {
            origins.insert(rng.random_range(0..=origins.len()), origin);
        }
        let new: Vec<Row> = (100..)
            .zip(&origins)
            .map(|(fresh, origin)| match origin {
                Origin::New => row(fresh, 0),
                Origin::Kept(id) => old[*id as usize].clone(),
                Origin::Changed(id) => row(*id, 1),
            })
            .collect();
        let changes = steps(length, gone, &origins, |index| &new[index]);
        assert_eq!(changes.len(), step_count);
        let mut page = old;
        replay(&mut page, &changes);
        assert_eq!(page, new, "{origins:?} {changes:?}");
    }
}

/// The order of steps that the contract promises: removals from the end, then places from the top.
#[test]
fn removals_come_first_from_the_end() {
    let page = [row(0, 0), row(1, 0), row(2, 0), row(3, 0)];
    let gone = [0, 2].map(|from| Gone {
        from,
        key: page[from as usize][..1].into(),
    });
    let new = [row(3, 1), row(9, 0), row(1, 0)];
    let origins = [Origin::Changed(3), Origin::New, Origin::Kept(1)];
    let changes = steps(4, gone.into(), &origins, |index| &new[index]);
    let told: Vec<_> = changes
        .iter()
        .map(|change| match change {
            PageChange::Removed { from, .. } => format!("-{from}"),
            PageChange::Added { pos, .. } => format!("+{pos}"),
            PageChange::Modified { from, pos, .. } => format!("{from}>{pos}"),
        })
        .collect();
    assert_eq!(told, ["-2", "-0", "1>0", "+1"]);
}

/// What looks the same to a client is the same, and nothing else is.
#[test]
fn sameness_is_of_looks() {
    let numeric = |text| Value::Numeric(Numeric::parse(text).expect("a number"));
    let is_same = |a: Value, b: Value| is_same(&Row::new(vec![a]), &Row::new(vec![b]));
    assert!(is_same(Value::Float(f64::NAN), Value::Float(-f64::NAN)));
    assert!(!is_same(Value::Float(0.0), Value::Float(-0.0)));
    assert!(!is_same(numeric("1.5"), numeric("1.50")));
    assert!(is_same(Value::Null, Value::Null));
    assert!(!is_same(Value::Null, Value::text("")));
}
