//! The official test vectors of BIP-340 and NIP-44, run against the signing, verifying and sealing that messages use.
//!
//! Cases that the pinned library cannot take are named here, with the reason; none is skipped silently.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use fedai_protocol::sealed_session::{Conversation, base64_decode, base64_encode};
use fedai_protocol::signing_key::verify_digest;
use fedai_protocol::{Entropy, SigningKey};
use nostr::{PublicKey, SecretKey};
use serde_json::Value;

const BIP340: &str = include_str!("official_vectors/bip340.csv");
const NIP44: &str = include_str!("official_vectors/nip44.vectors.json");

/// BIP-340 cases whose message is not 32 bytes: secp256k1 0.29 signs and verifies 32-byte digests only, which is all
/// that Nostr uses.
const BIP340_NOT_TAKEN: [&str; 4] = ["15", "16", "17", "18"];

/// Gives the bytes that a vector prescribes as nonce or auxiliary randomness.
struct Prescribed([u8; 32]);

impl Entropy for Prescribed {
    fn fill(&mut self, bytes: &mut [u8]) {
        assert_eq!(bytes.len(), 32, "one nonce of 32 bytes is drawn and nothing else");
        bytes.copy_from_slice(&self.0);
    }
}

fn bytes32(hex_text: &str) -> [u8; 32] {
    hex::decode(hex_text).unwrap().try_into().unwrap()
}

#[test]
fn bip340_signatures_are_made_and_judged_as_the_vectors_say() {
    let (mut judged, mut signed) = (0, 0);
    for line in BIP340.lines().skip(1).filter(|line| !line.is_empty()) {
        let column: Vec<&str> = line.splitn(8, ',').collect();
        let [index, secret, public, aux, message, signature, result, _comment] = column[..] else {
            panic!("{line}")
        };
        if BIP340_NOT_TAKEN.contains(&index) {
            assert_ne!(message.len(), 64, "case {index} could be taken after all");
            continue;
        }
        let author = PublicKey::from_byte_array(bytes32(public));
        let holds = verify_digest(&author, bytes32(message), signature);
        assert_eq!(holds, result == "TRUE", "case {index}");
        judged += 1;
        if !secret.is_empty() {
            let key = SigningKey::new(SecretKey::from_slice(&bytes32(secret)).unwrap());
            let made = key.sign_digest(bytes32(message), &mut Prescribed(bytes32(aux)));
            assert_eq!(made.to_string(), signature.to_lowercase(), "case {index}");
            assert_eq!(key.public_key(), author, "case {index}");
            signed += 1;
        }
    }
    assert_eq!((judged, signed), (15, 4));
}

fn nip44(path: &str) -> Vec<Value> {
    let vectors: Value = serde_json::from_str(NIP44).unwrap();
    vectors.pointer(path).and_then(Value::as_array).cloned().unwrap_or_else(|| panic!("no vectors at {path}"))
}

fn text<'a>(case: &'a Value, name: &str) -> &'a str {
    case[name].as_str().unwrap_or_else(|| panic!("no {name} in {case}"))
}

#[test]
fn nip44_conversation_keys_agree() {
    let cases = nip44("/v2/valid/get_conversation_key");
    assert_eq!(cases.len(), 35);
    for case in cases {
        let ours = SigningKey::new(SecretKey::from_slice(&bytes32(text(&case, "sec1"))).unwrap());
        let theirs = PublicKey::from_byte_array(bytes32(text(&case, "pub2")));
        let derived = Conversation::derive(&ours, &theirs).unwrap();
        // The key is not readable from outside; what it seals must be what the prescribed key seals.
        let prescribed = Conversation::from_bytes(bytes32(text(&case, "conversation_key")));
        let seal = |with: &Conversation| with.seal("same", &mut Prescribed([7; 32])).unwrap();
        assert_eq!(seal(&derived), seal(&prescribed), "{case}");
    }
}

#[test]
fn nip44_invalid_keys_are_refused() {
    for case in nip44("/v2/invalid/get_conversation_key") {
        let Ok(secret) = SecretKey::from_slice(&bytes32(text(&case, "sec1"))) else { continue };
        let theirs = PublicKey::from_byte_array(bytes32(text(&case, "pub2")));
        assert!(Conversation::derive(&SigningKey::new(secret), &theirs).is_err(), "{}", text(&case, "note"));
    }
}

#[test]
fn nip44_texts_are_sealed_and_opened_byte_for_byte() {
    let cases = nip44("/v2/valid/encrypt_decrypt");
    assert_eq!(cases.len(), 10);
    for case in cases {
        let key = Conversation::from_bytes(bytes32(text(&case, "conversation_key")));
        let sealed =
            key.seal(text(&case, "plaintext"), &mut Prescribed(bytes32(text(&case, "nonce")))).unwrap();
        assert_eq!(sealed, text(&case, "payload"));
        assert_eq!(key.open(&sealed).unwrap(), text(&case, "plaintext"));
    }
}

#[test]
fn nip44_altered_payloads_do_not_open() {
    let cases = nip44("/v2/invalid/decrypt");
    assert_eq!(cases.len(), 12);
    for case in cases {
        let key = Conversation::from_bytes(bytes32(text(&case, "conversation_key")));
        assert!(key.open(text(&case, "payload")).is_err(), "{}", text(&case, "note"));
    }
}

/// All three long cases (65,535 and 65,532 bytes) are above what the pinned library takes (65,408 bytes) and far above
/// our own limit (32,768), so they are refused by size before any cryptography; so are the invalid lengths.
#[test]
fn nip44_long_texts_are_refused_by_size() {
    let key = Conversation::from_bytes([1; 32]);
    for case in nip44("/v2/valid/encrypt_decrypt_long_msg") {
        let long = text(&case, "pattern").repeat(usize::try_from(case["repeat"].as_u64().unwrap()).unwrap());
        assert!(long.len() > 65_408, "could be taken after all");
        assert!(key.seal(&long, &mut Prescribed([0; 32])).is_err());
    }
    for length in nip44("/v2/invalid/encrypt_msg_lengths") {
        let long = "x".repeat(usize::try_from(length.as_u64().unwrap()).unwrap());
        assert!(key.seal(&long, &mut Prescribed([0; 32])).is_err(), "{length}");
    }
}

#[test]
fn nip44_padding_is_as_the_vectors_say() {
    for case in nip44("/v2/valid/calc_padded_len") {
        let [length, padded] = [0, 1].map(|i| usize::try_from(case[i].as_u64().unwrap()).unwrap());
        if length > fedai_protocol::limits::SEALED_PLAINTEXT_BYTES_MAX {
            continue;
        }
        let key = Conversation::from_bytes([1; 32]);
        let sealed = key.seal(&"x".repeat(length), &mut Prescribed([0; 32])).unwrap();
        let raw = base64_decode(&sealed).unwrap();
        assert_eq!(raw.len(), 1 + 32 + 2 + padded + 32, "length {length}");
        assert_eq!(base64_encode(&raw), sealed);
    }
}
