//! A great number of subscriptions over a few clients, made so that each topic has the same, known number of receivers.
//!
//! Invariant: the subscriptions of one client do not overlap, so that it is owed each message once, whatever a broker does about
//! overlaps (section 3.3.4).
use super::wire;

/// Topics of a site: ten devices with ten metrics each.
const TOPICS: usize = 100;
/// Clients that subscribe each metric of a site for any device.
const METRIC: usize = 4;
/// Clients that subscribe a whole site.
const WHOLE: usize = 7;
/// Subscriptions of a mixed site: 68 % exact, 27 % with `+`, 5 % with `#`.
pub(super) const SITE: usize = TOPICS + 10 * METRIC + WHOLE;
/// Receivers that have wildcards.
const WILD: usize = WHOLE + METRIC;

/// How the subscriptions lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spread {
    pub(super) publishers: usize,
    /// Clients that share the subscriptions; more than eleven if they are mixed.
    pub(super) clients: usize,
    /// All subscriptions; a multiple of `SITE` if they are mixed.
    pub(super) subscriptions: usize,
    /// Whether there are wildcards.
    pub(super) mixed: bool,
}

impl Spread {
    /// The fewest clients that the subscriptions can be spread over.
    pub(super) const MIXED_CLIENTS: usize = WILD + 1;

    /// Topics that are published to.
    pub(super) fn topics(&self) -> u64 {
        (if self.mixed { self.subscriptions / SITE * TOPICS } else { self.subscriptions }) as u64
    }

    /// Receivers of each message.
    pub(super) fn copies(&self) -> u32 {
        if self.mixed { WILD as u32 + 1 } else { 1 }
    }

    /// The topics, with `#` for digits.
    pub(super) fn pattern(&self, prefix: &str) -> String {
        let sites = self.topics().div_ceil(TOPICS as u64);
        format!("{prefix}/site/{}/device/#/metric/#", wire::digits(sites))
    }

    /// A subscription: its client and its filter.
    pub(super) fn subscription(&self, number: usize, pattern: &str) -> (usize, String) {
        if !self.mixed {
            return (number % self.clients, wire::topic(pattern, number as u64));
        }
        let (site, within) = (number / SITE, number % SITE);
        let topic = |within: usize| wire::topic(pattern, (site * TOPICS + within) as u64);
        let (place, filter) = if within < TOPICS {
            (WILD + within % (self.clients - WILD), topic(within))
        } else if within < SITE - WHOLE {
            let (metric, copy) = ((within - TOPICS) / METRIC, (within - TOPICS) % METRIC);
            (WHOLE + copy, topic(metric).replace("/device/0/", "/device/+/"))
        } else {
            let whole = topic(0);
            let end = whole.find("/device/").expect("it stands in the pattern");
            (within - (SITE - WHOLE), format!("{}/#", &whole[..end]))
        };
        ((first_client(site, self.clients) + place) % self.clients, filter)
    }

    /// The number of a client among the receivers of a topic; `None` if it has no subscription that matches.
    pub(super) fn receiver(&self, client: usize, topic: u64) -> Option<u32> {
        let topic = topic as usize;
        if !self.mixed {
            return (topic % self.clients == client).then_some(0);
        }
        let first = first_client(topic / TOPICS, self.clients);
        let place = (client + self.clients - first) % self.clients;
        if place < WILD {
            return Some(place as u32);
        }
        (place == WILD + topic % TOPICS % (self.clients - WILD)).then_some(WILD as u32)
    }
}

/// Sites begin with different clients, so that all have about as many subscriptions.
fn first_client(site: usize, clients: usize) -> usize {
    site * 5 % clients
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn matches(filter: &str, topic: &str) -> bool {
        let mut levels = topic.split('/');
        for level in filter.split('/') {
            match (level, levels.next()) {
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (level, Some(name)) if level == name => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }

    #[test]
    fn each_topic_has_the_receivers_that_the_filters_say() {
        for (clients, subscriptions, mixed) in [(12, 3 * SITE, true), (40, 12 * SITE, true), (3, 250, false)] {
            let spread = Spread { publishers: 1, clients, subscriptions, mixed };
            let pattern = spread.pattern("p");
            let all: Vec<(usize, String)> =
                (0..subscriptions).map(|number| spread.subscription(number, &pattern)).collect();
            assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), subscriptions, "no subscription twice");
            for topic in 0..spread.topics() {
                let name = wire::topic(&pattern, topic);
                let found: Vec<usize> =
                    all.iter().filter(|(_, filter)| matches(filter, &name)).map(|(client, _)| *client).collect();
                let set: BTreeSet<usize> = found.iter().copied().collect();
                assert_eq!(set.len(), found.len(), "{name}: no client twice");
                let wanted: Vec<usize> =
                    (0..clients).filter(|client| spread.receiver(*client, topic).is_some()).collect();
                assert_eq!(set.into_iter().collect::<Vec<usize>>(), wanted, "{name}");
                let numbers: BTreeSet<u32> = (0..clients).filter_map(|client| spread.receiver(client, topic)).collect();
                assert_eq!(numbers, (0..spread.copies()).collect(), "{name}");
            }
        }
    }
}
