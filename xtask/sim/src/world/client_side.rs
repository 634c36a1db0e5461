//! The machines of the clients, between their users and the network.
use super::*;

impl World {
    pub(super) fn serve_actor(&mut self, index: usize) -> bool {
        let now = self.now;
        if self.actors[index].is_frozen(now) {
            return false;
        }
        let mut any = self.actors[index].take_messages(now, &mut self.trace);
        if !self.troubled {
            any |= self.actors[index].acknowledge_all(now);
        }
        while let Some(output) = self.actors[index].machine.poll_output() {
            any = true;
            match output {
                client::Output::Connect { .. } => self.dial(index),
                client::Output::Writable => self.client_writes(index),
                client::Output::Readable => {
                    if let Some(key) = self.actors[index].link {
                        self.client_reads(key);
                    }
                }
                client::Output::Close => {
                    self.client_writes(index);
                    if let Some(key) = self.actors[index].link.take() {
                        self.client_hangs_up(key);
                    }
                }
                client::Output::Store(batch) => {
                    let slow = self.scenario.faults.slow_disk && self.troubled;
                    if let Some(disk) = &mut self.actors[index].disk {
                        disk.write(now, batch, slow);
                    }
                }
                client::Output::Event(event) => self.actors[index].note(now, &event, &mut self.trace),
                other => self.trace.add(now, format_args!("client {index}: {other:?}")),
            }
        }
        any
    }

    pub(super) fn dial(&mut self, index: usize) {
        let now = self.now;
        let broker = self.actors[index].diary.broker;
        if self.nodes[broker].machine.is_none() {
            self.actors[index].handle_disconnected(now); // refused
            return;
        }
        let greeting = Greeting::new(&self.nodes[broker].config, now);
        let key = self.add_link(Link::new(Owner::Client(index), broker, greeting));
        self.actors[index].link = Some(key);
        self.actors[index].handle_connected(now);
    }

    pub(super) fn client_writes(&mut self, index: usize) {
        let now = self.now;
        let Some(key) = self.actors[index].link else { return };
        loop {
            let delay = self.delay();
            let Some(link) = self.links.get(&key) else { return };
            let room = link.up.room();
            let chunk = self.actors[index].machine.transmit().chunks().next().map(<[u8]>::to_vec);
            let Some(chunk) = chunk else { return };
            let count = self.portion(chunk.len().min(room));
            let Some(link) = self.links.get_mut(&key) else { return };
            link.up.blocked = count == 0;
            if count == 0 {
                return;
            }
            link.up.send(now + delay, &chunk[..count]);
            self.actors[index].transmitted(now, count);
        }
    }

    pub(super) fn client_reads(&mut self, key: u64) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&key) else { return };
        let Owner::Client(index) = link.owner else { return };
        if self.actors[index].link != Some(key) || self.actors[index].is_frozen(now) {
            return;
        }
        let before = link.down.arrived.len();
        self.actors[index].handle_input(now, &mut link.down.arrived);
        link.down.taken(before);
        if link.down.blocked && link.down.room() > 0 {
            self.broker_writes(key);
        }
    }

    /// The client's end learns that the connection is gone.
    pub(super) fn client_loses(&mut self, key: u64) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&key) else { return };
        link.client_gone = true;
        if let Owner::Client(index) = link.owner
            && self.actors[index].link == Some(key)
        {
            self.actors[index].link = None;
            self.actors[index].handle_disconnected(now);
        }
        self.forget(key);
    }

    /// The client is killed, as a program whose sockets the system closes, or as a machine without power.
    pub(super) fn kill(&mut self, index: usize) {
        let now = self.now;
        let power = self.fate.below(2) == 0;
        let until = now + Duration::from_millis(self.fate.below(3000));
        let actor = &mut self.actors[index];
        if actor.killed {
            return;
        }
        let Some((kept, lost)) = actor.kill(until) else { return };
        self.trace
            .add(now, format_args!("client {index} is killed; of the batches not synced {kept} are kept, {lost} lost"));
        let Some(key) = self.actors[index].link.take() else { return };
        if !power {
            return self.client_hangs_up(key);
        }
        let late = if self.scenario.faults.half_open { 20_000 } else { 200 };
        let late = Duration::from_millis(self.fate.below(late));
        let Some(link) = self.links.get_mut(&key) else { return };
        link.client_gone = true;
        for pipe in [&mut link.up, &mut link.down] {
            pipe.lose();
            pipe.dead = true;
        }
        link.reset_at = Some(now + late);
        self.forget(key);
    }

    /// The client closes: what it wrote still arrives, then the broker learns it.
    pub(super) fn client_hangs_up(&mut self, key: u64) {
        let delay = self.delay();
        let Some(link) = self.links.get_mut(&key) else { return };
        let last = link.up.next_arrival().unwrap_or(self.now).max(self.now);
        link.reset_at = Some(last + delay + Duration::from_millis(1));
        link.client_gone = true;
        link.down.lose();
        link.down.dead = true;
        self.forget(key);
    }
}
