//! The real broker binary, driven by clients of other vendors and by its own command line.
//!
//! Each test starts a broker of its own on a free loopback port and stops it by its process id. Nothing here waits for a fixed
//! time: a broker is ready when it answers CONNECT, a subscriber when it has printed a retained message of the topic
//! [`support::READY`], which it subscribes together with what it is there for.
//!
//! `cargo xtask test` sets the variables that say where the other vendors' tools are (see [`support::tools`]). A test whose tool is
//! missing says `skipped: …` and passes, unless `ZANZARA_REQUIRE_TOOLS=1` makes that a failure.
//!
//! `ZANZARA_TEST_BROKER=mosquitto` runs the same tests against mosquitto (the binary that `ZANZARA_MOSQUITTO` names), which tells
//! whether a failure is the broker's or the test's.

mod aiomqtt;
mod gmqtt;
mod mosquitto;
mod mqttjs;
mod own_command_line;
mod own_library;
mod paho;
mod seed;
mod support;
mod transports;
