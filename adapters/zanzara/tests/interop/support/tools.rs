//! Where the other vendors' programs are, and what to do without them.
//!
//! | variable | what it names |
//! |---|---|
//! | `ZANZARA_MOSQUITTO` | the mosquitto broker |
//! | `ZANZARA_MOSQUITTO_CLIENTS` | the folder of `mosquitto_pub`, `mosquitto_sub` and `mosquitto_rr` |
//! | `ZANZARA_PYTHON` | a Python interpreter with paho-mqtt, aiomqtt and gmqtt |
//! | `ZANZARA_NODE_MODULES` | the `node_modules` folder that holds MQTT.js |
//! | `ZANZARA_REQUIRE_TOOLS` | `1`: a missing tool fails the test |
//! | `ZANZARA_SKIP_LOG` | a file to which a skipping test appends its line |

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

/// The mosquitto broker.
pub(crate) fn mosquitto_broker() -> Option<PathBuf> {
    find("ZANZARA_MOSQUITTO", "the mosquitto broker", Path::is_file)
}

/// The folder of mosquitto's command line clients.
pub(crate) fn mosquitto_clients() -> Option<PathBuf> {
    find("ZANZARA_MOSQUITTO_CLIENTS", "mosquitto_pub, mosquitto_sub and mosquitto_rr", |path| {
        ["mosquitto_pub", "mosquitto_sub", "mosquitto_rr"].iter().all(|name| path.join(name).is_file())
    })
}

/// A command that runs one of the Python scripts beside these tests.
pub(crate) fn python(script: &str) -> Option<Command> {
    let interpreter = find("ZANZARA_PYTHON", "a Python with paho-mqtt, aiomqtt and gmqtt", Path::is_file)?;
    let mut command = Command::new(interpreter);
    command.arg("-u").arg("-B").arg(tests().join("python").join(script));
    Some(command)
}

/// A command that runs one of the Node.js scripts beside these tests.
pub(crate) fn node(script: &str) -> Option<Command> {
    let modules = node_modules()?;
    let mut command = Command::new("node");
    command.env("NODE_PATH", modules).arg(tests().join("node").join(script));
    Some(command)
}

/// A command that runs MQTT.js' own command line.
pub(crate) fn mqtt_js() -> Option<Command> {
    let modules = node_modules()?;
    let mut command = Command::new("node");
    command.arg(modules.join("mqtt/build/bin/mqtt.js"));
    Some(command)
}

fn node_modules() -> Option<PathBuf> {
    find("ZANZARA_NODE_MODULES", "Node.js with MQTT.js", |path| path.join("mqtt/build/bin/mqtt.js").is_file())
}

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn find(variable: &str, what: &str, usable: impl FnOnce(&Path) -> bool) -> Option<PathBuf> {
    let path = env::var_os(variable).map(PathBuf::from).filter(|path| usable(path));
    if path.is_none() {
        skip(&format!("needs {what} ({variable})"));
    }
    path
}

fn skip(reason: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("skipped: {test}: {reason}");
    assert!(env::var("ZANZARA_REQUIRE_TOOLS").map_or(true, |value| value != "1"), "{line}");
    println!("{line}");
    if let Some(log) = env::var_os("ZANZARA_SKIP_LOG") {
        let mut log = OpenOptions::new().create(true).append(true).open(log).expect("the skip log can be written");
        writeln!(log, "{line}").expect("the skip log takes a line");
    }
}
