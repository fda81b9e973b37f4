//! A private certificate authority for tests of TLS.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::folder::Folder;

/// A certificate authority that no system trusts. Its files are removed on drop.
#[derive(Debug)]
pub struct Authority {
    folder: Folder,
    issuer: Issuer<'static, KeyPair>,
    certificate: PathBuf,
}

/// A certificate and its private key, as PEM files in the folder of their [`Authority`].
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// The private key, PKCS #8.
    pub key: PathBuf,
}

impl Authority {
    /// Makes an authority with a new key.
    pub fn new(name: &str) -> Self {
        let folder = Folder::new("ca");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key can be made");
        let signed = params.self_signed(&key).expect("an authority signs itself");
        let certificate = write(folder.path(), "ca.pem", &signed.pem());
        Authority {
            folder,
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    /// The file of the authority's own certificate.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// Makes the certificate of a server with these names or addresses.
    pub fn server(&self, names: &[&str]) -> Identity {
        self.issue("server", names, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Makes the certificate of a client.
    pub fn client(&self, name: &str) -> Identity {
        self.issue(name, &[name], ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(&self, file: &str, names: &[&str], usage: ExtendedKeyUsagePurpose) -> Identity {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names of a certificate");
        params.distinguished_name.push(DnType::CommonName, file);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key can be made");
        let signed = params
            .signed_by(&key, &self.issuer)
            .expect("the authority signs");
        let folder = self.folder.path();
        Identity {
            certificate: write(folder, &format!("{file}.pem"), &signed.pem()),
            key: write(folder, &format!("{file}.key"), &key.serialize_pem()),
        }
    }
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text)
        .unwrap_or_else(|error| panic!("{} cannot be written: {error}", path.display()));
    path
}
