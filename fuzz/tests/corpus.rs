//! What fuzzers found stays found: every committed input runs through its target, and a few thousand made-up ones too.
use std::{fs, path::Path};

#[test]
fn committed_inputs_pass() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, target) in zanzara_fuzz::TARGETS {
        for folder in ["seeds", "regressions"] {
            let Ok(entries) = fs::read_dir(root.join(folder).join(name)) else { continue };
            for entry in entries {
                let path = entry.unwrap().path();
                println!("{}", path.display());
                target(&fs::read(path).unwrap());
            }
        }
    }
}

/// The codec's own test vectors, one packet on a line: name, version, bytes in hexadecimal, and more.
#[test]
fn vectors_pass() {
    let mut count = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../mqtt-proto/testdata")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some(hex) = line.split('|').nth(2) else { continue };
            println!("{line}");
            let packet: Vec<u8> = hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
            zanzara_fuzz::decode_v3(&packet);
            zanzara_fuzz::decode_v5(&packet);
            count += 1;
        }
    }
    assert!(count > 100, "{count} vectors were found");
}

#[test]
fn made_up_inputs_pass() {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..2000 {
        let length = (next() % 512) as usize;
        let input: Vec<u8> = (0..length).map(|_| next().to_le_bytes()[0]).collect();
        for (name, target) in zanzara_fuzz::TARGETS {
            println!("{name}, round {round}");
            target(&input);
        }
    }
}
