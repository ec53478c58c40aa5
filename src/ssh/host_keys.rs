//! The keys by which clients know this server.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::time::SystemTime;

use russh::host_keys::HostKeys as SigningKeys;
use russh::keys::key::safe_rng;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PrivateKey, decode_secret_key};
use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::{causes, config, limits};

/// One private key of the server.
#[derive(Clone)]
pub struct HostKey {
    key: PrivateKey,
    /// When its file was written.
    written: Option<SystemTime>,
}

/// The server's keys: at least one, of which clients see the first of each algorithm.
#[derive(Debug, Clone)]
pub struct HostKeys {
    used: Vec<HostKey>,
    /// Announced to clients, so that they know them when they are used.
    next: Vec<HostKey>,
}

/// Why a host key cannot be used; the caller names the variable or the file.
#[derive(Debug, thiserror::Error)]
pub enum HostKeyError {
    #[error("no host key is given: make one with `ssh-keygen -t ed25519 -N '' -f host_key`")]
    Missing,
    #[error(
        "not a private key in OpenSSH, PKCS#8 or PKCS#1 form: \
         make one with `ssh-keygen -t ed25519 -N '' -f host_key`"
    )]
    Unreadable(#[source] russh::keys::Error),
    #[error("this is a public key; name the file of the private one, without `.pub`")]
    Public,
    #[error("the key has a passphrase: remove it with `ssh-keygen -p -N '' -f host_key`")]
    Encrypted,
    #[error(
        "an RSA host key needs {least} to {most} bits, found {0}: make a new one with `ssh-keygen \
         -t ed25519 -N '' -f host_key`",
        least = limits::RSA_BITS_MIN,
        most = limits::RSA_BITS_MAX
    )]
    RsaBits(u32),
    #[error("the parts of the RSA key do not match")]
    RsaParts,
    #[error(
        "{0} host keys are not supported: make a new one with `ssh-keygen -t ed25519 -N '' -f \
         host_key`"
    )]
    Algorithm(Box<str>),
    #[error("the system has no random numbers")]
    Randomness,
    #[error("the key cannot be written as text")]
    Unwritable,
    #[error("{}{}", causes::system(.0), missing(.0))]
    Io(#[from] io::Error),
}

/// Says how a key comes about that is not there.
fn missing(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::NotFound {
        "; make one with `ssh-keygen -t ed25519 -N '' -f host_key`"
    } else {
        ""
    }
}

fn is_public(text: &str) -> bool {
    ["ssh-", "ecdsa-"].iter().any(|kind| text.starts_with(kind))
}

