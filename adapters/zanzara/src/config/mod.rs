//! The configuration file: TOML that mirrors the broker's [`Config`](mqtt_tokio::broker::Config), with units.
//!
//! Invariants: an empty file means the defaults; a key that is not known is an error; every error names file, line, key
//! and what is allowed.
mod file;
mod units;

pub(crate) use file::{Durability, File};
pub(crate) use units::duration;

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
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let key = error.path().to_string();
        describe(text, &key, error.inner())
    })
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
        let all =
            format!("{:#?}", File { listen: Vec::new(), redirect: Some(file::Redirect::default()), ..File::default() });
        let keys = all.lines().filter_map(|line| line.trim_start().split_once(": ")).map(|(key, _)| key);
        let mut count = 0;
        for key in keys {
            let named = EXAMPLE.lines().map(|line| line.trim_start_matches("# ")).any(|line| {
                line.split_once(" = ").is_some_and(|(name, _)| name == key)
                    || line == format!("[{key}]")
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
