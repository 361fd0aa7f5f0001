//! The files of the repository as the rules see them: a relative path with `/`, and the text.
//!
//! The walk needs no git, so that the test also runs in an unpacked source archive.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// One text file of the repository.
pub(crate) struct SourceFile {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl SourceFile {
    #[cfg(test)]
    pub(crate) fn sample(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The file's name without folder and extension.
    pub(crate) fn stem(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name.split('.').next().unwrap_or_default()
    }
}

/// A broken rule: where, what, and the way out.
pub(crate) struct Violation {
    path: String,
    line: usize,
    what: String,
    way_out: &'static str,
}

impl Violation {
    pub(crate) fn new(
        file: &SourceFile,
        line: usize,
        what: impl Into<String>,
        way_out: &'static str,
    ) -> Self {
        Self { path: file.path.clone(), line, what: what.into(), way_out }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {} (way out: {})", self.path, self.line, self.what, self.way_out)
    }
}

/// The folder that holds the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_owned()
}

/// Every text file of the repository, sorted by path.
pub(crate) fn read_tree() -> Vec<SourceFile> {
    let root = root();
    let mut files = Vec::new();
    walk(&root, &root, &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<SourceFile>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository is readable") {
        let path = entry.expect("an entry of a folder is readable").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            // Cargo marks its target folders, whatever they are called.
            if !SKIPPED_FOLDERS.contains(&name.as_str()) && !path.join("CACHEDIR.TAG").exists() {
                walk(root, &path, files);
            }
        } else if name == ".git" {
            // The file of a linked worktree: it names a folder of this machine.
        } else if let Ok(text) = fs::read_to_string(&path) {
            let relative = path.strip_prefix(root).expect("the walk stays inside the root");
            files.push(SourceFile { path: relative.to_string_lossy().replace('\\', "/"), text });
        }
    }
}

const SKIPPED_FOLDERS: &[&str] = &[".git", "target", "stage", "__pycache__", ".venv", ".idea", ".vscode"];

#[test]
fn the_walk_finds_this_file_and_not_the_build() {
    let files = read_tree();
    assert!(files.iter().any(|file| file.path == "protocol/tests/tidy/tree.rs"));
    assert!(!files.iter().any(|file| file.path.starts_with("target/") || file.path.starts_with(".git/")));
}
