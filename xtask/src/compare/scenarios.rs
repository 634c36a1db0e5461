//! What is measured: arguments of `zanzara bench`, by name.
use super::Options;
use crate::run::Result;

/// A scenario.
#[derive(Clone)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) arguments: Vec<String>,
}

/// Those that every broker can do in memory.
const PLAIN: &[(&str, &str)] = &[
    ("10-10-q0", "point-to-point --pairs 10 --qos 0"),
    ("10-10-q1", "point-to-point --pairs 10 --qos 1"),
    ("10-10-q2", "point-to-point --pairs 10 --qos 2"),
    ("10-10-q0-1k", "point-to-point --pairs 10 --qos 0 --size 1024"),
    ("200-1-q0", "fan-in --publishers 200 --qos 0"),
    ("200-1-q1", "fan-in --publishers 200 --qos 1"),
    ("200-1-q1-window-1", "fan-in --publishers 200 --qos 1 --window 1"),
    ("50-share-4-q1", "shared --publishers 50 --members 4 --qos 1"),
    ("1-100-q0", "fan-out --subscribers 100 --qos 0"),
    ("1-100-q1", "fan-out --subscribers 100 --qos 1"),
    ("1-1000-q0", "fan-out --subscribers 1000 --qos 0"),
    ("latency-1000", "latency --pairs 10 --rate 1000"),
    ("retained-50k", "retained --count 50000"),
    ("offline-1x50k", "offline --sessions 1 --messages 50000"),
    ("offline-1000x50", "offline --sessions 1000 --messages 50"),
    ("connections-5k", "connections --count 5000"),
    ("subscriptions-100k", "subscriptions --count 100000"),
];

/// Those in which something is kept on disk: sessions that last, retained messages.
const DURABLE: &[(&str, &str)] = &[
    ("durable-10-10-q1", "point-to-point --pairs 10 --qos 1 --persistent"),
    ("durable-10-10-q2", "point-to-point --pairs 10 --qos 2 --persistent"),
    ("durable-200-1-q1", "fan-in --publishers 200 --qos 1 --persistent"),
    ("durable-1-100-q1", "fan-out --subscribers 100 --qos 1 --persistent"),
    ("durable-offline-n", "offline --sessions 1,10,100 --messages 5000 --window 1000"),
    ("durable-retained-10k", "retained --count 10000 --qos 1 --window 1000"),
];

/// All of one kind.
pub(crate) fn known(durable: bool) -> Vec<Scenario> {
    let all = if durable { DURABLE } else { PLAIN };
    all.iter().map(|(name, arguments)| scenario(name, arguments)).collect()
}

fn scenario(name: &str, arguments: &str) -> Scenario {
    Scenario { name: name.to_owned(), arguments: arguments.split_whitespace().map(str::to_owned).collect() }
}

/// Those that were asked for, or all.
pub(crate) fn chosen(options: &Options) -> Result<Vec<Scenario>> {
    if options.scenarios.is_empty() {
        return Ok(known(options.durable));
    }
    let all: Vec<Scenario> = [known(false), known(true)].concat();
    let find = |name: &String| match all.iter().find(|scenario| scenario.name == *name) {
        Some(scenario) => Ok(scenario.clone()),
        None if name.contains(' ') => Ok(scenario(name, name)),
        None => Err(format!("no scenario `{name}`; --list says which there are").into()),
    };
    options.scenarios.iter().map(find).collect()
}

impl Scenario {
    /// Whether it takes as long as it is told.
    pub(crate) fn is_flow(&self) -> bool {
        let command = self.arguments.first().map_or("", String::as_str);
        !matches!(command, "connections" | "retained" | "offline") && !self.has("--messages") && !self.has("-n")
    }

    pub(crate) fn has(&self, option: &str) -> bool {
        self.arguments.iter().any(|argument| argument == option)
    }
}