impl HostKey {
    /// Reads a private key from its text.
    pub fn parse(text: &Secret) -> Result<Self, HostKeyError> {
        let key = decode_secret_key(text.expose(), None);
        if matches!(key, Err(russh::keys::Error::KeyIsEncrypted)) {
            return Err(HostKeyError::Encrypted);
        }
        let key = match key {
            Err(_) if is_public(text.expose()) => return Err(HostKeyError::Public),
            key => key.map_err(HostKeyError::Unreadable)?,
        };
        if key.is_encrypted() {
            return Err(HostKeyError::Encrypted);
        }
        if let KeypairData::Rsa(pair) = key.key_data() {
            let bits = pair.key_size();
            if !(limits::RSA_BITS_MIN..=limits::RSA_BITS_MAX).contains(&bits) {
                return Err(HostKeyError::RsaBits(bits));
            }
            SigningKeys::new(vec![key.clone()]).map_err(|_| HostKeyError::RsaParts)?;
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "non-exhaustive")]
        match key.algorithm() {
            Algorithm::Ed25519 | Algorithm::Ecdsa { .. } | Algorithm::Rsa { .. } => Ok(key.into()),
            other => Err(HostKeyError::Algorithm(other.as_str().into())),
        }
    }

    /// Reads a private key from a file.
    pub fn load(path: &str) -> Result<Self, HostKeyError> {
        let text = config::read_text(path, limits::CONFIG_FILE_BYTES_MAX)?;
        let key = Self::parse(&Secret::new(text))?;
        let written = std::fs::metadata(path).and_then(|found| found.modified());
        Ok(Self {
            written: written.ok(),
            ..key
        })
    }

    /// Makes a key of each algorithm that some client needs: ed25519, and ECDSA for those that do
    /// not know it.
    pub fn generate_all() -> Result<Vec<Self>, HostKeyError> {
        Ok(vec![Self::generate()?, Self::generate_ecdsa()?])
    }

    fn generate_ecdsa() -> Result<Self, HostKeyError> {
        let algorithm = Algorithm::Ecdsa {
            curve: EcdsaCurve::NistP256,
        };
        let key = PrivateKey::random(&mut safe_rng(), algorithm);
        let mut key = key.map_err(|_| HostKeyError::Unwritable)?;
        key.set_comment("portcullis");
        Ok(key.into())
    }

    /// Makes a new ed25519 key.
    pub fn generate() -> Result<Self, HostKeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(|_| HostKeyError::Randomness)?;
        let keypair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed));
        let key = PrivateKey::new(keypair, "portcullis").map_err(|_| HostKeyError::Unwritable)?;
        Ok(key.into())
    }

    /// Writes the key to a new file that only its owner can read; an existing file stays.
    pub fn save(&self, path: &str) -> Result<(), HostKeyError> {
        let text = self
            .key
            .to_openssh(LineEnding::LF)
            .map_err(|_| HostKeyError::Unwritable)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(text.as_bytes())?;
        Ok(file.sync_all()?)
    }

    /// Returns the files of the keys that are kept in a directory; what is missing is made.
    ///
    /// # Errors
    /// The directory or a key cannot be read or written.
    pub fn kept_in(directory: &str) -> Result<Vec<String>, HostKeyError> {
        let kept =
            |name: &str, make: fn() -> Result<Self, HostKeyError>| -> Result<_, HostKeyError> {
                let path = format!("{directory}/{name}");
                if !std::fs::exists(&path)? {
                    std::fs::create_dir_all(directory)?;
                    make()?.save(&path)?;
                }
                Ok(path)
            };
        Ok(vec![
            kept(KEPT[0], Self::generate)?,
            kept(KEPT[1], Self::generate_ecdsa)?,
        ])
    }

    /// Returns those of them that are there, and makes none.
    #[must_use]
    pub fn found_in(directory: &str) -> Vec<String> {
        let places = KEPT.map(|name| format!("{directory}/{name}"));
        let is_there = |path: &String| std::fs::exists(path).unwrap_or_default();
        places.into_iter().filter(is_there).collect()
    }

    /// Says why keys cannot be kept in a directory, without making it.
    ///
    /// # Errors
    /// What stands in the way, and where.
    pub fn may_be_kept_in(directory: &str) -> Result<(), String> {
        let mut place = std::path::absolute(directory).map_err(|error| error.to_string())?;
        // What is missing is made, in what is there.
        let found = loop {
            match std::fs::metadata(&place) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && place.pop() => {}
                Err(error) if error.kind() == io::ErrorKind::NotADirectory && place.pop() => {}
                Err(error) => return Err(format!("cannot read {}: {error}", place.display())),
                Ok(found) => break found,
            }
        };
        if !found.is_dir() {
            return Err(format!(
                "{} is not a directory: set another state_directory, or host_key_files",
                place.display()
            ));
        }
        let tried = place.join(format!(".portcullis-check-{}", std::process::id()));
        let made = OpenOptions::new().write(true).create_new(true).open(&tried);
        let removed = made.and_then(|file| {
            drop(file);
            std::fs::remove_file(&tried)
        });
        removed.map_err(|error| {
            format!(
                "{} cannot be written to: {error}; set another state_directory, or host_key_files",
                place.display()
            )
        })
    }

    /// Says whether every user of the machine can read a file.
    #[must_use]
    pub fn is_readable_by_everybody(path: &str) -> bool {
        std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o004 != 0)
    }

    /// Returns the algorithm's name, such as `ssh-ed25519`.
    #[must_use]
    pub fn algorithm(&self) -> String {
        self.key.algorithm().as_str().to_owned()
    }

    /// Returns the fingerprint as `ssh-keygen -l` shows it: `SHA256:…`.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.key.fingerprint(HashAlg::Sha256).to_string()
    }

    /// Returns the bytes of the same fingerprint.
    #[must_use]
    pub fn fingerprint_bytes(&self) -> Vec<u8> {
        self.key.fingerprint(HashAlg::Sha256).as_bytes().to_vec()
    }

    /// Says when the key's file was written, if the key is of a file.
    #[must_use]
    pub const fn written(&self) -> Option<SystemTime> {
        self.written
    }

    /// Returns the line that makes clients trust the key: `[host]:port algorithm base64`.
    pub fn known_hosts_line(&self, host: &str, port: u16) -> Result<String, HostKeyError> {
        let public = russh::keys::PublicKey::new(self.key.public_key().key_data().clone(), "")
            .to_openssh()
            .map_err(|_| HostKeyError::Unwritable)?;
        let public = public.trim_end();
        Ok(if port == 22 {
            format!("{host} {public}")
        } else {
            format!("[{host}]:{port} {public}")
        })
    }
}

