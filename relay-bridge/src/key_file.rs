//! The identity key of an agent, in a file of its own (`NAME.key`), readable by its user only.
//!
//! An agent has to start without a person, so the key is kept as `nsec1…` in plain text unless a passphrase is given;
//! then as `ncryptsec1…` (NIP-49: scrypt and XChaCha20-Poly1305). The key is never printed and never logged.

use std::path::{Path, PathBuf};

use fedai_protocol::{Entropy, SigningKey};
use nostr::nips::nip19::{FromBech32, ToBech32};
use nostr::nips::nip49::{EncryptedSecretKey, KeySecurity};
use nostr::{SecretKey, nips};
use zeroize::Zeroizing;

/// scrypt cost: 64 MiB and about a tenth of a second. A daemon starts rarely, and small machines start too.
const LOG_N: u8 = 16;
/// Largest cost accepted from a file: 1 GiB.
const LOG_N_MAX: u8 = 20;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read or written.
    #[error("{path}: {error}\nhint: check free space and permissions of this directory", path = path.display())]
    Io {
        /// File.
        path: PathBuf,
        /// The system's words.
        error: std::io::Error,
    },
    /// Others can read it.
    #[error("{path}: other users can read this key (mode {mode:o})\nhint: chmod 600 {path}", path = path.display())]
    Permissions {
        /// File.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file holds something else.
    #[error("{path}: not a secret key\n\
     hint: the file holds one line: nsec1…, 64 hex digits, or ncryptsec1…", path = path.display())]
    Unreadable {
        /// File.
        path: PathBuf,
    },
    /// A passphrase is needed.
    #[error("{path}: this key is protected by a passphrase\n\
     hint: give it with --passphrase-file", path = path.display())]
    PassphraseNeeded {
        /// File.
        path: PathBuf,
    },
    /// It is another passphrase.
    #[error("{path}: the passphrase does not open this key\n\
     hint: check the passphrase; there is no way around it", path = path.display())]
    WrongPassphrase {
        /// File.
        path: PathBuf,
    },
    /// The key could not be encrypted.
    #[error("{path}: the key could not be encrypted", path = path.display())]
    Encrypt {
        /// File.
        path: PathBuf,
    },
}

/// The path of the key `name` in `dir`.
#[must_use]
pub fn path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.key"))
}

/// Reads the key `name` in `dir`; makes one when there is none.
pub fn load_or_create(
    dir: &Path,
    name: &str,
    passphrase: Option<&str>,
    entropy: &mut impl Entropy,
) -> Result<SigningKey, KeyFileError> {
    let path = path(dir, name);
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            check_permissions(&path)?;
            let secret = parse(Zeroizing::new(text).trim(), &path, passphrase)?;
            Ok(SigningKey::new(secret))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = SigningKey::generate(entropy);
            save(&path, &key, passphrase)?;
            Ok(key)
        }
        Err(error) => Err(KeyFileError::Io { path, error }),
    }
}

/// Writes a key, replacing the one there.
pub fn save(path: &Path, key: &SigningKey, passphrase: Option<&str>) -> Result<(), KeyFileError> {
    let text = Zeroizing::new(match passphrase {
        Some(passphrase) => {
            let encrypted = EncryptedSecretKey::new(key.secret_key(), passphrase, LOG_N, KeySecurity::Medium)
                .map_err(|_| KeyFileError::Encrypt { path: path.to_owned() })?;
            encrypted.to_bech32().map_err(|_| KeyFileError::Encrypt { path: path.to_owned() })?
        }
        None => match key.secret_key().to_bech32() {
            Ok(text) => text,
            Err(never) => match never {},
        },
    });
    let line = Zeroizing::new(format!("{}\n", text.as_str()));
    crate::atomic_file::replace(path, line.as_bytes())
        .map_err(|error| KeyFileError::Io { path: path.to_owned(), error })
}

fn parse(text: &str, path: &Path, passphrase: Option<&str>) -> Result<SecretKey, KeyFileError> {
    if !text.starts_with("ncryptsec1") {
        return SecretKey::parse(text).map_err(|_| KeyFileError::Unreadable { path: path.to_owned() });
    }
    let encrypted = EncryptedSecretKey::from_bech32(text)
        .map_err(|_| KeyFileError::Unreadable { path: path.to_owned() })?;
    let passphrase = passphrase.ok_or_else(|| KeyFileError::PassphraseNeeded { path: path.to_owned() })?;
    if encrypted.log_n() > LOG_N_MAX {
        return Err(KeyFileError::Unreadable { path: path.to_owned() });
    }
    let opened: Result<SecretKey, nips::nip49::Error> = encrypted.decrypt(passphrase);
    opened.map_err(|_| KeyFileError::WrongPassphrase { path: path.to_owned() })
}

#[cfg(unix)]
fn check_permissions(path: &Path) -> Result<(), KeyFileError> {
    use std::os::unix::fs::PermissionsExt;
    let metadata =
        std::fs::metadata(path).map_err(|error| KeyFileError::Io { path: path.to_owned(), error })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Permissions { path: path.to_owned(), mode });
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_permissions(_path: &Path) -> Result<(), KeyFileError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedai_protocol::entropy::CountingEntropy;

    #[test]
    fn a_key_is_made_once_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let key = load_or_create(dir.path(), "node", None, &mut CountingEntropy(1)).unwrap();
        let again = load_or_create(dir.path(), "node", None, &mut CountingEntropy(2)).unwrap();
        assert_eq!(key.public_key(), again.public_key());
        let other = load_or_create(dir.path(), "router", None, &mut CountingEntropy(3)).unwrap();
        assert_ne!(key.public_key(), other.public_key());
        std::fs::write(path(dir.path(), "node"), "hello").unwrap();
        assert!(matches!(
            load_or_create(dir.path(), "node", None, &mut CountingEntropy(2)),
            Err(KeyFileError::Unreadable { .. })
        ));
    }

    #[test]
    fn a_passphrase_protects_it() {
        let dir = tempfile::tempdir().unwrap();
        let key = load_or_create(dir.path(), "node", Some("correct horse"), &mut CountingEntropy(1)).unwrap();
        let text = std::fs::read_to_string(path(dir.path(), "node")).unwrap();
        assert!(text.starts_with("ncryptsec1") && !text.contains(&key.secret_key().to_secret_hex()));
        let open = |passphrase| load_or_create(dir.path(), "node", passphrase, &mut CountingEntropy(2));
        assert_eq!(open(Some("correct horse")).map(|k| k.public_key()).ok(), Some(key.public_key()));
        assert!(matches!(open(Some("wrong")), Err(KeyFileError::WrongPassphrase { .. })));
        assert!(matches!(open(None), Err(KeyFileError::PassphraseNeeded { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn wide_permissions_are_refused_and_new_files_are_narrow() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        load_or_create(dir.path(), "node", None, &mut CountingEntropy(1)).unwrap();
        let file = path(dir.path(), "node");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = load_or_create(dir.path(), "node", None, &mut CountingEntropy(1)).map(drop).unwrap_err();
        assert!(error.to_string().contains("mode 644") && error.to_string().contains("chmod 600"), "{error}");
    }
}
