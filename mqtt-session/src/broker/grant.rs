//! What a client may do, compiled so that each check stays inside the core (section 5.4.2).
//!
//! Invariant: a check is pure and costs O(rules × length); no rule means no.
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// What one client may publish and subscribe. Later rules win over earlier ones; without a matching rule the answer is no.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    rules: Vec<Rule>,
    external: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    allow: bool,
    publish: bool,
    subscribe: bool,
    filter: String,
}

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Publishing alone.
    Publish,
    /// Subscribing alone.
    Subscribe,
    /// Both.
    Both,
}

/// What a grant says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Allow,
    /// No.
    Deny,
    /// The outside decides: a [`Request::Authorize`](super::Request::Authorize).
    Ask,
}

impl Grant {
    /// Nothing is allowed, until rules are added.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Everything is allowed, subscribing to `$SYS` included; publishing below `$SYS` is the broker's alone.
    pub fn everything() -> Self {
        Self::nothing().rule(true, Access::Both, "#").rule(true, Access::Subscribe, "$SYS/#")
    }

    /// What the rules allow is asked from outside for each message as well.
    #[must_use]
    pub fn ask(mut self) -> Self {
        self.external = true;
        self
    }

    /// Adds a rule for topics and filters that lie inside `filter`. `#` alone covers all topics but those that begin with `$`.
    #[must_use]
    pub fn rule(mut self, allow: bool, access: Access, filter: &str) -> Self {
        self.rules.push(Rule {
            allow,
            publish: access != Access::Subscribe,
            subscribe: access != Access::Publish,
            filter: filter.to_string(),
        });
        self
    }

    /// May the client publish to this Topic Name?
    pub fn publish(&self, topic: &str) -> Verdict {
        if topic.strip_prefix("$SYS").is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            return Verdict::Deny; // `$SYS` itself reaches those who subscribe `$SYS/#`
        }
        self.verdict(self.rules.iter().rev().find(|rule| rule.publish && topic_trie::matches(&rule.filter, topic)))
    }

    /// May the client subscribe this filter (without its `$share` part)? An allowing rule must cover the whole of
    /// it; a denying rule applies as soon as it covers the whole of it.
    pub fn subscribe(&self, filter: &str) -> Verdict {
        self.verdict(self.rules.iter().rev().find(|rule| rule.subscribe && covers(&rule.filter, filter)))
    }

    fn verdict(&self, rule: Option<&Rule>) -> Verdict {
        match rule {
            Some(rule) if rule.allow && self.external => Verdict::Ask,
            Some(rule) if rule.allow => Verdict::Allow,
            _ => Verdict::Deny,
        }
    }
}

/// Whether every topic that `inner` matches is matched by `outer`.
fn covers(outer: &str, inner: &str) -> bool {
    if outer.starts_with(['+', '#']) && inner.starts_with('$') {
        return false; // [MQTT-4.7.2-1]
    }
    let mut outer = outer.split('/').peekable();
    let mut inner = inner.split('/');
    loop {
        match (outer.next(), inner.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(want), Some(level)) if want == level => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_covers_what_lies_inside_it() {
        for (outer, inner, expected) in [
            ("#", "a/b", true),
            ("#", "#", true),
            ("#", "$SYS/x", false),
            ("a/#", "a", true),
            ("a/#", "a/+/b", true),
            ("a/#", "#", false),
            ("a/+", "a/b", true),
            ("a/+", "a/+", true),
            ("a/+", "a/#", false),
            ("a/+", "a/b/c", false),
            ("a/b", "a/+", false),
            ("+/b", "$x/b", false),
        ] {
            assert_eq!(covers(outer, inner), expected, "{outer} over {inner}");
        }
    }

    #[test]
    fn later_rules_win_and_silence_means_no() {
        let grant = Grant::nothing().rule(true, Access::Both, "a/#").rule(false, Access::Publish, "a/secret");
        assert_eq!(grant.publish("a/open"), Verdict::Allow);
        assert_eq!(grant.publish("a/secret"), Verdict::Deny);
        assert_eq!(grant.subscribe("a/secret"), Verdict::Allow);
        assert_eq!(grant.publish("b"), Verdict::Deny);
        assert_eq!(grant.ask().publish("a/open"), Verdict::Ask);
    }

    #[test]
    fn nobody_writes_sys() {
        assert_eq!(Grant::everything().publish("$SYS/broker/uptime"), Verdict::Deny);
        assert_eq!(Grant::nothing().rule(true, Access::Both, "$SYS/#").publish("$SYS"), Verdict::Deny);
        assert_eq!(Grant::nothing().rule(true, Access::Both, "$SYSTEM").publish("$SYSTEM"), Verdict::Allow);
        assert_eq!(Grant::everything().subscribe("$SYS/#"), Verdict::Allow);
        assert_eq!(Grant::everything().publish("$other"), Verdict::Deny);
    }
}
