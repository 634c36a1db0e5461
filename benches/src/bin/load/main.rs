//! A load generator for MQTT brokers that shares no code with this project's codec and client.
//!
//! One thread and one readiness loop drive every connection; packets are literal bytes. Each publisher keeps at most `--window` messages
//! on their way: a message counts as arrived when every subscriber has it and, with QoS 1 and 2, the publisher its acknowledgement. So
//! no broker is made to drop, with QoS 0 neither, and all are measured at the same depth. Sequence numbers in the payloads show losses,
//! repetitions and changes of order.

mod compare;
mod engine;
mod options;
mod plan;
mod process;
mod wire;

use std::process::ExitCode;

const USAGE: &str = "\
Usage: load run ADDRESS [--pid PID] [OPTIONS]        loads a running broker
       load compare --broker NAME=COMMAND… [OPTIONS]  starts brokers in turn and compares them

Options (lists are separated by commas; every combination is measured):
  --scenario LIST   NxN    N publishers, each to a subscriber of its own
                    N-1    N publishers to one subscriber
                    1-N    one publisher to N subscribers
                    N-$M   N publishers to M members of one shared subscription     [10x10]
  --qos LIST        0, 1, 2                                                         [0]
  --size LIST       bytes of payload, at least 16                                   [64]
  --window LIST     messages on their way, for each publisher                       [100]
  --protocol N      4 (MQTT 3.1.1) or 5                                             [4]
  --warm-up S       seconds before the measurement                                  [1]
  --seconds S       seconds of measurement                                          [3]
  --rounds N        measurements of each broker, in turn                            [3]

A COMMAND may hold {port} and {mosquitto.conf}, a configuration for that port without limits on queues. Where taskset and a second core
are there, a broker runs on core 0 and the load on core 1. Processor times are microseconds for each delivered message: the broker's
(with --pid, and always in a comparison) and the load's own. Where the latter nears the time between two messages, the load is the limit.

  load compare --broker mosquitto='mosquitto -c {mosquitto.conf}' \\
               --broker zanzara='target/release/zanzara --listen mqtt://127.0.0.1:{port}' --scenario 10x10,1-100 --qos 0,1
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.split_first() {
        Some((mode, rest)) if mode == "run" => compare::run(rest),
        Some((mode, rest)) if mode == "compare" => compare::compare(rest),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}
