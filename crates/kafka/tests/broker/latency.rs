//! How long a hop takes. The numbers are printed for people; only the records are checked.

use std::time::{Duration, Instant};

use tidegate_ports::{Bus, Start, Topic};
use tokio::time::{MissedTickBehavior, interval};

use crate::{all, batch, config, connect, number, publish, record};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_hop_at_five_hundred_records_a_second() {
    const COUNT: usize = 1_500;
    let bus = connect(&config("latency")).await;
    let mut reader = bus
        .read(Topic::Diffs, &all(&bus), Start::Latest)
        .await
        .unwrap();
    let began = Instant::now();
    let publishing = async {
        let mut ticks = interval(Duration::from_millis(2));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for n in 0..COUNT {
            ticks.tick().await;
            let now = began.elapsed().as_micros();
            publish(
                &bus,
                Topic::Diffs,
                vec![record((n % 4) as u32, format!("{now:0300}"))],
            )
            .await;
        }
    };
    let reading = async {
        let mut hops = Vec::with_capacity(COUNT);
        while hops.len() < COUNT {
            let batch = batch(&mut *reader).await;
            let now = began.elapsed();
            let sent = |record| Duration::from_micros(number(record));
            hops.extend(batch.records.iter().map(|record| now - sent(record)));
        }
        hops
    };
    let ((), mut hops) = tokio::join!(publishing, reading);
    hops.sort_unstable();
    let at = |part: usize| hops[(COUNT - 1) * part / 1_000];
    println!(
        "one hop: p50 {:?}, p90 {:?}, p99 {:?}",
        at(500),
        at(900),
        at(990)
    );
}
