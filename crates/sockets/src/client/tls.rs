//! Connections with TLS: rustls with ring, behind the feature `tls`.

#[cfg(feature = "tls")]
mod with {
    use std::io;
    use std::sync::{Arc, OnceLock};

    use tokio::net::TcpStream;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::crypto::ring::default_provider;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use tokio_rustls::rustls::{ClientConfig, Error as TlsError, RootCertStore};

    use super::super::dial::Transport;
    use super::super::error::{ClientBuildError, JoinError};
    use super::Pem;

    /// How connections with TLS are made. Clones share what was loaded.
    #[derive(Clone)]
    pub(in super::super) struct Tls {
        /// With the given certificates. Otherwise those of the system are loaded when they are
        /// first needed.
        given: Option<Arc<ClientConfig>>,
        identity: Option<Arc<Pem>>,
        system: Arc<OnceLock<Arc<ClientConfig>>>,
    }

    /// Says that the TLS failed, and what would be right if the server speaks none.
    fn failed(error: &io::Error) -> io::Error {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
        let hint = match cause {
            Some(TlsError::InvalidMessage(_)) => {
                ": it may speak no TLS, and its URL then begins with ws://"
            }
            _ => "",
        };
        io::Error::new(
            error.kind(),
            format!("the TLS handshake failed: {error}{hint}"),
        )
    }

    impl Tls {
        pub(in super::super) const AVAILABLE: bool = true;

        pub(in super::super) fn new(
            authorities: Option<&[u8]>,
            identity: Option<Pem>,
        ) -> Result<Self, ClientBuildError> {
            let given = match authorities {
                Some(pem) => {
                    let mut roots = RootCertStore::empty();
                    let mut count = 0;
                    for certificate in CertificateDer::pem_slice_iter(pem) {
                        let certificate = certificate.map_err(|error| wrong("authority", error))?;
                        roots
                            .add(certificate)
                            .map_err(|error| wrong("authority", error))?;
                        count += 1;
                    }
                    if count == 0 {
                        return Err(ClientBuildError::Tls(
                            "the PEM of the authority has no certificate".into(),
                        ));
                    }
                    let config = config(roots, identity.as_ref());
                    Some(config.map_err(ClientBuildError::Tls)?)
                }
                None => {
                    // Finds out now whether the identity can be used.
                    config(RootCertStore::empty(), identity.as_ref())
                        .map_err(ClientBuildError::Tls)?;
                    None
                }
            };
            Ok(Self {
                given,
                identity: identity.map(Arc::new),
                system: Arc::default(),
            })
        }

        pub(in super::super) async fn connect(
            &self,
            host: &str,
            stream: TcpStream,
        ) -> Result<Box<dyn Transport>, JoinError> {
            let config = match &self.given {
                Some(config) => Arc::clone(config),
                None => self.of_system().await.map_err(JoinError::Handshake)?,
            };
            let name = ServerName::try_from(host.to_owned()).map_err(|_| JoinError::BadHost {
                what: "its name is neither a domain name nor an address",
            })?;
            let stream = TlsConnector::from(config).connect(name, stream).await;
            Ok(Box::new(
                stream.map_err(|error| JoinError::Io(failed(&error)))?,
            ))
        }

        /// With the certificates of the system, which are files: they are read on a thread that may
        /// block.
        async fn of_system(&self) -> Result<Arc<ClientConfig>, Arc<str>> {
            if let Some(config) = self.system.get() {
                return Ok(Arc::clone(config));
            }
            let this = self.clone();
            // A failure may pass, such as a lack of descriptors, so it is not kept.
            let load = move || {
                let config = this.load()?;
                Ok(Arc::clone(this.system.get_or_init(|| config)))
            };
            tokio::task::spawn_blocking(load)
                .await
                .unwrap_or_else(|error| Err(error.to_string().into()))
        }

        fn load(&self) -> Result<Arc<ClientConfig>, Arc<str>> {
            let loaded = rustls_native_certs::load_native_certs();
            let mut roots = RootCertStore::empty();
            if roots.add_parsable_certificates(loaded.certs).0 == 0 {
                return Err(
                    "the system has no certificates of authorities: give one to the client".into(),
                );
            }
            config(roots, self.identity.as_deref())
        }
    }

    fn config(roots: RootCertStore, identity: Option<&Pem>) -> Result<Arc<ClientConfig>, Arc<str>> {
        // The provider is given, so that none is needed, or installed, for the whole process.
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Arc::from(error.to_string()))?
            .with_root_certificates(roots);
        let Some(identity) = identity else {
            return Ok(Arc::new(builder.with_no_client_auth()));
        };
        let text = |error: &dyn std::fmt::Display| Arc::from(format!("the identity: {error}"));
        let certificates = CertificateDer::pem_slice_iter(&identity.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| text(&error))?;
        let key = PrivateKeyDer::from_pem_slice(&identity.key).map_err(|error| text(&error))?;
        let config = builder.with_client_auth_cert(certificates, key);
        config.map(Arc::new).map_err(|error| text(&error))
    }

    fn wrong(what: &str, error: impl std::fmt::Display) -> ClientBuildError {
        ClientBuildError::Tls(format!("the {what}: {error}").into())
    }
}

#[cfg(not(feature = "tls"))]
mod without {
    use tokio::net::TcpStream;

    use super::super::dial::Transport;
    use super::super::error::JoinError;

    /// No connections with TLS.
    #[derive(Clone)]
    pub(in super::super) struct Tls(());

    impl Tls {
        pub(in super::super) const AVAILABLE: bool = false;

        pub(in super::super) const fn none() -> Self {
            Self(())
        }

        pub(in super::super) async fn connect(
            &self,
            _: &str,
            _: TcpStream,
        ) -> Result<Box<dyn Transport>, JoinError> {
            Err(JoinError::NoTls)
        }
    }
}

/// A certificate and its key, in PEM.
#[cfg(feature = "tls")]
#[derive(Clone)]
pub(super) struct Pem {
    pub(super) certificate: Vec<u8>,
    pub(super) key: Vec<u8>,
}

#[cfg(feature = "tls")]
pub(super) use with::Tls;
#[cfg(not(feature = "tls"))]
pub(super) use without::Tls;
