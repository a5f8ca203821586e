//! TLS by rustls over aws-lc: certificate chain and key from PEM files, read again when they change.

use crate::Error;
use crate::config::read_capped;
use crate::limits::{MAX_CHAIN, MAX_PEM_LEN};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tokio_rustls::TlsAcceptor;

/// Where the certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain in PEM, the server's own first.
    pub chain: PathBuf,
    /// Its private key in PEM: PKCS#8, PKCS#1 or SEC1. Not readable by everyone.
    pub key: PathBuf,
}

/// A certificate in use. Cheap to clone; clones share it.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    files: TlsFiles,
    current: Mutex<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    stamp: Stamp,
}

/// What a changed file differs in.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl core::fmt::Debug for Tls {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Tls").field("files", &self.0.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads both files. It blocks for as long as the file system does.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Config`] if a file is not what it should be, the key does not belong to the certificate, or
    /// everyone may read the key.
    pub fn load(files: TlsFiles) -> Result<Self, Error> {
        let stamp = stamp(&files); // before the files are read: a change meanwhile is seen as one
        let config = read(&files)?;
        Ok(Self(Arc::new(Shared { files, current: Mutex::new(Current { config, stamp }) })))
    }

    /// Reads both files again; on an error the certificate in use stays. New connections get the new one.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn reload(&self) -> Result<(), Error> {
        let stamp = stamp(&self.0.files);
        let outcome = read(&self.0.files);
        let mut current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.stamp = stamp; // also of files that are wrong: said once
        current.config = outcome?;
        Ok(())
    }

    /// Whether a file was changed since it was last read.
    pub fn changed(&self) -> bool {
        let now = stamp(&self.0.files);
        now.iter().all(Option::is_some) && now != self.0.current.lock().unwrap_or_else(PoisonError::into_inner).stamp
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&current.config))
    }
}

fn stamp(files: &TlsFiles) -> Stamp {
    [&files.chain, &files.key].map(|path| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.modified().ok()?, meta.len()))
    })
}

fn read(files: &TlsFiles) -> Result<Arc<ServerConfig>, Error> {
    let wrong = |path: &Path, what: &str| Error::Config(format!("{}: {what}", path.display()));
    let pem = read_capped(&files.chain, MAX_PEM_LEN)?;
    let chain = CertificateDer::pem_slice_iter(&pem)
        .take(MAX_CHAIN + 1)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| wrong(&files.chain, "not certificates in PEM"))?;
    if chain.is_empty() || chain.len() > MAX_CHAIN {
        return Err(wrong(&files.chain, &format!("1 to {MAX_CHAIN} certificates are expected")));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let meta = std::fs::metadata(&files.key);
        if meta.is_ok_and(|meta| meta.permissions().mode() & 0o007 != 0) {
            return Err(wrong(&files.key, "a private key that everyone may read (chmod o=)"));
        }
    }
    let pem = comity_core::Secret::new(read_capped(&files.key, MAX_PEM_LEN)?);
    let key = PrivateKeyDer::from_pem_slice(pem.expose()).map_err(|_| wrong(&files.key, "not a private key in PEM"))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_| Error::Config("TLS: the provider lacks a protocol version".into()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| wrong(&files.key, &format!("not the key of {}: {e}", files.chain.display())))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
