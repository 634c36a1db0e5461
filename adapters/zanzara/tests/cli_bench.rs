//! `zanzara bench` against the broker, and against a broker that cheats.
mod cli_support;

use cli_support::{Broker, run, text};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// Runs `zanzara bench`; its exit code, its JSON and its complaints.
fn bench(port: &str, arguments: &str) -> (Option<i32>, Value, String) {
    let url = format!("mqtt://127.0.0.1:{port}");
    let mut all: Vec<&str> = vec!["bench"];
    all.extend(arguments.split_whitespace());
    all.extend(["--json", &url]);
    let output = run(&all);
    let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code(), json, text(&output.stderr))
}

/// The same; it has to be sound, and its check is returned.
fn sound(broker: &Broker, arguments: &str) -> (Value, Value) {
    let (code, json, errors) = bench(&broker.port, arguments);
    assert_eq!(code, Some(0), "{arguments}: {errors} {json}");
    assert_eq!(errors, "", "{arguments}: nothing is said on a standard error that is no terminal");
    let check = json["check"].clone();
    assert_eq!(check["sound"], true, "{arguments}: {check}");
    for fault in ["lost", "duplicated", "reordered", "foreign", "unacknowledged", "failed_clients"] {
        assert_eq!(check[fault], 0, "{arguments}: {fault}");
    }
    (json, check)
}

fn names(json: &Value) -> Vec<&str> {
    json["figures"].as_array().unwrap().iter().map(|figure| figure["name"].as_str().unwrap()).collect()
}

#[test]
fn flows_deliver_everything_in_each_version_and_qos() {
    let broker = Broker::start(&[]);
    for common in [
        "-q 0 -V 311",
        "-q 1 -V 5",
        "-q 2 -V 311 --window 3",
        "-q 2 -V 5 --size 5000",
        "-q 0 --topics 3",
        "-q 1 --threads 2",
    ] {
        for (flow, published, delivered) in [
            ("point-to-point --pairs 3 -n 100", 300, 300),
            ("fan-in --publishers 5 -n 50", 250, 250),
            ("fan-out --subscribers 7 -n 20", 20, 140),
            ("shared --publishers 4 --members 3 -n 50", 200, 200),
        ] {
            let (json, check) = sound(&broker, &format!("{flow} {common}"));
            assert_eq!(
                (&check["published"], &check["delivered"]),
                (&published.into(), &delivered.into()),
                "{flow} {common}"
            );
            assert_eq!(check["expected"], delivered);
            assert_eq!(json["command"], flow.split(' ').next().unwrap());
            assert!(names(&json).starts_with(&["delivered", "published"]), "{json}");
        }
    }
}

#[test]
fn a_flow_can_have_a_duration_and_tells_what_the_broker_costs() {
    let broker = Broker::start(&[]);
    let pid = broker.running.child.id();
    let (json, check) = sound(&broker, &format!("point-to-point --pairs 2 -d 200ms --warm-up 50ms --pid {pid}"));
    assert!(check["delivered"].as_u64().unwrap() > 0);
    sound(&broker, "fan-out --subscribers 3 -d 200ms --frozen 2 --rate 1000 -q 1");
    let expected: &[&str] = if cfg!(target_os = "linux") {
        &["delivered", "published", "broker CPU", "load CPU", "broker memory"]
    } else {
        &["delivered", "published"]
    };
    assert_eq!(names(&json), expected);
}

#[test]
fn latency_has_percentiles_of_every_message_that_was_due() {
    let broker = Broker::start(&[]);
    let (json, check) = sound(&broker, "latency --pairs 3 --rate 2000 -d 300ms --warm-up 100ms -q 1");
    // The schedule alone says how many there are, however busy the machine is: those due from 100 ms to 400 ms.
    assert_eq!(json["delays"][0]["name"], "delay from due to arrival");
    assert_eq!(json["delays"][0]["count"], 600, "{check}");
    assert_eq!(json["delays"][1]["name"], "delay from due to sending");
    let at = |key: &str| json["delays"][0][key].as_f64().unwrap();
    assert!(at("min") > 0.0 && at("min") <= at("p50") && at("p50") <= at("p99") && at("p99") <= at("max"));
}

#[test]
fn connections_subscriptions_retained_and_offline() {
    let broker = Broker::start(&[]);
    let (json, _) = sound(&broker, "connections --count 150 --at-once 20");
    assert_eq!(json["figures"][1]["name"], "answered a ping");
    assert_eq!(json["figures"][1]["value"], 150.0);

    let (json, check) = sound(&broker, "subscriptions --count 290 --clients 20 --batch 7 --publishers 2 -n 150 -q 1");
    assert_eq!((&check["published"], &check["delivered"]), (&300.into(), &3600.into()), "{json}");
    let (_, check) = sound(&broker, "subscriptions --exact --count 101 --clients 4 -n 50 -V 5");
    assert_eq!(check["delivered"], 500);

    for qos in 0..3 {
        let (json, check) = sound(&broker, &format!("retained --count 300 --publishers 2 --subscribers 3 -q {qos}"));
        assert_eq!(check["delivered"], 900);
        assert_eq!(names(&json).last(), Some(&"removed"));
    }
    let left = broker.client("sub", &["-t", "bench/#", "-W", "1"]);
    assert_eq!(text(&left.stdout), "", "what was stored is removed");

    for options in ["-q 1", "-q 2 -V 5"] {
        let (json, check) = sound(&broker, &format!("offline --sessions 1,9 --at-once 4 --messages 100 {options}"));
        assert_eq!((&check["published"], &check["delivered"]), (&200.into(), &1000.into()));
        assert_eq!(names(&json)[0], "published, 1 offline");
        assert!(names(&json).contains(&"drained, 9 offline"));
    }
    sound(&broker, "point-to-point --pairs 2 -n 100 -q 1 --persistent");
}

