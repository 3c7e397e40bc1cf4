//! Shows a bridge between a processor and old gateways, all three as pure machines: whatever
//! happens, in the end every client holds the page. Then each promise by itself.

mod old_gateway;
mod world;

use serde_json::json;
use tidegate_core::Lsn;
use tidegate_protocol::WireChange;

use super::*;
use world::{World, query};

/// Random lives: diffs, resets, clients of several labels that come at any moment with rows that
/// are older or newer than the page, other queries under a label, bridges that die with all they
/// know, partitions that come and go. Clients that go by page diffs and clients that go by row
/// events both end with the page, at whichever gateway.
#[test]
fn every_client_ends_with_the_page() {
    for seed in 0..400 {
        let mut world = World::new(seed);
        for _ in 0..120 {
            world.step();
        }
        world.settle();
        world.check();
    }
}

/// A page whose client holds it already costs the old gateway nothing.
#[test]
fn nothing_is_said_to_who_holds_the_page() {
    let mut world = World::new(1);
    world.subscribe("q", 0);
    world.settle();
    assert_eq!(world.said.len(), 0);
    world.check();
}

/// A label's page is what its last query says, for whoever had another.
#[test]
fn the_last_query_under_a_label_wins() {
    let mut world = World::new(2);
    world.subscribe("q", 0);
    world.settle();
    world.subscribe("q", 1);
    world.settle();
    world.check();
    assert_eq!(world.bridge.sizes(), (1, 1));
}

/// A null ends the key, and its page with it; two labels of one query have one page.
#[test]
fn a_query_that_is_cleared_is_let_go_of() {
    let mut world = World::new(3);
    world.subscribe("one", 0);
    world.subscribe("two", 0);
    world.settle();
    assert_eq!(world.bridge.sizes(), (2, 1));
    world.clear("one");
    world.settle();
    assert_eq!((world.bridge.sizes(), world.leased.len()), ((1, 1), 1));
    world.clear("two");
    world.settle();
    assert_eq!((world.bridge.sizes(), world.leased.len()), ((0, 0), 0));
    assert!(world.remembered.is_empty());
}

/// The old gateway never clears a query. What nobody asks for any more is let go of, and a
/// subscribe brings it back.
#[test]
fn a_query_that_nobody_asks_for_expires() {
    let mut world = World::new(4);
    world.subscribe("q", 0);
    world.settle();
    world.pass(world::IDLE_MILLIS + SWEEP_MILLIS);
    assert_eq!((world.bridge.sizes(), world.leased.len()), ((0, 0), 0));
    world.subscribe("q", 0);
    world.settle();
    world.check();
    assert_eq!(world.bridge.sizes(), (1, 1));
}

/// Hundreds of labels: the bound holds, and those asked for last are served.
#[test]
fn the_longest_unasked_goes_first() {
    let mut world = World::new(5);
    for label in 0..world::FEEDS_MAX + 3 {
        world.subscribe(&format!("q{label}"), 0);
        world.pass(1_000);
    }
    assert_eq!(world.bridge.sizes().0, world::FEEDS_MAX);
    let is_served = |label: &str| world.bridge.feeds.contains_key(&world::key(label));
    assert!(!is_served("q0") && !is_served("q2") && is_served("q3"));
}

/// A tenant that floods the bridge with labels loses its own, and nobody else's.
#[test]
fn a_flood_is_its_tenants_own_loss() {
    let mut world = World::new(12);
    let other = json!({"companyId": "other", "table": "things", "hashId": "q", "rows": []});
    let key = OldKey::of("other", "things", "q");
    let times = Times {
        sent: 1,
        now: 1_000_000_000,
    };
    let value = other.to_string();
    let bytes = key.as_str().as_bytes();
    world.bridge.on_seed(0, bytes, value.as_bytes(), times);
    for label in 0..2 * world::FEEDS_MAX {
        world.seed(
            &format!("q{label}"),
            world::seed_value(&format!("q{label}"), "0", &[]).as_bytes(),
        );
    }
    assert_eq!(world.bridge.sizes().0, world::FEEDS_MAX);
    assert!(world.bridge.feeds.contains_key(&key));
}

