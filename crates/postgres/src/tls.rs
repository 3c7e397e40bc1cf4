//! Whether connections are encrypted, and whom they trust.
//!
//! Both kinds of connection (commands and snapshots; the stream) are made by the same words, and
//! mean the same by them. Nothing is ever sent in the clear that was to be encrypted: what this
//! build or this server cannot do is refused.

use std::error::Error;
use std::path::PathBuf;

use deadpool_postgres::{Manager, ManagerConfig};
use pgwire_replication::config::TlsConfig;
use tidegate_ports::PortError;
use tokio::task::JoinSet;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};

use crate::error::rejected;

/// Whether connections are encrypted: the `sslmode` of other programs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PostgresTls {
    /// Never.
    #[default]
    Disable,
    /// If the server can, whoever it is; and if not, not. Whoever is in between decides.
    Prefer,
    /// Always, whoever the server is: against those who listen, not against those who pose as it.
    Require,
    /// Always, to a server whose certificate is for the name in the address and is signed by one of
    /// those in this file (PEM), or by one that browsers trust.
    VerifyFull(Option<PathBuf>),
}

impl PostgresTls {
    fn mode(&self) -> SslMode {
        match self {
            Self::Disable => SslMode::Disable,
            Self::Prefer => SslMode::Prefer,
            Self::Require | Self::VerifyFull(_) => SslMode::Require,
        }
    }

    /// The same for the stream's connection to a host.
    pub(crate) fn of_stream(&self, host: &str) -> TlsConfig {
        match self {
            Self::Disable => TlsConfig::disabled(),
            Self::Prefer => TlsConfig {
                mode: pgwire_replication::config::SslMode::Prefer,
                ..TlsConfig::default()
            },
            Self::Require => TlsConfig::require(),
            // Said once more, as the library takes no address for a name otherwise.
            Self::VerifyFull(root) => TlsConfig::verify_full(root.clone()).with_sni_hostname(host),
        }
    }
}

/// Makes connections.
#[derive(Clone)]
pub(crate) enum Connector {
    Plain,
    #[cfg(feature = "tls")]
    Encrypted(tokio_postgres_rustls::MakeRustlsConnect),
}

impl Connector {
    /// What makes connections like this, and how they are told to.
    #[cfg(feature = "tls")]
    pub(crate) fn new(tls: &PostgresTls, config: &mut Config) -> Result<Self, PortError> {
        config.ssl_mode(tls.mode());
        Ok(match tls {
            PostgresTls::Disable => Self::Plain,
            other => Self::Encrypted(encrypted::connector(other)?),
        })
    }

    /// What makes connections like this, and how they are told to.
    #[cfg(not(feature = "tls"))]
    pub(crate) fn new(tls: &PostgresTls, config: &mut Config) -> Result<Self, PortError> {
        config.ssl_mode(tls.mode());
        match tls {
            PostgresTls::Disable => Ok(Self::Plain),
            _ => Err(rejected(
                "its address asks for TLS, which is not in this build: build with --features tls",
            )),
        }
    }

    pub(crate) fn manager(&self, config: Config, how: ManagerConfig) -> Manager {
        match self {
            Self::Plain => Manager::from_config(config, NoTls, how),
            #[cfg(feature = "tls")]
            Self::Encrypted(tls) => Manager::from_config(config, tls.clone(), how),
        }
    }

    /// A connection that is driven by a task of this set. That it broke, the client says at its
    /// next use.
    pub(crate) async fn connect(
        &self,
        config: &Config,
        tasks: &mut JoinSet<()>,
    ) -> Result<Client, tokio_postgres::Error> {
        match self {
            Self::Plain => {
                let (client, connection) = config.connect(NoTls).await?;
                tasks.spawn(async move {
                    let _ = connection.await;
                });
                Ok(client)
            }
            #[cfg(feature = "tls")]
            Self::Encrypted(tls) => {
                let (client, connection) = config.connect(tls.clone()).await?;
                tasks.spawn(async move {
                    let _ = connection.await;
                });
                Ok(client)
            }
        }
    }
}

/// Why a connection could not be encrypted, where another try would not help.
pub(crate) fn refusal(error: &tokio_postgres::Error) -> Option<PortError> {
    // The driver's own words: it has no other sign.
    if !error.to_string().contains("TLS") {
        return None;
    }
    let source = error.source();
    let io = source.and_then(|source| source.downcast_ref::<std::io::Error>());
    if io.is_some_and(|io| io.kind() != std::io::ErrorKind::InvalidData) {
        return None;
    }
    let why = source.map_or_else(|| error.to_string(), ToString::to_string);
    Some(refused(&why))
}

/// The refusal of a handshake or a file, in a sentence.
pub(crate) fn refused(why: &str) -> PortError {
    let advice = match why {
        _ if why.contains("not support TLS") => ": set ssl = on there, or sslmode=disable here",
        _ if why.contains("UnknownIssuer") => {
            ": nobody who is trusted signed the server's certificate; name the file of who did as \
             sslrootcert"
        }
        _ if why.contains("not valid for name") => {
            ": the server's certificate is for another name than that of the address"
        }
        _ => "",
    };
    rejected(format!(
        "no encrypted connection can be made: {why}{advice}"
    ))
}

#[cfg(feature = "tls")]
mod encrypted {
    use std::path::Path;
    use std::sync::Arc;

    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
    use tidegate_ports::PortError;
    use tokio_postgres_rustls::MakeRustlsConnect;

    use super::{PostgresTls, refused};

    pub(super) fn connector(tls: &PostgresTls) -> Result<MakeRustlsConnect, PortError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| refused(&error.to_string()))?;
        let config = match tls {
            PostgresTls::VerifyFull(root) => {
                let roots = roots(root.as_deref())?;
                builder.with_root_certificates(roots).with_no_client_auth()
            }
            PostgresTls::Disable | PostgresTls::Prefer | PostgresTls::Require => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
                .with_no_client_auth(),
        };
        Ok(MakeRustlsConnect::new(config))
    }

    fn roots(file: Option<&Path>) -> Result<RootCertStore, PortError> {
        let mut roots = RootCertStore::empty();
        let Some(file) = file else {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            return Ok(roots);
        };
        let unread = |why: &str| refused(&format!("{} {why}", file.display()));
        let certificates = CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| unread(&format!("cannot be read: {error}")))?;
        match roots.add_parsable_certificates(certificates) {
            (0, _) => Err(unread("holds no certificate")),
            _ => Ok(roots),
        }
    }

    /// Takes anybody's certificate, if only it is the certificate of whoever answers.
    #[derive(Debug)]
    struct Anybody(Arc<CryptoProvider>);

    impl ServerCertVerifier for Anybody {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            let known = &self.0.signature_verification_algorithms;
            verify_tls12_signature(message, certificate, signed, known)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            let known = &self.0.signature_verification_algorithms;
            verify_tls13_signature(message, certificate, signed, known)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}
