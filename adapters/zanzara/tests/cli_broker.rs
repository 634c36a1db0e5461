//! `zanzara broker` as a person or a service manager meets it.
mod cli_support;

use cli_support::{Broker, Running, Scratch, run, text};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

#[test]
fn the_banner_says_where_and_how() {
    let broker = Broker::start(&[]);
    let banner = broker.banner.join("\n");
    let port = &broker.port;
    assert!(
        banner.starts_with(&format!("Zanzara {} listens on\n  mqtt://127.0.0.1:{port}\n", env!("CARGO_PKG_VERSION")))
    );
    // What it tells people to try works.
    let command = banner.lines().find(|line| line.contains("zanzara pub")).expect("a command to try");
    let arguments: Vec<&str> = command.split_whitespace().skip(1).filter(|word| !word.contains('\'')).collect();
    let subscriber = broker.subscriber(&["-v", "-t", "demo/#", "-C", "1"]);
    let mut arguments: Vec<&str> = arguments.into_iter().take_while(|word| *word != "-m").collect();
    arguments.extend(["-m", "hello world!"]);
    assert!(run(&arguments).status.success(), "{arguments:?}");
    assert_eq!(subscriber.line(), "demo/greeting hello world!");
    assert_eq!(subscriber.end().0, Some(0));
}

#[test]
fn broker_is_a_command_and_the_default() {
    for first in [&[][..], &["broker"]] {
        let mut arguments = first.to_vec();
        arguments.extend(["--listen", "tcp://127.0.0.1:0", "--ephemeral", "--shards", "1", "--durability", "memory"]);
        let running = Running::start(&arguments);
        assert!(running.line().contains("listens on"));
    }
}

#[cfg(unix)]
#[test]
fn a_signal_ends_it_in_good_order() {
    for signal in ["TERM", "INT"] {
        let broker = Broker::start(&["--drain-timeout", "1h"]);
        let subscriber = broker.subscriber(&["-t", "x"]);
        broker.running.signal(signal);
        let (code, log) = broker.running.end();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains(&format!("SIG{signal}")), "{log}");
        drop(subscriber);
    }
}

#[cfg(unix)]
#[test]
fn a_second_signal_ends_it_at_once() {
    let mut broker = Broker::start(&["--drain-timeout", "1h"]);
    // A subscriber that does not read what would not fit into any socket buffer: its connection takes a while to end.
    let mut frozen = TcpStream::connect(format!("127.0.0.1:{}", broker.port)).unwrap();
    frozen.write_all(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01f\x82\x06\x00\x01\x00\x01x\x00").unwrap();
    frozen.read_exact(&mut [0; 9]).unwrap();
    let large = Scratch::new("large", &"x".repeat(48 << 20));
    assert!(broker.client("pub", &["-q", "1", "-t", "x", "-f", large.path()]).status.success());

    broker.running.signal("TERM");
    let mut log = BufReader::new(broker.running.child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("SIGTERM") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "it says that it ends");
    }
    broker.running.signal("TERM");
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert_eq!(broker.running.child.wait().unwrap().code(), Some(1));
    assert!(rest.contains("second signal"), "{rest}");
}

#[test]
fn what_it_cannot_do_is_refused_with_a_reason() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("mqtt://{}", taken.local_addr().unwrap());
    for (arguments, code, part) in [
        (&["--shards", "2"][..], 2, "--shards: only 1"),
        (&["--shards", "0"], 2, "--shards: only 1"),
        (&["--ephemeral", "--durability", "disk"], 2, "--durability: everything is in memory"),
        (&["--data", "/dev/null"], 1, "/dev/null"),
        (&["store", "check", "/nowhere/data"], 2, "there is no such folder"),
        (&["store", "stats", "/nowhere/data"], 2, "there is no such folder"),
        (&["--durability", "paper"], 2, "[possible values: memory, os, disk]"),
        (&["--listen", "mqtts://localhost"], 2, "--tls-certificate FILE and --tls-key FILE"),
        (&["--listen", "wss://localhost", "--tls-key", "x"], 2, "--tls-certificate"),
        (&["--listen", "http://localhost"], 2, "unknown protocol"),
        (&["--ephemeral", "--listen", "unix:///nowhere/x"], 1, "/nowhere/x"),
        (&["--listen", "localhost"], 2, "mqtt://127.0.0.1:1883"),
        (&["--drain-timeout", "soon"], 2, "\"10s\""),
        (&["--config", "/nowhere/zanzara.toml"], 2, "cannot read /nowhere/zanzara.toml"),
        (&["--nonsense"], 2, "--nonsense"),
        (&["--ephemeral", "--listen", &taken], 1, "another port"),
    ] {
        let output = run(arguments);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(errors.contains(part), "{part} is missing in: {errors}");
    }
}