#[test]
fn people_get_a_table() {
    let broker = Broker::start(&[]);
    let url = format!("mqtt://user:secret@127.0.0.1:{}", broker.port);
    let output = run(&["bench", "point-to-point", "--pairs", "1", "-n", "10", &url]);
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert!(out.starts_with("point-to-point: 1 publishers"), "{out}");
    assert!(out.ends_with("check: 10 published, 10 of 10 delivered: sound\n"), "{out}");
    assert!(!out.contains("secret"), "{out}");
}

/// A broker for one pair and QoS 0 that passes on what its `plan` makes of the number of a message.
fn cheat(plan: fn(u64) -> &'static [usize]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    thread::spawn(move || {
        let mut publisher = listener.accept().unwrap().0;
        accept(&mut publisher);
        let mut subscriber = listener.accept().unwrap().0;
        accept(&mut subscriber);
        let subscribe = packet(&mut subscriber);
        subscriber.write_all(&[0x90, 3, subscribe[2], subscribe[3], 0]).unwrap();
        let mut past: Vec<Vec<u8>> = Vec::new();
        loop {
            let publish = packet(&mut publisher);
            if publish.first().is_none_or(|first| first >> 4 != 3) {
                return;
            }
            past.push(publish);
            let number = past.len() - 1;
            for back in plan(number as u64) {
                subscriber.write_all(&past[number - back]).unwrap();
            }
        }
    });
    port
}

fn accept(stream: &mut TcpStream) {
    assert_eq!(packet(stream)[0], 0x10);
    stream.write_all(&[0x20, 2, 0, 0]).unwrap();
}

/// A packet with its head; empty at the end.
fn packet(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = [0; 2];
    if stream.read_exact(&mut head).is_err() {
        return Vec::new();
    }
    assert!(head[1] < 0x80, "short packets only");
    let mut bytes = head.to_vec();
    bytes.resize(2 + usize::from(head[1]), 0);
    stream.read_exact(&mut bytes[2..]).unwrap();
    bytes
}

#[test]
fn a_broker_that_loses_repeats_or_mixes_is_found_out() {
    // Each names the messages to send at a message, by how far back they are.
    type Plan = fn(u64) -> &'static [usize];
    let plans: [(&str, u64, Plan); 4] = [
        ("", 0, |_| &[0]),
        ("lost", 1, |number| if number == 5 { &[] } else { &[0] }),
        ("duplicated", 1, |number| if number == 5 { &[0, 0] } else { &[0] }),
        ("reordered", 1, |number| match number {
            5 => &[],
            6 => &[0, 1],
            _ => &[0],
        }),
    ];
    for (fault, count, plan) in plans {
        let (code, json, errors) = bench(&cheat(plan), "point-to-point --pairs 1 -n 20 --window 10");
        assert_eq!(code, Some(i32::from(!fault.is_empty())), "{fault}: {errors} {json}");
        for name in ["lost", "duplicated", "reordered", "foreign"] {
            assert_eq!(json["check"][name], if name == fault { count } else { 0 }, "{fault}: {json}");
        }
        assert_eq!(errors.is_empty(), fault.is_empty(), "{errors}");
    }
}

#[test]
fn what_cannot_be_measured_has_a_code_and_a_reason() {
    let broker = Broker::start(&[]);
    for (arguments, code, part) in [
        ("point-to-point --size 15", 2, "expected 16"),
        ("point-to-point --window 30001", 2, "30000"),
        ("point-to-point -q 3", 2, "--qos"),
        ("point-to-point -n 1 -d 1s", 2, "cannot be used with"),
        ("point-to-point -V 31", 2, "expected 311 or 5"),
        ("point-to-point -t a/#", 2, "expected a topic"),
        ("latency --rate 0", 2, "0.001"),
        ("offline -q 0", 2, "use 1 or 2"),
        ("subscriptions --clients 5", 2, "--exact"),
        ("subscriptions --topics 5", 2, "do not go with"),
        ("shared --frozen 1", 2, "--frozen"),
        ("fan-in -V 5 -q 1 --window 30000", 1, "the broker takes"),
    ] {
        let (found, _, errors) = bench(&broker.port, arguments);
        assert_eq!(found, Some(code), "{arguments}: {errors}");
        assert!(errors.contains(part), "{part} is missing in: {errors}");
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (code, _, errors) = bench(&port.to_string(), "connections --count 1");
    assert_eq!(code, Some(1));
    assert!(errors.contains("refused"), "{errors}");
    let (code, _, errors) = bench(&port.to_string(), "fan-in");
    assert_eq!(code, Some(1));
    assert!(errors.contains("is a broker running there?"), "{errors}");
    let output = run(&["bench", "fan-in", "mqtts://127.0.0.1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("mqtts"));
}
