//! The laws that a history must obey, each with its name.
use crate::history::{Diary, Got, History, Name, Sent};
use mqtt_session::proto::QoS;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A law that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The name of the law, one of [`CHECKS`].
    pub law: &'static str,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.law, self.what)
    }
}

impl Violation {
    /// The lines of a trace that tell how it came to this: what befell the clients and messages that are named, crashes, and
    /// the end.
    pub fn story<'a>(&self, lines: &'a [String]) -> Vec<&'a str> {
        let words: Vec<&str> = self.what.split([' ', ':', ',']).collect();
        let named = |what: &'static str| words.windows(2).filter(move |pair| pair[0] == what).map(|pair| pair[1]);
        let wills = self.what.split("the Will of client ").nth(1).and_then(|rest| rest.split([' ', ',']).next());
        let wills = wills.map(|client| format!(" w{client} "));
        let messages: Vec<String> = named("message").map(|name| format!(" {name} ")).chain(wills).collect();
        let clients: Vec<[String; 3]> = named("client")
            .chain(named("message").filter_map(|name| name.split('.').next()))
            .map(|name| [format!(" client {name} "), format!(" client {name}: "), format!("client-{name}\"")])
            .collect();
        let end = lines.len().saturating_sub(STORY_END);
        let matters = |line: &str| {
            let passes = [" gets ", " publishes ", " settles ", ": Connecting", "could not be opened"];
            messages.iter().any(|name| line.contains(name.as_str()))
                || [" crashes", " starts", " stands still", " goes on", " faults end", " disk "]
                    .iter()
                    .any(|word| line.contains(word))
                || clients.iter().flatten().any(|client| line.contains(client.as_str()))
                    && !passes.iter().any(|word| line.contains(word))
        };
        let lines = lines.iter().enumerate();
        lines.filter(|(at, line)| *at >= end || matters(line)).map(|(_, line)| line.as_str()).collect()
    }
}

/// Lines at the end of a trace that are told in any case.
const STORY_END: usize = 12;

/// Every law, and what it says.
pub const CHECKS: [(&str, &str); 13] = [
    (
        "acknowledged-kept",
        "a QoS 1 or 2 message that was acknowledged, or that its publisher's store has, reaches every session that lasts and had subscribed before; what full queues lose is counted",
    ),
    ("exactly-once", "a QoS 2 message is handed out once to each session that lasts, and once by each shared group"),
    (
        "order",
        "messages of one publisher, topic and QoS are first handed out in the order in which they were published",
    ),
    (
        "unsubscribed",
        "what is published after UNSUBACK, or without any subscription, does not come, nor at a greater QoS",
    ),
    ("retained", "a newcomer finds the last retained message that was accepted, or a later one"),
    ("wills", "a Will comes when a connection was lost, once for each loss, and never when none was"),
    ("shared-once", "a shared group gets each acknowledged message, and in quiet times once"),
    ("expired", "a message whose time is over does not leave the broker for the first time"),
    (
        "session-kept",
        "a session that lasts is there at every reconnect, with its subscriptions; one that ends, ends at its time",
    ),
    ("no-protocol-error", "client machines find no fault with the broker: windows, identifiers, packets"),
    ("budget", "queues stay within their limits at every moment"),
    ("progress", "when the faults end, everything settles in bounded time"),
    (
        "levels",
        "when everything has settled, no queue and no store holds a message that somebody waits for, and brokers and stores hold the sessions, subscriptions and retained messages that there are",
    ),
];

pub(crate) fn violation(law: &'static str, what: impl Into<String>) -> Violation {
    debug_assert!(CHECKS.iter().any(|(name, _)| *name == law), "a law has a name");
    Violation { law, what: what.into() }
}

/// Checks a whole history.
pub(crate) fn check(history: &History) -> Result<(), Violation> {
    let judge = Judge { history, messages: messages(history) };
    for client in 0..history.clients.len() {
        judge.protocol(client)?;
        judge.sessions(client)?;
        judge.kept(client)?;
        judge.once(client)?;
        judge.order(client)?;
        judge.unsubscribed(client)?;
        judge.wills(client)?;
    }
    judge.shared()?;
    judge.shared_exactly_once()?;
    judge.probes()?;
    judge.retained()
}

