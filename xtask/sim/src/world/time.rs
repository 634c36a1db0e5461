//! Time: the next thing that is due happens, everything that follows from it happens, and time jumps on.
use super::*;

impl World {
    /// Time passes until `end`; whatever is due on the way happens at its time.
    pub(super) fn advance(&mut self, end: Instant) -> Result<(), Violation> {
        let mut rounds = 0;
        while let Some(at) = self.next_deadline().filter(|at| *at <= end) {
            rounds = if at > self.now { 0 } else { rounds + 1 };
            if rounds > ROUNDS {
                return Err(violation("progress", "time stands still: something is due for ever"));
            }
            self.now = self.now.max(at);
            self.due();
            self.react()?;
        }
        self.now = end;
        Ok(())
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let actors = self.actors.iter().filter_map(|actor| match actor.frozen_until {
            Some(until) => Some(until),
            None => [actor.deadline(), actor.slow_until].into_iter().flatten().min(),
        });
        let nodes = self.nodes.iter().filter_map(|node| {
            if node.stalled_until.is_some() {
                return node.stalled_until;
            }
            let machine = node.machine.as_ref().and_then(Broker::poll_timeout);
            let answer = node.answers.keys().next().map(|(at, _)| *at);
            let disk = [node.disk.deadline(), answer].into_iter().flatten().min().filter(|_| node.machine.is_some());
            [machine, disk, node.up_at].into_iter().flatten().min()
        });
        let links = self.links.values().filter_map(|link| {
            let serves = !link.broker_gone && self.nodes[link.broker].stalled_until.is_none();
            let greeting = link.greeting.as_ref().filter(|_| serves).map(Greeting::deadline);
            [link.deadline(), greeting].into_iter().flatten().min()
        });
        actors.chain(nodes).chain(links).min()
    }

    /// Everything that is due now.
    pub(super) fn due(&mut self) {
        let now = self.now;
        let mut thawed = Vec::new();
        let slow = self.scenario.faults.slow_disk && self.troubled;
        let fails = self.scenario.faults.failing_disk && self.troubled;
        for actor in &mut self.actors {
            if actor.frozen_until.is_some_and(|until| until <= now) {
                actor.frozen_until = None;
                actor.revive(now, &mut self.trace);
                thawed.push((actor.index, actor.link));
            }
            if actor.slow_until.is_some_and(|until| until <= now) {
                actor.slow_until = None;
            }
            if actor.frozen_until.is_none() {
                actor.sync(now, slow, fails);
                actor.handle_timeout(now);
            }
        }
        for (index, link) in thawed {
            if let Some(key) = link {
                self.client_reads(key);
            }
            self.client_writes(index);
        }
        for node in 0..self.nodes.len() {
            if self.nodes[node].up_at.is_some_and(|at| at <= now) {
                self.start(node);
            }
            if self.nodes[node].stalled_until.is_some_and(|until| until <= now) {
                self.resume(node);
            }
            let Node { machine: Some(machine), disk, answers, stalled_until: None, .. } = &mut self.nodes[node] else {
                continue;
            };
            match disk.sync(now, slow, fails, &mut self.net) {
                Some(Synced::Kept(upto)) => machine.handle_completion(now, Completion::Stored { upto }),
                Some(Synced::Failed(batches)) => {
                    self.trace.add(now, format_args!("disk {node} fails to keep {batches:?}"));
                    self.store_failures += 1;
                    for seq in batches {
                        machine.handle_completion(now, Completion::StoreFailed { seq });
                    }
                }
                None => {}
            }
            while let Some(completion) = disk.loaded(now, fails, &mut self.disks) {
                machine.handle_completion(now, completion);
            }
            while let Some(entry) = answers.first_entry().filter(|entry| entry.key().0 <= now) {
                machine.handle_completion(now, entry.remove());
            }
            machine.handle_timeout(now);
        }
        let keys: Vec<u64> = self.links.keys().copied().collect();
        for key in keys {
            self.link_due(key);
        }
    }

    pub(super) fn link_due(&mut self, key: u64) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&key) else { return };
        if let Some(until) = self.nodes[link.broker].stalled_until {
            link.reset_at = link.reset_at.map(|at| at.max(until)); // the broker cannot say when it hears of it
        }
        if link.reset_at.is_some_and(|at| at <= now) {
            // An orderly end is noticed behind the last byte: a reader that pauses has not come so far.
            let (client_closed, broker_closed) = (link.client_gone, link.broker_gone);
            let reads = matches!(link.owner, Owner::Client(_)); // strangers do not
            if client_closed && !link.up.is_empty() || broker_closed && reads && !link.down.is_empty() {
                link.reset_at = Some(now + Duration::from_millis(5));
                link.arrive(now);
                self.broker_reads(key);
                self.client_reads(key);
                return;
            }
            link.reset_at = None;
            self.client_loses(key);
            self.broker_loses(key);
            return;
        }
        if link.up.arrive(now) {
            self.broker_reads(key);
        }
        if let Some(link) = self.links.get_mut(&key)
            && link.down.arrive(now)
        {
            self.client_reads(key);
        }
        if let Some(link) = self.links.get(&key)
            && link.greeting.as_ref().is_some_and(|greeting| greeting.deadline() <= now)
            && self.nodes[link.broker].stalled_until.is_none()
        {
            self.broker_hangs_up(key);
        }
    }

    pub(super) fn delay(&mut self) -> Duration {
        let most = if self.scenario.faults.portions && self.troubled { 50_000_000 } else { 1_000_000 };
        Duration::from_nanos(self.net.below(most))
    }

    /// How many of `count` bytes a socket takes at once.
    pub(super) fn portion(&mut self, count: usize) -> usize {
        if count > 1 && self.scenario.faults.portions && self.net.below(3) == 0 {
            1 + self.net.below(count as u64 - 1) as usize
        } else {
            count
        }
    }

    /// Lets everything that follows from what happened happen, without time passing.
    pub(super) fn react(&mut self) -> Result<(), Violation> {
        for _ in 0..ROUNDS {
            let mut any = false;
            for index in 0..self.actors.len() {
                any |= self.serve_actor(index);
            }
            for node in 0..self.nodes.len() {
                any |= self.serve_node(node);
                self.check_budget(node)?;
            }
            if !any {
                return Ok(());
            }
        }
        Err(violation("progress", "outputs without end at one moment"))
    }
}
