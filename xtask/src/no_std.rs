//! The pure crates build where there is no standard library.
//!
//! Without a second target: a generated crate brings its own panic handler and uses all three. Whenever one of
//! them, or what it depends on, reaches for `std`, there are two panic handlers and the compiler refuses.
use crate::{
    run::{self, Result},
    tidy::PURE,
};
use std::{fmt::Write, fs, path::Path};

/// A target that never had a standard library; checked when it is installed.
const BARE_TARGET: &str = "thumbv7em-none-eabi";

/// Builds the pure crates without `std`.
pub(crate) fn run() -> Result {
    let crates: Vec<(&str, String)> =
        PURE.iter().map(|name| (*name, run::root().join(name).display().to_string())).collect();
    let dir = run::target().join("xtask/no_std");
    build(&dir, &crates)?;
    println!("no_std: {} link without the standard library", PURE.join(", "));
    let installed = run::output(run::program("rustup").args(["target", "list", "--installed"])).unwrap_or_default();
    if installed.lines().any(|target| target == BARE_TARGET) {
        let packages = PURE.iter().flat_map(|name| ["--package", name]);
        run::run(run::cargo().args(["check", "--locked", "--target", BARE_TARGET]).args(packages))?;
    }
    Ok(())
}

/// Builds, in `dir`, a static library without `std` that uses the crates (name and folder).
fn build(dir: &Path, crates: &[(&str, String)]) -> Result {
    let mut manifest = String::from(MANIFEST);
    let mut code = String::from(CODE);
    for (name, path) in crates {
        writeln!(manifest, "{name} = {{ path = {path:?} }}")?;
        writeln!(code, "use {} as _;", name.replace('-', "_"))?;
    }
    fs::create_dir_all(dir.join("src"))?;
    fs::write(dir.join("Cargo.toml"), manifest)?;
    fs::write(dir.join("src/lib.rs"), code)?;
    // The same versions as everywhere else, and none that would have to be fetched.
    fs::copy(run::root().join("Cargo.lock"), dir.join("Cargo.lock"))?;
    let mut cargo = run::cargo();
    cargo.args(["build", "--quiet", "--offline"]).current_dir(dir).env("CARGO_TARGET_DIR", dir.join("target"));
    run::output(&mut cargo).map(drop)
}

const MANIFEST: &str = r#"[workspace]

[package]
name = "without-std"
version = "0.0.0"
edition = "2024"

[lib]
crate-type = ["staticlib"]

[profile.dev]
panic = "abort"

[dependencies]
"#;

const CODE: &str = r"#![no_std]

struct Nowhere;

unsafe impl core::alloc::GlobalAlloc for Nowhere {
    unsafe fn alloc(&self, _: core::alloc::Layout) -> *mut u8 {
        core::ptr::null_mut()
    }
    unsafe fn dealloc(&self, _: *mut u8, _: core::alloc::Layout) {}
}

#[global_allocator]
static ALLOCATOR: Nowhere = Nowhere;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

";

#[cfg(test)]
mod tests {
    use super::*;

    /// A crate with that code, and whether it builds.
    fn outcome(name: &str, code: &str) -> Result {
        let dir = run::target().join("xtask/no_std_test").join(name);
        let guilty = dir.join("guilty");
        fs::create_dir_all(guilty.join("src")).unwrap();
        fs::write(guilty.join("Cargo.toml"), "[package]\nname = \"guilty\"\nedition = \"2024\"\n").unwrap();
        fs::write(guilty.join("src/lib.rs"), code).unwrap();
        build(&dir, &[("guilty", guilty.display().to_string())])
    }

    #[test]
    fn a_crate_without_std_passes() {
        outcome("passes", "#![no_std]\nextern crate alloc;\npub fn f() -> alloc::vec::Vec<u8> { alloc::vec![1] }")
            .unwrap();
    }

    #[test]
    fn a_crate_with_std_is_refused() {
        for (name, code) in [
            ("implicit", "pub fn f() -> std::time::Instant { std::time::Instant::now() }"),
            ("unused", "pub fn f() {}"),
            ("extern", "#![no_std]\nextern crate std;\npub fn f() {}"),
        ] {
            let error = outcome(name, code).unwrap_err().to_string();
            assert!(error.contains("panic_impl"), "{name}: {error}");
        }
    }
}
