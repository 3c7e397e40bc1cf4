//! The keeper and the recorder: what stands before a stream processor that is not ours.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_gateway::Gateway;
use tidegate_legacy::{Keeper, KeeperConfig, KeeperPorts, Recorder};
use tidegate_ports::SharedPages;

use crate::clock;
use crate::config::{Config, Foreign};
use crate::seams::Seams;

/// Makes both for a gateway that is built.
pub(crate) fn prepare(
    config: &Config,
    foreign: &Foreign,
    seams: &Seams,
    shared: Arc<dyn SharedPages>,
    gateway: &Gateway,
) -> (Keeper, Recorder) {
    let keeper = KeeperConfig {
        topics: foreign.topics.clone(),
        gateway_id: StdRng::from_os_rng().random(),
        slow_sockets_max: foreign.slow_sockets_max,
        slow_sockets: gateway.slow_sockets(),
        read_timeout: config.rpc.timeout,
        clock_micros: clock::micros_now,
    };
    let ports = KeeperPorts {
        bus: seams.bus.clone(),
        cache: seams.cache.clone(),
        broker: seams.broker.clone(),
        shared: Arc::clone(&shared),
        database: seams.database.clone(),
    };
    let recorder = Recorder {
        broker: seams.broker.clone(),
        shared,
        group: foreign.group.clone(),
        topics: foreign.topics.diffs.clone(),
    };
    (Keeper::new(keeper, ports), recorder)
}
