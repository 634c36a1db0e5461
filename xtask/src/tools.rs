//! What the interoperability tests drive: clients and brokers of other vendors. Python and npm packages go
//! into `.tools/`, pinned by the files in `xtask/interop/`; Debian packages are installed only when asked for.
use crate::run::{self, Result};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Where each tool lies, and why some are missing.
#[derive(Default)]
pub(crate) struct Tools {
    /// The interpreter of a virtual environment that holds the Python clients.
    pub(crate) python: Option<PathBuf>,
    /// The folder of the npm packages.
    pub(crate) node_modules: Option<PathBuf>,
    /// mosquitto's broker.
    pub(crate) mosquitto: Option<PathBuf>,
    /// The folder of `mosquitto_pub`, `mosquitto_sub` and `mosquitto_rr`.
    pub(crate) mosquitto_clients: Option<PathBuf>,
    /// One line for each tool that could not be had.
    pub(crate) missing: Vec<String>,
}

/// Finds or makes what can be found or made; with `install` also through `apt-get`.
pub(crate) fn prepare(install: bool) -> Result<Tools> {
    if install {
        install_packages()?;
    }
    let mut tools = Tools::default();
    let python = python_clients();
    tools.python = keep(&mut tools.missing, "Python clients", python);
    let node_modules = npm_clients();
    tools.node_modules = keep(&mut tools.missing, "npm clients", node_modules);
    let mosquitto = find("mosquitto");
    tools.mosquitto = keep(&mut tools.missing, "mosquitto (the broker)", mosquitto);
    let clients = find("mosquitto_pub").map(|file| file.parent().expect("a file has a folder").to_owned());
    tools.mosquitto_clients = keep(&mut tools.missing, "mosquitto's clients", clients);
    Ok(tools)
}

fn keep(missing: &mut Vec<String>, what: &str, found: Result<PathBuf>) -> Option<PathBuf> {
    found.map_err(|error| missing.push(format!("{what}: {error}"))).ok()
}

/// Debian keeps daemons where a user's `PATH` may not look.
fn find(name: &str) -> Result<PathBuf> {
    run::find_program(name, &["/usr/sbin", "/usr/local/sbin"]).ok_or_else(|| format!("no `{name}` found").into())
}

fn folder() -> PathBuf {
    run::root().join(".tools")
}

fn pinned(name: &str) -> PathBuf {
    run::root().join("xtask/interop").join(name)
}

fn python_clients() -> Result<PathBuf> {
    let venv = folder().join("venv");
    let python = venv.join("bin/python");
    let wanted = fs::read_to_string(pinned("requirements.txt"))?;
    up_to_date(&venv, &wanted, || {
        find("python3")?;
        run::run(run::program("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
        let mut pip = run::program(&python);
        run::run(pip.args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(pinned("requirements.txt")))
    })?;
    Ok(python)
}

fn npm_clients() -> Result<PathBuf> {
    let node_modules = folder().join("node_modules");
    let wanted = fs::read_to_string(pinned("package-lock.json"))?;
    find("node")?;
    up_to_date(&node_modules, &wanted, || {
        find("npm")?;
        fs::create_dir_all(folder())?;
        for name in ["package.json", "package-lock.json"] {
            fs::copy(pinned(name), folder().join(name))?;
        }
        let mut npm = run::program("npm");
        run::run(npm.current_dir(folder()).args([
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
        ]))
    })?;
    Ok(node_modules)
}

/// Makes `dir` unless a stamp in it says that it was made from the same pins.
fn up_to_date(dir: &Path, pins: &str, make: impl FnOnce() -> Result) -> Result {
    let stamp = dir.join(".made-from");
    if fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == pins) {
        return Ok(());
    }
    make()?;
    Ok(fs::write(stamp, pins)?)
}

/// Programs, and the Debian packages that bring them.
const PACKAGES: [(&str, &[&str]); 5] = [
    ("mosquitto", &["mosquitto"]),
    ("mosquitto_pub", &["mosquitto-clients"]),
    ("python3", &["python3", "python3-venv"]),
    ("node", &["nodejs"]),
    ("npm", &["npm"]),
];

fn install_packages() -> Result {
    let mut wanted: Vec<&str> = PACKAGES
        .iter()
        .filter(|(program, _)| find(program).is_err())
        .flat_map(|(_, packages)| *packages)
        .copied()
        .collect();
    // Debian's python3 comes without what a virtual environment needs.
    let has_python = !wanted.contains(&"python3");
    if has_python && run::output(run::program("python3").args(["-c", "import ensurepip, venv"])).is_err() {
        wanted.push("python3-venv");
    }
    if wanted.is_empty() {
        return Ok(());
    }
    if find("apt-get").is_err() {
        return Err(format!("only Debian packages can be installed; please bring: {}", wanted.join(" ")).into());
    }
    if run::output(run::program("id").arg("-u"))?.trim() != "0" {
        return Err(format!("run as root: apt-get install --no-install-recommends {}", wanted.join(" ")).into());
    }
    let _no_service_starts = PolicyGuard::new()?;
    let apt = || {
        let mut apt = run::program("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        apt.args(["-qq", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"]);
        apt
    };
    // One list out of several may fail; whether that matters shows at once.
    if let Err(error) = run::output(apt().arg("update")) {
        eprintln!("note: {error}");
    }
    eprintln!("installing: {}", wanted.join(" "));
    run::output(apt().args(["install", "--yes", "--no-install-recommends"]).args(&wanted)).map(drop)
}

/// While it lives, Debian starts no service that it installs. A policy of somebody else stays.
struct PolicyGuard {
    made: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";
const DENY_ALL: &str = "#!/bin/sh\n# Written by `cargo xtask test` while it installs packages.\nexit 101\n";

impl PolicyGuard {
    fn new() -> Result<Self> {
        // One of ours that was left by a run that was killed is taken over.
        if fs::read(POLICY).is_ok_and(|policy| policy != DENY_ALL.as_bytes()) {
            return Ok(Self { made: false });
        }
        fs::write(POLICY, DENY_ALL)?;
        let guard = Self { made: true };
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
        Ok(guard)
    }
}

impl Drop for PolicyGuard {
    fn drop(&mut self) {
        if self.made {
            // Nothing can be done about a failure here, and the next run keeps what it finds.
            let _ = fs::remove_file(POLICY);
        }
    }
}
