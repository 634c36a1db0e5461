//! What goes wrong, while things still go wrong.
use super::*;

impl World {
    /// Something goes wrong, perhaps.
    pub(super) fn trouble(&mut self) {
        let faults = self.scenario.faults;
        if self.fate.below(4) > 0 {
            return;
        }
        match self.fate.below(14) {
            0..4 if faults.cuts => self.cut_some_link(),
            4..6 if faults.crashes => {
                let node = self.fate.below(self.nodes.len() as u64) as usize;
                match self.fate.below(2) {
                    0 => self.crash(node, None),
                    _ => self.nodes[node].doomed = Some(1 + self.fate.below(30)),
                }
            }
            6..8 if faults.freezes => {
                let index = self.fate.below(self.actors.len() as u64) as usize;
                let until = self.now + Duration::from_millis(self.fate.below(15_000));
                self.trace.add(self.now, format_args!("client {index} stands still"));
                self.actors[index].frozen_until = Some(until);
            }
            8..10 if faults.noise => self.stranger(),
            10 if faults.jumps => {
                let index = self.fate.below(self.actors.len() as u64) as usize;
                let far = Duration::from_millis(self.fate.below(8000));
                self.trace.add(self.now, format_args!("the clock of client {index} jumps {} ms", far.as_millis()));
                self.actors[index].ahead += far;
            }
            12..14 if faults.kills => {
                let index = self.fate.below(self.actors.len() as u64) as usize;
                self.kill(index);
            }
            11 if faults.stalls => {
                let node = self.fate.below(self.nodes.len() as u64) as usize;
                let until = self.now + Duration::from_millis(self.fate.below(12_000));
                if self.nodes[node].machine.is_some() && self.nodes[node].stalled_until.is_none() {
                    self.trace.add(self.now, format_args!("broker {node} stands still"));
                    self.nodes[node].stalled_until = Some(until);
                }
            }
            _ => {}
        }
    }

    pub(super) fn cut_some_link(&mut self) {
        let keys: Vec<u64> = self.links.keys().copied().collect();
        if keys.is_empty() {
            return;
        }
        let key = keys[self.fate.below(keys.len() as u64) as usize];
        let half_open = self.scenario.faults.half_open && self.fate.below(2) == 0;
        let client_first = self.fate.below(2) == 0;
        let stalled = self.links.get(&key).and_then(|link| self.nodes[link.broker].stalled_until);
        self.trace.add(self.now, format_args!("link {key} is cut, half-open {half_open}"));
        let Some(link) = self.links.get_mut(&key) else { return };
        link.up.lose();
        link.down.lose();
        link.up.dead = true;
        link.down.dead = true;
        if let Some(until) = stalled {
            link.reset_at = Some(until); // it hears of it when it goes on
            self.client_loses(key);
        } else if half_open {
            link.reset_at = Some(self.now + Duration::from_millis(self.fate.below(20_000)));
            if client_first { self.client_loses(key) } else { self.broker_loses(key) }
        } else {
            self.client_loses(key);
            self.broker_loses(key);
        }
    }

    /// A broker that stood still goes on: what waits in its sockets, what its sockets can take, and what its clock says
    /// come in any order.
    pub(super) fn resume(&mut self, node: usize) {
        let now = self.now;
        self.trace.add(now, format_args!("broker {node} goes on"));
        self.nodes[node].stalled_until = None;
        if self.fate.below(2) == 0
            && let Some(machine) = &mut self.nodes[node].machine
        {
            machine.handle_timeout(now);
        }
        let keys: Vec<u64> = self.links.iter().filter(|(_, link)| link.broker == node).map(|(key, _)| *key).collect();
        for key in keys {
            self.broker_reads(key);
            self.broker_writes(key);
        }
    }

    /// A broker crashes, before this output of it was carried out.
    pub(super) fn crash(&mut self, node: usize, output: Option<broker::Output>) {
        let Some(mut machine) = self.nodes[node].machine.take() else { return };
        for output in output.into_iter().chain(std::iter::from_fn(|| machine.poll_output())) {
            if let broker::Output::Event(event) = output {
                self.last_words(&event); // true all the same
            }
        }
        self.crashes += 1;
        self.nodes[node].doomed = None;
        self.nodes[node].stalled_until = None;
        let (kept, lost) = self.nodes[node].disk.crash(&mut self.fate);
        let down = Duration::from_millis(self.fate.below(3000));
        self.trace
            .add(self.now, format_args!("broker {node} crashes; of the unsynced batches {kept} are kept, {lost} lost"));
        self.nodes[node].up_at = Some(self.now + down);
        if self.scenario.faults.jumps {
            self.nodes[node].wall = EPOCH + Duration::from_millis(self.fate.below(10_000));
        }
        // A program that is killed leaves what its sockets have taken to the system; a machine without power does not.
        let power = self.fate.below(2) == 0;
        self.nodes[node].links.clear();
        self.nodes[node].answers.clear();
        // Of what the disk knew of connections that were lost, nothing is certain now.
        for actor in self.actors.iter_mut().filter(|actor| actor.diary.broker == node) {
            self.parted.remove(&actor.index);
            // Both sides knew of the connection, so the store knows of the Will.
            let known = self.present.remove(&actor.index) && actor.machine.is_connected();
            if known && actor.diary.durable && actor.will_delay.is_zero() {
                actor.diary.sure_losses.push(self.now);
            }
        }
        let keys: Vec<u64> = self.links.iter().filter(|(_, link)| link.broker == node).map(|(key, _)| *key).collect();
        for key in keys {
            if let Some(link) = self.links.get_mut(&key) {
                link.broker_gone = true;
                (link.conn, link.greeting) = (None, None); // the next broker gives the same names to others
                link.up.lose();
                link.up.dead = true;
                if power {
                    link.down.lose();
                    link.down.dead = true;
                }
                if link.client_gone {
                    self.links.remove(&key);
                } else {
                    // What travels still arrives; then the client finds out.
                    let late = if power && self.scenario.faults.half_open { 20_000 } else { 200 };
                    link.reset_at = Some(self.now + Duration::from_millis(self.fate.below(late)));
                }
            }
        }
    }

    pub(super) fn stranger(&mut self) {
        let node = self.fate.below(self.nodes.len() as u64) as usize;
        if self.nodes[node].machine.is_none() {
            return;
        }
        let script = noise::script(&mut self.fate);
        self.strangers += 1;
        self.trace
            .add(self.now, format_args!("stranger {} sends {} bytes to broker {node}", self.strangers, script.len()));
        let greeting = Greeting::new(&self.nodes[node].config, self.now);
        let mut link = Link::new(Owner::Stranger(self.strangers), node, greeting);
        for portion in script.chunks(1 + self.fate.below(64) as usize) {
            let delay = Duration::from_micros(self.fate.below(500_000));
            link.up.send(self.now + delay, portion);
        }
        // It never reads more than the pipe holds, and goes some time without a word.
        link.reset_at = Some(self.now + Duration::from_millis(1000 + self.fate.below(10_000)));
        self.add_link(link);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_at_which_a_broker_crashes_belongs_to_its_last_words() {
        let mut world = World::new(&Scenario::of(1, 1), false);
        world.start(0);
        let (receiver, reason) = ("client-0".into(), DropReason::QueueFull);
        world.crash(0, Some(broker::Output::Event(broker::Event::Dropped { receiver, count: 2, reason })));
        assert_eq!(world.dropped.get("client-0"), Some(&2));
    }
}
