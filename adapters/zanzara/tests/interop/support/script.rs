//! Scripts in other languages that hold one scenario per function.
//!
//! `SCRIPT --list` prints the names of the scenarios, `SCRIPT NAME PORT` runs one in every version that the client speaks.

use super::{Broker, Process};
use std::collections::BTreeSet;
use std::process::Command;

/// Runs a scenario against a broker of its own.
pub(crate) fn run(command: Option<Command>, scenario: &str, mosquitto_departs: &[&str]) {
    let Some(mut command) = command else { return };
    let broker = Broker::start();
    if broker.is_mosquitto() && mosquitto_departs.contains(&scenario) {
        println!("mosquitto departs from the standard here");
        return;
    }
    Process::start(command.args([scenario, &broker.port()])).success();
}

/// Checks that the script has just the scenarios that are listed here.
pub(crate) fn lists(command: Option<Command>, scenarios: &[&str]) {
    let Some(mut command) = command else { return };
    let found = Process::start(command.arg("--list")).rest();
    let listed: BTreeSet<&str> = scenarios.iter().copied().collect();
    assert_eq!(found.iter().map(String::as_str).collect::<BTreeSet<_>>(), listed);
}

/// Makes one test of each scenario of a script, and one that none is forgotten.
///
/// `alone` names those that have a test of their own elsewhere because the broker plays a part in them; `departs` those in which
/// mosquitto 2.0 does not do what the standard says.
macro_rules! scenarios {
    ($command:expr; $($name:ident)*; alone: $($alone:ident)*; departs: $($departs:ident)*) => {
        const MOSQUITTO_DEPARTS: &[&str] = &[$(stringify!($departs)),*];

        $(
            #[test]
            fn $name() {
                $crate::support::run($command, stringify!($name), MOSQUITTO_DEPARTS);
            }
        )*

        #[test]
        fn no_scenario_is_forgotten() {
            $crate::support::lists($command, &[$(stringify!($name),)* $(stringify!($alone)),*]);
        }
    };
}
pub(crate) use scenarios;
