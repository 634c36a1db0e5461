//! `zanzara` over TLS, WebSocket and local sockets: flags, configuration, certificates that are replaced.
mod cli_support;

use cli_support::{Running, Scratch, run, text};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use std::fs;
use std::path::PathBuf;

/// A folder with an authority and a server's certificate; gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let this = Self(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id())));
        fs::create_dir_all(&this.0).unwrap();
        this.renew(4096);
        this
    }

    /// Makes all of it anew, valid until this year.
    fn renew(&self, until: i32) {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let mut server = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        fs::write(self.0.join("ca.pem"), authority.pem()).unwrap();
        fs::write(self.0.join("server.pem"), server.signed_by(&key, &authority).unwrap().pem()).unwrap();
        fs::write(self.0.join("server.key"), key.serialize_pem()).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Waits for the banner; gives the addresses.
fn addresses(broker: &Running) -> Vec<String> {
    let mut banner = Vec::new();
    while !banner.last().is_some_and(|line: &String| line.contains("Ctrl-C")) {
        banner.push(broker.line());
    }
    banner[1..].iter().take_while(|line| line.starts_with("  ")).map(|line| line.trim().to_owned()).collect()
}

#[test]
fn every_address_is_served_and_reached() {
    let folder = Folder::new("all");
    let [certificate, key, ca, socket] =
        ["server.pem", "server.key", "ca.pem", "broker.sock"].map(|name| folder.path(name));
    let local = format!("unix://{socket}");
    let mut arguments = vec!["broker", "--ephemeral", "--tls-certificate", &certificate, "--tls-key", &key];
    for url in ["mqtts://127.0.0.1:0", "ws://127.0.0.1:0/mqtt", "wss://127.0.0.1:0", &local] {
        arguments.extend(["--listen", url]);
    }
    let broker = Running::start(&arguments);
    let addresses = addresses(&broker);
    assert_eq!(addresses.len(), 4, "{addresses:?}");
    for (number, url) in addresses.iter().enumerate() {
        let tls: &[&str] = if url.starts_with("mqtts") || url.starts_with("wss") { &["--cafile", &ca] } else { &[] };
        let payload = number.to_string();
        let kept = ["pub", "-L", url, "-r", "-q", "1", "-t", "kept", "-m", &payload];
        let output = run(&[&kept, tls].concat());
        assert!(output.status.success(), "{url}: {}", text(&output.stderr));
        let read = ["sub", "-L", url, "-C", "1", "-t", "kept", "-W", "20"];
        assert_eq!(text(&run(&[&read, tls].concat()).stdout), format!("{number}\n"), "{url}");
    }
    // Without the authority nobody connects, except who says loudly that it does not matter.
    let unknown = run(&["pub", "-L", &addresses[0], "-t", "x", "-m", "x"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("name the CA file"), "{}", text(&unknown.stderr));
    let insecure = ["--insecure-accept-any-certificate", "-t", "x", "-m", "x"];
    let loud = run(&[&["pub", "-L", &addresses[0]], &insecure[..]].concat());
    assert!(loud.status.success() && text(&loud.stderr).contains("not secure"), "{}", text(&loud.stderr));
    let port = addresses[0].rsplit(':').next().unwrap();
    assert!(run(&["pub", "-h", "127.0.0.1", "-p", port, "--cafile", &ca, "-t", "x", "-m", "x"]).status.success());
    let mixed = run(&["pub", "-L", &addresses[1], "--cafile", &ca, "-t", "x", "-m", "x"]);
    assert_eq!(mixed.status.code(), Some(2), "{}", text(&mixed.stderr));
}

#[cfg(unix)]
#[test]
fn a_hangup_brings_new_certificates() {
    let folder = Folder::new("hangup");
    let config = format!(
        "[[listener]]\nurl = \"mqtts://127.0.0.1:0\"\ncertificate = \"{}\"\nkey = \"{}\"\n",
        folder.path("server.pem"),
        folder.path("server.key")
    );
    let config = Scratch::new("hangup.toml", &config);
    let broker = Running::start(&["--ephemeral", "--config", config.path(), "--log-format", "json"]);
    let addresses = addresses(&broker);
    assert!(addresses.len() == 1 && addresses[0].starts_with("mqtts://"), "{addresses:?}");
    let ca = folder.path("ca.pem");
    let publish = || run(&["pub", "-L", &addresses[0], "--cafile", &ca, "-t", "x", "-m", "x"]).status.success();
    assert!(publish());
    folder.renew(4096);
    assert!(!publish(), "the old certificate is still in use, and the new authority has not signed it");
    broker.signal("HUP");
    let patience = std::time::Instant::now();
    while !publish() {
        assert!(patience.elapsed() < cli_support::PATIENCE, "the new certificate does not come into use");
    }
    broker.signal("TERM");
    let (code, log) = broker.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("certificates were read again"), "{log}");
}

#[test]
fn a_configuration_is_checked_with_its_certificates() {
    let folder = Folder::new("check");
    let listener = |more: &str| {
        let [certificate, key] = ["server.pem", "server.key"].map(|name| folder.path(name));
        format!("\n[[listener]]\nurl = \"mqtts://localhost\"\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n{more}")
    };
    let check = |config: &str| {
        let config = Scratch::new("check.toml", config);
        let output = run(&["check-config", config.path()]);
        let path = config.path().to_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr).replace(&path, "FILE"))
    };
    assert_eq!(check(&listener("")).0, Some(0));
    let (code, _, errors) = check(&listener("client_ca = \"/nowhere/ca.pem\"\n"));
    assert_eq!(code, Some(2));
    assert!(errors.contains("FILE:2: listener[0]: mqtts://localhost:8883: cannot read /nowhere/ca.pem"), "{errors}");
    fs::write(folder.path("server.key"), "nothing").unwrap();
    let (code, _, errors) = check(&listener(""));
    assert_eq!(code, Some(2));
    assert!(errors.contains("server.key: no private key"), "{errors}");
    folder.renew(2001);
    let (code, output, _) = check(&listener(""));
    assert_eq!(code, Some(0));
    assert!(output.contains("warning: the certificate has expired"), "{output}");
    let (code, _, errors) = check("listen = [\"wss://localhost\"]\n");
    assert_eq!(code, Some(2));
    assert!(errors.contains("FILE:1:10: listen[0]") && errors.contains("[[listener]]"), "{errors}");
}
