//! The configuration file: TOML that mirrors the broker's [`Config`](mqtt_tokio::broker::Config), with units.
//!
//! Invariants: an empty file means the defaults; a key that is not known is an error; every error names file, line, key
//! and what is allowed.
mod file;
mod listener;
mod units;

pub(crate) use file::{Durability, File};
pub(crate) use units::duration;

use mqtt_tokio::broker::PortSettings;
use std::fmt::Write as _;
use std::path::Path;

/// Reads a configuration file. The error is ready to be printed.
pub(crate) fn read(path: &Path) -> Result<File, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    parse(&text).map_err(|error| format!("{}:{error}", path.display()))
}

/// Reads the text of a configuration file. The error begins with line and column.
fn parse(text: &str) -> Result<File, String> {
    let deserializer = toml::Deserializer::parse(text).map_err(|error| describe(text, "", &error))?;
    let file: File = serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let key = error.path().to_string();
        describe(text, &key, error.inner())
    })?;
    let begins = |line: &str| line.trim_start().starts_with("[[listener]]");
    let lines = (1..).zip(text.lines()).filter(|(_, line)| begins(line)).map(|(number, _)| number);
    Ok(File { listener_lines: lines.collect(), ..file })
}

impl File {
    /// Where to listen, with what; and how errors call it.
    pub(crate) fn ports(&self) -> Vec<(PortSettings, String)> {
        let mut ports = Vec::new();
        if self.listen.is_given() || self.listener.is_empty() {
            let plain = |endpoint| (PortSettings::new(endpoint), "listen".to_owned());
            ports.extend(self.listen.endpoints().into_iter().map(plain));
        }
        for (index, listener) in self.listener.iter().enumerate() {
            let name = match self.listener_lines.get(index) {
                Some(line) => format!("{line}: listener[{index}]"),
                None => format!("listener[{index}]"), // written as an inline table
            };
            ports.push((listener.port(), name));
        }
        ports
    }
}

