//! `fedai key`: an identity key of one's own, encrypted at rest (NIP-49). Jobs do not use it: they are signed with keys
//! made for one job. The secret key is shown with `--reveal` only.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use fedai_protocol::{PublicKey, SigningKey};
use fedai_relay_bridge::{SystemEntropy, key_file};
use nostr::{SecretKey, ToBech32};
use zeroize::Zeroizing;

use super::answer_report::npub;
use super::exit_code::ExitStatus;
use super::failure::CliFailure;
use super::global_flags::GlobalFlags;
use super::json_output::KeyOutput;
use super::terminal;
use crate::shell::{config, private_file};

/// Name of the key file, without its ending.
const NAME: &str = "identity";

/// Commands on the identity key.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum KeyCommand {
    /// Make a key
    New {
        /// Replace the key that is there
        #[arg(long)]
        force: bool,
        /// Where the passphrase comes from
        #[command(flatten)]
        passphrase: PassphraseFlags,
    },
    /// Show the public key
    Show {
        /// Show the secret key too
        #[arg(long)]
        reveal: bool,
        /// Where the passphrase comes from
        #[command(flatten)]
        passphrase: PassphraseFlags,
    },
    /// Take a key from standard input: nsec, hex or ncryptsec
    Import {
        /// Replace the key that is there
        #[arg(long)]
        force: bool,
        /// Where the passphrase comes from
        #[command(flatten)]
        passphrase: PassphraseFlags,
    },
}

/// Where the passphrase comes from.
#[derive(Clone, Debug, clap::Args)]
pub struct PassphraseFlags {
    /// File whose first line is the passphrase
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    #[arg(
        long = "passphrase-from-environment",
        env = "FEDAI_PASSPHRASE",
        hide = true,
        hide_env_values = true
    )]
    environment: Option<String>,
}

/// Runs the command.
pub fn run(global: &GlobalFlags, command: KeyCommand) -> Result<ExitStatus, CliFailure> {
    let folder = config::data_folder(global.data.as_deref())?;
    private_file::create_folder(&folder)?;
    let output = match command {
        KeyCommand::New { force, passphrase } => {
            refuse_to_replace(&folder, force)?;
            let key = SigningKey::generate(&mut SystemEntropy);
            save(&folder, &key, &passphrase.read(true)?)?;
            describe(&folder, &key.public_key(), None)
        }
        KeyCommand::Import { force, passphrase } => {
            refuse_to_replace(&folder, force)?;
            let key = read_key(&passphrase)?;
            save(&folder, &key, &passphrase.read(true)?)?;
            describe(&folder, &key.public_key(), None)
        }
        KeyCommand::Show { reveal: false, .. } => describe(&folder, &read_public(&folder)?, None),
        KeyCommand::Show { reveal: true, passphrase } => {
            read_public(&folder)?;
            let phrase = passphrase.read(false)?;
            let key = key_file::load_or_create(&folder, NAME, Some(&phrase), &mut SystemEntropy);
            let key = key.map_err(|error| CliFailure::new(ExitStatus::Failure, "key", error.to_string()))?;
            describe(&folder, &key.public_key(), Some(&key))
        }
    };
    print(global, &output)?;
    Ok(ExitStatus::Success)
}

impl PassphraseFlags {
    /// From the file, the environment, or the person; a new one is asked for twice.
    fn read(&self, is_new: bool) -> Result<Zeroizing<String>, CliFailure> {
        let phrase = match (&self.passphrase_file, &self.environment) {
            (Some(path), _) => {
                let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|error| {
                    CliFailure::usage(format!("{}: {error}\nhint: name a readable file", path.display()))
                })?);
                Zeroizing::new(text.lines().next().unwrap_or_default().to_owned())
            }
            (None, Some(text)) => Zeroizing::new(text.clone()),
            (None, None) => ask(is_new)?,
        };
        if phrase.is_empty() {
            return Err(CliFailure::usage("the passphrase is empty\nhint: a key at rest needs one"));
        }
        Ok(phrase)
    }
}