/// An LSN that is not above the client's is dropped by its gateway, so none is ever used again: not
/// after an LSN that is ahead of the database, and not after a restart.
#[test]
fn lsns_rise_above_all_that_clients_say() {
    let mut world = World::new(6);
    for gateway in &mut world.gateways {
        gateway.last_seen = 9_000_000_000;
    }
    world.subscribe("q", 0);
    world.settle();
    world.change();
    world.settle();
    let first = world.said[0].last;
    assert!(first > 9_000_000_000, "{first}");
    world.restart();
    world.change();
    world.settle();
    world.check();
    assert!(world.said.iter().skip(1).all(|saying| saying.last > first));
}

/// A client may claim to have seen anything. That is its own affair.
#[test]
fn an_lsn_beyond_belief_silences_nobody_else() {
    let mut world = World::new(7);
    let value = world::seed_value("q", &u64::MAX.to_string(), &[]);
    world.control("q", 0);
    world.seed("q", value.as_bytes());
    world.settle();
    world.subscribe("q", 0);
    world.change();
    world.settle();
    world.check();
}

/// A tenant is what a seed names, under a key that is made of it; nobody is served another's.
#[test]
fn tenants_never_mix() {
    let mut world = World::new(8);
    world.control("q", 0);
    let good: serde_json::Value = serde_json::from_str(&world::seed_value("q", "0", &[])).unwrap();
    for (company, table) in [
        ("other", "things"),
        ("demo_things", "x"),
        ("de mo", "things"),
    ] {
        let mut bad = good.clone();
        bad["companyId"] = company.into();
        bad["table"] = table.into();
        world.seed("q", bad.to_string().as_bytes());
    }
    // `a_b` + `c` and `a` + `b_c` have one key. The first is no tenant here.
    let underscore = json!({"companyId": "demo_a", "table": "b", "hashId": "q",
        "cursor": {"lsn": "0"}, "rows": []});
    let key = OldKey::of("demo_a", "b", "q");
    let times = Times { sent: 0, now: 0 };
    let value = underscore.to_string();
    world
        .bridge
        .on_seed(0, key.as_str().as_bytes(), value.as_bytes(), times);
    world.settle();
    assert_eq!(world.bridge.sizes(), (0, 0));
    assert_eq!(world.oddities[&Oddity::BadSeed], 4);
}

/// Hostile bytes are counted and passed over; what is good before and after them counts.
#[test]
fn hostile_bytes_are_passed_over() {
    let mut world = World::new(9);
    world.subscribe("q", 0);
    let key = world::key("q");
    for bytes in [&b""[..], b"\0", b"junk", &[0xff; 64], b"{}", b"[[[["] {
        world.bridge.on_control(
            key.as_str().as_bytes(),
            Some(Bytes::copy_from_slice(bytes)),
            0,
        );
        world.bridge.on_control(bytes, Some(query(0)), 0);
        world.seed("q", bytes);
        world.bridge.on_memory(b"other|key", Some(bytes));
    }
    world.settle();
    world.change();
    world.settle();
    world.check();
    assert_eq!(world.oddities[&Oddity::BadSeed], 6);
    assert!(world.oddities[&Oddity::BadControl] >= 6);
    assert_eq!(world.oddities[&Oddity::BadMemory], 6);
}

/// What goes out of the ordinary page diff by diff is what came in, so that whoever replays
/// literally may.
#[test]
fn a_diff_is_passed_on_as_it_is() {
    let mut world = World::new(10);
    world.subscribe("q", 0);
    world.settle();
    let changes = world.change();
    world.settle();
    let [saying] = &world.said[..] else {
        panic!("one diff, not {:?}", world.said);
    };
    assert_eq!(saying.changes, changes);
    assert_eq!(Lsn::new(saying.last), world.page(0).lsn);
    assert!(matches!(
        changes[0],
        WireChange::Removed { .. } | WireChange::Added { .. } | WireChange::Modified { .. }
    ));
}
