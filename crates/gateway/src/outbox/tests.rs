//! The queue is bounded, keeps its order, and drops exactly what may be dropped.

use super::*;

const LIMITS: OutboxLimits = OutboxLimits {
    bytes_max: 100,
    bytes_low: 10,
    session_bytes_max: 300,
};

fn frame(byte: u8, length: usize) -> Bytes {
    Bytes::from(vec![byte; length])
}

fn subscription(id: u32) -> Owner {
    Owner::Subscription(SubscriptionId(id))
}

/// What a socket would get that takes everything.
fn drain(outbox: &mut Outbox) -> Vec<u8> {
    let mut out = Vec::new();
    while !outbox.is_empty() {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let count = outbox.slices(&mut slices);
        let written: usize = slices[..count]
            .iter()
            .map(|slice| {
                out.extend_from_slice(slice);
                slice.len()
            })
            .sum();
        outbox.advance(written);
    }
    assert_eq!(outbox.bytes(), 0);
    out
}

/// However few bytes a socket takes at a time, they come out whole and in order.
#[test]
fn partial_writes_keep_every_byte() {
    for step in 1..12 {
        let mut outbox = Outbox::default();
        for byte in 0..9 {
            outbox.push(frame(byte, usize::from(byte) + 1), Owner::Session, &LIMITS);
        }
        let mut out = Vec::new();
        while !outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = outbox.slices(&mut slices);
            let all: Vec<u8> = slices[..count]
                .iter()
                .flat_map(|slice| slice.to_vec())
                .collect();
            let taken = step.min(all.len());
            out.extend_from_slice(&all[..taken]);
            outbox.advance(taken);
        }
        let expect: Vec<u8> = (0..9)
            .flat_map(|byte| vec![byte; usize::from(byte) + 1])
            .collect();
        assert_eq!(out, expect, "{step} bytes at a time");
    }
}

/// Each kind of frame has its bound, and one frame may go beyond it.
#[test]
fn bounds_by_owner() {
    let mut outbox = Outbox::default();
    assert_eq!(
        outbox.push(frame(1, 500), subscription(1), &LIMITS),
        Push::Pushed
    );
    assert_eq!(
        outbox.push(frame(2, 1), subscription(2), &LIMITS),
        Push::Full
    );
    assert_eq!(
        outbox.push(frame(3, 1), Owner::Session, &LIMITS),
        Push::Full
    );
    assert_eq!(outbox.bytes(), 500);
    outbox.advance(400);
    assert_eq!(
        outbox.push(frame(4, 1), subscription(2), &LIMITS),
        Push::Pushed
    );
    assert_eq!(
        outbox.push(frame(5, 1), Owner::BestEffort, &LIMITS),
        Push::Full
    );
    outbox.push_after(frame(6, 1), subscription(2));
    assert_eq!(drain(&mut outbox).len(), 102);
}

/// A reset drops one subscription's frames, its words with them, and nothing else; what the socket
/// has begun to take must end first.
#[test]
fn drops_one_subscription_only() {
    let mut outbox = Outbox::default();
    outbox.push(frame(1, 4), subscription(1), &LIMITS);
    outbox.push(frame(2, 4), subscription(2), &LIMITS);
    outbox.push(frame(3, 4), Owner::Session, &LIMITS);
    outbox.push(frame(4, 4), subscription(1), &LIMITS);
    let word = Owner::Synced(SubscriptionId(1), Lsn::new(9));
    outbox.push(frame(5, 4), word, &LIMITS);
    outbox.advance(1);
    assert_eq!(outbox.drop_subscription(SubscriptionId(1)), [Lsn::new(9)]);
    assert_eq!(outbox.bytes(), 11);
    assert_eq!(drain(&mut outbox), [1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]);
}

/// Before a last frame everything goes but a frame that has been begun.
#[test]
fn clears_for_the_last_frame() {
    let mut outbox = Outbox::default();
    outbox.push(frame(1, 4), subscription(1), &LIMITS);
    outbox.push(frame(2, 4), Owner::Session, &LIMITS);
    outbox.clear();
    assert!(outbox.is_empty());
    outbox.push(frame(1, 4), subscription(1), &LIMITS);
    outbox.push(frame(2, 4), Owner::Session, &LIMITS);
    outbox.advance(2);
    outbox.clear();
    outbox.push_after(frame(3, 2), Owner::Session);
    assert_eq!(drain(&mut outbox), [1, 1, 3, 3]);
}

/// A burst is not paid for in memory once it has gone.
#[test]
fn gives_memory_back() {
    let mut outbox = Outbox::default();
    for _ in 0..1_000 {
        outbox.push_after(frame(1, 1), Owner::Session);
    }
    drain(&mut outbox);
    assert!(outbox.entries.capacity() <= SLICES_MAX);
}