fn ask(is_new: bool) -> Result<Zeroizing<String>, CliFailure> {
    if !std::io::stderr().is_terminal() {
        let text =
            "no passphrase, and no terminal to ask at\nhint: --passphrase-file FILE, or set FEDAI_PASSPHRASE";
        return Err(CliFailure::usage(text));
    }
    let prompt = |text| rpassword::prompt_password(text).map(Zeroizing::new);
    let phrase = prompt("Passphrase: ")?;
    if is_new && *prompt("Again: ")? != *phrase {
        return Err(CliFailure::usage("the two passphrases differ\nhint: try again"));
    }
    Ok(phrase)
}

fn read_key(passphrase: &PassphraseFlags) -> Result<SigningKey, CliFailure> {
    let mut text = Zeroizing::new(String::new());
    if std::io::stdin().is_terminal() {
        text = Zeroizing::new(rpassword::prompt_password("nsec, hex or ncryptsec: ")?);
    } else {
        std::io::stdin().read_to_string(&mut text)?;
    }
    let wrong =
        || CliFailure::usage("not a secret key\nhint: one line: nsec1…, 64 hex digits, or ncryptsec1…");
    if text.trim().starts_with("ncryptsec1") {
        use nostr::nips::nip19::FromBech32;
        let sealed = nostr::nips::nip49::EncryptedSecretKey::from_bech32(text.trim()).map_err(|_| wrong())?;
        if sealed.log_n() > 20 {
            return Err(CliFailure::usage(
                "this ncryptsec asks for more than 1 GiB of memory\nhint: encrypt it with log_n 16",
            ));
        }
        let phrase = passphrase.read(false)?;
        let secret = sealed.decrypt(phrase.as_str()).map_err(|_| {
            CliFailure::new(ExitStatus::Failure, "passphrase", "the passphrase does not open this key")
        })?;
        return Ok(SigningKey::new(secret));
    }
    SecretKey::parse(text.trim()).map(SigningKey::new).map_err(|_| wrong())
}

fn refuse_to_replace(folder: &Path, force: bool) -> Result<(), CliFailure> {
    let path = key_file::path(folder, NAME);
    if path.exists() && !force {
        let text = format!("{}: a key is there already\nhint: --force replaces it for good", path.display());
        return Err(CliFailure::new(ExitStatus::Failure, "exists", text));
    }
    Ok(())
}

fn save(folder: &Path, key: &SigningKey, phrase: &str) -> Result<(), CliFailure> {
    let fail = |text: String| CliFailure::new(ExitStatus::Failure, "key", text);
    key_file::save(&key_file::path(folder, NAME), key, Some(phrase))
        .map_err(|error| fail(error.to_string()))?;
    let public = format!("{}\n", key.public_key().to_hex());
    private_file::write_whole(&public_path(folder), public.as_bytes())
        .map_err(|error| fail(error.to_string()))
}

fn public_path(folder: &Path) -> PathBuf {
    folder.join(format!("{NAME}.pub"))
}

fn read_public(folder: &Path) -> Result<PublicKey, CliFailure> {
    let text = std::fs::read_to_string(public_path(folder)).unwrap_or_default();
    PublicKey::from_hex(text.trim()).map_err(|_| {
        let text = format!("{}: no key is there\nhint: fedai key new", folder.display());
        CliFailure::new(ExitStatus::Failure, "no_key", text)
    })
}

fn describe(folder: &Path, public: &PublicKey, revealed: Option<&SigningKey>) -> KeyOutput {
    KeyOutput {
        v: 1,
        public_key: public.to_hex(),
        npub: npub(public),
        file: key_file::path(folder, NAME).display().to_string(),
        nsec: revealed.and_then(|key| key.secret_key().to_bech32().ok()),
    }
}

fn print(global: &GlobalFlags, output: &KeyOutput) -> std::io::Result<()> {
    if global.json() {
        return terminal::print_json(output);
    }
    terminal::print(&format!("{}\n{}\n", output.npub, output.public_key))?;
    match &output.nsec {
        Some(nsec) => terminal::print(&format!("{nsec}\n")),
        None => Ok(()),
    }
}
