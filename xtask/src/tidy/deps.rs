//! Dependencies point one way: adapters use the session, the session uses codec and trie, and those use
//! next to nothing.
use super::{Finding, PURE};
use crate::run::{self, Result};
use serde_json::Value;
use std::collections::BTreeSet;

/// A crate of the workspace and what it names as dependencies.
pub(super) struct Member {
    name: String,
    /// The manifest, from the workspace's folder.
    manifest: String,
    dependencies: Vec<Dependency>,
}

struct Dependency {
    name: String,
    /// Only tests, examples and benches see it.
    dev: bool,
}

/// What the shipped code of each pure crate may name.
const ALLOWED: [(&str, &[&str]); 3] =
    [("mqtt-proto", &["bytes", "nom"]), ("topic-trie", &[]), ("mqtt-session", &["bytes", "mqtt-proto", "topic-trie"])];

/// The one crate that composes adapters.
const COMPOSER: &str = "zanzara";

/// Pipes of bytes, with their level: without IO, so that every runtime's adapter can stand on them, and on each other.
const PIPES: [(&str, u8); 3] = [("mqtt-tls", 0), ("mqtt-ws", 0), ("mqtt-pipes", 1)];

/// Reads the workspace's crates from `cargo metadata`.
pub(super) fn graph() -> Result<Vec<Member>> {
    let mut cargo = run::cargo();
    let json = run::output(cargo.args(["metadata", "--format-version=1", "--no-deps", "--offline"]))?;
    let metadata: Value = serde_json::from_str(&json)?;
    let root = metadata["workspace_root"].as_str().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let member = |package: &Value| Member {
        name: text(&package["name"]),
        manifest: text(&package["manifest_path"]).trim_start_matches(root).trim_start_matches('/').to_owned(),
        dependencies: list(&package["dependencies"])
            .map(|dependency| Dependency { name: text(&dependency["name"]), dev: dependency["kind"] == "dev" })
            .collect(),
    };
    Ok(list(&metadata["packages"]).map(member).collect())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Finds every dependency that points the wrong way.
pub(super) fn one_way(members: &[Member]) -> Vec<Finding> {
    let names: BTreeSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
    let adapters: BTreeSet<&str> =
        members.iter().filter(|member| is_adapter(member)).map(|member| member.name.as_str()).collect();
    let mut findings = Vec::new();
    for member in members {
        for dependency in &member.dependencies {
            if let Some(rule) = broken(member, dependency, &names, &adapters) {
                findings.push(Finding::new(&member.manifest, 0, format!("depends on `{}`: {rule}", dependency.name)));
            }
        }
    }
    for name in PURE.iter().filter(|name| !names.contains(**name)) {
        findings.push(Finding::new("Cargo.toml", 0, format!("the pure crate `{name}` is no member")));
    }
    findings
}

fn is_adapter(member: &Member) -> bool {
    member.manifest.starts_with("adapters/")
}

/// The rule that the dependency breaks.
fn broken(
    member: &Member,
    dependency: &Dependency,
    names: &BTreeSet<&str>,
    adapters: &BTreeSet<&str>,
) -> Option<&'static str> {
    let other = dependency.name.as_str();
    if let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == member.name) {
        // For tests any crate of others will do, yet none of ours from above.
        let is_free = dependency.dev && !names.contains(other);
        return (!is_free && !allowed.contains(&other))
            .then_some("a pure crate names only what is listed in xtask's tidy/deps.rs");
    }
    let level = |name: &str| PIPES.iter().find(|pipe| pipe.0 == name).map(|pipe| pipe.1);
    let is_below = level(other).is_some_and(|below| level(&member.name).is_none_or(|above| below < above));
    // Tests and examples may show how adapters go together.
    if is_adapter(member) && adapters.contains(other) && member.name != COMPOSER && !dependency.dev && !is_below {
        return Some("adapters know nothing of each other, pipes apart; `zanzara` composes them");
    }
    let is_tool = |name: &str| names.contains(name) && !adapters.contains(name) && !PURE.contains(&name);
    (is_adapter(member) && is_tool(other)).then_some("tools and benches stand above the adapters")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(member: (&str, &str), dependency: &str, dev: bool) -> usize {
        let empty = |name: &str, manifest: &str| Member {
            name: name.to_owned(),
            manifest: manifest.to_owned(),
            dependencies: Vec::new(),
        };
        let mut members = vec![
            empty("mqtt-proto", "mqtt-proto/Cargo.toml"),
            empty("topic-trie", "topic-trie/Cargo.toml"),
            empty("mqtt-session", "mqtt-session/Cargo.toml"),
            empty("mqtt-tokio", "adapters/tokio/Cargo.toml"),
            empty("mqtt-tls", "adapters/tls/Cargo.toml"),
            empty("mqtt-ws", "adapters/ws/Cargo.toml"),
            empty("mqtt-pipes", "adapters/pipes/Cargo.toml"),
            empty("mqtt-store-fjall", "adapters/store-fjall/Cargo.toml"),
            empty("zanzara", "adapters/zanzara/Cargo.toml"),
            empty("xtask", "xtask/Cargo.toml"),
        ];
        members.retain(|present| present.name != member.0);
        let dependencies = vec![Dependency { name: dependency.to_owned(), dev }];
        members.push(Member { dependencies, ..empty(member.0, member.1) });
        one_way(&members).len()
    }

    #[test]
    fn pure_crates_name_only_what_is_listed() {
        let proto = ("mqtt-proto", "mqtt-proto/Cargo.toml");
        assert_eq!(findings(proto, "bytes", false), 0);
        assert_eq!(findings(proto, "serde", false), 1);
        assert_eq!(findings(proto, "proptest", true), 0);
        assert_eq!(findings(proto, "mqtt-session", true), 1);
        assert_eq!(findings(("topic-trie", "topic-trie/Cargo.toml"), "mqtt-proto", false), 1);
        assert_eq!(findings(("mqtt-session", "mqtt-session/Cargo.toml"), "mqtt-tokio", false), 1);
    }

    #[test]
    fn only_zanzara_composes_adapters() {
        assert_eq!(findings(("mqtt-tokio", "adapters/tokio/Cargo.toml"), "mqtt-store-fjall", false), 1);
        assert_eq!(findings(("mqtt-tokio", "adapters/tokio/Cargo.toml"), "mqtt-pipes", false), 0);
        assert_eq!(findings(("mqtt-pipes", "adapters/pipes/Cargo.toml"), "mqtt-tls", false), 0);
        assert_eq!(findings(("mqtt-tls", "adapters/tls/Cargo.toml"), "mqtt-pipes", false), 1);
        assert_eq!(findings(("mqtt-ws", "adapters/ws/Cargo.toml"), "mqtt-tls", false), 1);
        assert_eq!(findings(("mqtt-tokio", "adapters/tokio/Cargo.toml"), "mqtt-store-fjall", true), 0);
        assert_eq!(findings(("zanzara", "adapters/zanzara/Cargo.toml"), "mqtt-tls", false), 0);
        assert_eq!(findings(("zanzara", "adapters/zanzara/Cargo.toml"), "xtask", true), 1);
        assert_eq!(findings(("mqtt-tokio", "adapters/tokio/Cargo.toml"), "tokio", false), 0);
    }

    #[test]
    fn a_pure_crate_cannot_vanish() {
        assert_eq!(one_way(&[]).len(), PURE.len());
    }

    #[test]
    fn the_workspace_is_read() {
        let members = graph().unwrap();
        let session = members.iter().find(|member| member.name == "mqtt-session").unwrap();
        assert_eq!(session.manifest, "mqtt-session/Cargo.toml");
        assert!(session.dependencies.iter().any(|dependency| dependency.name == "mqtt-proto" && !dependency.dev));
    }
}