/// `line:column: key: what is wrong`.
fn describe(text: &str, key: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let mut message = format!("{line}:{column}: ");
    if !key.is_empty() && key != "." {
        let _ = write!(message, "{key}: "); // writing to a String cannot fail
    }
    message.push_str(error.message().trim_end());
    message.replace('\n', "; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../zanzara.example.toml");

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(parse("").unwrap(), File::default());
    }

    #[test]
    fn the_example_states_the_defaults() {
        assert_eq!(parse(EXAMPLE).unwrap(), File::default());
    }

    #[test]
    fn the_example_names_every_key() {
        let listener = vec![listener::Listener::full()];
        let all = format!("{:#?}", File { listener, redirect: Some(file::Redirect::default()), ..File::default() });
        let keys = all
            .lines()
            .filter(|line| !line.contains("listener_lines"))
            .filter_map(|line| line.trim_start().split_once(": "))
            .map(|(key, _)| key);
        let mut count = 0;
        for key in keys {
            let named = EXAMPLE.lines().map(|line| line.trim_start_matches("# ")).any(|line| {
                line.split_once(" = ").is_some_and(|(name, _)| name == key)
                    || line == format!("[{key}]")
                    || line == format!("[[{key}]]")
                    || line == format!("[log.{key}]")
            });
            assert!(named, "{key} is missing in zanzara.example.toml");
            count += 1;
        }
        assert!(count > 40, "the keys were not found in the debug output");
    }

    #[test]
    fn the_commented_parts_of_the_example_are_right() {
        let text: String = EXAMPLE
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|rest| is_toml(rest)).unwrap_or(line))
            .fold(String::new(), |mut all, line| {
                all.push_str(line);
                all.push('\n');
                all
            });
        let file = parse(&text).unwrap();
        assert!(file.redirect.is_some());
        assert!(file.features.response_information.is_some());
        assert_eq!(file.listener.len(), 1);
        assert_eq!(file.ports().len(), 3);
    }

    #[test]
    fn a_listener_takes_the_place_of_the_default_addresses() {
        let ports = |text: &str| {
            let ports = parse(text).unwrap().ports();
            ports.into_iter().map(|(port, name)| format!("{name} {}", port.endpoint)).collect::<Vec<_>>()
        };
        assert_eq!(ports(""), ["listen mqtt://127.0.0.1:1883", "listen mqtt://[::1]:1883"]);
        assert_eq!(ports("\n[[listener]]\nurl = \"ws://a\"\n"), ["2: listener[0] ws://a:80"]);
        assert_eq!(
            ports("listen = [\"unix:///a\"]\n[[listener]]\nurl = \"ws://a\"\n[[listener]]\nurl = \"ws://b/c\"\n"),
            ["listen unix:///a", "2: listener[0] ws://a:80", "4: listener[1] ws://b:80/c"]
        );
        assert!(ports("listen = []\n").is_empty());
    }

    /// Whether a comment is a setting that is commented out.
    fn is_toml(line: &str) -> bool {
        line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '))
    }

    #[test]
    fn errors_name_line_key_and_what_is_allowed() {
        for (text, parts) in [
            ("[connection]\nmax_paket_size = 1\n", &["2:1", "max_paket_size", "`max_packet_size`"][..]),
            ("[connection]\nmax_packet_size = \"12 parsecs\"\n", &["2:19", "connection.max_packet_size", "\"256MiB\""]),
            ("\n\n[connection]\nmax_packet_size = \"1GiB\"\n", &["4:19", "connection.max_packet_size", "268435460"]),
            ("[connection]\nconnect_timeout = \"10\"\n", &["2:19", "connection.connect_timeout", "\"10s\""]),
            ("[connection]\nreceive_maximum = 0\n", &["2:19", "connection.receive_maximum", "nonzero"]),
            ("[connection]\nreceive_maximum = 70000\n", &["2:19", "connection.receive_maximum", "70000"]),
            ("[features]\nmaximum_qos = 3\n", &["2:15", "features.maximum_qos", "0, 1 or 2"]),
            ("[features]\nmin_protocol_level = 6\n", &["2:22", "features.min_protocol_level", "3 (MQTT 3.1)"]),
            ("[log]\nlevel = \"loud\"\n", &["2:9", "log.level", "`debug`"]),
            ("listen = [\"mqtt://a\", \"http://b\"]\n", &["1:10", "listen[1]", "unknown protocol"]),
            ("listen = 5\n", &["1:10", "listen", "sequence"]),
            ("listen = [\"mqtts://a\"]\n", &["1:10", "listen[0]", "certificate", "[[listener]]"]),
            ("[[listener]]\nurl = \"wss://a\"\n", &["1:1", "listener[0]", "`certificate`"]),
            ("[[listener]]\n", &["1:1", "listener[0]", "`url`"]),
            (
                "[[listener]]\nurl = \"ws://a\"\n\n[[listener]]\nurl = \"x://a\"\n",
                &["5:7", "listener[1].url", "unknown"],
            ),
            ("[[listener]]\nurl = \"ws://a\"\nkey = \"k\"\n", &["1:1", "listener[0]", "key", "wss://"]),
            ("[[listener]]\nurl = \"mqtt://a\"\npaths = [\"/\"]\n", &["1:1", "paths", "ws://"]),
            ("[[listener]]\nurl = \"ws://a\"\npaths = [\"a\"]\n", &["1:1", "paths", "begin with `/`"]),
            ("[[listener]]\nurl = \"ws://a/b\"\npaths = [\"/\"]\n", &["1:1", "paths", "/b"]),
            ("[[listener]]\nurl = \"ws://a\"\nidentity = \"x\"\n", &["3:12", "listener[0].identity", "`fingerprint`"]),
            ("[[listener]]\nurl = \"unix:///a\"\nproxies = []\n", &["1:1", "proxies", "TCP"]),
            ("[[listener]]\nurl = \"ws://a\"\nproxies = [\"10.0.0.1/8\"]\n", &["3:11", "proxies[0]", "10.0.0.0/8"]),
            (
                "[[listener]]\nurl = \"wss://a\"\ncertificate = \"c\"\nkey = \"k\"\nidentity_as_username = true\n",
                &["1:1", "identity_as_username", "client_ca"],
            ),
            ("[broker\n", &["1:8"]),
            ("x = 1\n", &["1:1", "unknown field", "`listen`"]),
        ] {
            let error = parse(text).unwrap_err();
            for part in parts {
                assert!(error.contains(part), "{part} is missing in: {error}");
            }
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
