//! The configuration file: any text is either a configuration or an error on one line.
#![allow(dead_code)] // the binary uses the rest

#[allow(unused_imports)] // likewise
#[path = "../../adapters/zanzara/src/config/mod.rs"]
mod zanzara;

use std::{fs, process, thread};

/// Reads the bytes as a file, and makes a broker's configuration of what they say. It goes by way of a real file: that is
/// the only door that the binary opens.
///
/// # Panics
/// Where a promise is broken.
pub fn config(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let name = format!("zanzara-fuzz-{}-{:?}.toml", process::id(), thread::current().id());
    let path = std::env::temp_dir().join(name);
    fs::write(&path, text).expect("the folder for temporary files takes one");
    let read = zanzara::read(&path);
    fs::remove_file(&path).expect("it was just written");
    match read {
        Ok(file) => drop(file.config()),
        Err(error) => {
            assert!(!error.contains('\n'), "{error}");
            let place = error.strip_prefix(&format!("{}:", path.display())).expect("an error begins with the file");
            let line: usize = place.split(':').next().and_then(|line| line.parse().ok()).expect("then comes the line");
            assert!((1..=text.matches('\n').count() + 1).contains(&line), "{error}");
        }
    }
}