fn messages(history: &History) -> BTreeMap<Name, &Sent> {
    let of = |(client, diary): (usize, &'_ Diary)| (client, diary.sent.len());
    let sizes: Vec<_> = history.clients.iter().enumerate().map(of).collect();
    let names = sizes.into_iter().flat_map(|(client, count)| (0..count as u32).map(move |n| (client, n)));
    names.map(|name| (name, &history.clients[name.0].sent[name.1 as usize])).collect()
}

struct Judge<'a> {
    history: &'a History,
    messages: BTreeMap<Name, &'a Sent>,
}

fn show(name: Name) -> String {
    format!("message {}.{}", name.0, name.1)
}

impl Judge<'_> {
    fn diary(&self, client: usize) -> &Diary {
        &self.history.clients[client]
    }

    /// Messages of the client's broker, with who sent them.
    fn of_broker(&self, broker: usize) -> impl Iterator<Item = (Name, &Sent)> {
        self.messages
            .iter()
            .filter(move |(name, _)| self.history.clients[name.0].broker == broker)
            .map(|(name, sent)| (*name, *sent))
    }

    fn protocol(&self, client: usize) -> Result<(), Violation> {
        match self.diary(client).protocol_errors.first() {
            Some(error) => Err(violation("no-protocol-error", format!("client {client}: {error}"))),
            None => Ok(()),
        }
    }

    fn sessions(&self, client: usize) -> Result<(), Violation> {
        let diary = self.diary(client);
        if let Some(message) = diary.expired.first() {
            return Err(violation("expired", format!("client {client} got {message} after its time")));
        }
        if let Some(what) = diary.misjudged.first() {
            return Err(violation("session-kept", format!("client {client}: {what}")));
        }
        if diary.durable && diary.sessions_lost > 0 {
            return Err(violation("session-kept", format!("client {client} lost its session")));
        }
        Ok(())
    }

    /// A session that must get everything: it lasts, or it was never interrupted.
    fn is_steady(&self, diary: &Diary) -> bool {
        diary.durable || (diary.connections == 1 && diary.lost_connections == 0 && self.history.crashes == 0)
    }

    fn kept(&self, client: usize) -> Result<(), Violation> {
        let diary = self.diary(client);
        if !self.is_steady(diary) {
            return Ok(());
        }
        let got: BTreeSet<Name> = diary.got.iter().map(|got| got.name).collect();
        let mut counted = self.history.dropped.get(&format!("client-{client}")).copied().unwrap_or(0);
        for (name, sent) in self.of_broker(diary.broker) {
            let exempt = sent.expires || sent.large && diary.small;
            // What its publisher's store has kept is as good as accepted, unless it failed and the news died with a kill.
            let kept = sent.kept && sent.settled.is_none() && self.history.store_failures == 0;
            let accepted = sent.settled == Some(true) || kept;
            if sent.qos == QoS::AtMostOnce || !accepted || exempt || got.contains(&name) {
                continue;
            }
            let due = diary.wishes.iter().find(|wish| {
                wish.parts().0.is_none()
                    && wish.least > QoS::AtMostOnce
                    && wish.granted.is_some_and(|at| at < sent.at)
                    && wish.ended.is_none()
                    && wish.matches(&sent.topic)
            });
            if due.is_some() && counted > 0 {
                counted -= 1;
                continue;
            }
            if let Some(wish) = due {
                let what = format!("client {client} never got {} on {} for {}", show(name), sent.topic, wish.filter);
                return Err(violation("acknowledged-kept", what));
            }
        }
        Ok(())
    }

    fn once(&self, client: usize) -> Result<(), Violation> {
        let diary = self.diary(client);
        if diary.sessions_lost > 0 || (!diary.durable && diary.connections > 1) {
            return Ok(());
        }
        let mut counts: BTreeMap<Name, usize> = BTreeMap::new();
        for got in diary.got.iter().filter(|got| got.qos == QoS::ExactlyOnce && !got.retain) {
            *counts.entry(got.name).or_default() += 1;
        }
        for (name, count) in counts {
            let Some(sent) = self.messages.get(&name) else { continue };
            if self.may_be_two(name, sent) {
                continue;
            }
            // Each group that the client is a member of may give it the message once more.
            let groups: BTreeSet<&str> = diary
                .wishes
                .iter()
                .filter(|wish| wish.parts().0.is_some() && wish.matches(&sent.topic))
                .map(|wish| wish.filter.as_str())
                .collect();
            let plain = diary.wishes.iter().filter(|wish| wish.parts().0.is_none() && wish.matches(&sent.topic));
            let plain: BTreeSet<&str> = plain.map(|wish| wish.filter.as_str()).collect();
            // Section 3.3.4 allows a copy for each subscription that matches; ours makes one.
            if count > groups.len() + plain.len().min(1) {
                let what = format!("client {client} got {} {count} times", show(name));
                return Err(violation("exactly-once", what));
            }
        }
        Ok(())
    }

    /// Whether its publisher may send a QoS 2 message for the second time, as a new one.
    fn may_be_two(&self, name: Name, sent: &Sent) -> bool {
        let publisher = self.diary(name.0);
        // Refused for the store, it is a new message if the refusal is lost [MQTT-4.3.3-9].
        self.history.store_failures > 0 && publisher.v5
            // Its publisher's session ended meanwhile, and the CONNACK that said so may be lost.
            || publisher.renewed.iter().any(|at| *at > sent.at)
    }

    fn order(&self, client: usize) -> Result<(), Violation> {
        let diary = self.diary(client);
        if diary.sessions_lost > 0 || !diary.durable && diary.connections > 1 {
            return Ok(()); // subscriptions came and went with the session: the next comment holds again and again
        }
        if self.history.dropped.contains_key(&format!("client-{client}")) {
            return Ok(()); // what a full queue lost may come late, when its publisher sends it again
        }
        let mut seen = BTreeSet::new();
        let mut last: BTreeMap<(usize, &str, QoS, QoS), u32> = BTreeMap::new();
        for got in diary.got.iter().filter(|got| !got.retain) {
            let Some(sent) = self.messages.get(&got.name) else { continue };
            let shared = diary.wishes.iter().any(|wish| wish.parts().0.is_some() && wish.matches(&sent.topic));
            // One that was published before the subscription, and sent again after it, may come late. A subscription at
            // QoS 0 misses what comes while its client is away, as if there were none.
            let subscribed = diary.wishes.iter().any(|wish| {
                let sure = wish.least > QoS::AtMostOnce || diary.connections == 1;
                let granted = wish.granted.is_some_and(|at| at < sent.at);
                sure && granted && wish.ended.is_none() && wish.matches(&sent.topic)
            });
            if shared || !subscribed || !seen.insert(got.name) {
                continue;
            }
            if self.may_come_late(client, sent, got) {
                continue;
            }
            let key = (got.name.0, sent.topic.as_str(), sent.qos, got.qos);
            if let Some(before) = last.insert(key, got.name.1).filter(|before| *before > got.name.1) {
                let what = format!("client {client} got {} after {}", show(got.name), show((got.name.0, before)));
                return Err(violation("order", what));
            }
        }
        Ok(())
    }

    /// A QoS 1 message that its publisher sends again reaches a receiver that never saw it the first time: behind those that
    /// it did see, as in "1, 3, 2, 3" for the "1, 2, 3, 2, 3" of section 4.6. By right it missed what expired before it was
    /// read, and at QoS 0 what came while it was away, or did not read.
    fn may_come_late(&self, receiver: usize, sent: &Sent, got: &Got) -> bool {
        let missed = self.diary(receiver).connections > 1 || self.history.slow.contains(&format!("client-{receiver}"));
        sent.qos == QoS::AtLeastOnce && (sent.expires || got.qos == QoS::AtMostOnce && missed)
    }

    fn unsubscribed(&self, client: usize) -> Result<(), Violation> {
        let diary = self.diary(client);
        for got in &diary.got {
            let Some(sent) = self.messages.get(&got.name) else {
                return Err(violation(
                    "unsubscribed",
                    format!("client {client} got {} out of nothing", show(got.name)),
                ));
            };
            let wanted = diary.wishes.iter().any(|wish| {
                wish.matches(&sent.topic)
                    && wish.gone.is_none_or(|gone| gone >= sent.at || got.retain && gone > wish.asked)
            });
            if !wanted {
                let what = format!("client {client} got {} on {} without wanting it", show(got.name), sent.topic);
                return Err(violation("unsubscribed", what));
            }
            let most = diary.wishes.iter().filter(|wish| wish.matches(&sent.topic)).map(|wish| wish.most).max();
            if got.qos > sent.qos || Some(got.qos) > most {
                let what = format!("client {client} got {} at {:?}, subscribed at {most:?}", show(got.name), got.qos);
                return Err(violation("unsubscribed", what));
            }
        }
        Ok(())
    }

    /// What the broker saw decides. A crash forgets what it saw: then Wills are due of those alone whom it met connected.
    fn wills(&self, client: usize) -> Result<(), Violation> {
        let diary = self.diary(client);
        for (watcher, seen) in self.history.clients.iter().enumerate().filter(|(watcher, _)| *watcher != client) {
            let (count, first) = seen.wills.get(&client).copied().unwrap_or_default();
            if count > 0 && (!diary.has_will || diary.losses.is_empty() && self.history.crashes == 0) {
                let what = format!("client {watcher} saw the Will of client {client}, which was never lost");
                return Err(violation("wills", what));
            }
            if self.history.crashes == 0 && first as usize > diary.losses.len() {
                let (times, losses) = (first, diary.losses.len());
                let what =
                    format!("client {watcher} saw the Will of client {client} {times} times, lost {losses} times");
                return Err(violation("wills", what));
            }
            let lost = |wish: &&crate::history::Wish| {
                let losses = if self.history.crashes == 0 { &diary.losses } else { &diary.sure_losses };
                losses.iter().any(|at| wish.granted.is_some_and(|granted| granted < *at))
            };
            let due = seen.durable
                && seen.broker == diary.broker
                && seen
                    .wishes
                    .iter()
                    .filter(|wish| wish.filter == "w/#" && wish.ended.is_none() && wish.least > QoS::AtMostOnce)
                    .any(|wish| lost(&wish));
            let counted = self.history.dropped.contains_key(&format!("client-{watcher}"));
            if due && diary.has_will && count == 0 && !counted {
                let what = format!("client {watcher} never saw the Will of client {client}, which was lost");
                return Err(violation("wills", what));
            }
        }
        Ok(())
    }

    /// Every group with a member that lasts gets every acknowledged message.
    fn shared(&self) -> Result<(), Violation> {
        for (client, diary) in self.history.clients.iter().enumerate().filter(|(_, diary)| diary.durable) {
            for wish in diary.wishes.iter().filter(|wish| wish.parts().0.is_some() && wish.ended.is_none()) {
                let mut counted = self.history.dropped.get(&wish.filter).copied().unwrap_or(0);
                let small = self.history.clients.iter().any(|other| other.small);
                for (name, sent) in self.of_broker(diary.broker) {
                    let due = !(sent.expires || sent.large && small)
                        && sent.settled == Some(true)
                        && sent.qos == QoS::AtLeastOnce // QoS 2 ends with its member's session [MQTT-4.8.2-5]
                        && wish.least > QoS::AtMostOnce
                        && wish.granted.is_some_and(|at| at < sent.at)
                        && wish.matches(&sent.topic);
                    // Members that took it at QoS 0 may have lost it.
                    let weak = self.history.clients.iter().any(|other| {
                        other.wishes.iter().any(|it| it.filter == wish.filter && it.least == QoS::AtMostOnce)
                    });
                    let got = self.history.clients.iter().any(|other| other.got.iter().any(|got| got.name == name));
                    if due && !weak && !got && counted > 0 {
                        counted -= 1;
                        continue;
                    }
                    if due && !weak && !got {
                        let what = format!("nobody got {} for {} of client {client}", show(name), wish.filter);
                        return Err(violation("shared-once", what));
                    }
                }
            }
        }
        Ok(())
    }

    /// Each group gives a QoS 2 message to one of its members, who gets it or nobody does [MQTT-4.8.2-4], [MQTT-4.8.2-5].
    fn shared_exactly_once(&self) -> Result<(), Violation> {
        for (name, sent) in &self.messages {
            if sent.qos < QoS::ExactlyOnce || self.may_be_two(*name, sent) {
                continue;
            }
            let broker = self.diary(name.0).broker;
            let (mut count, mut most, mut groups) = (0, 0, BTreeSet::new());
            for diary in self.history.clients.iter().filter(|diary| diary.broker == broker) {
                let got =
                    diary.got.iter().filter(|got| got.name == *name && got.qos == QoS::ExactlyOnce && !got.retain);
                let wishes = || diary.wishes.iter().filter(|wish| wish.matches(&sent.topic));
                groups.extend(wishes().filter(|wish| wish.parts().0.is_some()).map(|wish| wish.filter.as_str()));
                let plain: BTreeSet<&str> =
                    wishes().filter(|wish| wish.parts().0.is_none()).map(|wish| wish.filter.as_str()).collect();
                let plain = plain.len().min(1);
                // A session that ends with its connection is sent a message before the store has it: a crash takes back both.
                let forgotten = !diary.durable && self.history.crashes > 0;
                let got = if forgotten { 0 } else { got.count() };
                count += got;
                // A session that ended had it, and the next may have it from its own subscription.
                most += if diary.durable { plain } else { plain * got };
            }
            if count > most + groups.len() {
                let what = format!("{} came {count} times, more than once to each of {groups:?}", show(*name));
                return Err(violation("exactly-once", what));
            }
        }
        Ok(())
    }

    /// In the quiet at the end, subscriptions are exactly what the clients believe: once for all plain ones, once for each
    /// group. At QoS 0 a client that is slow to take its messages may miss one.
    fn probes(&self) -> Result<(), Violation> {
        // One that the broker refused for want of room is none.
        for (name, sent) in self.messages.iter().filter(|(_, sent)| sent.probe && sent.settled != Some(false)) {
            let broker = self.history.clients[name.0].broker;
            let late = &self.history.dropped_late;
            let mut groups: BTreeMap<&str, bool> = BTreeMap::new();
            let (mut beyond, mut missable) = (0, 0);
            for (client, diary) in self.history.clients.iter().enumerate().filter(|(_, diary)| diary.broker == broker) {
                let live = || diary.wishes.iter().filter(|wish| wish.ended.is_none() && wish.matches(&sent.topic));
                let best = live().filter(|wish| wish.parts().0.is_none()).map(|wish| wish.qos).max();
                for wish in live().filter(|wish| wish.parts().0.is_some()) {
                    let missable = wish.qos == QoS::AtMostOnce || late.contains_key(&wish.filter);
                    *groups.entry(&wish.filter).or_insert(false) |= missable;
                }
                let count = diary.got.iter().filter(|got| got.name == *name && !got.retain).count();
                let is_full = late.contains_key(&format!("client-{client}")); // where memory is short, what waits for one connection gives way
                if count == 0 && best > Some(QoS::AtMostOnce) && !is_full {
                    let what = format!(
                        "client {client} has a subscription for {}, and {} did not come",
                        sent.topic,
                        show(*name)
                    );
                    return Err(violation("session-kept", what));
                }
                missable += usize::from(best == Some(QoS::AtMostOnce));
                beyond += count;
                beyond -= count.min(usize::from(best > Some(QoS::AtMostOnce)));
            }
            let sure = groups.values().filter(|missable| !**missable).count();
            if beyond < sure || beyond > groups.len() + missable {
                let what = format!(
                    "{} came {beyond} times more than to plain subscriptions, for groups {groups:?}",
                    show(*name)
                );
                return Err(violation("shared-once", what));
            }
        }
        Ok(())
    }

    /// Each retained topic has one writer.
    fn retained(&self) -> Result<(), Violation> {
        for newcomer in self.history.clients.iter().filter(|diary| diary.wishes.iter().any(|wish| wish.filter == "r/#"))
        {
            for (client, diary) in self.history.clients.iter().enumerate() {
                if diary.broker != newcomer.broker {
                    continue;
                }
                let topic = format!("r/{client}");
                let written: Vec<(u32, &Sent)> =
                    (0..).zip(&diary.sent).filter(|(_, sent)| sent.topic == topic).collect();
                let last = written
                    .iter()
                    .filter(|(_, s)| s.settled == Some(true) && s.qos > QoS::AtMostOnce)
                    .map(|(n, _)| *n)
                    .max();
                let found = newcomer.retained.get(&topic);
                // A refusal that was lost: an earlier message comes once more, as a new one (see `once`).
                let again = self.history.store_failures > 0 && diary.v5;
                // Cleared, or over; the law `expired` sees to those that are over and come all the same.
                let may_go = |(n, sent): &(u32, &Sent)| {
                    (sent.clears || sent.expires) && (again || last.is_none_or(|last| *n >= last))
                };
                let fits = match (last, found) {
                    (None, None) => true,
                    (Some(_), None) => written.iter().any(may_go),
                    (_, Some(found)) if again => found.0 == client,
                    (last, Some(found)) => found.0 == client && last.is_none_or(|last| found.1 >= last),
                };
                if !fits {
                    let what = format!("{topic} holds {found:?}, the last that was accepted is {last:?}");
                    return Err(violation("retained", what));
                }
            }
        }
        Ok(())
    }
}
