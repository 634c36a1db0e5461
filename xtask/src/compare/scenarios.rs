//! What is measured: arguments of `zanzara bench`, by name.
use super::Options;
use crate::run::Result;

/// A scenario.
#[derive(Clone)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) arguments: Vec<String>,
    /// The curve that it is a point of, and where.
    pub(crate) point: Option<(&'static str, u64)>,
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
    ("retained-50k", "retained --count 50000 --keep"),
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

/// Somebody does not read, or all are told more than they can read.
const OVERLOAD: &[(&str, &str)] = &[
    ("sound-fan-out", "fan-out --subscribers 10"),
    ("frozen-fan-out", "fan-out --subscribers 10 --frozen 1"),
    ("frozen-fan-out-q1", "fan-out --subscribers 10 --frozen 1 --qos 1"),
    ("frozen-latency", "latency --pairs 10 --rate 1000 --frozen 1"),
    ("deep-windows", "fan-in --publishers 50 --window 5000 --qos 1"),
];

/// Curves: a name, arguments with `{n}`, and the values of n. Clients and files of this machine may end them early.
const GROWTH: &[(&str, &str, &[u64])] = &[
    ("pairs", "point-to-point --pairs {n} --window 10", &[1, 10, 100, 1000, 5000]),
    ("receivers", "fan-out --window 10 --subscribers {n}", &[1, 10, 100, 1000, 10_000]),
    ("latency-pairs", "latency --rate 1000 --pairs {n}", &[1, 10, 100, 1000, 5000]),
    ("connections", "connections --count {n}", &[10, 100, 1000, 10_000, 19_000]),
    ("subscriptions", "subscriptions --count {n}", &[1000, 10_000, 100_000, 1_000_000]),
    ("topics", "point-to-point --topics {n}", &[1, 100, 10_000, 1_000_000]),
    ("payload", "point-to-point --window 10 --size {n}", &[16, 256, 4096, 65_536, 1_048_576]),
    ("retained", "retained --keep --count {n}", &[1000, 10_000, 100_000, 1_000_000]),
    ("offline", "offline --messages 20 --at-once 1000 --sessions {n}", &[1, 10, 100, 1000, 10_000, 100_000]),
];

/// Sets of scenarios, by the option that chooses them.
pub(crate) const SETS: [&str; 4] = ["plain", "durable", "overload", "growth"];

/// All of one set.
pub(crate) fn known(set: &str) -> Vec<Scenario> {
    let all = match set {
        "durable" => DURABLE,
        "overload" => OVERLOAD,
        "growth" => {
            return GROWTH.iter().flat_map(|(name, arguments, values)| curve(name, arguments, values)).collect();
        }
        _ => PLAIN,
    };
    all.iter().map(|(name, arguments)| scenario(name, arguments)).collect()
}

fn curve(name: &'static str, arguments: &str, values: &[u64]) -> Vec<Scenario> {
    let point = |value: &u64| Scenario {
        point: Some((name, *value)),
        ..scenario(&format!("{name}-{value}"), &arguments.replace("{n}", &value.to_string()))
    };
    values.iter().map(point).collect()
}

fn scenario(name: &str, arguments: &str) -> Scenario {
    let arguments = arguments.split_whitespace().map(str::to_owned).collect();
    Scenario { name: name.to_owned(), arguments, point: None }
}

/// Those that were asked for, or the whole set. The name of a curve means all of its points.
pub(crate) fn chosen(options: &Options) -> Result<Vec<Scenario>> {
    if options.scenarios.is_empty() {
        return Ok(known(options.set));
    }
    let all: Vec<Scenario> = SETS.iter().flat_map(|set| known(set)).collect();
    let mut found = Vec::new();
    for name in &options.scenarios {
        let is_wanted = |one: &&Scenario| one.name == *name || one.point.is_some_and(|(curve, _)| curve == name);
        let before = found.len();
        found.extend(all.iter().filter(is_wanted).cloned());
        if found.len() == before {
            if !name.contains(' ') {
                return Err(format!("no scenario `{name}`; --list says which there are").into());
            }
            found.push(scenario(name, name));
        }
    }
    Ok(found)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_curves_have_points() {
        let all: Vec<Scenario> = SETS.iter().flat_map(|set| known(set)).collect();
        let names: BTreeSet<&String> = all.iter().map(|scenario| &scenario.name).collect();
        assert_eq!(names.len(), all.len());
        for (curve, _, values) in GROWTH {
            assert!(!all.iter().any(|scenario| scenario.name == *curve), "{curve} means one thing");
            assert!(values.is_sorted() && values.len() > 1, "{curve}");
        }
        let point = all.iter().find(|scenario| scenario.name == "payload-256").expect("it is there");
        assert_eq!((point.point, point.is_flow()), (Some(("payload", 256)), true));
        assert!(point.has("256") && !point.has("{n}"));
    }
}
