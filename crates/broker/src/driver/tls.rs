//! The files of an encrypted connection.

use std::path::{Path, PathBuf};

use crate::error::ConnectError;

use super::parameter::bad_url;

/// The options of an encrypted connection: which certificates it trusts, and which one it shows.
///
/// Without a certificate authority of its own, a connection trusts the authorities that the system
/// trusts. The name or address in the URL has to be in the server's certificate.
///
/// ```
/// use fanfeed_broker::driver::Tls;
///
/// let tls = Tls::new().authority("ca.pem").identity("client.pem", "client.key");
/// assert_eq!(tls.authority_file().and_then(|file| file.to_str()), Some("ca.pem"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    authority: Option<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    /// Trusts the authorities that the system trusts, and shows no certificate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the certificates of this PEM file, and no others.
    #[must_use]
    pub fn authority(mut self, file: impl AsRef<Path>) -> Self {
        self.authority = Some(file.as_ref().to_owned());
        self
    }

    /// Shows the server this certificate, with its private key; both are PEM files.
    #[must_use]
    pub fn identity(mut self, certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.identity = Some((certificate.as_ref().to_owned(), key.as_ref().to_owned()));
        self
    }

    /// The file of the certificates that it trusts, or `None` if it trusts the authorities that the
    /// system trusts.
    pub fn authority_file(&self) -> Option<&Path> {
        self.authority.as_deref()
    }

    /// The files of the certificate that it shows, and of its private key.
    pub fn identity_files(&self) -> Option<(&Path, &Path)> {
        let (certificate, key) = self.identity.as_ref()?;
        Some((certificate, key))
    }
}

/// The parameters `ca`, `cert` and `key` of a URL.
#[derive(Debug, Default)]
pub struct TlsParameters {
    authority: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

impl TlsParameters {
    /// Takes the parameter if it is one of the three, and returns whether it is.
    pub fn take(&mut self, name: &str, value: &str) -> bool {
        let file = match name {
            "ca" => &mut self.authority,
            "cert" => &mut self.certificate,
            "key" => &mut self.key,
            _ => return false,
        };
        *file = Some(value.to_owned());
        true
    }

    /// Returns the options, or `None` for a connection that is not encrypted. `scheme` is the
    /// scheme of URLs of encrypted connections, for the error.
    ///
    /// # Errors
    ///
    /// [`ConnectError::BadUrl`] if a parameter was given for a connection that is not encrypted, or
    /// only one of `cert` and `key` was given.
    pub fn finish(self, encrypted: bool, scheme: &str) -> Result<Option<Tls>, ConnectError> {
        let none = self.authority.is_none() && self.certificate.is_none() && self.key.is_none();
        if !encrypted {
            return if none {
                Ok(None)
            } else {
                let text = format!("`ca`, `cert` and `key` need TLS: write {scheme}://");
                Err(bad_url(text))
            };
        }
        let mut tls = Tls::new();
        if let Some(file) = self.authority {
            tls = tls.authority(file);
        }
        match (self.certificate, self.key) {
            (Some(certificate), Some(key)) => tls = tls.identity(certificate, key),
            (None, None) => {}
            _ => return Err(bad_url("`cert` and `key` go together")),
        }
        Ok(Some(tls))
    }
}
