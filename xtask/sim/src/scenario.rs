//! What one simulation is made of: everything that the seed does not decide by itself can be made smaller by hand.
use mqtt_session::Rng;
use std::fmt;

/// One simulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Decides all the rest, and every choice while the simulation runs.
    pub seed: u64,
    /// Things that the clients' users do, before the faults stop and everything has to settle.
    pub steps: u32,
    /// Well-behaved clients.
    pub clients: usize,
    /// Brokers, each with its own disk; a client stays with one.
    pub brokers: usize,
    /// Which faults happen.
    pub faults: Faults,
}

/// Kinds of faults; each can be turned off to find out which one matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Connections are cut, with bytes under way lost.
    pub cuts: bool,
    /// One side is not told of a cut.
    pub half_open: bool,
    /// Bytes travel in portions of any size, with delays that differ.
    pub portions: bool,
    /// Brokers crash at any moment, with whatever their disk had not synced, and restart.
    pub crashes: bool,
    /// Syncs take long, so that acknowledgments wait.
    pub slow_disk: bool,
    /// Clients stop reading, or stop altogether for a while and find their clock ahead.
    pub freezes: bool,
    /// Strangers send garbage, floods, half packets, and take each other's sessions over.
    pub noise: bool,
    /// Clients' clocks jump ahead; a broker that restarts finds its clock ahead or behind.
    pub jumps: bool,
    /// Disks say that a batch was not kept, and try it again with the next.
    pub failing_disk: bool,
    /// Brokers ask about each CONNECT, PUBLISH and SUBSCRIBE, and the answers take their time.
    pub slow_answers: bool,
    /// Clients that have a store are killed at any moment, and come back with what it has kept.
    pub kills: bool,
    /// Brokers stand still for a while, and find their clock ahead.
    pub stalls: bool,
    /// Queues are so small that messages are lost, and counted.
    pub small_queues: bool,
    /// Brokers have little memory for messages: most stay in the store alone, and are read back in small parts.
    pub small_memory: bool,
}

/// How many kinds there are.
pub const FAULTS: usize = 14;

impl Faults {
    pub const NONE: Self = Self {
        cuts: false,
        half_open: false,
        portions: false,
        crashes: false,
        slow_disk: false,
        freezes: false,
        noise: false,
        jumps: false,
        failing_disk: false,
        slow_answers: false,
        kills: false,
        stalls: false,
        small_queues: false,
        small_memory: false,
    };

    /// The switches, with their names.
    pub fn switches(&mut self) -> [(&'static str, &mut bool); FAULTS] {
        [
            ("cuts", &mut self.cuts),
            ("half-open", &mut self.half_open),
            ("portions", &mut self.portions),
            ("crashes", &mut self.crashes),
            ("slow-disk", &mut self.slow_disk),
            ("freezes", &mut self.freezes),
            ("noise", &mut self.noise),
            ("jumps", &mut self.jumps),
            ("failing-disk", &mut self.failing_disk),
            ("slow-answers", &mut self.slow_answers),
            ("kills", &mut self.kills),
            ("stalls", &mut self.stalls),
            ("small-queues", &mut self.small_queues),
            ("small-memory", &mut self.small_memory),
        ]
    }
}

impl Scenario {
    /// The scenario of a seed: most have most faults, some have few, so that simple bugs show in simple runs.
    pub fn of(seed: u64, steps: u32) -> Self {
        let mut rng = generator(seed, 0);
        let mut faults = Faults::NONE;
        for (name, switch) in faults.switches() {
            *switch = name != "small-memory" && rng.below(3) > 0;
        }
        // What loses messages by right hides what loses them by mistake.
        faults.failing_disk &= rng.below(2) == 0;
        faults.small_queues &= rng.below(2) == 0;
        if rng.below(8) == 0 {
            faults = Faults::NONE;
        }
        let clients = 2 + rng.below(8) as usize;
        let brokers = 1 + rng.below(2) as usize;
        // Chosen last, so that it changes nothing else.
        faults.small_memory = faults != Faults::NONE && rng.below(2) == 0;
        Self { seed, steps, clients, brokers, faults }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, steps, clients, brokers, mut faults } = self.clone();
        write!(f, "--seed {seed} --steps {steps} --clients {clients} --brokers {brokers} --faults ")?;
        let on: Vec<&str> = faults.switches().into_iter().filter(|(_, on)| **on).map(|(name, _)| name).collect();
        f.write_str(if on.is_empty() { "none" } else { "" })?;
        f.write_str(&on.join(","))
    }
}

/// The generator of one part of a simulation, so that parts do not disturb each other's choices.
pub(crate) fn generator(seed: u64, part: u64) -> Rng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&part.to_le_bytes());
    bytes[16] = 1; // never all zero
    let mut rng = Rng::new(bytes);
    for _ in 0..8 {
        rng.next_u64(); // close seeds part ways
    }
    rng
}