impl From<PrivateKey> for HostKey {
    fn from(key: PrivateKey) -> Self {
        Self { key, written: None }
    }
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HostKey").field(&self.fingerprint()).finish()
    }
}

impl HostKeys {
    /// Takes the keys in the order in which they are preferred.
    pub fn new(keys: Vec<HostKey>) -> Result<Self, HostKeyError> {
        if keys.is_empty() {
            return Err(HostKeyError::Missing);
        }
        Ok(Self {
            used: keys,
            next: Vec::new(),
        })
    }

    /// Adds keys that are announced to clients and not used yet.
    #[must_use]
    pub fn with_next(self, next: Vec<HostKey>) -> Self {
        Self { next, ..self }
    }

    /// Goes through the keys in use, for fingerprints.
    pub fn iter(&self) -> impl Iterator<Item = &HostKey> {
        self.used.iter()
    }

    /// Goes through the keys that are only announced.
    pub fn next_keys(&self) -> impl Iterator<Item = &HostKey> {
        self.next.iter()
    }

    pub(super) fn private_keys(&self) -> Vec<PrivateKey> {
        self.used.iter().map(|key| key.key.clone()).collect()
    }

    /// What is announced: every key in use, then those to come, each once.
    pub(super) fn announced(&self) -> SigningKeys {
        let mut keys: Vec<PrivateKey> = Vec::new();
        for HostKey { key, .. } in self.used.iter().chain(&self.next) {
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
        // Each key was tried when it was read.
        SigningKeys::new(keys).unwrap_or_default()
    }
}

/// The files of keys in a directory of state.
const KEPT: [&str; 2] = ["host_key", "host_key_ecdsa"];

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn made_by_ssh_keygen(arguments: &[&str]) -> (tempfile::TempDir, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = format!("{}/key", directory.path().display());
        let made = Command::new("ssh-keygen")
            .args(["-q", "-f", &path])
            .args(arguments)
            .status()
            .unwrap();
        assert!(made.success());
        (directory, path)
    }

    #[test]
    fn keys_of_ssh_keygen_are_read_and_shown_as_it_shows_them() {
        for arguments in [
            &["-t", "ed25519", "-N", ""][..],
            &["-t", "ecdsa", "-b", "256", "-N", ""],
            &["-t", "ecdsa", "-b", "521", "-N", ""],
            &["-t", "ecdsa", "-m", "PKCS8", "-N", ""],
            &["-t", "rsa", "-b", "2048", "-N", ""],
            &["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", ""],
            &["-t", "rsa", "-b", "3072", "-m", "PKCS8", "-N", ""],
        ] {
            let (_directory, path) = made_by_ssh_keygen(arguments);
            let key = HostKey::load(&path).unwrap();
            let shown = Command::new("ssh-keygen")
                .args(["-l", "-f", &path])
                .output()
                .unwrap();
            let shown = String::from_utf8(shown.stdout).unwrap();
            assert!(shown.contains(&key.fingerprint()), "{shown}");
            let public = std::fs::read_to_string(format!("{path}.pub")).unwrap();
            let line = key.known_hosts_line("gate.example", 2222).unwrap();
            let blob = public.split(' ').nth(1).unwrap();
            assert_eq!(
                line,
                format!("[gate.example]:2222 {} {blob}", key.algorithm())
            );
        }
    }

    #[test]
    fn short_rsa_keys_and_passphrases_are_refused_with_their_remedy() {
        let (_directory, path) = made_by_ssh_keygen(&["-t", "rsa", "-b", "1024", "-N", ""]);
        let error = HostKey::load(&path).unwrap_err();
        assert!(matches!(error, HostKeyError::RsaBits(1024)), "{error}");
        assert!(error.to_string().contains("ssh-keygen -t ed25519"));

        let (_directory, path) = made_by_ssh_keygen(&["-t", "ed25519", "-N", "secret"]);
        let error = HostKey::load(&path).unwrap_err();
        assert!(matches!(error, HostKeyError::Encrypted), "{error}");
        assert!(HostKey::parse(&Secret::new("nonsense".to_owned())).is_err());
        assert!(matches!(
            HostKeys::new(Vec::new()),
            Err(HostKeyError::Missing)
        ));
    }

    #[test]
    fn a_new_key_is_saved_for_its_owner_alone_and_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = format!("{}/key", directory.path().display());
        let key = HostKey::generate().unwrap();
        key.save(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = HostKey::load(&path).unwrap();
        assert_eq!(again.fingerprint(), key.fingerprint());
        assert!(key.save(&path).is_err(), "an existing key stays");
        let shown = format!("{key:?}");
        assert!(
            shown.contains("SHA256:") && !shown.contains("PRIVATE"),
            "{shown}"
        );
    }
}
