//! From a scenario that fails to a smaller one that fails for the same law.
use crate::scenario::{FAULTS, Scenario};
use crate::world::run;

/// Turns off what is not needed, one thing at a time, until nothing more can go. `said` hears of each success.
pub fn shrink(scenario: &Scenario, law: &str, mut said: impl FnMut(&Scenario)) -> Scenario {
    let mut best = scenario.clone();
    loop {
        let smaller = candidates(&best).into_iter().find(|candidate| {
            let report = run(candidate, false);
            report.violation.is_some_and(|violation| violation.law == law)
        });
        match smaller {
            Some(smaller) => {
                best = smaller;
                said(&best);
            }
            None => return best,
        }
    }
}

fn candidates(from: &Scenario) -> Vec<Scenario> {
    let mut all = Vec::new();
    for part in [2, 4, 8, 16, 32] {
        let steps = from.steps - from.steps / part;
        if steps < from.steps {
            all.push(Scenario { steps: if part == 2 { from.steps / 2 } else { steps }, ..from.clone() });
        }
    }
    if from.steps > 1 {
        all.push(Scenario { steps: from.steps - 1, ..from.clone() });
    }
    if from.clients > 1 {
        all.push(Scenario { clients: from.clients - 1, ..from.clone() });
    }
    if from.brokers > 1 {
        all.push(Scenario { brokers: 1, ..from.clone() });
    }
    for index in 0..FAULTS {
        let mut smaller = from.clone();
        if std::mem::take(&mut *smaller.faults.switches()[index].1) {
            all.push(smaller);
        }
    }
    all
}
