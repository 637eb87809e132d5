//! Whose certificates count: those of the public authorities, and those in files that an operator names.

use std::{
    env,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// The largest file of certificates, in bytes; that of a whole system has about 250,000.
const LARGEST: u64 = 8 << 20;

/// A file of certificates that cannot be used, and why.
pub type UnusableFile = (PathBuf, io::Error);

/// The file that `SSL_CERT_FILE` names, as many programs have it.
pub fn system_file() -> Option<PathBuf> {
    env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The certificates of these files beside the public ones, and what the files hold.
///
/// # Errors
/// The first file that cannot be read or holds no certificate.
pub fn trusted_roots<'a>(
    files: impl IntoIterator<Item = &'a Path>,
) -> Result<(RootCertStore, Vec<Vec<u8>>), UnusableFile> {
    let mut contents = Vec::new();
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    for path in files {
        let fault = |error: io::Error| (path.to_owned(), error);
        let pem = read(path).map_err(fault)?;
        let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<_, _>>()
            .map_err(|error| fault(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        let (taken, _) = roots.add_parsable_certificates(certificates);
        if taken == 0 {
            return Err(fault(io::Error::new(io::ErrorKind::InvalidData, "it holds no certificate")));
        }
        contents.push(pem);
    }
    Ok((roots, contents))
}

/// A pipe or a device would keep us waiting.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut pem = Vec::new();
    File::open(path)?.take(LARGEST).read_to_end(&mut pem)?;
    Ok(pem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_certificates_that_is_missing_or_empty_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "nothing here").unwrap();
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let file = folder.path().join("own.pem");
        std::fs::write(&file, own.cert.pem()).unwrap();
        for path in [folder.path().join("missing.pem"), empty] {
            assert_eq!(trusted_roots([path.as_path()]).unwrap_err().0, path);
            assert_eq!(trusted_roots([file.as_path(), path.as_path()]).unwrap_err().0, path);
        }
        let public = trusted_roots([]).unwrap().0;
        let both = trusted_roots([file.as_path()]).unwrap().0;
        assert_eq!(both.len(), public.len() + 1);
    }
}