#[test]
fn without_a_word_data_is_kept_in_the_working_directory() {
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-working", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir); // of an earlier process with the same number
    std::fs::create_dir(&dir).unwrap();
    for found in ["0 retained messages", "1 retained messages"] {
        let mut command = cli_support::zanzara(&["--listen", "mqtt://127.0.0.1:0"]);
        command.current_dir(&dir);
        let broker = Broker::from(Running::spawn(command));
        let banner = broker.banner.join("\n");
        assert!(banner.contains("kept in zanzara-data") && banner.contains(found), "{banner}");
        assert!(broker.client("pub", &["-r", "-q", "1", "-t", "kept", "-m", "a"]).status.success());
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_folder_keeps_what_a_signal_or_a_kill_ends() {
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-data", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir); // of an earlier process with the same number
    let data = ["--data", dir.to_str().unwrap()];
    let broker = Broker::start(&data);
    let banner = broker.banner.join("\n");
    assert!(banner.contains(data[1]) && banner.contains("when the disk has it"), "{banner}");
    assert!(banner.contains("0 sessions, 0 subscriptions, 0 queued and 0 retained messages"), "{banner}");
    assert!(broker.client("pub", &["-r", "-q", "1", "-t", "kept/1", "-m", "a"]).status.success());

    let second = run(&["--listen", "mqtt://127.0.0.1:0", "--data", data[1]]);
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("another process uses this folder"), "{}", text(&second.stderr));
    let busy = run(&["store", "check", data[1]]);
    assert!(text(&busy.stderr).contains("another process uses this folder"), "{}", text(&busy.stderr));

    drop(broker); // killed
    let broker = Broker::start(&data);
    assert!(broker.banner.join("\n").contains("1 retained messages"), "{:?}", broker.banner);
    assert!(broker.client("pub", &["-r", "-q", "2", "-t", "kept/2", "-m", "b"]).status.success());
    #[cfg(unix)]
    {
        broker.running.signal("TERM");
        assert_eq!(broker.running.end().0, Some(0));
    }
    #[cfg(not(unix))]
    drop(broker);

    let check = run(&["store", "check", data[1]]);
    assert_eq!(check.status.code(), Some(0), "{}", text(&check.stderr));
    assert!(text(&check.stdout).contains(": ok, "), "{}", text(&check.stdout));
    let stats = text(&run(&["store", "stats", data[1]]).stdout);
    assert!(stats.contains("retained messages: 2\n") && stats.contains("unusable records: 0\n"), "{stats}");
    let broker = Broker::start(&data);
    let subscriber = broker.subscriber(&["-v", "-t", "kept/+", "-C", "2"]);
    let mut lines = subscriber.rest();
    lines.sort();
    assert_eq!(lines, ["kept/1 a", "kept/2 b"]);
    drop(broker);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn check_config_says_ok_or_what_is_wrong() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/zanzara.example.toml");
    let output = run(&["check-config", example]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), format!("{example}: ok\n")));

    let wrong = Scratch::new("wrong.toml", "[session]\nmax_queued_bytes = \"a lot\"\n");
    for arguments in [&["check-config", wrong.path()][..], &["--config", wrong.path()]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2));
        let errors = text(&output.stderr);
        let place = format!("{}:2:20: session.max_queued_bytes: ", wrong.path());
        assert!(errors.contains(&place) && errors.contains("\"256MiB\""), "{errors}");
    }
}

#[test]
fn the_command_line_wins_over_the_file() {
    let file = Scratch::new(
        "file.toml",
        "listen = [\"mqtt://127.0.0.1:1\"]\n[log]\nlevel = \"off\"\nformat = \"json\"\n[connection]\nmax_packet_size = 200\n",
    );
    let broker = Broker::start(&["--config", file.path(), "--log-level", "info"]);
    // The file counts where the command line says nothing: 200 bytes are the limit.
    let output = broker.client("pub", &["-t", "x", "-m", &"x".repeat(300)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("at most 200 bytes"), "{}", text(&output.stderr));
    #[cfg(unix)]
    {
        broker.running.signal("TERM");
        let (_, log) = broker.running.end();
        assert!(log.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{log}");
        assert!(log.contains("\"message\":\"client connected\""), "{log}");
    }
}

#[test]
fn version_and_help_are_there() {
    let output = run(&["--version"]);
    assert_eq!(text(&output.stdout), format!("zanzara {}\n", env!("CARGO_PKG_VERSION")));
    let help = text(&run(&["--help"]).stdout);
    for word in ["broker", "pub", "sub", "check-config", "--listen", "Exit codes"] {
        assert!(help.contains(word), "{word} is missing in: {help}");
    }
}

#[cfg(unix)]
#[test]
fn too_few_open_files_are_survived() {
    // The limit is set by the shell, for a broker that cannot raise it.
    let binary = env!("CARGO_BIN_EXE_zanzara");
    let script = format!("ulimit -n 40; exec '{binary}' --ephemeral --listen mqtt://127.0.0.1:0");
    let mut command = std::process::Command::new("sh");
    command.arg("-c").arg(script);
    let mut broker = Broker::from(Running::spawn(command));
    let mut clients: Vec<TcpStream> = (0..60)
        .map(|_| {
            // The system completes the connection, whether or not the broker can accept it.
            let mut stream = TcpStream::connect(format!("127.0.0.1:{}", broker.port)).unwrap();
            stream.write_all(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00").unwrap();
            stream.set_read_timeout(Some(cli_support::PATIENCE)).unwrap();
            stream
        })
        .collect();
    let mut log = BufReader::new(broker.running.child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("limit of open files") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "it says what it is short of");
    }
    // Those that are connected are served all the same.
    clients[0].read_exact(&mut [0; 4]).unwrap();
    clients[0].write_all(b"\xC0\x00").unwrap();
    clients[0].read_exact(&mut [0; 2]).unwrap();
    // Room that is made goes to those who wait.
    for mut client in clients.drain(..).skip(1) {
        client.read_exact(&mut [0; 4]).unwrap();
    }
}
