//! Where the broker listens, and with what: `listen`, and a table `[[listener]]` for everything that a URL does not say.
//!
//! Invariant: what an address has no use for is refused, never ignored.
use mqtt_tokio::broker::{
    ClientCertificates, Endpoint, Files, IdentityFrom, Network, PortSettings, ServerTls, WebSocketConfig,
};
use serde::de::{Deserialize, Deserializer, Error};
use std::path::PathBuf;

/// Addresses that need nothing but their URL.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listen(Option<Vec<Endpoint>>);

/// The addresses without a file.
const DEFAULT: [&str; 2] = ["mqtt://127.0.0.1:1883", "mqtt://[::1]:1883"];

impl Listen {
    /// The addresses; those of the default where the file names none.
    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        let default = || DEFAULT.iter().map(|url| url.parse().expect("a valid address")).collect();
        self.0.clone().unwrap_or_else(default)
    }

    /// Whether these are the addresses of the default, named or not.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the file has this key.
    pub(crate) fn is_given(&self) -> bool {
        self.0.is_some()
    }
}

impl PartialEq for Listen {
    fn eq(&self, other: &Self) -> bool {
        self.endpoints() == other.endpoints()
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let urls = Vec::<Url>::deserialize(deserializer)?;
        Ok(Self(Some(urls.into_iter().map(|url| url.0).collect())))
    }
}

/// An address that needs nothing else.
struct Url(Endpoint);

impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let url = String::deserialize(deserializer)?;
        let endpoint: Endpoint = url.parse().map_err(D::Error::custom)?;
        if endpoint.scheme().is_tls() {
            return Err(D::Error::custom(format!(
                "`{url}` needs a certificate: write a table [[listener]] with url, certificate and key"
            )));
        }
        Ok(Self(endpoint))
    }
}

/// An address with what else it needs.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(try_from = "Keys")]
pub(crate) struct Listener {
    url: Endpoint,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
    client_certificates: Option<Wanted>,
    identity: Identity,
    identity_as_username: bool,
    paths: Option<Vec<String>>,
    origins: Option<Vec<String>>,
    proxies: Option<Vec<Network>>,
}

/// The table as it is written.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    url: Text<Endpoint>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
    client_certificates: Option<Wanted>,
    identity: Option<Identity>,
    identity_as_username: Option<bool>,
    paths: Option<Vec<String>>,
    origins: Option<Vec<String>>,
    proxies: Option<Vec<Text<Network>>>,
}

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Wanted {
    Optional,
    Required,
}

/// Which part of a client's certificate is its identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Identity {
    #[default]
    CommonName,
    SubjectAltName,
    Fingerprint,
}

/// Something that is written as a text.
struct Text<T>(T);

impl<'de, T: std::str::FromStr<Err: std::fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(D::Error::custom)
    }
}

impl TryFrom<Keys> for Listener {
    type Error = String;

    fn try_from(keys: Keys) -> Result<Self, String> {
        let Text(url) = keys.url;
        let scheme = url.scheme();
        let refuse = |condition: bool, key: &str, only: &str| {
            if condition { Err(format!("{key}: {url} has no use for it; {only} has")) } else { Ok(()) }
        };
        if scheme.is_tls() {
            for (key, file) in [("certificate", &keys.certificate), ("key", &keys.key)] {
                if file.is_none() {
                    return Err(format!("missing field `{key}`: {url} needs the file of it (PEM)"));
                }
            }
        }
        let tls = "mqtts:// or wss://";
        refuse(!scheme.is_tls() && keys.certificate.is_some(), "certificate", tls)?;
        refuse(!scheme.is_tls() && keys.key.is_some(), "key", tls)?;
        refuse(!scheme.is_tls() && keys.client_ca.is_some(), "client_ca", tls)?;
        refuse(!scheme.is_websocket() && keys.paths.is_some(), "paths", "ws:// or wss://")?;
        refuse(!scheme.is_websocket() && keys.origins.is_some(), "origins", "ws:// or wss://")?;
        refuse(url.unix_path().is_some() && keys.proxies.is_some(), "proxies", "any address of TCP")?;
        if keys.client_ca.is_none() {
            for (key, is_set) in [
                ("client_certificates", keys.client_certificates.is_some()),
                ("identity", keys.identity.is_some()),
                ("identity_as_username", keys.identity_as_username.is_some()),
            ] {
                if is_set {
                    return Err(format!("{key}: it needs client_ca, the file of who signs the clients' certificates"));
                }
            }
        }
        if keys.paths.is_some() && !url.path().is_empty() {
            return Err(format!("paths: the url names {} already; use one of both", url.path()));
        }
        let bad = keys.paths.iter().flatten().find(|path| !path.starts_with('/'));
        if let Some(path) = bad {
            return Err(format!("paths: `{path}` does not begin with `/`"));
        }
        Ok(Self {
            url,
            certificate: keys.certificate,
            key: keys.key,
            client_ca: keys.client_ca,
            client_certificates: keys.client_certificates,
            identity: keys.identity.unwrap_or_default(),
            identity_as_username: keys.identity_as_username.unwrap_or_default(),
            paths: keys.paths,
            origins: keys.origins,
            proxies: keys.proxies.map(|proxies| proxies.into_iter().map(|proxy| proxy.0).collect()),
        })
    }
}

impl Listener {
    /// What the broker needs to know.
    pub(crate) fn port(&self) -> PortSettings {
        let tls = self.certificate.as_ref().zip(self.key.as_ref()).map(|(certificate, key)| ServerTls {
            files: Files { certificates: certificate.clone(), key: key.clone(), client_ca: self.client_ca.clone() },
            client_certificates: match (&self.client_ca, self.client_certificates) {
                (None, _) => ClientCertificates::Ignored,
                (Some(_), Some(Wanted::Optional)) => ClientCertificates::Optional,
                (Some(_), _) => ClientCertificates::Required,
            },
            identity: match self.identity {
                Identity::CommonName => IdentityFrom::CommonName,
                Identity::SubjectAltName => IdentityFrom::SubjectAltName,
                Identity::Fingerprint => IdentityFrom::Fingerprint,
            },
            identity_as_username: self.identity_as_username,
        });
        let default = WebSocketConfig::default();
        let paths = self.paths.clone().unwrap_or_else(|| default.paths.clone());
        PortSettings {
            tls,
            websocket: WebSocketConfig { paths, origins: self.origins.clone(), ..default },
            proxies: self.proxies.clone(),
            ..PortSettings::new(self.url.clone())
        }
    }
}

#[cfg(test)]
impl Listener {
    /// One with every key, for tests.
    pub(super) fn full() -> Self {
        let url = "wss://0.0.0.0:8084".parse().expect("an address");
        Self {
            url,
            certificate: Some("server.pem".into()),
            key: Some("server.key".into()),
            client_ca: Some("clients.pem".into()),
            client_certificates: Some(Wanted::Required),
            identity: Identity::default(),
            identity_as_username: false,
            paths: Some(Vec::new()),
            origins: Some(Vec::new()),
            proxies: Some(Vec::new()),
        }
    }
}
